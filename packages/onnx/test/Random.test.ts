import { describe, it } from "@effect/vitest"

import type { Float } from "../src/DType.ts"
import * as Neural from "../src/Neural.ts"
import * as Ops from "../src/Ops.ts"
import type { Value } from "../src/Value.ts"
import { type Case, check, randomFrom } from "./check.ts"

type F = Value<Float>

/** Shapes drawn from a seed, so that a failure names the seed that shows it again. */
const drawn = (seed: number) => {
  const next = randomFrom(seed)
  const int = (low: number, high: number) => low + Math.floor(((next() + 1) / 2) * (high - low + 1))
  return { int, shape: (rank: number) => Array.from({ length: rank }, () => int(1, 4)) }
}

/** A shape that broadcasts to `shape`: front axes missing, others 1. */
const narrowed = (shape: ReadonlyArray<number>, int: (low: number, high: number) => number) =>
  shape.slice(int(0, shape.length)).map((dim) => (int(0, 2) === 0 ? 1 : dim))

const families: { readonly [name: string]: (seed: number) => Case } = {
  "arithmetic that broadcasts both ways": (seed) => {
    const { int, shape } = drawn(seed)
    const full = shape(int(1, 4))
    const operations: ReadonlyArray<(a: F, b: F) => F> = [
      Ops.add,
      Ops.sub,
      Ops.mul,
      Ops.div,
      Ops.max,
      Ops.min,
    ]
    const operation = operations[int(0, operations.length - 1)]!
    const shapes = [narrowed(full, int), full]
    return {
      shapes: int(0, 1) === 0 ? shapes : shapes.toReversed(),
      build: ([a, b]) => Ops.mul(operation(a!, b!), a!),
      domain: (x) => 2 + x,
    }
  },
  "matrix products": (seed) => {
    const { int, shape } = drawn(seed)
    const [batch, m, k, n] = [shape(int(0, 2)), int(1, 4), int(1, 4), int(1, 4)]
    const [transposeA, transposeB] = [int(0, 1) === 1, int(0, 1) === 1]
    return {
      shapes: [
        [...narrowed(batch, int), ...(transposeA ? [k, m] : [m, k])],
        [...batch, ...(transposeB ? [n, k] : [k, n])],
      ],
      build: ([a, b]) => Ops.matmul(a!, b!, { transposeA, transposeB, scale: 0.7 }),
    }
  },
  reductions: (seed) => {
    const { int, shape } = drawn(seed)
    const full = shape(int(1, 4))
    const axes = full.map((_, axis) => axis).filter(() => int(0, 1) === 0)
    const options = { axes: axes.length === 0 ? [-1] : axes, keep: int(0, 1) === 1 }
    const reduce = [
      Ops.reduceSum<Float>,
      Ops.reduceMean<Float>,
      Ops.reduceMax<Float>,
      Ops.reduceSumSquare<Float>,
    ][int(0, 3)]!
    return { shapes: [full], build: ([x]) => reduce(Ops.exp(x!), options) }
  },
  "layouts one after another": (seed) => {
    const { int, shape } = drawn(seed)
    const full = shape(3)
    const perm = [
      [0, 1, 2],
      [2, 0, 1],
      [1, 0, 2],
      [2, 1, 0],
    ][int(0, 3)]!
    const axis = int(0, 2)
    return {
      shapes: [full, full],
      build: ([a, b]) => {
        const joined = Ops.concat([Ops.square(a!), b!], axis)
        const turned = Ops.transpose(joined, perm)
        const padded = Ops.pad(turned, [
          [int(0, 1), 1],
          [0, int(0, 2)],
          [1, 0],
        ])
        const flipped = Ops.flip(padded, [int(0, 2)])
        return Ops.slice(Ops.mul(flipped, flipped), 0, 1, 100)
      },
    }
  },
  normalisations: (seed) => {
    const { int, shape } = drawn(seed)
    const full = [...shape(int(1, 2)), int(3, 6)]
    const width = full.at(-1)!
    const kind = int(0, 2)
    return {
      shapes: [full, [width], [width]],
      build: ([x, scale, bias]) =>
        kind === 0
          ? Neural.layerNorm(x!, { scale: scale!, bias: bias! })
          : kind === 1
            ? Ops.add(Neural.rmsNorm(x!, { scale: scale! }), bias!)
            : Ops.mul(Ops.add(Neural.softmax(Ops.mul(x!, 2)), bias!), scale!),
      tolerance: 5e-5,
    }
  },
  convolutions: (seed) => {
    const { int } = drawn(seed)
    const axes = int(1, 3)
    const each = <A>(of: () => A) => Array.from({ length: axes }, of)
    const groups = int(1, 2)
    const kernel = each(() => int(1, 3))
    const padding = each(() => [int(0, 2), int(0, 2)] as const)
    const stride = each(() => int(1, 2))
    const [inner, outer] = [groups * int(1, 2), groups * int(1, 2)]
    const space = kernel.map((length) => length + int(0, 2))
    return {
      shapes: [
        [int(1, 2), inner, ...space],
        [outer, inner / groups, ...kernel],
      ],
      build: ([x, weight]) => Neural.conv(x!, weight!, { padding, stride, groups }),
    }
  },
}

const rounds = 12

describe("random shapes: forward against the reference, gradient against finite differences", () => {
  for (const [name, family] of Object.entries(families))
    it(
      name,
      async () => {
        for (let seed = 1; seed <= rounds; seed++)
          await check(`${name}, seed ${seed}`, { seed, ...family(seed) })
      },
      180_000,
    )
})
