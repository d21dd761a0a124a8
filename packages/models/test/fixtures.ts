/** Reference outputs of the published modules at tiny sizes, and models run on them. */
import { fileURLToPath } from "node:url"

import { assert } from "@effect/vitest"
import * as CounterRandom from "@reelgraph/core/CounterRandom"
import * as Gradient from "@reelgraph/onnx/Gradient"
import * as Onnx from "@reelgraph/onnx/Onnx"
import * as Ops from "@reelgraph/onnx/Ops"
import * as Reference from "@reelgraph/onnx/Reference"
import * as Safetensors from "@reelgraph/onnx/Safetensors"
import * as Session from "@reelgraph/onnx/Session"
import * as Tensor from "@reelgraph/onnx/Tensor"
import * as TensorGraph from "@reelgraph/onnx/TensorGraph"
import type { Value } from "@reelgraph/onnx/Value"
import { Effect } from "effect"

import * as ModelWeights from "../src/ModelWeights.ts"

export type File = "wan-tiny-io" | "wan-tiny-transformer" | "wan-tiny-vae"

export const open = (file: File) =>
  Safetensors.open(fileURLToPath(new URL(`fixtures/${file}.safetensors`, import.meta.url)))

/** One tensor of the inputs and outputs. */
export const io = (key: string) =>
  Effect.flatMap(open("wan-tiny-io"), (file) => file.read(key, { dtype: "f32" })).pipe(Effect.scoped)

export const run = <A, E>(
  effect: Effect.Effect<A, E, Session.Sessions | import("effect").Scope.Scope>,
): Effect.Effect<A, E> => effect.pipe(Effect.scoped, Effect.provide(Session.layer()))

/** The outputs of a graph, run once. */
export const evaluate = <I extends TensorGraph.Values, O extends TensorGraph.Values>(
  graph: TensorGraph.TensorGraph<I, O>,
  feeds: Session.TensorsOf<I>,
) =>
  Effect.flatMap(Session.open(Onnx.model(graph), { provider: "cpu" }), (session) => session.run(feeds)).pipe(
    Effect.scoped,
  )

export const maxDifference = (a: Tensor.Tensor<"f32">, b: Tensor.Tensor<"f32">): number => {
  assert.deepStrictEqual([...a.shape], [...b.shape])
  return a.data.reduce((most, value, i) => Math.max(most, Math.abs(value - b.data[i]!)), 0)
}

/** Tighter than the 2e-4 the reference outputs promise, which would not tell the two forms of GELU apart. */
export const tolerance = 1e-5

/** Normal numbers for every weight, zeros of new models included: so that a gradient reaches all of them. */
export const scattered = (specs: ModelWeights.WeightSpecs, seed: number, deviation = 0.3) =>
  ModelWeights.initialize(
    Object.fromEntries(
      Object.entries(specs).map(([key, spec]) => [key, { ...spec, initial: { normal: deviation } }]),
    ),
    seed,
  )

/** Uniform numbers in [-1, 1). */
export const noise = (shape: ReadonlyArray<number>, seed: number): Tensor.Tensor<"f32"> => {
  const size = shape.reduce((a, b) => a * b, 1)
  return Tensor.f32(
    shape,
    CounterRandom.uniforms(CounterRandom.key(seed, "noise", "test"), size).map((u) => 2 * u - 1),
  )
}

/**
 * The gradients of sum(y r) by some weights, r fixed and random, against central differences in float64 with step
 * 1e-5, at the element of each whose gradient is largest.
 */
export const checkGradients = (
  specs: ModelWeights.WeightSpecs,
  inputs: { readonly [name: string]: Tensor.Tensor<"f32"> },
  build: (
    inputs: { readonly [name: string]: Value<"f32"> },
    weights: ModelWeights.WeightValues,
  ) => Value<"f32">,
  keys: ReadonlyArray<string>,
) => {
  const values = (shapes: { readonly [name: string]: ReadonlyArray<number> }) =>
    Object.fromEntries(
      Object.entries(shapes).map(([name, shape]) => [name, TensorGraph.input(name, "f32", shape)]),
    )
  const free = values(Object.fromEntries(Object.entries(inputs).map(([name, { shape }]) => [name, shape])))
  const weights = values(Object.fromEntries(Object.entries(specs).map(([key, { shape }]) => [key, shape])))
  const y = build(free, weights)
  const loss = Ops.reduceSum(Ops.mul(y, Ops.constant(noise(y.shape as ReadonlyArray<number>, 3))))
  const found = Gradient.gradients(
    loss,
    keys.map((key) => weights[key]!),
  )
  const all = { ...weights, ...free }
  const gradients = TensorGraph.close(
    "gradients",
    all,
    Object.fromEntries(found.map((gradient, i) => [`gradient${i}`, gradient])),
  )
  const lossOnly = TensorGraph.close("loss", all, { loss })
  TensorGraph.verify(gradients)
  const elements = ({ data, shape }: Tensor.Tensor<"f32">) => Reference.elements(shape, [...data])
  const feeds: Reference.Feeds = Object.fromEntries([
    ...Object.entries(scattered(specs, 1)).map(([key, tensor]) => [key, elements(tensor)]),
    ...Object.entries(inputs).map(([key, tensor]) => [key, elements(tensor)]),
  ])
  const analytic = Reference.evaluate(gradients, feeds)
  const step = 1e-5
  keys.forEach((key, i) => {
    const { data, shape } = feeds[key]!
    const own = analytic[`gradient${i}`]!.data.map(Math.abs)
    const at = own.indexOf(Math.max(...own))
    const moved = (by: number) =>
      Reference.evaluate(lossOnly, { ...feeds, [key]: { shape, data: data.with(at, data[at]! + by) } })[
        "loss"
      ]!.data[0]!
    const numeric = (moved(step) - moved(-step)) / (2 * step)
    assert.isAbove(own[at]!, 1e-6, `gradient by ${key} is zero`)
    assert.closeTo(
      analytic[`gradient${i}`]!.data[at]!,
      numeric,
      1e-6 * Math.max(1, Math.abs(numeric)),
      `gradient by ${key}[${at}]`,
    )
  })
}
