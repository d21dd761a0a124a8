import { describe, it } from "@effect/vitest"

import type { Float } from "../src/DType.ts"
import * as Ops from "../src/Ops.ts"
import type { Value } from "../src/Value.ts"
import { type Case, check } from "./check.ts"

type F = Value<Float>

const unary = (build: (x: F) => F, domain: (x: number) => number = (x) => 3 * x): Case => ({
  shapes: [[3, 4]],
  build: ([x]) => build(x!),
  domain,
})

const binary = (
  build: (a: F, b: F) => F,
  domain: (x: number) => number = (x) => 2 * x,
  shapes: Case["shapes"] = [
    [2, 3, 4],
    [3, 1],
  ],
): Case => ({ shapes, build: ([a, b]) => build(a!, b!), domain })

/** Away from 0, where a function has a kink. */
const kinked = (x: number) => x + Math.sign(x) * 0.05

const cases: { readonly [name: string]: Case } = {
  add: binary(Ops.add),
  sub: binary(Ops.sub),
  mul: binary(Ops.mul),
  div: binary(Ops.div, (x) => 2 + x),
  pow: binary(Ops.pow, (x) => 2 + x),
  "pow of a number": unary((x) => Ops.pow(x, 3)),
  min: binary(Ops.min),
  max: binary(Ops.max),
  sum: {
    shapes: [[2, 3], [3], [2, 1]],
    build: (xs) => Ops.sum(xs),
  },
  neg: unary(Ops.neg),
  abs: unary(Ops.abs, kinked),
  exp: unary(Ops.exp),
  log: unary(Ops.log, (x) => 1.5 + x),
  sqrt: unary(Ops.sqrt, (x) => 1.5 + x),
  rsqrt: unary(Ops.rsqrt, (x) => 1.5 + x),
  reciprocal: unary(Ops.reciprocal, (x) => 1.5 + x),
  square: unary(Ops.square),
  sin: unary(Ops.sin),
  cos: unary(Ops.cos),
  clip: unary((x) => Ops.clip(x, -1, 1.5)),
  tanh: unary(Ops.tanh),
  sigmoid: unary(Ops.sigmoid),
  erf: unary(Ops.erf),
  relu: unary(Ops.relu, kinked),
  relu2: unary(Ops.relu2, kinked),
  silu: unary(Ops.silu),
  "gelu (tanh)": unary((x) => Ops.gelu(x, "tanh")),
  "gelu (erf)": unary((x) => Ops.gelu(x, "erf")),
  where: binary((a, b) => Ops.where(Ops.less(a, b), Ops.square(a), b)),
  "comparisons and casts": binary((a, b) =>
    Ops.mul(
      Ops.cast(Ops.or(Ops.greaterOrEqual(a, b), Ops.not(Ops.lessOrEqual(a, 0.1))), a.dtype),
      Ops.add(a, b),
    ),
  ),
  "where finite": unary((x) => Ops.where(Ops.isFinite(Ops.log(x)), x, 0), kinked),
  reshape: unary((x) => Ops.reshape(Ops.square(x), [2, -1, 3])),
  transpose: { shapes: [[2, 3, 4]], build: ([x]) => Ops.transpose(Ops.square(x!), [2, 0, 1]) },
  slice: { shapes: [[4, 6]], build: ([x]) => Ops.slice(Ops.square(x!), 1, 2, -1) },
  flip: { shapes: [[2, 3, 4]], build: ([x]) => Ops.flip(Ops.square(x!), [0, 2]) },
  concat: {
    shapes: [
      [2, 3],
      [2, 1],
      [2, 2],
    ],
    build: (xs) => Ops.concat(xs.map(Ops.square), -1),
  },
  "split, one part unused": {
    shapes: [[2, 6]],
    build: ([x]) => {
      const [a, , c] = Ops.split(x!, 1, [2, 1, 3])
      return Ops.concat([Ops.square(c!), a!], 1)
    },
  },
  pad: {
    shapes: [[2, 3]],
    build: ([x]) =>
      Ops.pad(Ops.square(x!), [
        [1, 0],
        [2, 3],
      ]),
  },
  expand: { shapes: [[3, 1]], build: ([x]) => Ops.expand(Ops.square(x!), [2, 3, 4]) },
  squeeze: { shapes: [[2, 1, 3, 1]], build: ([x]) => Ops.squeeze(Ops.square(x!), [1, -1]) },
  unsqueeze: { shapes: [[2, 3]], build: ([x]) => Ops.unsqueeze(Ops.square(x!), [0, 3]) },
  "embedding, ids that repeat": {
    shapes: [[5, 3]],
    build: ([x]) => {
      const data = BigInt64Array.from([4n, 0n, 4n, 2n, 2n, 4n])
      return Ops.embedding(Ops.square(x!), Ops.constant({ dtype: "i64", shape: [2, 3], data }))
    },
  },
  "gather along the middle axis": {
    shapes: [[2, 4, 3]],
    build: ([x]) => {
      const data = BigInt64Array.from([1n, 1n, 3n])
      return Ops.gather(Ops.square(x!), Ops.constant({ dtype: "i64", shape: [3], data }), 1)
    },
  },
  "reduceSum of all": { shapes: [[2, 3]], build: ([x]) => Ops.reduceSum(Ops.square(x!)) },
  "reduceSum of an axis": {
    shapes: [[2, 3, 4]],
    build: ([x]) => Ops.reduceSum(Ops.square(x!), { axes: [1] }),
  },
  "reduceMean, kept": {
    shapes: [[2, 3, 4]],
    build: ([x]) => Ops.reduceMean(Ops.square(x!), { axes: [0, -1], keep: true }),
  },
  reduceMax: { shapes: [[3, 5]], build: ([x]) => Ops.reduceMax(Ops.square(x!), { axes: [1] }) },
  reduceSumSquare: { shapes: [[3, 5]], build: ([x]) => Ops.reduceSumSquare(x!, { axes: [0] }) },
  "mean squared error": binary(Ops.meanSquaredError, undefined, [
    [3, 4],
    [3, 4],
  ]),
  linear: {
    shapes: [[2, 3, 4], [5, 4], [5]],
    build: ([x, w, b]) => Ops.linear(x!, w!, b),
  },
  "detach stops the gradient": unary((x) => Ops.mul(x, 2)),
}

describe("Ops: forward against the reference, gradient against finite differences", () => {
  for (const [name, each] of Object.entries(cases)) it(name, () => check(name, each))

  for (const transposeA of [false, true])
    for (const transposeB of [false, true])
      it(`matmul, transposeA ${transposeA}, transposeB ${transposeB}, batch that broadcasts`, () =>
        check("matmul", {
          shapes: [
            [2, 1, ...(transposeA ? [4, 3] : [3, 4])],
            [5, ...(transposeB ? [2, 4] : [4, 2])],
          ],
          build: ([a, b]) => Ops.matmul(a!, b!, { transposeA, transposeB, scale: 0.5 }),
        }))

  for (const transposeA of [false, true])
    for (const transposeB of [false, true])
      it(`gemm, transposeA ${transposeA}, transposeB ${transposeB}, bias`, () =>
        check("gemm", {
          shapes: [transposeA ? [4, 3] : [3, 4], transposeB ? [2, 4] : [4, 2], [3, 1]],
          build: ([a, b, c]) => Ops.gemm(a!, b!, c, { transposeA, transposeB }),
        }))
})
