/**
 * A small video autoencoder whose every layer is a matrix product: for training on CPUs, where convolutions and their
 * gradients are slow. Pixels `[B, 3, T, H, W]` in [-1, 1] to latents `[B, z, T / time, H / space, W / space]`.
 *
 * Pixels are gathered into cells on two grids: fine ones of `fine` x `fine` pixels of one frame, coarse ones of
 * `space` x `space` pixels of `time` frames, which are the latents' grid. Between the grids cells are merged or split
 * by linear layers; on each grid there are residual blocks
 *
 *     x += W2 relu(W1 shift(LN(x)))
 *
 * where `shift` moves six eighths of the channels by one cell, an eighth forwards and backwards along each of time,
 * height and width, with zeros at the borders: that is how neighbours mix. (Shifted channels: Wu et al. 2018, "Shift",
 * 1711.08141; Yu et al. 2021, "S2-MLP", 2106.07477.)
 *
 * Nothing depends on the size of a clip, so crops train what decodes whole clips of any length, resolution and aspect.
 * An image is a clip of one frame: it stands for `time` equal ones.
 */
import * as Ops from "@reelgraph/onnx/Ops"
import type * as Safetensors from "@reelgraph/onnx/Safetensors"
import * as Shape from "@reelgraph/onnx/Shape"
import * as Tensor from "@reelgraph/onnx/Tensor"
import * as TensorGraph from "@reelgraph/onnx/TensorGraph"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { type F32, gain, layerNorm, linear, linearSpecs, type Weights, weightsIn } from "./internal/layers.ts"
import * as ModelWeights from "./ModelWeights.ts"
import { type Posterior, posteriorOf } from "./VideoVae.ts"

const Count = Schema.Int.check(Schema.isGreaterThan(0))

/** How many blocks may follow each other: far more than any model has, and few enough to list. */
const Repeats = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1024 }))

/** The blocks of one half on one grid. */
const Level = Schema.Struct({
  /** Channels of a cell, a multiple of 8. */
  width: Count.check(Schema.isMultipleOf(8)),
  blocks: Repeats,
  /** The width inside a block, in multiples of its own. */
  expansion: Count,
})

const Half = Schema.Struct({ fine: Level, coarse: Level })

export const Config = Schema.Struct({
  /** Channels of latents. */
  zDim: Count,
  /** Pixels to a side of a fine cell. */
  fine: Count,
  /** Pixels to a side of a latent. */
  space: Count,
  /** Frames in a latent. */
  time: Count,
  encoder: Half,
  decoder: Half,
  /** Of each latent channel, over the training set: what {@link normalize} subtracts and divides by. */
  latentsMean: Schema.Array(Schema.Finite),
  latentsStd: Schema.Array(Schema.Finite.check(Schema.isGreaterThan(0))),
}).check(
  Schema.makeFilter(({ fine, latentsMean, latentsStd, space, zDim }) => {
    if (space % fine !== 0) return `space is ${space}: it has to be a multiple of fine, ${fine}`
    if (latentsMean.length !== zDim || latentsStd.length !== zDim)
      return `latentsMean and latentsStd have ${latentsMean.length} and ${latentsStd.length} entries: one for each of ${zDim} channels are needed`
    return true
  }),
)
export type Config = typeof Config.Type

/** 8 x 8 x 4 pixels to 16 numbers, 1.3 million parameters; the statistics of latents are to be measured. */
export const small: Config = {
  zDim: 16,
  fine: 4,
  space: 8,
  time: 4,
  encoder: {
    fine: { width: 48, blocks: 1, expansion: 2 },
    coarse: { width: 160, blocks: 2, expansion: 3 },
  },
  decoder: {
    fine: { width: 48, blocks: 1, expansion: 2 },
    coarse: { width: 192, blocks: 3, expansion: 3 },
  },
  latentsMean: Array.from({ length: 16 }, () => 0),
  latentsStd: Array.from({ length: 16 }, () => 1),
}

const name = "ShiftVae"
const pixelChannels = 3
const epsilon = 1e-5

