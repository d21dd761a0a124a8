import fs from "node:fs"

import { assert, describe, it } from "@effect/vitest"

import * as Ops from "../src/Ops.ts"
import * as Reference from "../src/Reference.ts"
import * as Schedule from "../src/Schedule.ts"
import * as TensorGraph from "../src/TensorGraph.ts"
import * as TrainStep from "../src/TrainStep.ts"
import { assertClose, runOrt } from "./check.ts"

type Numbers = Readonly<Record<string, ReadonlyArray<number> | ReadonlyArray<ReadonlyArray<number>>>>

/** Ten steps by Python: see test/oracle/onnx/make.py. */
const oracle = JSON.parse(
  fs.readFileSync(new URL("../../../test/oracle/onnx/adamw.json", import.meta.url), "utf8"),
) as {
  readonly options: {
    readonly beta1: number
    readonly beta2: number
    readonly epsilon: number
    readonly weightDecay: number
    readonly clip: number
    readonly ema: number
  }
  readonly start: Numbers
  readonly steps: ReadonlyArray<{
    readonly gradients: Numbers
    readonly norm: number
    readonly parameters: Numbers
    readonly averages: Numbers
  }>
}

const shapes: Record<string, ReadonlyArray<number>> = { w: [3, 2], b: [3] }

const elements = (numbers: Numbers, name: string) => Reference.elements(shapes[name]!, numbers[name]!.flat())

/** A loss whose gradient is the batch: sum(p g). */
const step = TrainStep.make({
  name: "oracle",
  parameters: { w: { shape: [3, 2] }, b: { shape: [3], decays: false } },
  batch: { w: TensorGraph.spec("f32", [3, 2]), b: TensorGraph.spec("f32", [3]) },
  loss: (parameters, batch) => ({
    loss: Ops.add(
      Ops.reduceSum(Ops.mul(parameters.w, batch.w)),
      Ops.reduceSum(Ops.mul(parameters.b, batch.b)),
    ),
  }),
  optimizer: { ...oracle.options, schedule: Schedule.warmup(10, Schedule.constant(0.05)) },
  ema: oracle.options.ema,
})

const start = (): Record<string, Reference.Elements> => ({
  ...Object.fromEntries(
    ["w", "b"].flatMap((name) => {
      const zeros = Reference.elements(
        shapes[name]!,
        elements(oracle.start, name).data.map(() => 0),
      )
      const value = elements(oracle.start, name)
      return [
        [`param/${name}`, value],
        [`ema/${name}`, value],
        [`m/${name}`, zeros],
        [`v/${name}`, zeros],
      ]
    }),
  ),
  step: Reference.elements([], [0]),
})

describe("AdamW, clipping and averages against Python", () => {
  const follow = async (
    run: (feeds: Reference.Feeds) => Reference.Feeds | Promise<Reference.Feeds>,
    tolerance: number,
  ) => {
    let state: Reference.Feeds = start()
    for (const [t, expected] of oracle.steps.entries()) {
      const outputs = await run({
        ...state,
        "batch/w": elements(expected.gradients, "w"),
        "batch/b": elements(expected.gradients, "b"),
      })
      state = Object.fromEntries(step.state.map((name) => [name, outputs[`next/${name}`]!]))
      assert.closeTo(outputs["norm"]!.data[0]!, expected.norm, tolerance * 10)
      for (const name of ["w", "b"]) {
        assertClose(
          `${name} after ${t}`,
          state[`param/${name}`]!,
          elements(expected.parameters, name),
          tolerance,
        )
        assertClose(`average of ${name}`, state[`ema/${name}`]!, elements(expected.averages, name), tolerance)
      }
    }
    assert.strictEqual(state["step"]!.data[0], 10)
  }

  // The constants of the graph (betas, decay) are float32: 1e-7 of each step.
  it("the reference evaluator, in doubles", () =>
    follow((feeds) => Reference.evaluate(step.single, feeds), 1e-6))
  it("onnxruntime, in float32", () => follow((feeds) => runOrt(step.single, feeds), 5e-6))
})

describe("Schedule: inside a graph as outside", () => {
  const decay = { peak: 3e-3, steps: 40, floor: 1e-4 }
  const schedules: Readonly<Record<string, Schedule.Schedule>> = {
    constant: Schedule.constant(0.1),
    cosine: Schedule.cosine(decay),
    linearDecay: Schedule.linearDecay(decay),
    "warm-up, then cosine": Schedule.warmup(10, Schedule.cosine(decay)),
    "constant, then linear decay": Schedule.chain(Schedule.constant(3e-3), 20, Schedule.linearDecay(decay)),
  }
  for (const [name, schedule] of Object.entries(schedules))
    it(name, async () => {
      const steps = [0, 1, 5, 9, 10, 11, 19, 20, 21, 30, 49, 50, 51, 60, 1000]
      const graph = TensorGraph.make(
        "schedule",
        Object.fromEntries(steps.map((at) => [`s${at}`, TensorGraph.spec("f64", [])])),
        (inputs) =>
          Object.fromEntries(
            steps.map((at) => [`y${at}`, Ops.mul(schedule.toGraph(inputs[`s${at}`]!), 1)]),
          ) as Record<string, ReturnType<typeof schedule.toGraph>>,
      )
      const outputs = await runOrt(
        graph,
        Object.fromEntries(steps.map((at) => [`s${at}`, Reference.elements([], [at])])),
      )
      for (const at of steps) assert.closeTo(outputs[`y${at}`]!.data[0]!, schedule.at(at), 1e-15)
    })

  it("cosine: half of the way down in the middle, at the floor after the end", () => {
    const { at } = Schedule.cosine({ peak: 1, steps: 100 })
    assert.strictEqual(at(0), 1)
    assert.closeTo(at(50), 0.5, 1e-12)
    assert.strictEqual(at(100), 0)
    assert.strictEqual(at(500), 0)
  })

  it("warm-up: the first step has a share of the rate, the last one all of it", () => {
    const { at } = Schedule.warmup(4, Schedule.constant(8))
    assert.deepStrictEqual([0, 1, 2, 3, 4].map(at), [2, 4, 6, 8, 8])
  })
})
