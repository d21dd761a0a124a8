import fs from "node:fs"

import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"

import * as GraphError from "../src/GraphError.ts"
import type * as Muon from "../src/Muon.ts"
import * as Ops from "../src/Ops.ts"
import * as Reference from "../src/Reference.ts"
import * as Schedule from "../src/Schedule.ts"
import * as Session from "../src/Session.ts"
import * as Tensor from "../src/Tensor.ts"
import * as TensorGraph from "../src/TensorGraph.ts"
import * as Trainer from "../src/Trainer.ts"
import * as TrainStep from "../src/TrainStep.ts"
import { random, randomFrom, runOrt } from "./check.ts"

type Numbers = { readonly [name: string]: ReadonlyArray<number> }

/** Steps by PyTorch: see test/oracle/muon/make.py. */
const oracle = JSON.parse(
  fs.readFileSync(new URL("../../../test/oracle/muon/trajectories.json", import.meta.url), "utf8"),
) as {
  readonly shapes: Numbers
  readonly decaying: ReadonlyArray<string>
  readonly clip: number
  readonly weightDecay: number
  readonly start: Numbers
  readonly gradients: ReadonlyArray<Numbers>
  readonly cases: ReadonlyArray<{
    readonly title: string
    readonly options: Pick<Required<Muon.Muon>, "momentum" | "nesterov" | "scaling">
    readonly steps: ReadonlyArray<{ readonly norm: number; readonly parameters: Numbers }>
    readonly moments: Numbers
  }>
}

const names = Object.keys(oracle.shapes)
const matrices = names.filter((name) => oracle.shapes[name]!.length === 2)

const specs: { readonly [name: string]: TensorGraph.Spec<"f32"> } = Object.fromEntries(
  names.map((name) => [name, TensorGraph.spec("f32", oracle.shapes[name]!)]),
)

/** A loss whose gradient is the batch: sum(p g). */
const stepOf = (muon: Muon.Muon) =>
  TrainStep.make({
    name: "oracle",
    parameters: TrainStep.withMuon(
      Object.fromEntries(
        names.map((name) => [name, { shape: oracle.shapes[name]!, decays: oracle.decaying.includes(name) }]),
      ),
      () => true,
    ),
    batch: specs,
    loss: (parameters, batch) => ({
      loss: Ops.sum(names.map((name) => Ops.reduceSum(Ops.mul(parameters[name]!, batch[name]!)))),
    }),
    optimizer: {
      schedule: Schedule.warmup(10, Schedule.constant(0.05)),
      beta2: 0.99,
      clip: oracle.clip,
      weightDecay: oracle.weightDecay,
    },
    muon,
  })

const elements = (numbers: Numbers, name: string) => Reference.elements(oracle.shapes[name]!, numbers[name]!)

/** |found - expected| / |expected|, of whole tensors. */
const relative = (found: ArrayLike<number>, expected: ArrayLike<number>): number => {
  let [difference, length] = [0, 0]
  for (let i = 0; i < expected.length; i++) {
    difference += (found[i]! - expected[i]!) ** 2
    length += expected[i]! ** 2
  }
  return Math.sqrt(difference / length)
}

describe("Muon against PyTorch", () => {
  for (const { moments, options, steps, title } of oracle.cases) {
    const step = stepOf(options)
    const follow = async (
      run: (feeds: Reference.Feeds) => Reference.Feeds | Promise<Reference.Feeds>,
      tolerance: number,
    ) => {
      let state: Reference.Feeds = Object.fromEntries(
        step.state.map((name) => {
          const [kind, key] = name.split("/") as [string, string]
          if (kind === "step") return [name, Reference.elements([], [0])]
          const start = elements(oracle.start, key)
          return [name, kind === "param" ? start : { ...start, data: start.data.map(() => 0) }]
        }),
      )
      for (const [t, { norm, parameters }] of steps.entries()) {
        const batch = names.map((name) => [`batch/${name}`, elements(oracle.gradients[t]!, name)])
        const outputs = await run({ ...state, ...Object.fromEntries(batch) })
        state = Object.fromEntries(step.state.map((name) => [name, outputs[`next/${name}`]!]))
        assert.closeTo(outputs["norm"]!.data[0]!, norm, 1e-5 * norm)
        for (const name of names) {
          // What was moved, not where it ended: the weights would hide a wrong update.
          const moved = (numbers: ArrayLike<number>) =>
            oracle.start[name]!.map((from, i) => numbers[i]! - from)
          const error = relative(moved(state[`param/${name}`]!.data), moved(parameters[name]!))
          assert.isAtMost(error, tolerance, `${name} after ${t + 1} steps`)
        }
      }
      for (const name of matrices) {
        const found = state[`m/${name}`]!.data.map((x) => x * (1 - options.momentum))
        assert.isAtMost(relative(found, moments[name]!), tolerance, `momentum of ${name}`)
      }
    }

    it(`${title}: the reference evaluator, in doubles`, () =>
      follow((feeds) => Reference.evaluate(step.single, feeds), 1e-5))
    it(`${title}: onnxruntime, in float32`, () => follow((feeds) => runOrt(step.single, feeds), 1e-4))
  }
})

