/**
 * The video autoencoder: AutoencoderKLWan's structure at any size, by the names of its published weights. Pixels
 * `[B, 3, 4n + 1, H, W]` in [-1, 1] to latents `[B, z, n + 1, H / 8, W / 8]` for the published configuration.
 *
 * Every convolution is causal in time: two frames of zeros in front, none behind. The published code walks through
 * a clip in pieces (the first frame alone, then as many as make one latent frame) and keeps what each convolution
 * saw last; that is the same function as convolving the whole clip at once, as it is done here, except where the
 * first frame is left out:
 *
 * - halving the frame rate keeps the first frame and convolves with stride 2 over all frames from the first on;
 * - doubling it keeps the first frame and convolves the others as if they were a clip of their own.
 *
 * So an image is a clip of one frame, and what is decoded of a clip's beginning does not depend on its end.
 * Source: Wan2.1 (Apache-2.0) in the layout of diffusers. Against that implementation at a small size the largest
 * difference measured is 3e-6 of pixels in [-1, 1] (float32; 1e-5 is what the tests allow).
 */
import * as Ops from "@reelgraph/onnx/Ops"
import type * as Safetensors from "@reelgraph/onnx/Safetensors"
import * as Shape from "@reelgraph/onnx/Shape"
import * as Tensor from "@reelgraph/onnx/Tensor"
import * as TensorGraph from "@reelgraph/onnx/TensorGraph"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import * as Autoencoder from "./internal/autoencoder.ts"
import { convSpecs, type F32, type Weights, weightsIn } from "./internal/layers.ts"
import * as ModelWeights from "./ModelWeights.ts"

/** Mean and standard deviation of each published latent channel. */
const published = {
  mean: [
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715, 0.5517, -0.3632,
    -0.1922, -0.9497, 0.2503, -0.2921,
  ],
  std: [
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652, 1.5579, 1.6382,
    1.1253, 2.8251, 1.916,
  ],
}

const Count = Schema.Int.check(Schema.isGreaterThan(0))

/** How often a part may be repeated: far more than any model has, and few enough to list. */
const Repeats = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1024 }))

const or = <A>(value: A) => Effect.succeed(value)

export const Config = Schema.Struct({
  /** Channels at full size. */
  baseDim: Count,
  /** Channels of latents. */
  zDim: Count.pipe(Schema.withDecodingDefaultKey(or(16))),
  /** Channels of each level, in multiples of `baseDim`. Between levels, height and width halve. */
  multipliers: Schema.Array(Count).check(Schema.isMinLength(1), Schema.isMaxLength(16)),
  resBlocks: Repeats,
  /** Whether the frame rate halves too, between one level and the next. */
  temporalDownsample: Schema.Array(Schema.Boolean),
  /** Channels of pixels. */
  pixelChannels: Count.pipe(Schema.withDecodingDefaultKey(or(3))),
  /** Of each latent channel. */
  latentsMean: Schema.Array(Schema.Finite).pipe(Schema.withDecodingDefaultKey(or(published.mean))),
  latentsStd: Schema.Array(Schema.Finite.check(Schema.isGreaterThan(0))).pipe(
    Schema.withDecodingDefaultKey(or(published.std)),
  ),
}).check(
  Schema.makeFilter(({ latentsMean, latentsStd, multipliers, temporalDownsample, zDim }) => {
    if (temporalDownsample.length !== multipliers.length - 1)
      return `temporalDownsample has ${temporalDownsample.length} entries: one between each two of ${multipliers.length} levels are needed`
    if (latentsMean.length !== zDim || latentsStd.length !== zDim)
      return `latentsMean and latentsStd have ${latentsMean.length} and ${latentsStd.length} entries: one for each of ${zDim} channels are needed`
    return true
  }),
)
export type Config = typeof Config.Type

/** A configuration from its required fields; all others as published. Throws a `SchemaError`. */
export const config: (fields: typeof Config.Encoded) => Config = Schema.decodeSync(Config)

/** The autoencoder of Wan2.1: 194 weights, 126,892,531 parameters. */
export const wan2_1: Config = config({
  baseDim: 96,
  multipliers: [1, 2, 4, 4],
  resBlocks: 2,
  temporalDownsample: [false, true, true],
})

const name = "VideoVae"