type Level = typeof Level.Type

/** How many pixels in a row or column, and how many frames, become one of latents. */
export const factors = ({ space, time }: Config): { readonly space: number; readonly time: number } => ({
  space,
  time,
})

/** One number for each channel of latents. */
const perChannel = (values: ReadonlyArray<number>): F32 =>
  Ops.constant(Tensor.f32([1, values.length, 1, 1, 1], values))

const norms = (key: string, width: number): ModelWeights.WeightSpecs => ({
  [`${key}.weight`]: gain([width]),
  [`${key}.bias`]: { shape: [width], decays: false, initial: "zeros" },
})

/** Normal with variance `scale`^2 / inputs. */
const scaled = (inputs: number, scale = 1): ModelWeights.Initial => ({ normal: scale / Math.sqrt(inputs) })

const linearOf = (key: string, inputs: number, outputs: number, scale?: number): ModelWeights.WeightSpecs =>
  linearSpecs(key, inputs, outputs, scaled(inputs, scale))

const levelSpecs = (key: string, { blocks, expansion, width }: Level): ModelWeights.WeightSpecs =>
  Object.assign(
    {},
    ...Array.from({ length: blocks }, (_, i) => ({
      ...norms(`${key}.${i}.norm`, width),
      ...linearOf(`${key}.${i}.proj_in`, width, expansion * width),
      ...linearOf(`${key}.${i}.proj_out`, expansion * width, width, 0.3),
    })),
  )

const sizesOf = ({ fine, space, time }: Config) => ({
  fineCell: fine * fine * pixelChannels,
  merged: time * (space / fine) ** 2,
})

/** The weights that encoding takes. */
export const encoderSpecs = (config: Config): ModelWeights.WeightSpecs => {
  const { coarse, fine } = config.encoder
  const { fineCell, merged } = sizesOf(config)
  return ModelWeights.within("encoder", {
    ...linearOf("conv_in", fineCell, fine.width),
    ...levelSpecs("fine_blocks", fine),
    ...linearOf("down", merged * fine.width, coarse.width),
    ...levelSpecs("coarse_blocks", coarse),
    ...norms("norm_out", coarse.width),
    ...linearOf("conv_out", coarse.width, 2 * config.zDim, 0.5),
  })
}

/** The weights that decoding takes. */
export const decoderSpecs = (config: Config): ModelWeights.WeightSpecs => {
  const { coarse, fine } = config.decoder
  const { fineCell, merged } = sizesOf(config)
  return ModelWeights.within("decoder", {
    ...linearOf("conv_in", config.zDim, coarse.width),
    ...levelSpecs("coarse_blocks", coarse),
    ...norms("norm_up", coarse.width),
    ...linearOf("up", coarse.width, merged * fine.width),
    ...levelSpecs("fine_blocks", fine),
    ...norms("norm_out", fine.width),
    ...linearOf("conv_out", fine.width, fineCell, 0.5),
  })
}

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

/** New weights to train from. */
export const initialize = (config: Config, seed: number): ModelWeights.WeightTensors =>
  ModelWeights.initialize(weightSpecs(config), seed)

/** The weights of one half, which may come with those of the other. */
const only = (
  specs: ModelWeights.WeightSpecs,
  weights: ModelWeights.WeightValues,
  half: "encoder" | "decoder",
): Weights => {
  const own = ModelWeights.pick(specs, weights)
  ModelWeights.verify(name, specs, own)
  return weightsIn(own, `${half}.`)
}

/** -1 for a batch that is a symbol. */
const batchOf = (x: F32): number => {
  const batch = x.shape[0]!
  return typeof batch === "number" ? batch : -1
}

/** Cells `[B, T, H, W, C]` one place further along an axis, or back; zeros come in. */
const moved = (x: F32, axis: number, forwards: boolean): F32 => {
  const length = Number(x.shape[axis])
  const kept = forwards ? Ops.slice(x, axis, 0, length - 1) : Ops.slice(x, axis, 1, length)
  return Ops.pad(
    kept,
    x.shape.map((_, i) => (i !== axis ? [0, 0] : forwards ? [1, 0] : [0, 1])),
  )
}

