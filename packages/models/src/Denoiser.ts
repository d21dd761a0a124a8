/**
 * What training and sampling ask of a denoiser, whatever its structure: `VideoDiT` and `VideoUNet` with a
 * configuration are one each.
 */
import type * as Shape from "@reelgraph/onnx/Shape"
import * as TensorGraph from "@reelgraph/onnx/TensorGraph"

import type { F32 } from "./internal/layers.ts"
import * as ModelWeights from "./ModelWeights.ts"

export interface Inputs {
  /** `[B, C, T, H, W]` */
  readonly latents: F32
  /** `[B]`, in 0..1000. */
  readonly timestep: F32
  /** States of the text encoder `[B, L, textDim]`, zeros at padding. */
  readonly text: F32
  /** `[B, L]`: 1 where there is a token. */
  readonly mask: F32
}

export interface Sizes {
  /** @default the symbol "B" */
  readonly batch?: Shape.Dim
  /** Of latents. */
  readonly frames: number
  readonly height: number
  readonly width: number
  /** Tokens of text. */
  readonly tokens: number
}

export interface Denoiser {
  readonly name: string
  /** Channels of latents, in and out. */
  readonly channels: number
  readonly textDim: number
  readonly weightSpecs: ModelWeights.WeightSpecs
  readonly initialize: (seed: number) => ModelWeights.WeightTensors
  /** The prediction, of the shape of the latents. Throws a `RangeError` for latents of a size it cannot take. */
  readonly forward: (inputs: Inputs, weights: ModelWeights.WeightValues) => F32
}

export const inputSpecs = (
  { channels, textDim }: Pick<Denoiser, "channels" | "textDim">,
  { batch = "B", frames, height, tokens, width }: Sizes,
) => ({
  latents: TensorGraph.spec("f32", [batch, channels, frames, height, width]),
  timestep: TensorGraph.spec("f32", [batch]),
  text: TensorGraph.spec("f32", [batch, tokens, textDim]),
  mask: TensorGraph.spec("f32", [batch, tokens]),
})

/** A denoiser as a graph that holds its weights, as sampling wants it. Throws `WeightsMismatch` for other weights. */
export const boundGraph = (
  denoiser: Denoiser,
  sizes: Sizes,
  weights: ModelWeights.WeightTensors,
): TensorGraph.TensorGraph<{ readonly [K in keyof Inputs]: Inputs[K] }, { readonly prediction: F32 }> => {
  const { name, weightSpecs } = denoiser
  const specs = inputSpecs(denoiser, sizes)
  const inputs = Object.fromEntries(
    Object.entries(specs).map(([key, { dtype, shape }]) => [key, TensorGraph.input(key, dtype, shape)]),
  ) as unknown as Inputs
  const own = Object.fromEntries(
    Object.entries(weightSpecs).map(([key, { shape }]) => [key, TensorGraph.input(key, "f32", shape)]),
  )
  const prediction = denoiser.forward(inputs, own)
  const graph = TensorGraph.close(name, { ...own, ...inputs }, { prediction })
  return ModelWeights.bind(name, weightSpecs, graph, weights)
}
