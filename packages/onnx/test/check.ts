/**
 * What every operator's test does: run a function of values on onnxruntime and on the reference, compare all that
 * comes out, and compare the gradients with central finite differences of the reference, which are of doubles.
 */
import { createRequire } from "node:module"

import { assert } from "@effect/vitest"
import type * as Ort from "onnxruntime-node"

import type { Float } from "../src/DType.ts"
import * as Gradient from "../src/Gradient.ts"
import * as Onnx from "../src/Onnx.ts"
import * as Ops from "../src/Ops.ts"
import * as Reference from "../src/Reference.ts"
import * as TensorGraph from "../src/TensorGraph.ts"
import type { Value } from "../src/Value.ts"

export const ort = createRequire(import.meta.url)("onnxruntime-node") as typeof Ort

/** Uniform numbers in [-1, 1), the same for the same seed. */
export const randomFrom = (seed: number) => {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2147483648 - 1
  }
}

const sizeOf = (shape: ReadonlyArray<number>) => shape.reduce((a, b) => a * b, 1)

export const random = (
  shape: ReadonlyArray<number>,
  next: () => number,
  of: (x: number) => number = (x) => x,
): Reference.Elements =>
  Reference.elements(
    shape,
    Array.from({ length: sizeOf(shape) }, () => Math.fround(of(next()))),
  )

const arrays: { readonly [dtype: string]: (data: Float64Array) => Ort.Tensor.DataType } = {
  f32: (data) => Float32Array.from(data),
  f64: (data) => data.slice(),
  i64: (data) => BigInt64Array.from(data, (x) => BigInt(x)),
  i32: (data) => Int32Array.from(data),
  bool: (data) => Uint8Array.from(data),
}
const ortNames: { readonly [dtype: string]: Ort.Tensor.Type } = {
  f32: "float32",
  f64: "float64",
  i64: "int64",
  i32: "int32",
  bool: "bool",
}

/** A graph on onnxruntime in this thread, its outputs as doubles. */
export const runOrt = async (
  graph: TensorGraph.TensorGraph,
  feeds: Reference.Feeds,
  options: Onnx.Options = {},
): Promise<Reference.Feeds> => {
  const session = await ort.InferenceSession.create(Onnx.encode(graph, options), {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    logSeverityLevel: 3,
  })
  const outputs = await session.run(
    Object.fromEntries(
      Object.entries(graph.inputs).map(([name, { dtype }]) => [
        name,
        new ort.Tensor(ortNames[dtype]!, arrays[dtype]!(feeds[name]!.data) as never, feeds[name]!.shape),
      ]),
    ),
  )
  await session.release()
  return Object.fromEntries(
    Object.entries(outputs).map(([name, { data, dims }]) => [
      name,
      Reference.elements(dims, Array.from(data as ArrayLike<number | bigint>, Number)),
    ]),
  )
}

export const assertClose = (
  what: string,
  actual: Reference.Elements,
  expected: Reference.Elements,
  tolerance: number,
) => {
  assert.deepStrictEqual([...actual.shape], [...expected.shape], `shape of ${what}`)
  const scale = Math.max(1, ...expected.data.map(Math.abs))
  actual.data.forEach((value, i) => {
    const other = expected.data[i]!
    if (Object.is(value, other) || value === other) return
    assert.isTrue(
      Math.abs(value - other) <= tolerance * scale,
      `${what}[${i}]: ${value} is not ${other} within ${tolerance * scale}`,
    )
  })
}

export interface Case {
  readonly shapes: ReadonlyArray<ReadonlyArray<number>>
  readonly build: (inputs: ReadonlyArray<Value<Float>>) => Value<Float>
  readonly seed?: number
  /** Moves the uniform numbers of [-1, 1) to where the function is defined. */
  readonly domain?: (x: number) => number
  /** Relative to the largest element. @default 2e-5 */
  readonly tolerance?: number
  /** The inputs' type. @default "f32" */
  readonly dtype?: "f32" | "f64"
}

/** The graph of a case: y, the loss sum(y r) for fixed random r, and the gradients of the loss by the inputs. */
export const graphOf = ({ build, dtype = "f32", seed = 1, shapes }: Case) => {
  const specs = Object.fromEntries(shapes.map((shape, i) => [`x${i}`, TensorGraph.spec(dtype, shape)]))
  return TensorGraph.make("case", specs, (inputs) => {
    const xs = Object.values(inputs) as ReadonlyArray<Value<Float>>
    const y = build(xs)
    const next = randomFrom(seed + 1000)
    const weights = random(y.shape as ReadonlyArray<number>, next)
    const r = Ops.constant({
      dtype,
      shape: weights.shape,
      data: dtype === "f32" ? Float32Array.from(weights.data) : weights.data,
    }) as Value<Float>
    const loss = Ops.reduceSum(Ops.mul(y, r))
    const gradients = Gradient.gradients(loss, xs)
    return { y, loss, ...Object.fromEntries(gradients.map((g, i) => [`g${i}`, g])) }
  })
}

export const feedsOf = ({ domain = (x) => x, seed = 1, shapes }: Case): Reference.Feeds => {
  const next = randomFrom(seed)
  return Object.fromEntries(shapes.map((shape, i) => [`x${i}`, random(shape, next, domain)]))
}

/**
 * The gradients of the reference against central differences with step 1e-5, whose error is about 1e-9: along
 * random directions of all inputs at once, and of single elements of each input.
 */
export const checkGradient = (what: string, graph: TensorGraph.TensorGraph, feeds: Reference.Feeds) => {
  const analytic = Reference.evaluate(graph, feeds)
  const lossOnly = TensorGraph.close("loss", graph.inputs, { loss: graph.outputs["loss"]! })
  const names = Object.keys(graph.inputs)
  const next = randomFrom(77)
  const step = 1e-5
  const loss = (directions: ReadonlyArray<Float64Array>, by: number) =>
    Reference.evaluate(
      lossOnly,
      Object.fromEntries(
        names.map((name, i) => {
          const { data, shape } = feeds[name]!
          return [name, { shape, data: data.map((x, at) => x + by * directions[i]![at]!) }]
        }),
      ),
    )["loss"]!.data[0]!
  const compare = (where: string, directions: ReadonlyArray<Float64Array>) => {
    const numeric = (loss(directions, step) - loss(directions, -step)) / (2 * step)
    const expected = names.reduce(
      (sum, _, i) => analytic[`g${i}`]!.data.reduce((all, g, at) => all + g * directions[i]![at]!, sum),
      0,
    )
    assert.closeTo(expected, numeric, 1e-6 * Math.max(1, Math.abs(numeric)), `${what}: gradient ${where}`)
  }
  const nowhere = names.map((name) => new Float64Array(feeds[name]!.data.length))
  for (let round = 0; round < 2; round++)
    compare(
      "along a random direction",
      nowhere.map((zeros) => zeros.map(() => next())),
    )
  names.forEach((name, i) => {
    const at = Math.floor((next() + 1) * 0.5 * feeds[name]!.data.length)
    compare(`by ${name}[${at}]`, nowhere.with(i, nowhere[i]!.with(at, 1)))
  })
}

/** All of it. */
export const check = async (what: string, each: Case) => {
  const graph = graphOf(each)
  TensorGraph.verify(graph)
  const feeds = feedsOf(each)
  const expected = Reference.evaluate(graph, feeds)
  const actual = await runOrt(graph, feeds)
  for (const name of Object.keys(graph.outputs))
    assertClose(`${what}: ${name}`, actual[name]!, expected[name]!, each.tolerance ?? 2e-5)
  checkGradient(what, graph, feeds)
}
