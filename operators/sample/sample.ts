/** From prompts to latents. */
import { type CounterRandom, Operator } from "@reelgraph/core"
import * as Denoisers from "@reelgraph/inference/Denoisers"
import * as Denoising from "@reelgraph/inference/Denoising"
import * as LatentShards from "@reelgraph/inference/LatentShards"
import { LatentSpaceMismatch, TextEncoderMismatch } from "@reelgraph/inference/ModelMismatch"
import * as TextModels from "@reelgraph/inference/TextModels"
import * as ModelFile from "@reelgraph/models/ModelFile"
import * as NoiseSchedule from "@reelgraph/models/NoiseSchedule"
import * as PromptText from "@reelgraph/models/Prompt"
import * as Sampler from "@reelgraph/models/Sampler"
import type { OptionInvalid } from "@reelgraph/models/SamplingError"
import type * as TextModel from "@reelgraph/models/TextModel"
import * as Half from "@reelgraph/onnx/Half"
import * as Safetensors from "@reelgraph/onnx/Safetensors"
import * as Shape from "@reelgraph/onnx/Shape"
import * as Tensor from "@reelgraph/onnx/Tensor"
import { BlobStore } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"

import { running } from "../models/params.ts"
import { Denoiser, Prompt, SampledLatents, Vae } from "../ports/index.ts"

/** Of latents, along one axis; a bound on what is allocated. */
const Side = Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 512 })))

/** Places of a latent video, all axes together: 16 times those of a minute of 720p. */
const mostCells = 2 ** 26

const Params = Schema.Struct({
  sampler: Schema.Literals(["flow-euler", "unipc", "dpm-solver", "ddim", "ddpm", "euler"]).pipe(
    Schema.withDecodingDefaultKey(Effect.succeed("flow-euler" as const)),
  ),
  steps: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 999 })).pipe(
    Schema.withDecodingDefaultKey(Effect.succeed(20)),
  ),
  /** Classifier-free guidance: 1 for none, which is twice as fast. */
  guidance: Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 100 })).pipe(
    Schema.withDecodingDefaultKey(Effect.succeed(4)),
  ),
  /** How much of the deviation that guidance adds is taken back. */
  rescale: Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 })).pipe(
    Schema.withDecodingDefaultKey(Effect.succeed(0)),
  ),
  /** Of flow schedules: above 1, more of the steps are at high noise. */
  shift: Schema.Finite.check(Schema.isBetween({ minimum: 0.01, maximum: 100 })).pipe(
    Schema.withDecodingDefaultKey(Effect.succeed(4)),
  ),
  /** Of latents. @default what the denoiser was trained on most */
  frames: Side,
  rows: Side,
  columns: Side,
  /** How long as many frames as the denoiser was trained on most last; others last in proportion. */
  seconds: Schema.Finite.check(Schema.isBetween({ minimum: 0.1, maximum: 600 })).pipe(
    Schema.withDecodingDefaultKey(Effect.succeed(5)),
  ),
  ...running,
})
type Params = typeof Params.Type

/** What the file says it is, before its weights are read. */
const describe = Effect.fnUntraced(function* (path: string) {
  return yield* ModelFile.specOf("denoiser", yield* Safetensors.open(path))
}, Effect.scoped)

/** The schedule of the denoiser, with the shift of the params. */
const scheduleOf = ({ schedule }: ModelFile.DenoiserSpec, shift: number): NoiseSchedule.NoiseSchedule =>
  schedule.kind === "flow"
    ? NoiseSchedule.flow({ shift })
    : NoiseSchedule.discrete({
        betas: schedule.betas,
        betaStart: schedule.betaStart,
        betaEnd: schedule.betaEnd,
        zeroTerminalSnr: schedule.zeroTerminalSnr,
      })

/** The plan of every sample; only what is drawn on the way differs. */
const planner = (spec: ModelFile.DenoiserSpec, { sampler, shift, steps }: Params) =>
  Effect.try({
    try: () => {
      const schedule = scheduleOf(spec, shift)
      const { prediction } = spec
      // From the noisiest timestep on, which is what sampling starts from.
      const spacing = "trailing" as const
      const plan = (key: CounterRandom.Key): Sampler.Plan =>
        sampler === "ddpm"
          ? Sampler.plan("ddpm", schedule, steps, { prediction, spacing, key })
          : Sampler.plan(sampler, schedule, steps, { prediction, spacing })
      plan({ k0: 0, k1: 0 })
      return plan
    },
    catch: (cause) => cause as OptionInvalid,
  })

/** Samples in one run. */
const together: { readonly [P in Params["provider"]]: number } = { cpu: 1, cuda: 8, webgpu: 8 }

