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
 * difference is below 2e-4 (float32).
 */
import * as Neural from "@reelgraph/onnx/Neural"
import * as Ops from "@reelgraph/onnx/Ops"
import type * as Safetensors from "@reelgraph/onnx/Safetensors"
import * as Shape from "@reelgraph/onnx/Shape"
import * as Tensor from "@reelgraph/onnx/Tensor"
import * as TensorGraph from "@reelgraph/onnx/TensorGraph"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { below, convSpecs, type F32, gain, type Weights, weightsIn } from "./internal/layers.ts"
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

const or = <A>(value: A) => Effect.succeed(value)

export const Config = Schema.Struct({
  /** Channels at full size. */
  baseDim: Count,
  /** Channels of latents. */
  zDim: Count.pipe(Schema.withDecodingDefaultKey(or(16))),
  /** Channels of each level, in multiples of `baseDim`. Between levels, height and width halve. */
  multipliers: Schema.Array(Count).check(Schema.isMinLength(1)),
  resBlocks: Count,
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

/** A part of the encoder or decoder, in order. */
type Stage =
  | { readonly _tag: "Residual"; readonly key: string; readonly inputs: number; readonly outputs: number }
  | { readonly _tag: "Attention"; readonly key: string; readonly channels: number }
  | { readonly _tag: "Down"; readonly key: string; readonly channels: number; readonly time: boolean }
  | {
      readonly _tag: "Up"
      readonly key: string
      readonly inputs: number
      readonly outputs: number
      readonly time: boolean
    }

const middle = (channels: number): ReadonlyArray<Stage> => [
  { _tag: "Residual", key: "mid_block.resnets.0", inputs: channels, outputs: channels },
  { _tag: "Attention", key: "mid_block.attentions.0", channels },
  { _tag: "Residual", key: "mid_block.resnets.1", inputs: channels, outputs: channels },
]

interface Half {
  readonly inputs: number
  /** Channels after the first convolution. */
  readonly first: number
  readonly stages: ReadonlyArray<Stage>
  /** Channels before the last convolution. */
  readonly last: number
  readonly outputs: number
}

const encoder = ({
  baseDim,
  multipliers,
  pixelChannels,
  resBlocks,
  temporalDownsample,
  zDim,
}: Config): Half => {
  const stages: Array<Stage> = []
  const next = () => `down_blocks.${stages.length}`
  let channels = baseDim
  multipliers.forEach((multiplier, level) => {
    const outputs = baseDim * multiplier
    for (let i = 0; i < resBlocks; i++) {
      stages.push({ _tag: "Residual", key: next(), inputs: channels, outputs })
      channels = outputs
    }
    if (level < multipliers.length - 1)
      stages.push({ _tag: "Down", key: next(), channels, time: temporalDownsample[level]! })
  })
  return {
    inputs: pixelChannels,
    first: baseDim,
    stages: [...stages, ...middle(channels)],
    last: channels,
    outputs: 2 * zDim,
  }
}

const decoder = ({
  baseDim,
  multipliers,
  pixelChannels,
  resBlocks,
  temporalDownsample,
  zDim,
}: Config): Half => {
  const levels = multipliers.toReversed()
  const times = temporalDownsample.toReversed()
  const first = baseDim * levels[0]!
  const stages: Array<Stage> = [...middle(first)]
  let channels = first
  levels.forEach((multiplier, level) => {
    const outputs = baseDim * multiplier
    const key = `up_blocks.${level}`
    for (let i = 0; i <= resBlocks; i++) {
      stages.push({ _tag: "Residual", key: `${key}.resnets.${i}`, inputs: channels, outputs })
      channels = outputs
    }
    if (level < levels.length - 1) {
      const halved = Math.floor(channels / 2)
      stages.push({
        _tag: "Up",
        key: `${key}.upsamplers.0`,
        inputs: channels,
        outputs: halved,
        time: times[level]!,
      })
      channels = halved
    }
  })
  return { inputs: zDim, first, stages, last: channels, outputs: pixelChannels }
}

const stageSpecs = (stage: Stage): ModelWeights.WeightSpecs => {
  switch (stage._tag) {
    case "Residual": {
      const { inputs, outputs } = stage
      return {
        "norm1.gamma": gain([inputs, 1, 1, 1]),
        ...convSpecs("conv1", inputs, outputs, [3, 3, 3]),
        "norm2.gamma": gain([outputs, 1, 1, 1]),
        ...convSpecs("conv2", outputs, outputs, [3, 3, 3]),
        ...(inputs === outputs ? {} : convSpecs("conv_shortcut", inputs, outputs, [1, 1, 1])),
      }
    }
    case "Attention": {
      const { channels } = stage
      return {
        "norm.gamma": gain([channels, 1, 1]),
        ...convSpecs("to_qkv", channels, 3 * channels, [1, 1]),
        ...convSpecs("proj", channels, channels, [1, 1], "zeros"),
      }
    }
    case "Down": {
      const { channels, time } = stage
      return {
        ...convSpecs("resample.1", channels, channels, [3, 3]),
        ...(time ? convSpecs("time_conv", channels, channels, [3, 1, 1]) : {}),
      }
    }
    case "Up": {
      const { inputs, outputs, time } = stage
      return {
        ...convSpecs("resample.1", inputs, outputs, [3, 3]),
        ...(time ? convSpecs("time_conv", inputs, 2 * inputs, [3, 1, 1]) : {}),
      }
    }
  }
}

const halfSpecs = ({ first, inputs, last, outputs, stages }: Half): ModelWeights.WeightSpecs => ({
  ...convSpecs("conv_in", inputs, first, [3, 3, 3]),
  ...(Object.assign(
    {},
    ...stages.map((stage) => ModelWeights.within(stage.key, stageSpecs(stage))),
  ) as ModelWeights.WeightSpecs),
  "norm_out.gamma": gain([last, 1, 1, 1]),
  ...convSpecs("conv_out", last, outputs, [3, 3, 3]),
})

/** The weights that encoding takes. */
export const encoderSpecs = (config: Config): ModelWeights.WeightSpecs => ({
  ...ModelWeights.within("encoder", halfSpecs(encoder(config))),
  ...convSpecs("quant_conv", 2 * config.zDim, 2 * config.zDim, [1, 1, 1]),
})

/** The weights that decoding takes. */
export const decoderSpecs = (config: Config): ModelWeights.WeightSpecs => ({
  ...convSpecs("post_quant_conv", config.zDim, config.zDim, [1, 1, 1]),
  ...ModelWeights.within("decoder", halfSpecs(decoder(config))),
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

// Layers, all on [B, C, T, H, W]

/** A convolution that sees no later frame, and as many pixels around as keep the size. */
const causalConv = (weights: Weights, key: string, x: F32): F32 => {
  const weight = weights(`${key}.weight`)
  const [frames, rows, columns] = weight.shape.slice(2).map(Number) as [number, number, number]
  const around = (size: number) => [(size - 1) / 2, (size - 1) / 2] as const
  return Neural.conv3d(x, weight, {
    bias: weights(`${key}.bias`),
    padding: [[frames - 1, 0], around(rows), around(columns)],
  })
}

/** A 2-D convolution of every frame. */
const frameConv = (
  weights: Weights,
  key: string,
  x: F32,
  options: Pick<Neural.Conv<"f32">, "padding" | "stride">,
): F32 =>
  Neural.conv3d(x, Ops.unsqueeze(weights(`${key}.weight`), [2]), { bias: weights(`${key}.bias`), ...options })

/** x / |x| sqrt(C) gamma, over channels. */
const norm = (x: F32, gamma: F32): F32 =>
  Ops.mul(Neural.l2Norm(x, { axes: [1] }), Ops.mul(gamma, Math.sqrt(Number(x.shape[1]))))

const residual = (weights: Weights, x: F32, shortcut: boolean): F32 => {
  const first = causalConv(weights, "conv1", Ops.silu(norm(x, weights("norm1.gamma"))))
  const second = causalConv(weights, "conv2", Ops.silu(norm(first, weights("norm2.gamma"))))
  return Ops.add(second, shortcut ? causalConv(weights, "conv_shortcut", x) : x)
}

/** One head, each frame by itself: tokens are the `H W` pixels, `[B T, H W, C]`. */
const attention = (weights: Weights, x: F32): F32 => {
  const [batch, channels, frames, rows, columns] = x.shape
  const width = Number(channels)
  const gamma = Ops.unsqueeze(weights("norm.gamma"), [1])
  const pixels = Ops.reshape(Ops.transpose(norm(x, gamma), [0, 2, 3, 4, 1]), [
    -1,
    Number(rows) * Number(columns),
    width,
  ])
  const flat = (key: string) => Ops.reshape(weights(`${key}.weight`), [-1, width])
  const [q, k, v] = Ops.chunk(Ops.linear(pixels, flat("to_qkv"), weights("to_qkv.bias")), 2, 3)
  const attended = Ops.linear(Neural.attention(q!, k!, v!), flat("proj"), weights("proj.bias"))
  const first = typeof batch === "number" ? batch : -1
  const apart = Ops.reshape(attended, [first, Number(frames), Number(rows), Number(columns), width])
  return Ops.add(x, Ops.transpose(apart, [0, 4, 1, 2, 3]))
}

const down = (weights: Weights, x: F32, time: boolean): F32 => {
  const halved = frameConv(weights, "resample.1", x, {
    stride: [1, 2, 2],
    padding: [
      [0, 0],
      [0, 1],
      [0, 1],
    ],
  })
  if (!time || halved.shape[2] === 1) return halved
  const others = Neural.conv3d(halved, weights("time_conv.weight"), {
    bias: weights("time_conv.bias"),
    stride: [2, 1, 1],
  })
  return Ops.concat([Ops.slice(halved, 2, 0, 1), others], 2)
}

/** Every frame but the first becomes two: the two halves of the convolution's channels. */
const doubled = (weights: Weights, x: F32): F32 => {
  const [batch, channels, frames, rows, columns] = x.shape
  if (frames === 1) return x
  const others = causalConv(weights, "time_conv", Ops.slice(x, 2, 1, Number(frames)))
  const first = typeof batch === "number" ? batch : -1
  const space = [Number(rows), Number(columns)]
  const apart = Ops.reshape(others, [first, 2, Number(channels), Number(frames) - 1, ...space])
  const pairs = Ops.transpose(apart, [0, 2, 3, 1, 4, 5])
  const inRow = Ops.reshape(pairs, [first, Number(channels), 2 * (Number(frames) - 1), ...space])
  return Ops.concat([Ops.slice(x, 2, 0, 1), inRow], 2)
}

const up = (weights: Weights, x: F32, time: boolean): F32 =>
  frameConv(weights, "resample.1", Neural.upsampleNearest(time ? doubled(weights, x) : x, [1, 2, 2]), {
    padding: [
      [0, 0],
      [1, 1],
      [1, 1],
    ],
  })

const applyStage = (weights: Weights, x: F32, stage: Stage): F32 => {
  const own = below(weights, stage.key)
  switch (stage._tag) {
    case "Residual":
      return residual(own, x, stage.inputs !== stage.outputs)
    case "Attention":
      return attention(own, x)
    case "Down":
      return down(own, x, stage.time)
    case "Up":
      return up(own, x, stage.time)
  }
}

const applyHalf = (half: Half, weights: Weights, x: F32): F32 => {
  const inside = half.stages.reduce(
    (value, stage) => applyStage(weights, value, stage),
    causalConv(weights, "conv_in", x),
  )
  return causalConv(weights, "conv_out", Ops.silu(norm(inside, weights("norm_out.gamma"))))
}

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

const checkPixels = (config: Config, shape: Shape.Shape): void => {
  const { space, time } = factors(config)
  const [frames, rows, columns] = shape.slice(2).map(Number) as [number, number, number]
  if (shape.length !== 5 || (frames - 1) % time !== 0 || rows % space !== 0 || columns % space !== 0)
    throw new RangeError(
      `pixels ${Shape.show(shape)} are not [B, C, T, H, W] with T = ${time} n + 1 and H and W multiples of ${space}`,
    )
}

/**
 * Pixels `[B, 3, T, H, W]` in [-1, 1] to the distribution of latents. Throws `RangeError` for sizes the factors do
 * not divide, `WeightsMismatch` for weights that are missing or of another shape.
 */
export const encode = (config: Config, pixels: F32, weights: ModelWeights.WeightValues): Posterior => {
  checkPixels(config, pixels.shape)
  const own = only(encoderSpecs(config), weights)
  const moments = causalConv(own, "quant_conv", applyHalf(encoder(config), below(own, "encoder"), pixels))
  const [mean, logvar] = Ops.chunk(moments, 1, 2)
  return { mean: mean!, logvar: Ops.clip(logvar!, -30, 20) }
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

/** Latents `[B, z, T, H, W]`, not normalised, to pixels `[B, 3, 4 (T - 1) + 1, 8 H, 8 W]`. Throws as {@link encode}. */
export const decode = (
  config: Config,
  latents: F32,
  weights: ModelWeights.WeightValues,
  { clamp = true }: Decode = {},
): F32 => {
  const own = only(decoderSpecs(config), weights)
  const inside = causalConv(own, "post_quant_conv", latents)
  const pixels = applyHalf(decoder(config), below(own, "decoder"), inside)
  return clamp ? Ops.clip(pixels, -1, 1) : pixels
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