const shift = (x: F32): F32 => {
  const width = Number(x.shape[4])
  const part = width / 8
  const parts = Ops.split(x, 4, [part, part, part, part, part, part, width - 6 * part])
  return Ops.concat(
    parts.map((cells, i) => (i === 6 ? cells : moved(cells, 1 + Math.floor(i / 2), i % 2 === 0))),
    4,
  )
}

const blocksOf = (weights: Weights, key: string, { blocks }: Level, x: F32): F32 => {
  let h = x
  for (let i = 0; i < blocks; i++) {
    const at = `${key}.${i}`
    const mixed = shift(layerNorm(h, epsilon, weights, `${at}.norm`))
    h = Ops.add(h, linear(weights, `${at}.proj_out`, Ops.relu(linear(weights, `${at}.proj_in`, mixed))))
  }
  return h
}

/** `[B, T, H, W, C]` to `[B, T / time, H / side, W / side, time side side C]`. */
const merge = (x: F32, time: number, side: number): F32 => {
  const [, frames, height, width, channels] = x.shape.map(Number) as [number, number, number, number, number]
  const grid = [frames / time, height / side, width / side] as const
  const apart = Ops.reshape(x, [batchOf(x), grid[0], time, grid[1], side, grid[2], side, channels])
  const ordered = Ops.transpose(apart, [0, 1, 3, 5, 2, 4, 6, 7])
  return Ops.reshape(ordered, [batchOf(x), ...grid, time * side * side * channels])
}

/** The inverse of {@link merge}. */
const unmerge = (x: F32, time: number, side: number): F32 => {
  const [, frames, height, width, channels] = x.shape.map(Number) as [number, number, number, number, number]
  const depth = channels / (time * side * side)
  const apart = Ops.reshape(x, [batchOf(x), frames, height, width, time, side, side, depth])
  const ordered = Ops.transpose(apart, [0, 1, 4, 2, 5, 3, 6, 7])
  return Ops.reshape(ordered, [batchOf(x), frames * time, height * side, width * side, depth])
}

/** Pixels `[B, 3, T, H, W]` to fine cells `[B, T, H / fine, W / fine, 3 fine fine]`. */
const cellsOf = ({ fine }: Config, pixels: F32): F32 => {
  const [, , frames, height, width] = pixels.shape.map(Number) as [number, number, number, number, number]
  const grid = [frames, height / fine, width / fine] as const
  const apart = Ops.reshape(pixels, [batchOf(pixels), pixelChannels, frames, grid[1], fine, grid[2], fine])
  const ordered = Ops.transpose(apart, [0, 2, 3, 5, 1, 4, 6])
  return Ops.reshape(ordered, [batchOf(pixels), ...grid, pixelChannels * fine * fine])
}

/** The inverse of {@link cellsOf}. */
const pixelsOf = ({ fine }: Config, cells: F32): F32 => {
  const [, frames, height, width] = cells.shape.map(Number) as [number, number, number, number]
  const apart = Ops.reshape(cells, [batchOf(cells), frames, height, width, pixelChannels, fine, fine])
  const ordered = Ops.transpose(apart, [0, 4, 1, 2, 5, 3, 6])
  return Ops.reshape(ordered, [batchOf(cells), pixelChannels, frames, height * fine, width * fine])
}

/** Throws a `RangeError` when the factors do not divide pixels of this shape; one frame is an image. */
export const checkPixels = ({ space, time }: Config, shape: Shape.Shape): void => {
  const [frames, rows, columns] = shape.slice(2).map(Number) as [number, number, number]
  if (
    shape.length !== 5 ||
    (frames !== 1 && frames % time !== 0) ||
    rows % space !== 0 ||
    columns % space !== 0
  )
    throw new RangeError(
      `pixels ${Shape.show(shape)} are not [B, C, T, H, W] with T = 1 or a multiple of ${time} and H and W multiples of ${space}`,
    )
}

