/**
 * The autoencoder of `VideoVae` on clips that do not fit into memory at once, as the published code runs it: the
 * first frame alone, then as many frames as make one latent frame (4 as published). Each convolution over time
 * remembers the last frames it saw; that memory goes out of one part and into the next, as plain tensors, so a clip
 * can be interrupted between any two. The result is that of the whole clip at once to the rounding of float32.
 *
 * ```ts
 * const decoder = yield* VideoVaeStream.openDecoder(VideoVae.wan2_1, { height: 60, width: 104 }, weights, {
 *   provider: "cpu",
 * })
 * const image = yield* decoder.part(first) // one frame
 * const more = yield* decoder.part(second, image.memory) // four frames
 * ```
 */
import * as Onnx from "@reelgraph/onnx/Onnx"
import * as Session from "@reelgraph/onnx/Session"
import type * as Shape from "@reelgraph/onnx/Shape"
import type * as Tensor from "@reelgraph/onnx/Tensor"
import * as TensorGraph from "@reelgraph/onnx/TensorGraph"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

import * as Autoencoder from "./internal/autoencoder.ts"
import { type F32, weightsIn } from "./internal/layers.ts"
import * as ModelWeights from "./ModelWeights.ts"
import * as VideoVae from "./VideoVae.ts"

export interface Sizes {
  /** @default 1 */
  readonly batch?: Shape.Dim
  readonly height: number
  readonly width: number
}

/** What the parts so far leave to the next: tensors by the names of the layers. */
export type Memory = { readonly [layer: string]: Tensor.Tensor<"f32"> }

const incoming = "memory/"
const outgoing = "next/"

/** The graph of a part: `memory/LAYER` go in unless it is the first, `next/LAYER` come out. */
const part = (
  name: string,
  specs: ModelWeights.WeightSpecs,
  first: boolean,
  free: { readonly [name: string]: F32 },
  build: (weights: ModelWeights.WeightValues, memory: Autoencoder.Memory) => { readonly [name: string]: F32 },
): TensorGraph.TensorGraph => {
  const weights = Object.fromEntries(
    Object.entries(specs).map(([key, { shape }]) => [key, TensorGraph.input(key, "f32", shape)]),
  )
  const read: Record<string, F32> = {}
  const written: Record<string, F32> = {}
  const outputs = build(weights, {
    first,
    read: (key, { shape }, frames) =>
      (read[incoming + key] = TensorGraph.input(incoming + key, "f32", shape.with(2, frames))),
    write: (key, value) => {
      written[outgoing + key] = value
    },
  })
  return TensorGraph.close(name, { ...weights, ...free, ...read }, { ...outputs, ...written })
}

export interface Parts {
  /** Of the clip's first frame. */
  readonly first: TensorGraph.TensorGraph
  /** Of every further latent frame. */
  readonly next: TensorGraph.TensorGraph
}

/**
 * Encoding by parts: `pixels` `[B, 3, 1, H, W]` and then `[B, 3, 4, H, W]` to `mean` and `logvar` of one latent
 * frame. Sizes are those of pixels. Throws `RangeError` for sizes the factors do not divide.
 */
export const encoderParts = (config: VideoVae.Config, { batch = 1, height, width }: Sizes): Parts => {
  VideoVae.checkPixels(config, [batch, config.pixelChannels, 1, height, width])
  const of = (first: boolean) => {
    const frames = first ? 1 : VideoVae.factors(config).time
    const pixels = TensorGraph.input("pixels", "f32", [batch, config.pixelChannels, frames, height, width])
    return part("VideoVaeEncoder", VideoVae.encoderSpecs(config), first, { pixels }, (weights, memory) => ({
      ...VideoVae.posteriorOf(Autoencoder.moments(config, weightsIn(weights), pixels, memory)),
    }))
  }
  return { first: of(true), next: of(false) }
}

/**
 * Decoding by parts: `latents` `[B, z, 1, H, W]`, not normalised, to `pixels` of one frame and then of four. Sizes
 * are those of latents.
 */
