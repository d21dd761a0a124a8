/**
 * The U-Net's blocks: which layers they have, what those are made of, and the layers on a clip. Clips are
 * `[B, T, C, H, W]` here, frames before channels: layers of pictures see `[B T, C, H, W]` without a copy.
 */
import * as Neural from "@reelgraph/onnx/Neural"
import * as Ops from "@reelgraph/onnx/Ops"
import * as Shape from "@reelgraph/onnx/Shape"

import { type WeightSpec, type WeightSpecs, within } from "../ModelWeights.ts"
import {
  below,
  convSpecs,
  type F32,
  gain,
  glorot,
  linear,
  linearSpecs,
  layerNorm,
  type Weights,
} from "./layers.ts"

/** What of a configuration the blocks depend on; see `VideoUNet.Config`. */
export interface Structure {
  readonly channels: ReadonlyArray<number>
  readonly attention: ReadonlyArray<boolean>
  readonly layers: number
  readonly headDim: number
  readonly groups: number
  readonly eps: number
  readonly textDim: number
}

/** A residual block of pictures and a convolution over time; then attention to pixels, text and time, or not. */
interface Layer {
  readonly inputs: number
  readonly outputs: number
  readonly attention: boolean
}

export interface Block {
  readonly key: string
  readonly layers: ReadonlyArray<Layer>
  readonly resample: "down" | "up" | "none"
}

export interface Blocks {
  readonly down: ReadonlyArray<Block>
  readonly middle: Block
  readonly up: ReadonlyArray<Block>
}

const repeat = <A>(count: number, make: (i: number) => A): ReadonlyArray<A> =>
  Array.from({ length: count }, (_, i) => make(i))

/** On the way up every layer also takes what the way down left last: the outputs of layers, downsampling and input. */
export const blocks = ({ attention, channels, layers }: Structure): Blocks => {
  const deepest = channels.length - 1
  const left = [channels[0]!]
  let width = channels[0]!
  const layer = (more: number, outputs: number, level: number): Layer => {
    const inputs = width + more
    width = outputs
    return { inputs, outputs, attention: attention[level]! }
  }
  const down = channels.map((outputs, level): Block => {
    const own = repeat(layers, () => layer(0, outputs, level))
    const resample = level < deepest ? "down" : "none"
    left.push(...repeat(resample === "down" ? layers + 1 : layers, () => outputs))
    return { key: `down_blocks.${level}`, layers: own, resample }
  })
  const middle: Block = {
    key: "mid_block",
    layers: [true, false].map((attention) => ({ inputs: width, outputs: width, attention })),
    resample: "none",
  }
  const up = channels.toReversed().map((outputs, i): Block => {
    const own = repeat(layers + 1, () => layer(left.pop()!, outputs, deepest - i))
    return { key: `up_blocks.${i}`, layers: own, resample: i < deepest ? "up" : "none" }
  })
  return { down, middle, up }
}

// What layers are made of. What is added to its own input begins as zero (Dhariwal and Nichol 2021).

export const normSpecs = (name: string, width: number): WeightSpecs => ({
  [`${name}.weight`]: gain([width]),
  [`${name}.bias`]: { shape: [width], decays: false, initial: "zeros" },
})

const residualSpecs = ({ inputs, outputs }: Layer, timeDim: number): WeightSpecs => ({
  ...normSpecs("norm1", inputs),
  ...convSpecs("conv1", inputs, outputs, [3, 3]),
  ...linearSpecs("time_emb_proj", timeDim, outputs),
  ...normSpecs("norm2", outputs),
  ...convSpecs("conv2", outputs, outputs, [3, 3], "zeros"),
  ...(inputs === outputs ? {} : convSpecs("conv_shortcut", inputs, outputs, [1, 1])),
})

/** Norm and convolution by their places in the published sequences, where the first has no dropout. */
const temporalConvs = [
  { norm: "conv1.0", conv: "conv1.2" },
  { norm: "conv2.0", conv: "conv2.3" },
  { norm: "conv3.0", conv: "conv3.3" },
  { norm: "conv4.0", conv: "conv4.3" },
] as const

const temporalConvSpecs = (channels: number): WeightSpecs =>
  Object.assign(
    {},
    ...temporalConvs.map(({ conv, norm }, i) => ({
      ...normSpecs(norm, channels),
      ...convSpecs(conv, channels, channels, [3, 1, 1], i === temporalConvs.length - 1 ? "zeros" : undefined),
    })),
  )

const matrix = (inputs: number, outputs: number): WeightSpec => ({
  shape: [outputs, inputs],
  decays: true,
  initial: glorot(inputs, outputs),
})