/**
 * Pixels `[B, 3, T, H, W]` in [-1, 1] to the distribution of latents. Throws `RangeError` for sizes the factors do
 * not divide, `WeightsMismatch` for weights that are missing or of another shape.
 */
export const encode = (config: Config, pixels: F32, weights: ModelWeights.WeightValues): Posterior => {
  checkPixels(config, pixels.shape)
  const { encoder, fine, space, time } = config
  const w = only(encoderSpecs(config), weights, "encoder")
  const clip =
    pixels.shape[2] === 1 && time > 1
      ? Ops.concat(
          Array.from({ length: time }, () => pixels),
          2,
        )
      : pixels
  const cells = blocksOf(w, "fine_blocks", encoder.fine, linear(w, "conv_in", cellsOf(config, clip)))
  const merged = linear(w, "down", merge(cells, time, space / fine))
  const h = layerNorm(blocksOf(w, "coarse_blocks", encoder.coarse, merged), epsilon, w, "norm_out")
  return posteriorOf(Ops.transpose(linear(w, "conv_out", h), [0, 4, 1, 2, 3]))
}

/**
 * Latents `[B, z, T, H, W]`, not normalised, to pixels `[B, 3, time T, space H, space W]` around [-1, 1]; `clamp`
 * cuts them to it, and with them the gradient. Throws as {@link encode}.
 */
export const decode = (
  config: Config,
  latents: F32,
  weights: ModelWeights.WeightValues,
  { clamp = true }: { readonly clamp?: boolean } = {},
): F32 => {
  const { decoder, fine, space, time } = config
  const w = only(decoderSpecs(config), weights, "decoder")
  const entered = linear(w, "conv_in", Ops.transpose(latents, [0, 2, 3, 4, 1]))
  const coarse = layerNorm(blocksOf(w, "coarse_blocks", decoder.coarse, entered), epsilon, w, "norm_up")
  const split = unmerge(linear(w, "up", coarse), time, space / fine)
  const h = layerNorm(blocksOf(w, "fine_blocks", decoder.fine, split), epsilon, w, "norm_out")
  const pixels = pixelsOf(config, linear(w, "conv_out", h))
  return clamp ? Ops.clip(pixels, -1, 1) : pixels
}

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

/**
 * Encoding and {@link normalize} as a graph that holds its weights: pixels to the mean and the logarithm of the
 * variance of normalised latents. Sizes are those of pixels.
 */
export const boundEncoder = (
  config: Config,
  { batch = "B", frames, height, width }: Sizes,
  weights: ModelWeights.WeightTensors,
): TensorGraph.TensorGraph<{ readonly pixels: F32 }, { readonly mean: F32; readonly logvar: F32 }> => {
  const specs = encoderSpecs(config)
  const pixels = TensorGraph.input("pixels", "f32", [batch, pixelChannels, frames, height, width])
  const inputs = weightInputs(specs)
  const { logvar, mean } = encode(config, pixels, inputs)
  const spread = perChannel(config.latentsStd.map((std) => 2 * Math.log(std)))
  const graph = TensorGraph.close(
    `${name}Encoder`,
    { ...inputs, pixels },
    { mean: normalize(config, mean), logvar: Ops.sub(logvar, spread) },
  )
  return ModelWeights.bind(name, specs, graph, weights)
}

/** The inverse of {@link normalize}, and decoding, as a graph that holds its weights. Sizes are those of latents. */
export const boundDecoder = (
  config: Config,
  { batch = "B", frames, height, width }: Sizes,
  weights: ModelWeights.WeightTensors,
): TensorGraph.TensorGraph<{ readonly latents: F32 }, { readonly pixels: F32 }> => {
  const specs = decoderSpecs(config)
  const latents = TensorGraph.input("latents", "f32", [batch, config.zDim, frames, height, width])
  const inputs = weightInputs(specs)
  const pixels = decode(config, denormalize(config, latents), inputs)
  return ModelWeights.bind(
    name,
    specs,
    TensorGraph.close(`${name}Decoder`, { ...inputs, latents }, { pixels }),
    weights,
  )
}