export const decoderParts = (
  config: VideoVae.Config,
  { batch = 1, height, width }: Sizes,
  options: VideoVae.Decode = {},
): Parts => {
  const of = (first: boolean) => {
    const latents = TensorGraph.input("latents", "f32", [batch, config.zDim, 1, height, width])
    return part("VideoVaeDecoder", VideoVae.decoderSpecs(config), first, { latents }, (weights, memory) => ({
      pixels: VideoVae.clamped(Autoencoder.pixelsOf(config, weightsIn(weights), latents, memory), options),
    }))
  }
  return { first: of(true), next: of(false) }
}

export type OpenError = ModelWeights.WeightsMismatch | Session.OpenError | Session.SessionsFull

/** Both parts with their weights in sessions; runs the one that is due. */
const openParts = (
  name: string,
  specs: ModelWeights.WeightSpecs,
  parts: () => Parts,
  tensors: ModelWeights.WeightTensors,
  options: Session.Options,
) =>
  Effect.gen(function* () {
    const weights = yield* ModelWeights.check(name, specs, ModelWeights.pick(specs, tensors))
    const { first, next } = parts()
    const open = (graph: TensorGraph.TensorGraph) =>
      Session.open(
        Onnx.model(
          ModelWeights.bind<TensorGraph.Values, TensorGraph.Values>(name, specs, graph as never, weights),
        ),
        options,
      )
    const [beginning, going] = [yield* open(first), yield* open(next)]
    return (free: { readonly [name: string]: Tensor.Tensor<"f32"> }, memory: Memory | undefined) =>
      Effect.map(
        memory === undefined
          ? beginning.run(free)
          : going.run({
              ...free,
              ...Object.fromEntries(
                Object.entries(memory).map(([layer, tensor]) => [incoming + layer, tensor]),
              ),
            }),
        (outputs) => ({
          outputs: outputs as { readonly [name: string]: Tensor.Tensor<"f32"> },
          memory: Object.fromEntries(
            Object.entries(outputs)
              .filter(([key]) => key.startsWith(outgoing))
              .map(([key, tensor]) => [key.slice(outgoing.length), tensor]),
          ) as Memory,
        }),
      )
  })

export interface Encoder {
  /** One frame without a memory, four with that of the part before, to one latent frame. */
  readonly part: (
    pixels: Tensor.Tensor<"f32">,
    memory?: Memory,
  ) => Effect.Effect<
    {
      readonly mean: Tensor.Tensor<"f32">
      readonly logvar: Tensor.Tensor<"f32">
      readonly memory: Memory
    },
    Session.RunError
  >
}

export interface Decoder {
  /** One latent frame to one frame without a memory, to four with that of the part before. */
  readonly part: (
    latents: Tensor.Tensor<"f32">,
    memory?: Memory,
  ) => Effect.Effect<{ readonly pixels: Tensor.Tensor<"f32">; readonly memory: Memory }, Session.RunError>
}

/** An encoder by parts, as long as the scope is open. Sizes that the factors do not divide are a defect. */
export const openEncoder = (
  config: VideoVae.Config,
  sizes: Sizes,
  weights: ModelWeights.WeightTensors,
  options: Session.Options,
): Effect.Effect<Encoder, OpenError, Scope.Scope | Session.Sessions> =>
  Effect.map(
    openParts("VideoVae", VideoVae.encoderSpecs(config), () => encoderParts(config, sizes), weights, options),
    (run) => ({
      part: (pixels, memory) =>
        Effect.map(run({ pixels }, memory), ({ memory, outputs }) => ({
          mean: outputs["mean"]!,
          logvar: outputs["logvar"]!,
          memory,
        })),
    }),
  )

/** A decoder by parts, as long as the scope is open. */
export const openDecoder = (
  config: VideoVae.Config,
  sizes: Sizes,
  weights: ModelWeights.WeightTensors,
  options: Session.Options,
): Effect.Effect<Decoder, OpenError, Scope.Scope | Session.Sessions> =>
  Effect.map(
    openParts("VideoVae", VideoVae.decoderSpecs(config), () => decoderParts(config, sizes), weights, options),
    (run) => ({
      part: (latents, memory) =>
        Effect.map(run({ latents }, memory), ({ memory, outputs }) => ({
          pixels: outputs["pixels"]!,
          memory,
        })),
    }),
  )