/** How many pixels in a row or column, and how many frames, become one of latents. */
export const factors = ({
  multipliers,
  temporalDownsample,
}: Config): { readonly space: number; readonly time: number } => ({
  space: 2 ** (multipliers.length - 1),
  time: 2 ** temporalDownsample.filter(Boolean).length,
})

/** The weights that encoding takes. */
export const encoderSpecs = (config: Config): ModelWeights.WeightSpecs => ({
  ...ModelWeights.within("encoder", Autoencoder.halfSpecs(Autoencoder.encoder(config))),
  ...convSpecs("quant_conv", 2 * config.zDim, 2 * config.zDim, [1, 1, 1]),
})

/** The weights that decoding takes. */
export const decoderSpecs = (config: Config): ModelWeights.WeightSpecs => ({
  ...convSpecs("post_quant_conv", config.zDim, config.zDim, [1, 1, 1]),
  ...ModelWeights.within("decoder", Autoencoder.halfSpecs(Autoencoder.decoder(config))),
})

/** Every weight by its published key. */
export const weightSpecs = (config: Config): ModelWeights.WeightSpecs => ({
  ...encoderSpecs(config),
  ...decoderSpecs(config),
})

/** Fails with everything in `tensors` that is not a weight of this configuration, or holds other numbers. */
export const checkWeights = (
  config: Config,
  tensors: { readonly [key: string]: Tensor.Tensor },
): Effect.Effect<ModelWeights.WeightTensors, ModelWeights.WeightsMismatch> =>
  ModelWeights.check(name, weightSpecs(config), tensors)

/** The weights of an open safetensors file, in float32 whatever type they are kept in. */
export const readWeights = (
  config: Config,
  file: Safetensors.Reader,
): Effect.Effect<ModelWeights.WeightTensors, ModelWeights.ReadError> =>
  ModelWeights.read(name, weightSpecs(config), file)

/** New weights to train from; the attentions begin as nothing. */
export const initialize = (config: Config, seed: number): ModelWeights.WeightTensors =>
  ModelWeights.initialize(weightSpecs(config), seed)

/** The weights of one half, which may come with those of the other. */
const only = (specs: ModelWeights.WeightSpecs, weights: ModelWeights.WeightValues): Weights => {
  const own = ModelWeights.pick(specs, weights)
  ModelWeights.verify(name, specs, own)
  return weightsIn(own)
}

export interface Posterior {
  /** `[B, z, n + 1, H / 8, W / 8]`, not yet normalised. */
  readonly mean: F32
  /** The logarithm of the variance, in [-30, 20]. */
  readonly logvar: F32
}

/** Throws a `RangeError` when the factors do not divide pixels of this shape. */
export const checkPixels = (config: Config, shape: Shape.Shape): void => {
  const { space, time } = factors(config)
  const [frames, rows, columns] = shape.slice(2).map(Number) as [number, number, number]
  if (shape.length !== 5 || (frames - 1) % time !== 0 || rows % space !== 0 || columns % space !== 0)
    throw new RangeError(
      `pixels ${Shape.show(shape)} are not [B, C, T, H, W] with T = ${time} n + 1 and H and W multiples of ${space}`,
    )
}

/** Mean and log variance, which the encoder makes side by side; the latter cut to [-30, 20]. */
export const posteriorOf = (moments: F32): Posterior => {
  const [mean, logvar] = Ops.chunk(moments, 1, 2)
  return { mean: mean!, logvar: Ops.clip(logvar!, -30, 20) }
}

/**
 * Pixels `[B, 3, T, H, W]` in [-1, 1] to the distribution of latents. Throws `RangeError` for sizes the factors do
 * not divide, `WeightsMismatch` for weights that are missing or of another shape.
 */
export const encode = (config: Config, pixels: F32, weights: ModelWeights.WeightValues): Posterior => {
  checkPixels(config, pixels.shape)
  const own = only(encoderSpecs(config), weights)
  return posteriorOf(Autoencoder.moments(config, own, pixels))
}

/** A sample of the distribution: `mean + exp(logvar / 2) noise`. */
export const sample = ({ logvar, mean }: Posterior, noise: F32): F32 =>
  Ops.add(mean, Ops.mul(Ops.exp(Ops.mul(logvar, 0.5)), noise))

