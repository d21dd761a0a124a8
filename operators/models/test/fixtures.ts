/** Models of a few thousand random weights, in files, and what an operator is called with. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

import { CounterRandom, type Graph } from "@reelgraph/core"
import { Denoisers, Sessions, TextModels, VaeDecoders } from "@reelgraph/inference"
import * as Gaussian from "@reelgraph/models/Gaussian"
import * as ModelFile from "@reelgraph/models/ModelFile"
import type * as ModelWeights from "@reelgraph/models/ModelWeights"
import * as ShiftVae from "@reelgraph/models/ShiftVae"
import * as TextModel from "@reelgraph/models/TextModel"
import * as VideoDiT from "@reelgraph/models/VideoDiT"
import * as Session from "@reelgraph/onnx/Session"
import * as Tensor from "@reelgraph/onnx/Tensor"
import { BlobStore, StoreFs } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

/** A folder that is removed when the scope closes. */
export const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "reel-models-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true })),
)

export const vaeConfig: ShiftVae.Config = {
  zDim: 4,
  fine: 4,
  space: 8,
  time: 4,
  encoder: { fine: { width: 8, blocks: 1, expansion: 1 }, coarse: { width: 16, blocks: 1, expansion: 1 } },
  decoder: { fine: { width: 8, blocks: 1, expansion: 1 }, coarse: { width: 16, blocks: 1, expansion: 1 } },
  latentsMean: [0.1, -0.2, 0.3, 0],
  latentsStd: [1, 2, 0.5, 1],
}

export const denoiserConfig = VideoDiT.config({
  dim: 16,
  heads: 2,
  layers: 1,
  ffn: 32,
  textDim: 512,
  freqDim: 16,
  inChannels: 4,
  outChannels: 4,
  patch: [1, 3, 2],
  textMask: true,
})

/** New weights begin with zeros, under which a prompt has no effect. */
const shaken = (weights: ModelWeights.WeightTensors): ModelWeights.WeightTensors =>
  Object.fromEntries(
    Object.entries(weights).map(([key, { data, shape }], k0) => {
      const noise = Gaussian.normals({ k0, k1: 5 }, data.length)
      return [
        key,
        Tensor.make(
          "f32",
          shape,
          data.map((value, i) => value + 0.2 * noise[i]!),
        ),
      ]
    }),
  )

/** Of the text encoder that is installed. */
export const textEncoder = Effect.map(TextModel.open({ provider: "cpu" }), ({ digest }) => digest).pipe(
  Effect.scoped,
  Effect.provide(Session.layer()),
)

export type TransformerSpec = Extract<ModelFile.DenoiserSpec, { readonly model: "VideoDiT" }>

export const denoiserSpec = (change: Partial<TransformerSpec>): TransformerSpec => ({
  kind: "denoiser",
  model: "VideoDiT",
  config: denoiserConfig,
  prediction: "flow",
  schedule: { kind: "flow", shift: 1 },
  vae: "",
  textEncoder: "",
  tokens: 16,
  latents: [2, 9, 16],
  vocabulary: ["a", "ball", "blue", "falls", "red", "rises"],
  ...change,
})

/** Its pictures are of low contrast: noise is the dearest thing to encode. */
export const writeVae = (path: string, seed = 1) => {
  const { "decoder.conv_out.weight": last, ...weights } = shaken(ShiftVae.initialize(vaeConfig, seed))
  const faint = Tensor.make(
    "f32",
    last!.shape,
    last!.data.map((value) => 0.1 * value),
  )
  return ModelFile.write(path, {
    spec: { kind: "vae", model: "ShiftVae", config: vaeConfig },
    weights: { ...weights, "decoder.conv_out.weight": faint },
  })
}

export const writeDenoiser = (
  path: string,
  spec: TransformerSpec,
  weights: ModelWeights.WeightTensors = VideoDiT.initialize(spec.config, 1),
) => ModelFile.write(path, { spec, weights: shaken(weights) })

/** The record of a model file, registered in the store. */
export const registered = (path: string, name: string) =>
  BlobStore.use((blobs) =>
    Effect.map(blobs.reference(path, "application/octet-stream"), (file) => ({ name, file })),
  )

/** A folder with an autoencoder and a denoiser that was made for it; the service is a store. */
export const models = Effect.gen(function* () {
  const at = yield* folder
  const vaePath = join(at, "vae.safetensors")
  const denoiserPath = join(at, "denoiser.safetensors")
  yield* writeVae(vaePath)
  const vae = yield* registered(vaePath, "vae.safetensors")
  const spec = denoiserSpec({ vae: vae.file.sha256, textEncoder: yield* textEncoder })
  yield* writeDenoiser(denoiserPath, spec)
  const denoiser = yield* registered(denoiserPath, "denoiser.safetensors")
  return { folder: at, vaePath, denoiserPath, vae, denoiser, spec }
})

/** What operators of models bring, shared by the calls of a test. */
export const inference = Layer.mergeAll(Denoisers.layer, VaeDecoders.layer, TextModels.layer, Sessions.layer)

/** A store in a folder that is removed, and {@link inference}. */
export const store = (at: string) =>
  Layer.merge(StoreFs.layer(join(at, "store"), { durability: "none" }), inference)

/** The key of what a record of this number draws. */
export const keyOf = (seed: number) => CounterRandom.key(seed, "item", "sample")

/** An operator with params, as calling it gives. */
type Bound = Pick<Graph.Placed, "operator" | "value">

/** What an operator makes of a record, or of several, without an engine. */
export const run = <A, R = BlobStore>(
  { operator, value }: Bound,
  input: unknown,
  call: { readonly sides?: object; readonly randoms?: ReadonlyArray<CounterRandom.Key> } = {},
): Effect.Effect<A, { readonly _tag: string; readonly message: string }, R> =>
  operator.run(input, value, { ...call, sides: call.sides ?? {} } as never)
