/**
 * The video U-Net: UNet3DConditionModel's structure at any size, by the names of its published weights, on the same
 * interface as `VideoDiT`.
 *
 *     x   = temporal transformer(conv(latents))
 *     x   = down blocks, middle, up blocks of x; each layer on the way up also takes what one on the way down left
 *     out = conv(SiLU(GN(x)))
 *
 * A layer of a block is, each part added to what it takes,
 *
 *     conv(SiLU(GN(conv(SiLU(GN(x))) + Linear(SiLU(time)))))      of every frame
 *     four times conv over 3 frames (SiLU(GN(x)))                 of every pixel
 *     attention to the frame, attention to the text, GEGLU        of every pixel   } where the level
 *     attention to all frames, twice, GEGLU                       of every pixel   } has attention
 *
 * with time = MLP(sinusoid(t)), with SiLU.
 *
 * Source: the U-Net of ModelScope's text-to-video (Wang et al. 2023, 2308.06571) in the layout of diffusers. Against
 * that implementation at a small size the largest difference measured is 3e-6 of values up to 1.9 (float32; 1e-5 is
 * what the tests allow). An image is a clip of one frame. `textMask`, off as published, hides padded text.
 */
import * as Neural from "@reelgraph/onnx/Neural"
import * as Ops from "@reelgraph/onnx/Ops"
import type * as Safetensors from "@reelgraph/onnx/Safetensors"
import * as Shape from "@reelgraph/onnx/Shape"
import type * as Tensor from "@reelgraph/onnx/Tensor"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { below, convSpecs, type F32, linear, linearSpecs, weightsIn } from "./internal/layers.ts"
import * as UNet from "./internal/unet.ts"
import type * as Denoiser from "./Denoiser.ts"
import * as ModelWeights from "./ModelWeights.ts"

const Count = Schema.Int.check(Schema.isGreaterThan(0))

/** How often a part may be repeated: far more than any model has, and few enough to list. */
const Repeats = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1024 }))

const or = <A>(value: A) => Effect.succeed(value)

export const Config = Schema.Struct({
  /** Channels of each level, from that of the latents' size down; each has half the rows and columns. */
  channels: Schema.Array(Count).check(Schema.isMinLength(1), Schema.isMaxLength(16)),
  /** Whether the blocks of each level have attention to pixels, text and time. The middle has it anyway. */
  attention: Schema.Array(Schema.Boolean),
  /** Layers of each block on the way down; on the way up there is one more. */
  layers: Repeats.pipe(Schema.withDecodingDefaultKey(or(2))),
  /** The width of a head of attention. */
  headDim: Count.pipe(Schema.withDecodingDefaultKey(or(64))),
  /** Groups of channels that are normalised together. */
  groups: Count.pipe(Schema.withDecodingDefaultKey(or(32))),
  /** Added under the root of the norms of residual blocks and of the output. */
  eps: Schema.Finite.check(Schema.isGreaterThan(0)).pipe(Schema.withDecodingDefaultKey(or(1e-5))),
  /** The width of the text encoder's states. */
  textDim: Count,
  inChannels: Count,
  outChannels: Count,
  textMask: Schema.Boolean.pipe(Schema.withDecodingDefaultKey(or(false))),
}).check(
  Schema.makeFilter(({ attention, channels, groups, headDim }) => {
    if (attention.length !== channels.length)
      return `attention has ${attention.length} entries: one for each of ${channels.length} levels are needed`
    if (channels[0]! % 2 !== 0)
      return `channels begin with ${channels[0]}: even, for cosines and sines of the time`
    for (const width of channels) {
      if (width % groups !== 0) return `${width} channels do not divide into ${groups} groups`
      if (width % headDim !== 0) return `${width} channels do not divide into heads of ${headDim}`
    }
    return true
  }),
)
export type Config = typeof Config.Type

/** A configuration from its required fields; all others as published. Throws a `SchemaError`. */
export const config: (fields: typeof Config.Encoded) => Config = Schema.decodeSync(Config)

/** The U-Net of ModelScope's text-to-video-ms-1.7b: 1480 weights, 1,411,233,860 parameters. */
export const modelscope1_7B: Config = config({
  channels: [320, 640, 1280, 1280],
  attention: [true, true, true, false],
  textDim: 1024,
  inChannels: 4,
  outChannels: 4,
})

const name = "VideoUNet"

/** Heads of the temporal transformer before all blocks, as published. */
const inputHeads = 8

/** The width of the time's embedding, in channels of the first level. */
const timeExpansion = 4

/**
 * Every weight by its published key. New ones begin so that every part that is added to its own input, and the
 * output, is zero.
 */
