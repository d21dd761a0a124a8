import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"

import * as Neural from "../src/Neural.ts"
import * as Ops from "../src/Ops.ts"
import * as Reference from "../src/Reference.ts"
import * as Schedule from "../src/Schedule.ts"
import * as Session from "../src/Session.ts"
import * as Tensor from "../src/Tensor.ts"
import * as TensorGraph from "../src/TensorGraph.ts"
import * as Trainer from "../src/Trainer.ts"
import * as TrainStep from "../src/TrainStep.ts"
import { assertClose, random, randomFrom } from "./check.ts"

const optimizer = {
  schedule: Schedule.warmup(3, Schedule.cosine({ peak: 0.05, steps: 20 })),
  beta2: 0.99,
  weightDecay: 0.1,
  clip: 0.5,
}

const make = (options: Partial<Pick<TrainStep.Options<never, never>, "precision" | "lossScale">> = {}) =>
  TrainStep.make({
    name: "regression",
    parameters: {
      w1: { shape: [8, 4] },
      b1: { shape: [8], decays: false },
      w2: { shape: [2, 8] },
    },
    batch: { x: TensorGraph.spec("f32", [6, 4]), y: TensorGraph.spec("f32", [6, 2]) },
    loss: ({ b1, w1, w2 }, { x, y }) => {
      const hidden = Neural.layerNorm(Ops.silu(Ops.linear(x, w1, b1)))
      const loss = Ops.meanSquaredError(Ops.linear(hidden, w2), y)
      return { loss, metrics: { twice: Ops.mul(loss, 2) } }
    },
    optimizer,
    ema: 0.9,
    ...options,
  })

const step = make()

const tensor = (shape: ReadonlyArray<number>, next: () => number) =>
  Tensor.f32(shape, random(shape, next).data)

const weights = () => {
  const next = randomFrom(1)
  return { w1: tensor([8, 4], next), b1: tensor([8], next), w2: tensor([2, 8], next) }
}

const batches = (count: number, seed = 2) => {
  const next = randomFrom(seed)
  return Array.from({ length: count }, () => ({ x: tensor([6, 4], next), y: tensor([6, 2], next) }))
}

const trainer = (options: Partial<Trainer.Options> = {}) =>
  Trainer.make(step, { provider: "cpu", threads: 1, ...options })

const run = <A, E>(effect: Effect.Effect<A, E, Session.Sessions | import("effect").Scope.Scope>) =>
  effect.pipe(Effect.scoped, Effect.provide(Session.layer()))

/** AdamW as its paper has it, with plain numbers, on the gradients of the reference evaluator. */
const plainTraining = (count: number) => {
  const { beta2, clip, schedule, weightDecay } = optimizer
  const parameters: Record<string, Array<number>> = Object.fromEntries(
    Object.entries(weights()).map(([name, { data }]) => [name, [...data]]),
  )
  const shapes = Object.fromEntries(Object.entries(weights()).map(([name, { shape }]) => [name, shape]))
  const zeros = () =>
    Object.fromEntries(
      Object.entries(parameters).map(([name, { length }]) => [name, Array.from({ length }, () => 0)]),
    )
  const [m, v] = [zeros(), zeros()]
  const average = structuredClone(parameters)
  const gradientGraph = step.accumulate
  const losses: Array<number> = []
  batches(count).forEach(({ x, y }, t) => {
    const feeds: Record<string, Reference.Elements> = {
      "batch/x": Reference.elements(x.shape, x.data),
      "batch/y": Reference.elements(y.shape, y.data),
    }
    for (const [name, values] of Object.entries(parameters)) {
      feeds[`param/${name}`] = Reference.elements(shapes[name]!, values)
      feeds[`grad/${name}`] = Reference.elements(
        shapes[name]!,
        values.map(() => 0),
      )
    }
    const outputs = Reference.evaluate(gradientGraph, feeds)
    losses.push(outputs["loss"]!.data[0]!)
    const gradients = Object.fromEntries(
      Object.keys(parameters).map((name) => [name, outputs[`next/grad/${name}`]!.data]),
    )
    const norm = Math.sqrt(
      Object.values(gradients).reduce((sum, g) => sum + g.reduce((s, x) => s + x * x, 0), 0),
    )
    const factor = Math.min(1, clip / (norm + 1e-6))
    const rate = schedule.at(t)
    const keep = Math.min(0.9, (1 + t) / (10 + t))
    for (const [name, values] of Object.entries(parameters))
      values.forEach((p, i) => {
        const g = gradients[name]![i]! * factor
        m[name]![i] = 0.9 * m[name]![i]! + 0.1 * g
        v[name]![i] = beta2 * v[name]![i]! + (1 - beta2) * g * g
        const mean = m[name]![i] / (1 - 0.9 ** (t + 1))
        const deviation = Math.sqrt(v[name]![i] / (1 - beta2 ** (t + 1)))
        const decayed = name === "b1" ? p : p * (1 - rate * weightDecay)
        values[i] = decayed - (rate * mean) / (deviation + 1e-8)
        average[name]![i]! += (1 - keep) * (values[i] - average[name]![i]!)
      })
  })
  return { losses, parameters, average, m, v }
}