const attentionSpecs = (width: number, from: number): WeightSpecs => ({
  "to_q.weight": matrix(width, width),
  "to_k.weight": matrix(from, width),
  "to_v.weight": matrix(from, width),
  ...linearSpecs("to_out.0", width, width),
})

/** How many times wider the feed-forward part is inside. */
const expansion = 4

/** `from` is the width of what the second attention looks at. */
const transformerSpecs = (channels: number, width: number, from: number): WeightSpecs => ({
  ...normSpecs("norm", channels),
  ...linearSpecs("proj_in", channels, width),
  ...within("transformer_blocks.0", {
    ...normSpecs("norm1", width),
    ...within("attn1", attentionSpecs(width, width)),
    ...normSpecs("norm2", width),
    ...within("attn2", attentionSpecs(width, from)),
    ...normSpecs("norm3", width),
    ...linearSpecs("ff.net.0.proj", width, 2 * expansion * width),
    ...linearSpecs("ff.net.2", expansion * width, width),
  }),
  ...linearSpecs("proj_out", width, channels, "zeros"),
})

/** Attention over time alone, twice. */
export const temporalTransformerSpecs = (channels: number, width: number): WeightSpecs =>
  transformerSpecs(channels, width, width)

const layerSpecs = ({ textDim }: Structure, layer: Layer, timeDim: number, i: number): WeightSpecs => {
  const { attention, outputs } = layer
  return {
    ...within(`resnets.${i}`, residualSpecs(layer, timeDim)),
    ...within(`temp_convs.${i}`, temporalConvSpecs(outputs)),
    ...(attention
      ? {
          ...within(`attentions.${i}`, transformerSpecs(outputs, outputs, textDim)),
          ...within(`temp_attentions.${i}`, temporalTransformerSpecs(outputs, outputs)),
        }
      : {}),
  }
}

const resamplers = { down: "downsamplers.0.conv", up: "upsamplers.0.conv" } as const

/** The weights of one block; the time comes as `timeDim` numbers. */
export const blockSpecs = (
  structure: Structure,
  { key, layers, resample }: Block,
  timeDim: number,
): WeightSpecs => {
  const { outputs } = layers.at(-1)!
  return within(
    key,
    Object.assign(
      {},
      ...layers.map((layer, i) => layerSpecs(structure, layer, timeDim, i)),
      resample === "none" ? {} : convSpecs(resamplers[resample], outputs, outputs, [3, 3]),
    ),
  )
}

// Layers, all on [B, T, C, H, W]

export interface Context {
  /** After SiLU, `[B, D]`. */
  readonly time: F32
  /** `[B, L, textDim]` */
  readonly text: F32
  /** Added to the scores of text, `[B, 1, 1, L]`: 0 where there is a token. */
  readonly textBias: F32 | undefined
}

/** The same function of pictures `[B T, C, H, W]` for every frame. */
export const perFrame = (x: F32, each: (pictures: F32) => F32): F32 => {
  const [batch, frames, ...picture] = x.shape
  const pictures = each(Ops.reshape(x, [-1, ...picture.map(Number)]))
  const first = typeof batch === "number" ? batch : -1
  return Ops.reshape(pictures, [first, Number(frames), ...pictures.shape.slice(1).map(Number)])
}

/** A 2-D convolution that keeps the size. */
export const conv = (weights: Weights, name: string, pictures: F32): F32 => {
  const weight = weights(`${name}.weight`)
  const padding = (Number(weight.shape.at(-1)) - 1) / 2
  return Neural.conv2d(pictures, weight, { bias: weights(`${name}.bias`), padding })
}

export const groupNorm = (weights: Weights, name: string, x: F32, groups: number, epsilon: number): F32 =>
  Neural.groupNorm(x, { groups, epsilon, scale: weights(`${name}.weight`), bias: weights(`${name}.bias`) })

const residual = ({ eps, groups }: Structure, weights: Weights, x: F32, { time }: Context): F32 => {
  const part = (i: 1 | 2, pictures: F32) =>
    conv(weights, `conv${i}`, Ops.silu(groupNorm(weights, `norm${i}`, pictures, groups, eps)))
  const first = perFrame(x, (pictures) => part(1, pictures))
  const shift = Ops.unsqueeze(linear(weights, "time_emb_proj", time), [1, 3, 4])
  const second = perFrame(Ops.add(first, shift), (pictures) => part(2, pictures))
  const straight = Shape.equal(x.shape, second.shape)
    ? x
    : perFrame(x, (pictures) => conv(weights, "conv_shortcut", pictures))
  return Ops.add(straight, second)
}

/** Channels before frames and back: the layout of layers over time. */
const swapped = (x: F32): F32 => Ops.transpose(x, [0, 2, 1, 3, 4])