export const weightSpecs = (config: Config): ModelWeights.WeightSpecs => {
  const { channels, headDim, inChannels, outChannels } = config
  const first = channels[0]!
  const timeDim = timeExpansion * first
  const { down, middle, up } = UNet.blocks(config)
  return {
    ...convSpecs("conv_in", inChannels, first, [3, 3]),
    ...linearSpecs("time_embedding.linear_1", first, timeDim),
    ...linearSpecs("time_embedding.linear_2", timeDim, timeDim),
    ...ModelWeights.within("transformer_in", UNet.temporalTransformerSpecs(first, inputHeads * headDim)),
    ...Object.assign({}, ...[...down, middle, ...up].map((block) => UNet.blockSpecs(config, block, timeDim))),
    ...UNet.normSpecs("conv_norm_out", first),
    ...convSpecs("conv_out", first, outChannels, [3, 3], "zeros"),
  }
}

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

/** New weights to train from; see {@link weightSpecs}. */
export const initialize = (config: Config, seed: number): ModelWeights.WeightTensors =>
  ModelWeights.initialize(weightSpecs(config), seed)

export interface Inputs {
  /** `[B, C, T, H, W]` */
  readonly latents: F32
  /** `[B]`, in 0..1000 as published. */
  readonly timestep: F32
  /** States of the text encoder `[B, L, textDim]`. */
  readonly text: F32
  /** `[B, L]`, for `textMask`: 1 where there is a token. */
  readonly mask?: F32
}

/** What the rows and columns of latents have to be multiples of: each level below the first halves them. */
export const sizeMultiple = ({ channels }: Config): number => 2 ** (channels.length - 1)

/** Throws a `RangeError` for latents of a size that the levels cannot halve. */
const checkSize = (config: Config, latents: Shape.Shape): void => {
  const multiple = sizeMultiple(config)
  const [frames, ...picture] = latents.slice(2)
  const fits =
    typeof frames === "number" && picture.every((dim) => Number(dim) > 0 && Number(dim) % multiple === 0)
  if (latents.length === 5 && fits) return
  const possible = picture.map((dim) => multiple * Math.max(1, Math.ceil(Number(dim) / multiple)))
  const example = possible.every(Number.isFinite) ? `, as ${possible.join(" x ")}` : ""
  throw new RangeError(
    `latents ${Shape.show(latents)} do not fit ${config.channels.length} levels: [B, C, T, H, W] of known T, H, W are needed, H and W multiples of ${multiple}${example}`,
  )
}

/** Subtracted from the scores of padding: e^-10000 is 0 in every type. */
const padding = 1e4

/**
 * The prediction `[B, outChannels, T, H, W]`. `weights` are keyed as {@link weightSpecs} says. Throws
 * `WeightsMismatch` for weights of other names or shapes, `RangeError` for latents whose rows and columns are no
 * multiples of {@link sizeMultiple}.
 */
export const forward = (config: Config, inputs: Inputs, weights: ModelWeights.WeightValues): F32 => {
  ModelWeights.verify(name, weightSpecs(config), weights)
  const { channels, eps, groups, textMask } = config
  const { latents, mask, text, timestep } = inputs
  if (textMask !== (mask !== undefined))
    throw new RangeError(textMask ? "textMask needs the input `mask`" : "a `mask` needs textMask")
  checkSize(config, latents.shape)
  const w = weightsIn(weights)

  const sinusoid = Neural.timestepEmbedding(timestep, channels[0]!)
  const hidden = Ops.silu(linear(w, "time_embedding.linear_1", sinusoid))
  const context: UNet.Context = {
    time: Ops.silu(linear(w, "time_embedding.linear_2", hidden)),
    text,
    textBias: mask === undefined ? undefined : Ops.unsqueeze(Ops.mul(Ops.sub(mask, 1), padding), [1, 2]),
  }
  const frames = Ops.transpose(latents, [0, 2, 1, 3, 4])
  const wide = UNet.perFrame(frames, (pictures) => UNet.conv(w, "conv_in", pictures))
  const x = UNet.temporalTransformer(config, below(w, "transformer_in"), wide)
  const y = UNet.applyBlocks(config, w, x, context)
  const out = UNet.perFrame(y, (pictures) =>
    UNet.conv(w, "conv_out", Ops.silu(UNet.groupNorm(w, "conv_norm_out", pictures, groups, eps))),
  )
  return Ops.transpose(out, [0, 2, 1, 3, 4])
}

/** The model as a denoiser; without `textMask` it does not see the mask. */
export const denoiser = (config: Config): Denoiser.Denoiser => ({
  name,
  channels: config.inChannels,
  textDim: config.textDim,
  weightSpecs: weightSpecs(config),
  initialize: (seed) => initialize(config, seed),
  forward: ({ mask, ...inputs }, weights) =>
    forward(config, config.textMask ? { ...inputs, mask } : inputs, weights),
})