/** Singular values from 1 down to 1e-6: where float32 has least to hold on to. */
const graded = (rows: number, columns: number): Reference.Elements => {
  const next = randomFrom(5)
  const [left, right] = [random([rows, rows], next), random([rows, columns], next)]
  return Reference.elements(
    [rows, columns],
    Array.from({ length: rows * columns }, (_, at) => {
      const [i, j] = [Math.floor(at / columns), at % columns]
      let sum = 0
      for (let k = 0; k < rows; k++)
        sum += left.data[i * rows + k]! * 10 ** ((-6 * k) / rows) * right.data[k * columns + j]!
      return Math.fround(sum)
    }),
  )
}

/** The iterations as they are published, on plain numbers, for a matrix that is not tall. */
const plainNewtonSchulz = ({ data, shape }: Reference.Elements): Float64Array => {
  const [rows, columns] = shape as readonly [number, number]
  const product = (a: ArrayLike<number>, b: (k: number, j: number) => number, inner: number, width: number) =>
    Float64Array.from({ length: rows * width }, (_, at) => {
      const [i, j] = [Math.floor(at / width), at % width]
      let sum = 0
      for (let k = 0; k < inner; k++) sum += a[i * inner + k]! * b(k, j)
      return sum
    })
  const norm = Math.sqrt(data.reduce((sum, x) => sum + x * x, 0))
  let x = Float64Array.from(data, (value) => value / norm)
  for (let round = 0; round < 5; round++) {
    const now = x
    const gram = product(now, (k, j) => now[j * columns + k]!, columns, rows)
    const squared = product(gram, (k, j) => gram[k * rows + j]!, rows, rows)
    const sum = gram.map((value, i) => -4.775 * value + 2.0315 * squared[i]!)
    const change = product(sum, (k, j) => now[k * columns + j]!, rows, columns)
    x = now.map((value, i) => 3.4445 * value + change[i]!)
  }
  return x
}

describe("Muon's update", () => {
  const only = (shape: ReadonlyArray<number>) =>
    TrainStep.make({
      name: "one",
      parameters: { w: { shape, decays: false, optimizer: "muon" } },
      batch: { g: TensorGraph.spec("f32", shape) },
      loss: ({ w }, { g }) => ({ loss: Ops.reduceSum(Ops.mul(w, g)) }),
      optimizer: { schedule: Schedule.constant(1) },
      muon: { scaling: "original" },
    }).single

  const zeros = (shape: ReadonlyArray<number>) =>
    Reference.elements(shape, new Float64Array(shape.reduce((a, b) => a * b, 1)))

  const updateOf = async (g: Reference.Elements, run = runOrt) => {
    const outputs = await run(only(g.shape), {
      "param/w": zeros(g.shape),
      "m/w": zeros(g.shape),
      step: Reference.elements([], [0]),
      "batch/g": g,
    })
    return outputs["next/param/w"]!.data.map((x) => -x)
  }

  for (const [rows, columns] of [
    [48, 48],
    [48, 160],
  ] as const)
    it(`[${rows},${columns}] with singular values over six decades, in float32`, async () => {
      const g = graded(rows, columns)
      assert.isAtMost(relative(await updateOf(g), plainNewtonSchulz(g)), 3e-5)
    })

  it("does not see how long the gradient is, down to 1e-6, and nothing comes of zeros", async () => {
    const g = graded(6, 9)
    const scaled = (by: number) => ({ ...g, data: g.data.map((x) => x * by) })
    const expected = await updateOf(g)
    assert.isAtMost(relative(await updateOf(scaled(1e-6)), expected), 5e-5)
    assert.isAtMost(relative(await updateOf(scaled(1e6)), expected), 5e-5)
    assert.isTrue((await updateOf(zeros([6, 9]))).every((x) => x === 0))
  })
})

