/** Layers by the names of their weights. */
import * as Neural from "@reelgraph/onnx/Neural"
import * as Ops from "@reelgraph/onnx/Ops"
import * as Shape from "@reelgraph/onnx/Shape"
import type { Value } from "@reelgraph/onnx/Value"

import type { Initial, WeightSpec, WeightSpecs, WeightValues } from "../ModelWeights.ts"

export type F32 = Value<"f32">

/** Weights below a prefix. */
export type Weights = (key: string) => F32

export const weightsIn =
  (values: WeightValues, prefix = ""): Weights =>
  (key) =>
    values[prefix + key]!

export const below =
  (weights: Weights, prefix: string): Weights =>
  (key) =>
    weights(`${prefix}.${key}`)

const bias = (size: number): WeightSpec => ({ shape: [size], decays: false, initial: "zeros" })

export const gain = (shape: ReadonlyArray<number>): WeightSpec => ({ shape, decays: false, initial: "ones" })

/** Uniform with variance 2 / (in + out) (Glorot and Bengio 2010). */
export const glorot = (inputs: number, outputs: number): Initial => ({
  uniform: Math.sqrt(6 / (inputs + outputs)),
})

/** `[out, in]` and `[out]`. */
export const linearSpecs = (
  name: string,
  inputs: number,
  outputs: number,
  initial: Initial = glorot(inputs, outputs),
): WeightSpecs => ({
  [`${name}.weight`]: { shape: [outputs, inputs], decays: true, initial },
  [`${name}.bias`]: bias(outputs),
})

export const linear = (weights: Weights, name: string, x: F32): F32 =>
  Ops.linear(x, weights(`${name}.weight`), weights(`${name}.bias`))

/** `[out, in, ..kernel]` and `[out]`; uniform within 1 / sqrt(fan in), PyTorch's way for convolutions. */
export const convSpecs = (
  name: string,
  inputs: number,
  outputs: number,
  kernel: ReadonlyArray<number>,
  initial: Initial = { uniform: 1 / Math.sqrt(inputs * Shape.size(kernel)) },
): WeightSpecs => ({
  [`${name}.weight`]: { shape: [outputs, inputs, ...kernel], decays: true, initial },
  [`${name}.bias`]: bias(outputs),
})

/** The layer norm without gain or bias, or with those named. */
export const layerNorm = (x: F32, epsilon: number, weights?: Weights, name = ""): F32 =>
  weights === undefined
    ? Neural.layerNorm(x, { epsilon })
    : Neural.layerNorm(x, { epsilon, scale: weights(`${name}.weight`), bias: weights(`${name}.bias`) })

/** Adaptive layer norm (Peebles and Xie 2023): LN(x) (1 + scale) + shift, both `[B, 1, D]`. */
export const modulate = (x: F32, epsilon: number, shift: F32, scale: F32): F32 =>
  Ops.add(Ops.mul(layerNorm(x, epsilon), Ops.add(scale, 1)), shift)