describe("Trainer", () => {
  it.live("trains as plain AdamW does, and the state is what it says", () =>
    run(
      Effect.gen(function* () {
        const plain = plainTraining(8)
        const each = yield* trainer()
        yield* each.initialize(weights())
        const reports = yield* Effect.forEach(batches(8), each.step)
        reports.forEach((report, i) => assert.closeTo(report["loss"]!, plain.losses[i]!, 2e-5))
        reports.forEach((report, i) => assert.closeTo(report["rate"]!, optimizer.schedule.at(i), 1e-8))
        reports.forEach(({ loss, twice }) => assert.closeTo(twice!, 2 * loss!, 1e-6))
        const state = yield* each.state
        for (const [name, expected] of Object.entries(plain.parameters)) {
          const shape = [expected.length]
          const flat = (key: string, factor = 1) =>
            Reference.elements(
              shape,
              Array.from(state[key]!.data as Float32Array, (x) => x * factor),
            )
          assertClose(`param/${name}`, flat(`param/${name}`), Reference.elements(shape, expected), 2e-5)
          assertClose(
            `ema/${name}`,
            flat(`ema/${name}`),
            Reference.elements(shape, plain.average[name]!),
            2e-5,
          )
          assertClose(`m/${name}`, flat(`m/${name}`, 0.1), Reference.elements(shape, plain.m[name]!), 1e-5)
          assertClose(`v/${name}`, flat(`v/${name}`, 0.01), Reference.elements(shape, plain.v[name]!), 1e-5)
        }
        assert.strictEqual(yield* each.count, 8)
      }),
    ),
  )

  it.live("four steps in one Scan are four single steps, bit by bit", () =>
    run(
      Effect.gen(function* () {
        const each = yield* trainer({ stepsPerRun: 4 })
        yield* each.initialize(weights())
        const single = yield* Effect.forEach(batches(8), each.step)
        const after = yield* each.state
        yield* each.initialize(weights())
        const all = batches(8)
        const scanned = [...(yield* each.steps(all.slice(0, 4))), ...(yield* each.steps(all.slice(4)))]
        assert.deepStrictEqual(scanned, single)
        const again = yield* each.state
        for (const [name, tensor] of Object.entries(after))
          assert.isTrue(Tensor.identical(tensor, again[name]!), name)
      }),
    ),
  )

  it.live("resumed from a checkpoint, losses and state are those of the uninterrupted run, bit by bit", () =>
    run(
      Effect.gen(function* () {
        const whole = yield* trainer()
        yield* whole.initialize(weights())
        const reports = yield* Effect.forEach(batches(6), whole.step)
        const end = yield* whole.state
        const first = yield* trainer()
        yield* first.initialize(weights())
        const before = yield* Effect.forEach(batches(6).slice(0, 3), first.step)
        const checkpoint = yield* first.state
        const second = yield* trainer()
        yield* second.restore(checkpoint)
        const after = yield* Effect.forEach(batches(6).slice(3), second.step)
        assert.deepStrictEqual([...before, ...after], reports)
        const found = yield* second.state
        for (const [name, value] of Object.entries(end))
          assert.isTrue(Tensor.identical(value, found[name]!), name)
      }),
    ),
  )

  it.live("accumulating four batches is one step on a batch four times as large", () =>
    run(
      Effect.gen(function* () {
        const each = yield* trainer({ accumulate: true })
        const [one] = batches(1) as [ReturnType<typeof batches>[number]]
        yield* each.initialize(weights())
        const plain = yield* each.step(one)
        const expected = yield* each.parameters
        yield* each.initialize(weights())
        const report = yield* each.accumulated([one, one, one, one])
        assert.closeTo(report["loss"]!, plain["loss"]!, 1e-6)
        assert.closeTo(report["norm"]!, plain["norm"]!, 1e-5)
        const found = yield* each.parameters
        for (const name of ["w1", "b1", "w2"] as const)
          found[name].data.forEach((x, i) => assert.closeTo(x, expected[name].data[i]!, 1e-5))
      }),
    ),
  )

  it.live("a step that is not finite fails and leaves the last good state", () =>
    run(
      Effect.gen(function* () {
        const each = yield* trainer({ stepsPerRun: 4 })
        yield* each.initialize(weights())
        yield* each.step(batches(1)[0]!)
        const good = yield* each.state
        const bad = { ...batches(1)[0]!, x: Tensor.f32([6, 4], new Float32Array(24).fill(Number.NaN)) }
        const failure = yield* Effect.flip(each.step(bad))
        assert.instanceOf(failure, Trainer.NotFinite)
        assert.strictEqual(failure.step, 1)
        const scanned = yield* Effect.flip(each.steps([...batches(2), bad, bad]))
        assert.strictEqual((scanned as Trainer.NotFinite).step, 3)
        const kept = yield* each.state
        for (const [name, value] of Object.entries(good))
          assert.isTrue(Tensor.identical(value, kept[name]!), name)
        const next = yield* each.step(batches(1)[0]!)
        assert.isTrue(Number.isFinite(next["loss"]))
      }),
    ),
  )

  it.live("what was read is not changed by later steps", () =>
    run(
      Effect.gen(function* () {
        const each = yield* trainer()
        yield* each.initialize(weights())
        const before = yield* each.parameters
        const copy = before.w1.data.slice()
        yield* Effect.forEach(batches(3), each.step)
        assert.deepStrictEqual(before.w1.data, copy)
        assert.notDeepEqual((yield* each.parameters).w1.data, copy)
      }),
    ),
  )

  it.live("evaluates without training", () =>
    run(
      Effect.gen(function* () {
        const each = yield* trainer({ evaluate: true })
        yield* each.initialize(weights())
        const [batch] = batches(1)
        const { loss } = yield* each.evaluate(batch!)
        assert.strictEqual((yield* each.step(batch!))["loss"], loss)
        assert.instanceOf(yield* Effect.flip(each.steps(batches(4))), Trainer.GraphMissing)
      }),
    ),
  )

  it.live("an interrupted step leaves a state that goes on", () =>
    run(
      Effect.gen(function* () {
        const each = yield* trainer()
        yield* each.initialize(weights())
        const fiber = yield* Effect.forkChild(each.step(batches(1)[0]!))
        yield* Effect.yieldNow
        yield* Fiber.interrupt(fiber)
        const made = yield* each.count
        assert.include([0, 1], made)
        yield* each.step(batches(1)[0]!)
        assert.strictEqual(yield* each.count, made + 1)
      }),
    ),
  )

  it.live("a batch or a state of another shape is refused by name", () =>
    run(
      Effect.gen(function* () {
        const each = yield* trainer()
        yield* each.initialize(weights())
        const wrong = yield* Effect.flip(each.step({ ...batches(1)[0]!, x: Tensor.zeros("f32", [5, 4]) }))
        assert.strictEqual(wrong.message, "input x of regression is [5,4], the model takes [6,4]")
        const state = yield* each.state
        const { "m/w1": _, ...rest } = state
        assert.include((yield* Effect.flip(each.restore(rest))).message, "m/w1")
      }),
    ),
  )

  it.live("an f16 graph with a loss scale runs on the CPU, and its losses are those of float32", () =>
    run(
      Effect.gen(function* () {
        const half = yield* Trainer.make(make({ precision: "f16", lossScale: 256 }), {
          provider: "cpu",
          threads: 1,
        })
        const full = yield* trainer()
        yield* half.initialize(weights())
        yield* full.initialize(weights())
        const [found, expected] = [
          yield* Effect.forEach(batches(6), half.step),
          yield* Effect.forEach(batches(6), full.step),
        ]
        found.forEach(({ loss, norm }, i) => {
          assert.closeTo(loss!, expected[i]!["loss"]!, 5e-3)
          assert.closeTo(norm!, expected[i]!["norm"]!, 3e-2)
        })
      }),
    ),
  )
})