describe("a train step with Muon", () => {
  const make = (precision: "f32" | "f16" = "f32") =>
    TrainStep.make({
      name: "regression",
      parameters: {
        w1: { shape: [8, 4], optimizer: "muon" },
        b1: { shape: [8], decays: false },
        w2: { shape: [2, 8] },
      },
      batch: { x: TensorGraph.spec("f32", [6, 4]), y: TensorGraph.spec("f32", [6, 2]) },
      loss: ({ b1, w1, w2 }, { x, y }) => ({
        loss: Ops.meanSquaredError(Ops.linear(Ops.silu(Ops.linear(x, w1, b1)), w2), y),
      }),
      optimizer: { schedule: Schedule.constant(0.05), clip: 0.5 },
      ema: 0.9,
      precision,
    })

  const step = make()

  const tensor = (shape: ReadonlyArray<number>, seed: number) =>
    Tensor.f32(shape, random(shape, randomFrom(seed)).data)
  const weights = { w1: tensor([8, 4], 1), b1: tensor([8], 2), w2: tensor([2, 8], 3) }
  const batches = Array.from({ length: 4 }, (_, i) => ({
    x: tensor([6, 4], 10 + i),
    y: tensor([6, 2], 20 + i),
  }))

  const run = <A, E>(effect: Effect.Effect<A, E, Session.Sessions | import("effect").Scope.Scope>) =>
    effect.pipe(Effect.scoped, Effect.provide(Session.layer()))

  const same = (found: Trainer.State, expected: Trainer.State) => {
    assert.deepStrictEqual(Object.keys(found), Object.keys(expected))
    for (const [name, value] of Object.entries(expected))
      assert.isTrue(Tensor.identical(value, found[name]!), name)
  }

  it("the state has no second moment of its matrices", () => {
    assert.deepStrictEqual(
      step.state.filter((name) => name.startsWith("m/") || name.startsWith("v/")),
      ["m/w1", "m/b1", "m/w2", "v/b1", "v/w2"],
    )
  })

  it.live("single steps, one Scan and a resumed run end in the same state, bit by bit, and learn", () =>
    run(
      Effect.gen(function* () {
        const options = { provider: "cpu", threads: 1, stepsPerRun: 4 } as const
        const trainer = yield* Trainer.make(step, options)
        yield* trainer.initialize(weights)
        const single = yield* Effect.forEach(batches.slice(0, 2), trainer.step)
        const checkpoint = yield* trainer.state
        single.push(...(yield* Effect.forEach(batches.slice(2), trainer.step)))
        const expected = yield* trainer.state
        assert.deepStrictEqual(Object.keys(expected), [...step.state])

        yield* trainer.initialize(weights)
        assert.deepStrictEqual(yield* trainer.steps(batches), single)
        same(yield* trainer.state, expected)

        const other = yield* Trainer.make(step, options)
        yield* other.restore(checkpoint)
        assert.deepStrictEqual(yield* Effect.forEach(batches.slice(2), other.step), single.slice(2))
        same(yield* other.state, expected)

        const losses: Array<number> = []
        for (let i = 0; i < 40; i++) losses.push((yield* trainer.step(batches[0]!))["loss"]!)
        assert.isBelow(losses.at(-1)!, losses[0]! / 2)
      }),
    ),
  )

  it.live("accumulating a batch four times is one step on it", () =>
    run(
      Effect.gen(function* () {
        const trainer = yield* Trainer.make(step, { provider: "cpu", threads: 1, accumulate: true })
        const [batch] = batches as [(typeof batches)[number]]
        yield* trainer.initialize(weights)
        yield* trainer.step(batch)
        const expected = yield* trainer.parameters
        yield* trainer.initialize(weights)
        yield* trainer.accumulated([batch, batch, batch, batch])
        const found = yield* trainer.parameters
        for (const name of ["w1", "b1", "w2"] as const)
          assert.isAtMost(relative(found[name].data, expected[name].data), 1e-6, name)
      }),
    ),
  )

  it("in mixed precision its products stay in float32", () => {
    const casts = (graph: TensorGraph.TensorGraph) =>
      TensorGraph.nodes(graph).filter(({ op, inputs }) => op === "Gemm" && inputs[0]!.dtype === "f16").length
    const all = (graph: TensorGraph.TensorGraph) => TensorGraph.count(graph)["Gemm"]!
    const half = make("f16").single
    // Two of the forward pass, three of the backward pass: the input needs no gradient.
    assert.strictEqual(casts(half), 5)
    assert.strictEqual(all(half) - casts(half), all(step.single) - 5)
    assert.isAbove(all(half) - casts(half), 10)
  })

  const refused = (build: () => unknown): string => {
    try {
      build()
    } catch (cause) {
      assert.instanceOf(cause, GraphError.GraphInvalid)
      return cause.message
    }
    return assert.fail("nothing was thrown")
  }

  const invalid = (parameters: TrainStep.Parameters, muon?: Muon.Muon) =>
    refused(() =>
      TrainStep.make({
        name: "wrong",
        parameters,
        batch: {},
        loss: ({ w }) => ({ loss: Ops.reduceSum(w!) }),
        optimizer: { schedule: Schedule.constant(1) },
        ...(muon === undefined ? {} : { muon }),
      }),
    )

  it("refuses what is no matrix, and options that nothing uses", () => {
    assert.strictEqual(
      invalid({ w: { shape: [4], optimizer: "muon" } }),
      'graph "wrong": the parameter w is [4]: Muon takes matrices, leave it to AdamW',
    )
    assert.include(invalid({ w: { shape: [2, 2, 2], optimizer: "muon" } }), "[2,2,2]")
    assert.include(invalid({ w: { shape: [4, 4] } }, { momentum: 0.9 }), "no parameter with optimizer")
  })
})
