/**
 * One block of the video transformer, WanTransformerBlock's structure:
 *
 *     x += gate  * attention(LN(x) (1 + scale) + shift)     rotary positions on q and k
 *     x += attention(LN(x), text)                           no positions, no gate
 *     x += cgate * FFN(LN(x) (1 + cscale) + cshift)
 *
 * (shift, scale, gate, cshift, cscale, cgate) = table + projection of the time. x is `[B, S, D]`, text `[B, L, D]`.
 */
import * as Neural from "@reelgraph/onnx/Neural"
import * as Ops from "@reelgraph/onnx/Ops"

import {
  type F32,
  below,
  gain,
  layerNorm,
  linear,
  linearSpecs,
  modulate,
  type Weights,
} from "./internal/layers.ts"
import { type WeightSpecs, within } from "./ModelWeights.ts"

/** What of a model's configuration a block depends on; see `VideoDiT.Config`. */
export interface Config {
  readonly dim: number
  readonly heads: number
  readonly ffn: number
  readonly eps: number
  readonly qkNorm: "rms_norm_across_heads" | "none"
  readonly crossAttnNorm: boolean
  readonly crossAttention: boolean
  readonly jointText: boolean
  readonly activation: "gelu" | "relu2"
}

export interface Context {
  /** `[B, L, D]` */
  readonly text: F32
  /** Added to the scores of text, `[B, 1, 1, L]`: 0 where there is a token. */
  readonly textBias: F32 | undefined
  /** `[B, 6, D]` */
  readonly time: F32
  /** `[S, D / heads / 2]` */
  readonly cos: F32
  readonly sin: F32
}

const normSpecs = ({ dim, qkNorm }: Config, ...names: ReadonlyArray<string>): WeightSpecs =>
  qkNorm === "none" ? {} : Object.fromEntries(names.map((name) => [`${name}.weight`, gain([dim])]))

const attentionSpecs = (config: Config): WeightSpecs => {
  const { dim } = config
  return {
    ...linearSpecs("to_q", dim, dim),
    ...linearSpecs("to_k", dim, dim),
    ...linearSpecs("to_v", dim, dim),
    ...linearSpecs("to_out.0", dim, dim),
    ...normSpecs(config, "norm_q", "norm_k"),
  }
}

/** The weights of one block, 27 as published. */
export const weightSpecs = (config: Config): WeightSpecs => {
  const { crossAttention, crossAttnNorm, dim, ffn, jointText } = config
  return {
    scale_shift_table: { shape: [1, 6, dim], decays: false, initial: "zeros" },
    ...within("attn1", {
      ...attentionSpecs(config),
      ...(jointText
        ? {
            ...linearSpecs("add_k_proj", dim, dim),
            ...linearSpecs("add_v_proj", dim, dim),
            ...normSpecs(config, "norm_added_k"),
          }
        : {}),
    }),
    ...(crossAttention ? within("attn2", attentionSpecs(config)) : {}),
    ...(crossAttention && crossAttnNorm
      ? {
          "norm2.weight": gain([dim]),
          "norm2.bias": { shape: [dim], decays: false, initial: "zeros" as const },
        }
      : {}),
    ...linearSpecs("ffn.net.0.proj", dim, ffn),
    ...linearSpecs("ffn.net.2", ffn, dim),
  }
}

/** RMS norm over all heads together. */
const normed = ({ eps, qkNorm }: Config, weights: Weights, name: string, x: F32): F32 =>
  qkNorm === "none" ? x : Neural.rmsNorm(x, { epsilon: eps, scale: weights(`${name}.weight`) })

const selfAttention = (config: Config, weights: Weights, x: F32, context: Context): F32 => {
  const { heads, jointText } = config
  const { cos, sin, text, textBias } = context
  const project = (name: string, from: F32) => linear(weights, name, from)
  const turned = (name: string, norm: string) =>
    Neural.rope(Neural.splitHeads(normed(config, weights, norm, project(name, x)), heads), cos, sin)
  const q = turned("to_q", "norm_q")
  const k = turned("to_k", "norm_k")
  const v = Neural.splitHeads(project("to_v", x), heads)
  if (!jointText) return project("to_out.0", Neural.mergeHeads(Neural.attention(q, k, v)))
  const textKeys = normed(config, weights, "norm_added_k", project("add_k_proj", text))
  const textValues = project("add_v_proj", text)
  const mask =
    textBias === undefined
      ? {}
      : {
          mask: Ops.pad(textBias, [
            [0, 0],
            [0, 0],
            [0, 0],
            [Number(x.shape[1]), 0],
          ]),
        }
  const attended = Neural.attention(
    q,
    Ops.concat([k, Neural.splitHeads(textKeys, heads)], 2),
    Ops.concat([v, Neural.splitHeads(textValues, heads)], 2),
    mask,
  )
  return project("to_out.0", Neural.mergeHeads(attended))
}

const crossAttention = (config: Config, weights: Weights, x: F32, { text, textBias }: Context): F32 => {
  const split = (value: F32) => Neural.splitHeads(value, config.heads)
  const q = normed(config, weights, "norm_q", linear(weights, "to_q", x))
  const k = normed(config, weights, "norm_k", linear(weights, "to_k", text))
  const v = linear(weights, "to_v", text)
  const attended = Neural.attention(
    split(q),
    split(k),
    split(v),
    textBias === undefined ? {} : { mask: textBias },
  )
  return linear(weights, "to_out.0", Neural.mergeHeads(attended))
}

const activate = ({ activation }: Config, x: F32): F32 =>
  activation === "relu2" ? Ops.relu2(x) : Ops.gelu(x, "tanh")

/** x `[B, S, D]` after the block. */
export const forward = (config: Config, weights: Weights, x: F32, context: Context): F32 => {
  const { crossAttnNorm, eps } = config
  const parts = Ops.chunk(Ops.add(weights("scale_shift_table"), context.time), 1, 6)
  const [shift, scale, gate, cShift, cScale, cGate] = parts as unknown as readonly [
    F32,
    F32,
    F32,
    F32,
    F32,
    F32,
  ]
  const attended = selfAttention(config, below(weights, "attn1"), modulate(x, eps, shift, scale), context)
  let h = Ops.add(x, Ops.mul(attended, gate))
  if (config.crossAttention) {
    const query = crossAttnNorm ? layerNorm(h, eps, weights, "norm2") : h
    h = Ops.add(h, crossAttention(config, below(weights, "attn2"), query, context))
  }
  const hidden = activate(config, linear(weights, "ffn.net.0.proj", modulate(h, eps, cShift, cScale)))
  return Ops.add(h, Ops.mul(linear(weights, "ffn.net.2", hidden), cGate))
}
