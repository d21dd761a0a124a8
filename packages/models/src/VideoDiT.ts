/**
 * The video transformer: WanTransformer3DModel's structure at any size, by the names of its published weights.
 *
 *     tokens = Linear(patches(latents))
 *     e      = MLP(sinusoid(t)), with SiLU
 *     text   = Linear(GELU(Linear(text)))
 *     tokens = blocks(tokens, text, Linear(SiLU(e)))
 *     out    = unpatchify(Linear(LN(tokens) (1 + scale) + shift)), (shift, scale) = table + e
 *
 * Source: Wan2.1 (Apache-2.0) in the layout of diffusers. Against that implementation at a small size the largest
 * difference measured is 1e-6 of values up to 3.5 (float32; 1e-5 is what the tests allow). Besides the published structure there are options that help small models;
 * all are off unless asked for, and have no weights then:
 *
 * - `inputGate`: the latents themselves are added to the prediction, each channel times a gate that depends on the
 *   time and begins at zero. For a prediction of noise or velocity, most of the answer at high noise is the input.
 * - `pooledText`: learned queries pool the text into the vector that modulates every block.
 * - `jointText`: text gives keys and values to self-attention. With `crossAttention: false` that replaces the text
 *   attention of its own.
 * - `activation: "relu2"`: ReLU squared in place of GELU.
 * - `positions`: a learned projection of sinusoids of a token's frame, row and column is added to it, so that it knows
 *   where it is and not only how far from others; `ropeTheta` below 10,000 turns the slow pairs within small grids.
 * - `textNorm`: a layer norm, without weights, of the text's states, for encoders whose states have outliers.
 * - `textMask`: an input `mask` `[B, L]`, 1 where there is a token and 0 where there is padding.
 */
import * as Neural from "@reelgraph/onnx/Neural"
import * as Ops from "@reelgraph/onnx/Ops"
import type * as Safetensors from "@reelgraph/onnx/Safetensors"
import * as Shape from "@reelgraph/onnx/Shape"
import type * as Tensor from "@reelgraph/onnx/Tensor"
import * as TensorGraph from "@reelgraph/onnx/TensorGraph"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import {
  type F32,
  layerNorm,
  linear,
  linearSpecs,
  modulate,
  type Weights,
  weightsIn,
} from "./internal/layers.ts"
import type * as Denoiser from "./Denoiser.ts"
import * as ModelWeights from "./ModelWeights.ts"
import * as Rope from "./Rope.ts"
import * as TransformerBlock from "./TransformerBlock.ts"

const Count = Schema.Int.check(Schema.isGreaterThan(0))

/** How often a part may be repeated: far more than any model has, and few enough to list. */
const Repeats = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1024 }))

const or = <A>(value: A) => Effect.succeed(value)

export const PooledText = Schema.Struct({
  /** Learned queries. */
  queries: Count,
  /** What each pools, in numbers. */
  width: Count,
})
export type PooledText = typeof PooledText.Type