/** The texts that guidance is away from: nothing is zeros, as in training. */
const negativesOf = Effect.fnUntraced(function* (
  text: TextModel.TextModel,
  negatives: ReadonlyArray<string>,
  textDim: number,
) {
  const { mask, states } = yield* text.encode(negatives)
  return negatives.map((negative, i) => ({
    states: negative === "" ? new Float32Array(text.maxTokens * textDim) : row(states, i),
    mask: negative === "" ? new Float32Array(text.maxTokens) : row(mask, i),
  }))
})

const row = ({ data, shape }: Tensor.Tensor<"f32">, i: number): Float32Array => {
  const size = Shape.size(shape.slice(1))
  return data.subarray(i * size, (i + 1) * size)
}

/** The largest number of half precision. */
const largest = 65504

/**
 * Samples latents for prompts: noise, which a denoiser makes a little less of at each step. A prompt's latents are a
 * function of the prompt, the models, the params and the seed: not of what else is sampled with it.
 */
export const Sample = Operator.batch("sample", {
  version: "1.0.0",
  description: "Prompts to latents, by a denoiser with classifier-free guidance",
  input: Prompt,
  output: SampledLatents,
  size: 8,
  sides: { denoiser: Operator.one(Denoiser), vae: Operator.one(Vae) },
  seeded: true,
  worker: import.meta.url,
  timeoutMs: 3_600_000,
  params: Params,
  layer: Layer.merge(Denoisers.layer, TextModels.layer),
  needs: [BlobStore],
  run: (prompts, params, { randoms, sides: { denoiser, vae } }) =>
    Effect.gen(function* () {
      const blobs = yield* BlobStore
      const denoisers = yield* Denoisers.Denoisers
      const texts = yield* TextModels.TextModels
      const path = yield* blobs.localPath(denoiser.file)
      const spec = yield* describe(path)
      if (vae.file.sha256 !== spec.vae)
        return yield* new LatentSpaceMismatch({
          of: denoiser.name,
          expected: spec.vae,
          file: vae.name,
          found: vae.file.sha256,
        })
      const plan = yield* planner(spec, params)
      const { guidance: scale, provider, rescale, threads } = params
      const [frames, height, width] = [
        params.frames ?? spec.latents[0],
        params.rows ?? spec.latents[1],
        params.columns ?? spec.latents[2],
      ]
      if (frames * height * width > mostCells)
        return yield* new Denoisers.LatentSizeInvalid({
          frames,
          rows: height,
          columns: width,
          problem: `they have ${frames * height * width} places, at most ${mostCells} are made`,
        })
      const session = yield* denoisers.open({
        sha256: denoiser.file.sha256,
        path,
        batch: Denoising.batchOf(together[provider], scale),
        latents: [frames, height, width],
        provider,
        threads,
      })
      const text = yield* texts.open(spec.tokens)
      if (text.digest !== spec.textEncoder)
        return yield* new TextEncoderMismatch({
          denoiser: denoiser.name,
          expected: spec.textEncoder,
          found: text.digest,
        })

      const { channels, textDim } = ModelFile.denoiserOf(spec)
      const asked = prompts.map(({ prompt }) => PromptText.normalize(prompt))
      const positives = yield* text.encode(asked)
      const negatives = yield* negativesOf(
        text,
        prompts.map(({ negative }) => PromptText.normalize(negative)),
        textDim,
      )
      const latents = [channels, frames, height, width]
      const samples = yield* Denoising.denoise(
        { session, together: together[provider], latents, tokens: spec.tokens, textDim, scale, rescale },
        prompts.map((_, i) => ({
          key: randoms[i]!,
          plan: plan(randoms[i]!),
          positive: { states: row(positives.states, i), mask: row(positives.mask, i) },
          negative: negatives[i]!,
        })),
      )
      return yield* Effect.forEach(prompts, (prompt, i) =>
        Effect.gen(function* () {
          const sample = samples[i]!
          const beyond = sample.find((value) => !(Math.abs(value) <= largest))
          if (beyond !== undefined)
            return yield* new Denoising.SamplingDiverged({
              sampler: params.sampler,
              step: params.steps,
              steps: params.steps,
              found: `${beyond}, where ${largest} is the largest`,
            })
          return {
            ...prompt,
            name: asked[i]!,
            captions: [asked[i]!],
            seconds: (params.seconds * frames) / spec.latents[0],
            latents: yield* LatentShards.putRow(
              "mean",
              Tensor.make("f16", [1, ...latents], Half.fromFloat32("f16", sample)),
            ),
            channels,
            frames,
            height,
            width,
            vae: spec.vae,
            denoiser: denoiser.file.sha256,
          }
        }),
      )
    }),
})