export interface Decode {
  /**
   * Whether pixels are cut to [-1, 1], as published. No gradient passes what is cut, so training does without.
   * @default true
   */
  readonly clamp?: boolean
}

/** Pixels in [-1, 1], unless they are not to be cut. */
export const clamped = (pixels: F32, { clamp = true }: Decode): F32 =>
  clamp ? Ops.clip(pixels, -1, 1) : pixels

/** Latents `[B, z, T, H, W]`, not normalised, to pixels `[B, 3, 4 (T - 1) + 1, 8 H, 8 W]`. Throws as {@link encode}. */
export const decode = (
  config: Config,
  latents: F32,
  weights: ModelWeights.WeightValues,
  options: Decode = {},
): F32 => {
  const own = only(decoderSpecs(config), weights)
  const pixels = Autoencoder.pixelsOf(config, own, latents)
  return clamped(pixels, options)
}

const perChannel = (values: ReadonlyArray<number>): F32 =>
  Ops.constant(Tensor.f32([1, values.length, 1, 1, 1], values))

/** `(z - mean) / std` by channel: what the transformer is trained on. */
export const normalize = ({ latentsMean, latentsStd }: Config, latents: F32): F32 =>
  Ops.div(Ops.sub(latents, perChannel(latentsMean)), perChannel(latentsStd))

/** The inverse of {@link normalize}. */
export const denormalize = ({ latentsMean, latentsStd }: Config, latents: F32): F32 =>
  Ops.add(Ops.mul(latents, perChannel(latentsStd)), perChannel(latentsMean))

export interface Sizes {
  /** @default the symbol "B" */
  readonly batch?: Shape.Dim
  readonly frames: number
  readonly height: number
  readonly width: number
}

const weightInputs = (specs: ModelWeights.WeightSpecs): ModelWeights.WeightValues =>
  Object.fromEntries(
    Object.entries(specs).map(([key, { shape }]) => [key, TensorGraph.input(key, "f32", shape)]),
  )

export type EncoderInputs = ModelWeights.WeightValues & { readonly pixels: F32 }
export type DecoderInputs = ModelWeights.WeightValues & { readonly latents: F32 }

/** Encoding as a graph that holds its weights; sizes are those of pixels. */
export const boundEncoder = (
  config: Config,
  sizes: Sizes,
  weights: ModelWeights.WeightTensors,
): TensorGraph.TensorGraph<{ readonly pixels: F32 }, { readonly mean: F32; readonly logvar: F32 }> =>
  ModelWeights.bind(name, encoderSpecs(config), encoderGraph(config, sizes), weights)

/** Decoding as a graph that holds its weights; sizes are those of latents. */
export const boundDecoder = (
  config: Config,
  sizes: Sizes,
  weights: ModelWeights.WeightTensors,
  options: Decode = {},
): TensorGraph.TensorGraph<{ readonly latents: F32 }, { readonly pixels: F32 }> =>
  ModelWeights.bind(name, decoderSpecs(config), decoderGraph(config, sizes, options), weights)

/** Encoding as a graph that takes {@link encoderSpecs} as inputs; sizes are those of pixels. */
export const encoderGraph = (
  config: Config,
  { batch = "B", frames, height, width }: Sizes,
): TensorGraph.TensorGraph<EncoderInputs, { readonly mean: F32; readonly logvar: F32 }> => {
  const pixels = TensorGraph.input("pixels", "f32", [batch, config.pixelChannels, frames, height, width])
  const weights = weightInputs(encoderSpecs(config))
  const { logvar, mean } = encode(config, pixels, weights)
  return TensorGraph.close("VideoVaeEncoder", { ...weights, pixels }, { mean, logvar })
}

/** Decoding as a graph that takes {@link decoderSpecs} as inputs; sizes are those of latents. */
export const decoderGraph = (
  config: Config,
  { batch = "B", frames, height, width }: Sizes,
  options: Decode = {},
): TensorGraph.TensorGraph<DecoderInputs, { readonly pixels: F32 }> => {
  const latents = TensorGraph.input("latents", "f32", [batch, config.zDim, frames, height, width])
  const weights = weightInputs(decoderSpecs(config))
  const pixels = decode(config, latents, weights, options)
  return TensorGraph.close("VideoVaeDecoder", { ...weights, latents }, { pixels })
}