export const Config = Schema.Struct({
  /** The width of a token. */
  dim: Count,
  /** `dim / heads` has to be even. */
  heads: Count,
  layers: Repeats,
  /** The width inside the feed-forward part. */
  ffn: Count,
  /** The width of the text encoder's states. */
  textDim: Count,
  /** The width of the timestep's sinusoid, even. */
  freqDim: Count.pipe(Schema.withDecodingDefaultKey(or(256))),
  inChannels: Count,
  outChannels: Count,
  /** Frames, rows and columns of latents that make a token. */
  patch: Schema.Tuple([Count, Count, Count]).pipe(Schema.withDecodingDefaultKey(or([1, 2, 2] as const))),
  /** Added under the root of every norm. */
  eps: Schema.Finite.check(Schema.isGreaterThan(0)).pipe(Schema.withDecodingDefaultKey(or(1e-6))),
  qkNorm: Schema.Literals(["rms_norm_across_heads", "none"]).pipe(
    Schema.withDecodingDefaultKey(or("rms_norm_across_heads" as const)),
  ),
  /** Whether the layer norm before the text attention has a gain and a bias; without them there is no norm. */
  crossAttnNorm: Schema.Boolean.pipe(Schema.withDecodingDefaultKey(or(true))),
  crossAttention: Schema.Boolean.pipe(Schema.withDecodingDefaultKey(or(true))),
  jointText: Schema.Boolean.pipe(Schema.withDecodingDefaultKey(or(false))),
  inputGate: Schema.Boolean.pipe(Schema.withDecodingDefaultKey(or(false))),
  pooledText: Schema.optionalKey(PooledText),
  textMask: Schema.Boolean.pipe(Schema.withDecodingDefaultKey(or(false))),
  textNorm: Schema.Boolean.pipe(Schema.withDecodingDefaultKey(or(false))),
  positions: Schema.Boolean.pipe(Schema.withDecodingDefaultKey(or(false))),
  ropeTheta: Schema.Finite.check(Schema.isGreaterThan(1)).pipe(Schema.withDecodingDefaultKey(or(10_000))),
  activation: Schema.Literals(["gelu", "relu2"]).pipe(Schema.withDecodingDefaultKey(or("gelu" as const))),
}).check(
  Schema.makeFilter(({ dim, freqDim, heads, inChannels, inputGate, outChannels }) => {
    if (dim % (2 * heads) !== 0)
      return `dim is ${dim}: it has to be an even multiple of the ${heads} heads, for rotary pairs`
    if (freqDim % 2 !== 0) return `freqDim is ${freqDim}: it has to be even, for cosines and sines`
    if (inputGate && inChannels !== outChannels)
      return `inputGate adds ${inChannels} channels to ${outChannels}: they have to be as many`
    return true
  }),
)
export type Config = typeof Config.Type

/** A configuration from its required fields; all others as published. Throws a `SchemaError`. */
export const config: (fields: typeof Config.Encoded) => Config = Schema.decodeSync(Config)

/** Wan2.1-T2V-1.3B: 825 weights, 1,418,996,800 parameters. */
export const wan1_3B: Config = config({
  dim: 1536,
  heads: 12,
  layers: 30,
  ffn: 8960,
  textDim: 4096,
  inChannels: 16,
  outChannels: 16,
})

const name = "VideoDiT"

const standard = { normal: 0.02 } as const

/** Frequencies of the sinusoids of each axis, for `positions`. */
const positionPairs = 8

/**
 * Every weight by its published key. New ones begin as adaLN-zero (Peebles and Xie 2023): the time's projection
 * and the output are zero, so that every gated part of a block begins as nothing.
 */