/** PyTorch's own, which the published layers over time do not change. */
const temporalEps = 1e-5

/**
 * The convolution of every pixel over three frames, x `[B, C, T, P]`, as one matrix product on each frame beside its
 * neighbours: forwards and backwards in half the time of a convolution.
 */
const convOverTime = (weights: Weights, name: string, x: F32): F32 => {
  const [outputs, inputs, reach] = weights(`${name}.weight`).shape.map(Number) as [number, number, number]
  const [batch, , frames, pixels] = x.shape
  const around = (reach - 1) / 2
  const padded = Ops.pad(x, [
    [0, 0],
    [0, 0],
    [around, around],
    [0, 0],
  ])
  const beside = Ops.concat(
    repeat(reach, (i) => Ops.slice(padded, 2, i, i + Number(frames))),
    1,
  )
  const first = typeof batch === "number" ? batch : -1
  const columns = Ops.reshape(beside, [first, reach * inputs, Number(frames) * Number(pixels)])
  const kernel = Ops.transpose(Ops.squeeze(weights(`${name}.weight`), [3, 4]), [0, 2, 1])
  const product = Ops.matmul(Ops.reshape(kernel, [outputs, reach * inputs]), columns)
  const biased = Ops.add(product, Ops.unsqueeze(weights(`${name}.bias`), [1]))
  return Ops.reshape(biased, [first, outputs, Number(frames), Number(pixels)])
}

/** Four convolutions over three frames each; rows and columns are one axis. */
const temporalConv = ({ groups }: Structure, weights: Weights, x: F32): F32 => {
  const clip = swapped(x)
  const [batch, channels, frames, rows, columns] = clip.shape
  const first = typeof batch === "number" ? batch : -1
  const flat = Ops.reshape(clip, [first, Number(channels), Number(frames), Number(rows) * Number(columns)])
  const moved = temporalConvs.reduce(
    (value, { conv, norm }) =>
      convOverTime(weights, conv, Ops.silu(groupNorm(weights, norm, value, groups, temporalEps))),
    flat,
  )
  const apart = Ops.reshape(moved, [first, ...clip.shape.slice(1).map(Number)])
  return Ops.add(x, swapped(apart))
}

const attend = (weights: Weights, headDim: number, x: F32, from: F32, mask?: F32): F32 => {
  const heads = Number(x.shape.at(-1)) / headDim
  const project = (name: string, of: F32) =>
    Neural.splitHeads(Ops.linear(of, weights(`${name}.weight`)), heads)
  const attended = Neural.attention(
    project("to_q", x),
    project("to_k", from),
    project("to_v", from),
    mask === undefined ? {} : { mask },
  )
  return linear(weights, "to_out.0", Neural.mergeHeads(attended))
}

/** Gated GELU (Shazeer 2020, "GLU Variants Improve Transformer"). */
const feedForward = (weights: Weights, x: F32): F32 => {
  const [value, gate] = Ops.chunk(linear(weights, "ff.net.0.proj", x), -1, 2)
  return linear(weights, "ff.net.2", Ops.mul(value!, Ops.gelu(gate!, "erf")))
}

const transformerEps = { tokens: 1e-5, groups: 1e-6 } as const

/** Tokens `[N, S, D]` to themselves, then to what `second` knows, then each by itself. */
const transformerBlock = (
  weights: Weights,
  headDim: number,
  x: F32,
  second: (weights: Weights, query: F32) => F32,
): F32 => {
  const norm = (name: string, of: F32) => layerNorm(of, transformerEps.tokens, weights, name)
  const query = norm("norm1", x)
  const a = Ops.add(x, attend(below(weights, "attn1"), headDim, query, query))
  const b = Ops.add(a, second(below(weights, "attn2"), norm("norm2", a)))
  return Ops.add(b, feedForward(weights, norm("norm3", b)))
}

/** Every pixel attends to its frame, then to the text. */
const spatialTransformer = (
  { groups, headDim }: Structure,
  weights: Weights,
  x: F32,
  { text, textBias }: Context,
): F32 => {
  const [batch, frames, channels, rows, columns] = x.shape
  const first = typeof batch === "number" ? batch : -1
  const [width, pixels] = [Number(channels), Number(rows) * Number(columns)]
  const normed = perFrame(x, (pictures) =>
    groupNorm(weights, "norm", pictures, groups, transformerEps.groups),
  )
  const tokens = Ops.reshape(Ops.transpose(normed, [0, 1, 3, 4, 2]), [-1, pixels, width])
  // The text of all frames is the same, so they ask it together.
  const toText = (own: Weights, query: F32) => {
    const together = Ops.reshape(query, [first, Number(frames) * pixels, width])
    return Ops.reshape(attend(own, headDim, together, text, textBias), [-1, pixels, width])
  }
  const inside = linear(weights, "proj_in", tokens)
  const block = transformerBlock(below(weights, "transformer_blocks.0"), headDim, inside, toText)
  const shape = [first, Number(frames), Number(rows), Number(columns), width]
  const apart = Ops.reshape(linear(weights, "proj_out", block), shape)
  return Ops.add(x, Ops.transpose(apart, [0, 1, 4, 2, 3]))
}