describe("vectors", () => {
  const lengths = { a: 3, b: 5, c: 4, d: 1 }
  const names = Object.keys(lengths) as ReadonlyArray<keyof typeof lengths>
  const of = (leading: ReadonlyArray<number>, ema?: number) =>
    TrainStep.make({
      name: "vectors",
      parameters: Object.fromEntries(
        names.map((name) => [
          name,
          { shape: [...leading, lengths[name]], decays: name === "b" || name === "d" },
        ]),
      ),
      batch: { x: TensorGraph.spec("f32", [1]) },
      loss: (parameters, { x }) => ({
        loss: Ops.sum(
          names.map((name, i) => Ops.reduceMean(Ops.square(Ops.sub(parameters[name]!, Ops.mul(x, i + 1))))),
        ),
      }),
      optimizer,
      ...(ema === undefined ? {} : { ema }),
    })
  const weights = (leading: ReadonlyArray<number>) => {
    const next = randomFrom(3)
    return Object.fromEntries(names.map((name) => [name, tensor([...leading, lengths[name]], next)]))
  }
  const trained = (leading: ReadonlyArray<number>, ema?: number) =>
    Effect.gen(function* () {
      const trainer = yield* Trainer.make(of(leading, ema), { provider: "cpu", threads: 1 })
      yield* trainer.initialize(weights(leading))
      const reports = []
      for (const x of [0.5, -1, 2]) reports.push(yield* trainer.step({ x: Tensor.f32([1], [x]) }))
      const state = yield* trainer.state
      return {
        reports,
        data: Object.fromEntries(Object.entries(state).map(([name, { data }]) => [name, data])),
      }
    })

  it.live("are updated together, with the bits that they have alone", () =>
    run(
      Effect.gen(function* () {
        for (const ema of [0.9, undefined])
          assert.deepStrictEqual(yield* trained([], ema), yield* trained([1], ema))
      }),
    ),
  )

  it("take one update for those that decay and one for the others", () => {
    const count = (leading: ReadonlyArray<number>) => TensorGraph.count(of(leading, 0.9).single)["Sqrt"]!
    assert.strictEqual(count([1]) - count([]), 2)
  })
})