export const weightSpecs = (config: Config): ModelWeights.WeightSpecs => {
  const { dim, freqDim, inChannels, inputGate, layers, outChannels, patch, pooledText, positions, textDim } =
    config
  const size = Shape.size(patch)
  const { initial } = linearSpecs("", inChannels * size, dim)[".weight"]!
  const block = TransformerBlock.weightSpecs(config)
  return {
    "patch_embedding.weight": { shape: [dim, inChannels, ...patch], decays: true, initial },
    "patch_embedding.bias": { shape: [dim], decays: false, initial: "zeros" },
    ...(positions
      ? {
          "position_embedding.weight": {
            shape: [dim, 6 * positionPairs],
            decays: true,
            initial: { normal: 0.1 },
          },
        }
      : {}),
    ...ModelWeights.within("condition_embedder", {
      ...linearSpecs("time_embedder.linear_1", freqDim, dim, standard),
      ...linearSpecs("time_embedder.linear_2", dim, dim, standard),
      ...linearSpecs("time_proj", dim, 6 * dim, "zeros"),
      ...linearSpecs("text_embedder.linear_1", textDim, dim, standard),
      ...linearSpecs("text_embedder.linear_2", dim, dim, standard),
      ...(pooledText === undefined
        ? {}
        : {
            ...linearSpecs("text_pool.query", dim, pooledText.queries),
            ...linearSpecs("text_pool.value", dim, pooledText.width),
            ...linearSpecs("text_pool.out", pooledText.queries * pooledText.width, dim),
          }),
    }),
    ...Object.assign(
      {},
      ...Array.from({ length: layers }, (_, i) => ModelWeights.within(`blocks.${i}`, block)),
    ),
    scale_shift_table: { shape: [1, 2, dim], decays: false, initial: "zeros" },
    ...linearSpecs("proj_out", dim, outChannels * size, "zeros"),
    ...(inputGate ? linearSpecs("input_gate", dim, outChannels, "zeros") : {}),
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

/** The `[T, H, W]` of tokens. Throws a `RangeError` when the patch does not divide the latents. */
export const gridOf = ({ patch }: Config, latents: Shape.Shape): Rope.Grid => {
  const grid = latents.slice(2).map((dim, axis) => Number(dim) / patch[axis]!)
  if (latents.length !== 5 || !grid.every((dim) => Number.isInteger(dim) && dim > 0))
    throw new RangeError(
      `latents ${Shape.show(latents)} do not divide into patches of ${Shape.show(patch)}: [B, C, T, H, W] of known T, H, W are needed`,
    )
  return [grid[0]!, grid[1]!, grid[2]!]
}

/** `[B, C, T, H, W]` to tokens `[B, S, D]`: a convolution whose stride is its kernel is one matrix product. */
const patchify = (config: Config, weights: Weights, latents: F32): F32 => {
  const { dim, inChannels, patch } = config
  const width = inChannels * Shape.size(patch)
  const apart = Neural.spaceToDepth(latents, patch)
  const tokens = Shape.size(gridOf(config, latents.shape))
  const batch = latents.shape[0]!
  const flat = Ops.reshape(apart, [typeof batch === "number" ? batch : -1, width, tokens])
  const weight = Ops.reshape(weights("patch_embedding.weight"), [dim, width])
  return Ops.linear(Ops.transpose(flat, [0, 2, 1]), weight, weights("patch_embedding.bias"))
}

/** Tokens `[B, S, pt ph pw C]` to `[B, C, T, H, W]`. */
const unpatchify = ({ outChannels, patch }: Config, tokens: F32, grid: Rope.Grid): F32 => {
  const batch = tokens.shape[0]!
  const first = typeof batch === "number" ? batch : -1
  const apart = Ops.reshape(tokens, [first, ...grid, ...patch, outChannels])
  const ordered = Ops.transpose(apart, [0, 7, 1, 4, 2, 5, 3, 6])
  return Ops.reshape(ordered, [first, outChannels, ...grid.map((dim, axis) => dim * patch[axis]!)])
}

/** The text in a few vectors: `softmax(query(text)^T) value(text)`, side by side, `[B, D]`. */
const pool = ({ queries, width }: PooledText, weights: Weights, text: F32, bias: F32 | undefined): F32 => {
  const at = (part: string, x: F32) => linear(weights, `condition_embedder.text_pool.${part}`, x)
  const scores = Ops.transpose(at("query", text), [0, 2, 1])
  const masked = bias === undefined ? scores : Ops.add(scores, Ops.squeeze(bias, [1]))
  const pooled = Ops.matmul(Neural.softmax(masked), at("value", text))
  const batch = text.shape[0]!
  return at("out", Ops.reshape(pooled, [typeof batch === "number" ? batch : -1, queries * width]))
}

/** Subtracted from the scores of padding: e^-10000 is 0 in every type. */
const padding = 1e4

/**
 * The prediction `[B, outChannels, T, H, W]`. `weights` are keyed as {@link weightSpecs} says. Throws
 * `WeightsMismatch` for weights of other names or shapes, `RangeError` for latents the patch does not divide.
 */
export const forward = (config: Config, inputs: Inputs, weights: ModelWeights.WeightValues): F32 => {
  ModelWeights.verify(name, weightSpecs(config), weights)
  const { dim, eps, freqDim, heads, inputGate, layers, pooledText, textMask, textNorm } = config
  const { latents, mask, timestep } = inputs
  if (textMask !== (mask !== undefined))
    throw new RangeError(textMask ? "textMask needs the input `mask`" : "a `mask` needs textMask")
  const w = weightsIn(weights)
  const at = (part: string, x: F32) => linear(w, `condition_embedder.${part}`, x)
  const grid = gridOf(config, latents.shape)

  const textBias = mask === undefined ? undefined : Ops.unsqueeze(Ops.mul(Ops.sub(mask, 1), padding), [1, 2])
  const states = textNorm ? layerNorm(inputs.text, eps) : inputs.text
  const text = at("text_embedder.linear_2", Ops.gelu(at("text_embedder.linear_1", states), "tanh"))
  const sinusoid = Neural.timestepEmbedding(timestep, freqDim)
  const embedded = at("time_embedder.linear_2", Ops.silu(at("time_embedder.linear_1", sinusoid)))
  const time = pooledText === undefined ? embedded : Ops.add(embedded, pool(pooledText, w, text, textBias))
  const first = typeof time.shape[0] === "number" ? time.shape[0] : -1
  const modulation = Ops.reshape(at("time_proj", Ops.silu(time)), [first, 6, dim])

  const tables = Rope.tables(dim / heads, grid, config.ropeTheta)
  const context: TransformerBlock.Context = {
    text,
    textBias,
    time: modulation,
    cos: Ops.constant(tables.cos),
    sin: Ops.constant(tables.sin),
  }
  let tokens = patchify(config, w, latents)
  if (config.positions) {
    const where = Ops.constant(Rope.sinusoids(grid, positionPairs, config.ropeTheta))
    tokens = Ops.add(tokens, Ops.linear(where, w("position_embedding.weight")))
  }
  for (let i = 0; i < layers; i++)
    tokens = TransformerBlock.forward(config, weightsIn(weights, `blocks.${i}.`), tokens, context)

  const outer = Ops.add(w("scale_shift_table"), Ops.unsqueeze(time, [1]))
  const [shift, scale] = Ops.chunk(outer, 1, 2)
  const predicted = unpatchify(config, linear(w, "proj_out", modulate(tokens, eps, shift!, scale!)), grid)
  if (!inputGate) return predicted
  const gate = Ops.unsqueeze(linear(w, "input_gate", Ops.silu(time)), [2, 3, 4])
  return Ops.add(predicted, Ops.mul(latents, gate))
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

/** The specs of the inputs that are not weights. */
export const inputSpecs = (
  { inChannels, textDim, textMask }: Config,
  { batch = "B", frames, height, tokens, width }: Sizes,
) => ({
  latents: TensorGraph.spec("f32", [batch, inChannels, frames, height, width]),
  timestep: TensorGraph.spec("f32", [batch]),
  text: TensorGraph.spec("f32", [batch, tokens, textDim]),
  ...(textMask ? { mask: TensorGraph.spec("f32", [batch, tokens]) } : {}),
})

/** What is fed beside the weights: `mask` too where the configuration has `textMask`. */
export type FreeInputs = {
  readonly latents: F32
  readonly timestep: F32
  readonly text: F32
  readonly mask?: F32
}

/** The inputs of {@link graph}: those of the model, and its weights by their keys. */
export type GraphInputs = ModelWeights.WeightValues & FreeInputs

/**
 * The model as a graph that takes its weights as inputs, to be fed: the only way above 2 GiB. The output is
 * `prediction`. Throws as {@link forward}.
 */
export const graph = (
  config: Config,
  sizes: Sizes,
): TensorGraph.TensorGraph<GraphInputs, { readonly prediction: F32 }> => {
  const inputs = Object.fromEntries(
    Object.entries(inputSpecs(config, sizes)).map(([key, { dtype, shape }]) => [
      key,
      TensorGraph.input(key, dtype, shape),
    ]),
  ) as unknown as FreeInputs
  const weights = Object.fromEntries(
    Object.entries(weightSpecs(config)).map(([key, { shape }]) => [
      key,
      TensorGraph.input(key, "f32", shape),
    ]),
  )
  const prediction = forward(config, inputs, weights)
  return TensorGraph.close(name, { ...weights, ...inputs }, { prediction })
}

/**
 * The model as a graph that holds its weights, as sampling wants it. Throws as {@link forward}, and
 * `WeightsMismatch` for other weights.
 */
export const boundGraph = (
  config: Config,
  sizes: Sizes,
  weights: ModelWeights.WeightTensors,
): TensorGraph.TensorGraph<FreeInputs, { readonly prediction: F32 }> =>
  ModelWeights.bind(name, weightSpecs(config), graph(config, sizes), weights)

/** The model with `textMask` as a denoiser; without it, it does not see the mask. */
export const denoiser = (config: Config): Denoiser.Denoiser => ({
  name,
  channels: config.inChannels,
  textDim: config.textDim,
  weightSpecs: weightSpecs(config),
  initialize: (seed) => initialize(config, seed),
  forward: ({ mask, ...inputs }, weights) =>
    forward(config, config.textMask ? { ...inputs, mask } : inputs, weights),
})