/** Every pixel attends to itself in all frames, twice. There are no positions: time is known by its convolutions. */
export const temporalTransformer = ({ groups, headDim }: Structure, weights: Weights, x: F32): F32 => {
  const clip = groupNorm(weights, "norm", swapped(x), groups, transformerEps.groups)
  const [batch, channels, frames, rows, columns] = clip.shape
  const first = typeof batch === "number" ? batch : -1
  const tokens = Ops.reshape(Ops.transpose(clip, [0, 3, 4, 2, 1]), [-1, Number(frames), Number(channels)])
  const inside = linear(weights, "proj_in", tokens)
  const block = transformerBlock(below(weights, "transformer_blocks.0"), headDim, inside, (own, query) =>
    attend(own, headDim, query, query),
  )
  const shape = [first, Number(rows), Number(columns), Number(frames), Number(channels)]
  const apart = Ops.reshape(linear(weights, "proj_out", block), shape)
  return Ops.add(x, Ops.transpose(apart, [0, 3, 4, 1, 2]))
}

/**
 * The 3 x 3 convolution of stride 2, padded by 1, as one of stride 1 on blocks of 2 x 2, whose gradients are faster:
 * pixels 2i - 1, 2i and 2i + 1 are the second of block i - 1 and both of block i, and the first of block i - 1 has
 * the weight zero.
 */
const downsample = (weights: Weights, pictures: F32): F32 => {
  const weight = weights(`${resamplers.down}.weight`)
  const [outputs, inputs] = weight.shape.map(Number) as [number, number]
  const four = Ops.pad(weight, [
    [0, 0],
    [0, 0],
    [1, 0],
    [1, 0],
  ])
  return Neural.conv2d(
    Neural.spaceToDepth(pictures, 2),
    Ops.reshape(Neural.spaceToDepth(four, 2), [outputs, 4 * inputs, 2, 2]),
    {
      bias: weights(`${resamplers.down}.bias`),
      padding: [
        [1, 0],
        [1, 0],
      ],
    },
  )
}

const resample = (weights: Weights, by: "down" | "up", x: F32): F32 =>
  perFrame(x, (pictures) =>
    by === "down"
      ? downsample(weights, pictures)
      : conv(weights, resamplers.up, Neural.upsampleNearest(pictures, 2)),
  )

const applyLayer = (
  structure: Structure,
  weights: Weights,
  x: F32,
  { attention }: Layer,
  context: Context,
  i: number,
): F32 => {
  const at = (part: string) => below(weights, `${part}.${i}`)
  const mixed = residual(structure, at("resnets"), x, context)
  const moved = temporalConv(structure, at("temp_convs"), mixed)
  if (!attention) return moved
  const told = spatialTransformer(structure, at("attentions"), moved, context)
  return temporalTransformer(structure, at("temp_attentions"), told)
}

/**
 * A clip after a block. The block takes from the end of `left` what its layers need more than x, if it goes up, or
 * leaves there what they make, if it goes down.
 */
const applyBlock = (
  structure: Structure,
  weights: Weights,
  x: F32,
  block: Block,
  context: Context,
  way: "down" | "middle" | "up",
  left: Array<F32>,
): F32 => {
  const own = below(weights, block.key)
  let value = x
  block.layers.forEach((layer, i) => {
    const given = way === "up" ? Ops.concat([value, left.pop()!], 2) : value
    value = applyLayer(structure, own, given, layer, context, i)
    if (way === "down") left.push(value)
  })
  if (block.resample === "none") return value
  const resampled = resample(own, block.resample, value)
  if (way === "down") left.push(resampled)
  return resampled
}

/** A clip all the way down and up. */
export const applyBlocks = (structure: Structure, weights: Weights, x: F32, context: Context): F32 => {
  const { down, middle, up } = blocks(structure)
  const left = [x]
  const go = (way: "down" | "middle" | "up") => (value: F32, block: Block) =>
    applyBlock(structure, weights, value, block, context, way, left)
  return up.reduce(go("up"), go("middle")(down.reduce(go("down"), x), middle))
}
