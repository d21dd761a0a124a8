/**
 * The sample world through trained models, as the operators `sample` and `decode` do it, for the benches that measure
 * them: prompts to states of text, noise to latents, latents to frames and back.
 */
import { createHash } from "node:crypto"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

import type { CounterRandom } from "@reelgraph/core"
import * as Denoiser from "@reelgraph/models/Denoiser"
import * as ModelFile from "@reelgraph/models/ModelFile"
import * as NoiseSchedule from "@reelgraph/models/NoiseSchedule"
import * as Sampler from "@reelgraph/models/Sampler"
import * as ShiftVae from "@reelgraph/models/ShiftVae"
import * as TextModel from "@reelgraph/models/TextModel"
import * as Onnx from "@reelgraph/onnx/Onnx"
import * as Session from "@reelgraph/onnx/Session"
import * as Shape from "@reelgraph/onnx/Shape"
import * as Tensor from "@reelgraph/onnx/Tensor"
import * as Effect from "effect/Effect"

import * as denoising from "@reelgraph/inference/Denoising"

/** The models that come with the repository. */
export const weightsFolder = fileURLToPath(new URL("../weights/", import.meta.url))

/** A file of a model, its content and its sha256. */
const modelAt = Effect.fnUntraced(function* <K extends ModelFile.Kind>(kind: K, path: string) {
  const { spec, weights } = yield* ModelFile.read(kind, path)
  const sha256 = createHash("sha256").update(readFileSync(path)).digest("hex")
  const parameters = Object.values(weights).reduce((sum, { data }) => sum + data.length, 0)
  return { spec, weights, sha256, parameters }
})

export const vaeAt = (folder: string) => modelAt("vae", join(folder, "vae.safetensors"))
export type Vae = Effect.Success<ReturnType<typeof vaeAt>>

export const denoiserAt = (path: string) => modelAt("denoiser", path)
export type DenoiserModel = Effect.Success<ReturnType<typeof denoiserAt>>

/** Frames, rows and columns. */
export type Sizes = readonly [frames: number, height: number, width: number]

/** 8-bit pixels `[F, H, W, 3]` to `[3, F, H, W]` in [-1, 1], into `out`. */
const planes = (frames: Uint8Array, out: Float32Array): void => {
  const plane = frames.length / 3
  for (let i = 0; i < plane; i++)
    for (let channel = 0; channel < 3; channel++)
      out[channel * plane + i] = frames[3 * i + channel]! / 127.5 - 1
}

/** Pixels `[3, F, H, W]` in [-1, 1] to 8-bit `[F, H, W, 3]`. */
const bytes = (pixels: Float32Array): Uint8Array => {
  const plane = pixels.length / 3
  const out = new Uint8ClampedArray(pixels.length)
  for (let channel = 0; channel < 3; channel++)
    for (let i = 0; i < plane; i++)
      out[3 * i + channel] = Math.round((pixels[channel * plane + i]! + 1) * 127.5)
  return new Uint8Array(out.buffer)
}

const cpu = { provider: "cpu", threads: 1 } as const

/** From clips of one size `[F, H, W, 3]` to their latents `[C, T, H, W]`, one by one. */
export const encoder = Effect.fnUntraced(function* ({ spec, weights }: Vae, [frames, height, width]: Sizes) {
  const graph = ShiftVae.boundEncoder(spec.config, { batch: 1, frames, height, width }, weights)
  const session = yield* Session.open(Onnx.model(graph), cpu)
  return Effect.fnUntraced(function* (clip: Uint8Array) {
    const pixels = Tensor.zeros("f32", [1, 3, frames, height, width])
    planes(clip, pixels.data)
    const { mean } = yield* session.run({ pixels }, { transfer: true })
    return mean.data
  })
})

/** From latents of one size `[C, T, H, W]` to frames `[F, H, W, 3]`, one by one. */
export const decoder = Effect.fnUntraced(function* ({ spec, weights }: Vae, [frames, height, width]: Sizes) {
  const graph = ShiftVae.boundDecoder(spec.config, { batch: 1, frames, height, width }, weights)
  const session = yield* Session.open(Onnx.model(graph), cpu)
  return Effect.fnUntraced(function* (sample: Float32Array) {
    const latents = Tensor.f32([1, spec.config.zDim, frames, height, width], sample)
    const { pixels } = yield* session.run({ latents }, { transfer: true })
    return bytes(pixels.data)
  })
})

/** The states of texts, and of none. */
export const texts = Effect.fnUntraced(function* (
  model: TextModel.TextModel,
  captions: ReadonlyArray<string>,
) {
  const { mask, states } = yield* model.encode(captions)
  const row = ({ data, shape }: Tensor.Tensor<"f32">, i: number): Float32Array => {
    const size = Shape.size(shape.slice(1))
    return data.slice(i * size, (i + 1) * size)
  }
  return captions.map((_, i): denoising.Text => ({ states: row(states, i), mask: row(mask, i) }))
})

export interface Settings {
  readonly sampler: Exclude<Sampler.Name, "ddpm">
  readonly steps: number
  readonly guidance: number
  /** Of flow schedules. */
  readonly shift: number
}

/** The steps of sampling, as the operator `sample` spaces them. */
export const planOf = (
  { prediction, schedule }: ModelFile.DenoiserSpec,
  { sampler, shift, steps }: Settings,
): Sampler.Plan => {
  const levels =
    schedule.kind === "flow" ? NoiseSchedule.flow({ shift }) : NoiseSchedule.discrete({ ...schedule })
  return Sampler.plan(sampler, levels, steps, { prediction, spacing: "trailing" })
}

/** A denoiser for latents of one size in a session of its own. */
export const predictor = Effect.fnUntraced(function* (
  { spec, weights }: DenoiserModel,
  [frames, height, width]: Sizes,
  batch: number,
) {
  const denoiser = ModelFile.denoiserOf(spec)
  const graph = Denoiser.boundGraph(denoiser, { batch, frames, height, width, tokens: spec.tokens }, weights)
  return yield* Session.open(Onnx.model(graph), cpu)
})

export interface Asked {
  readonly text: denoising.Text
  /** Of its noise. */
  readonly key: CounterRandom.Key
}

/** Latents `[C, T, H, W]` for texts, `together` in a run of a session whose batch is twice that. */
export const sample = Effect.fnUntraced(function* (
  session: denoising.Predictor,
  spec: ModelFile.DenoiserSpec,
  [frames, height, width]: Sizes,
  together: number,
  settings: Settings,
  asked: ReadonlyArray<Asked>,
) {
  const { channels, textDim } = ModelFile.denoiserOf(spec)
  const { tokens } = spec
  const plan = planOf(spec, settings)
  const negative = { states: new Float32Array(tokens * textDim), mask: new Float32Array(tokens) }
  return yield* denoising.denoise(
    {
      session,
      together,
      latents: [channels, frames, height, width],
      tokens,
      textDim,
      scale: settings.guidance,
    },
    asked.map(({ key, text }) => ({ key, plan, positive: text, negative })),
  )
})
