import { assert, describe, it } from "@effect/vitest"
import { CounterRandom } from "@reelgraph/core"
import { Gaussian, NoiseSchedule, Sampler, SamplingError } from "@reelgraph/models"
import * as Schema from "effect/Schema"

const key = CounterRandom.key(9, "item", "sample")
const discrete = NoiseSchedule.discrete()
const flow = NoiseSchedule.flow({ shift: 5 })
const noise = Gaussian.normals(key, 21)

const model = (x: Float32Array, t: number): Float32Array =>
  x.map((value) => 0.6 * Math.sin(2 * value) + t / 5000)

const next = (state: Sampler.State): Sampler.State =>
  Sampler.step(state, model(Sampler.modelInput(state), Sampler.timestep(state)))

const plansOf = (steps: number): ReadonlyArray<Sampler.Plan> => [
  Sampler.plan("ddpm", discrete, steps, { key }),
  Sampler.plan("ddim", discrete, steps, { eta: 0.5, key, clip: 2 }),
  Sampler.plan("ddim", flow, steps),
  Sampler.plan("euler", discrete, steps, { prediction: "v" }),
  Sampler.plan("flow-euler", flow, steps),
  Sampler.plan("dpm-solver", discrete, steps),
  Sampler.plan("unipc", flow, steps),
  Sampler.plan("unipc", discrete, steps, { end: "first" }),
]

const Json = Schema.fromJsonString(Schema.toCodecJson(Sampler.State))
const saveAndLoad = (state: Sampler.State): Sampler.State =>
  Schema.decodeUnknownSync(Json)(Schema.encodeSync(Json)(state))

describe("Sampler", () => {
  it.prop(
    "a run resumed from JSON is the uninterrupted run",
    [
      Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 12 })),
      Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 12 })),
    ],
    ([steps, stop]) => {
      for (const plan of plansOf(steps)) {
        let state = Sampler.start(plan, noise)
        for (let i = 0; i < Math.min(stop, steps); i++) state = next(state)
        const loaded = saveAndLoad(state)
        assert.deepStrictEqual(loaded, state)
        state = loaded
        while (!Sampler.isDone(state)) state = next(state)
        assert.deepStrictEqual(state.sample, Sampler.run(plan, noise, model))
      }
    },
  )

  it("steps leave their state, and the model's output, as they were", () => {
    for (const plan of plansOf(4)) {
      let state = Sampler.start(plan, noise)
      while (!Sampler.isDone(state)) {
        const before = saveAndLoad(state)
        const output = model(Sampler.modelInput(state), Sampler.timestep(state))
        const given = output.slice()
        const after = Sampler.step(state, output)
        assert.deepStrictEqual(state, before)
        assert.deepStrictEqual(output, given)
        state = after
      }
    }
  })

  it("step i draws stream i + 1 of the key: stream 0 is the first sample's", () => {
    for (const plan of [
      Sampler.plan("ddpm", discrete, 4, { key }),
      Sampler.plan("ddim", discrete, 4, { key, eta: 1 }),
    ]) {
      let state = Sampler.start(plan, noise)
      while (!Sampler.isDone(state)) {
        const output = model(state.sample, Sampler.timestep(state))
        const given = Sampler.step(state, output, Gaussian.normals(key, noise.length, state.index + 1))
        state = Sampler.step(state, output)
        assert.deepStrictEqual(state, given)
      }
    }
  })

  it("every run ends in finite numbers, whatever the number of steps", () => {
    for (const steps of [1, 2, 3, 5, 50])
      for (const plan of plansOf(steps)) {
        assert.strictEqual(plan.alphas.length, steps + 1)
        assert.isTrue(
          Sampler.run(plan, noise, model).every(Number.isFinite),
          `${plan.sampler}, ${steps} steps`,
        )
      }
  })

  it("runs from pure noise on a schedule of zero-terminal SNR", () => {
    const zero = NoiseSchedule.discrete({ betas: "scaled-linear", zeroTerminalSnr: true })
    for (const name of ["ddpm", "ddim", "euler", "dpm-solver", "unipc"] as const) {
      const plan = Sampler.plan(name, zero, 8, { key, prediction: "v", spacing: "trailing" })
      assert.isTrue(Sampler.run(plan, noise, model).every(Number.isFinite), name)
    }
    assert.strictEqual(Sampler.plan("ddim", zero, 8, { prediction: "v", spacing: "trailing" }).alphas[0], 0)
  })

  it("Wan's timesteps: 50 steps with shift 5, whole numbers", () => {
    const { timesteps } = Sampler.plan("unipc", flow, 50)
    assert.deepStrictEqual(timesteps.slice(0, 3), [999, 995, 991])
    assert.isTrue(timesteps.every(Number.isInteger))
  })

  it.each([
    [() => Sampler.plan("ddim", discrete, 0), "timesteps: steps is 0; give a whole number from 1 to 1000"],
    [() => Sampler.plan("unipc", flow, Number.NaN), "unipc: steps is NaN; give a whole number of at least 1"],
    [
      () => Sampler.plan("flow-euler", flow, Number.POSITIVE_INFINITY),
      "flow-euler: steps is Infinity; give a whole number of at least 1",
    ],
    [() => Sampler.plan("ddim", discrete, 5, { eta: 2 }), "ddim: eta is 2; give a number from 0 to 1"],
    [
      () => Sampler.plan("ddim", discrete, 5, { eta: 1 }),
      `ddim: key is undefined; give a CounterRandom.key, since eta above 0 draws noise`,
    ],
    [
      () => Sampler.plan("unipc", flow, 5, { order: 3 as 2 }),
      "unipc: order is 3; give a whole number from 1 to 2",
    ],
    [
      () => Sampler.plan("euler", flow, 5),
      `euler: schedule is "flow"; give a discrete schedule, or use flow-euler`,
    ],
    [
      () => Sampler.plan("flow-euler", discrete, 5),
      `flow-euler: schedule is "discrete"; give a flow schedule, or use euler`,
    ],
    [
      () => Sampler.plan("ddim", flow, 5, { prediction: "epsilon" }),
      `ddim: prediction is "epsilon"; give "v", "sample" or "flow", since the first sample is pure noise`,
    ],
    [
      () => Sampler.plan("ddim", discrete, 5, { prediction: "score" as "v" }),
      `ddim: prediction is "score"; give "epsilon", "sample", "v" or "flow"`,
    ],
    [
      () => Sampler.plan("flow-euler", flow, 3, { sigmas: [1, 0.5] }),
      `flow-euler: sigmas is 1,0.5; give as many as steps: 3`,
    ],
    [
      () => Sampler.plan("unipc", flow, 2, { sigmas: [0.5, 0.5] }),
      "numbers that fall, from at most 1 to above 0",
    ],
    [() => Sampler.plan("heun" as "ddim", discrete, 5), `name is "heun"; give one of ddpm, ddim, euler`],
  ])("refuses %s", (make, message) => {
    assert.throws(make, SamplingError.OptionInvalid, message)
  })

  it("ddpm without a key is refused, by the compiler too", () => {
    assert.throws(
      // @ts-expect-error: an argument is missing
      () => Sampler.plan("ddpm", discrete, 5),
      SamplingError.OptionInvalid,
      "ddpm: key is undefined; give a CounterRandom.key, since it draws noise at each step",
    )
  })

  it("refuses a step past the last, and outputs of another length", () => {
    for (const plan of plansOf(2)) {
      const start = Sampler.start(plan, noise)
      assert.throws(() => Sampler.step(start, noise.subarray(1)), SamplingError.LengthMismatch)
      const end = next(next(start))
      assert.throws(() => Sampler.step(end, noise), SamplingError.RunFinished, "run is over after 2 steps")
      assert.throws(() => Sampler.timestep(end), SamplingError.RunFinished)
    }
  })

  it("refuses a damaged state", () => {
    const state = Schema.encodeSync(Sampler.State)(Sampler.start(plansOf(2)[0]!, noise))
    assert.throws(
      () => Schema.decodeUnknownSync(Sampler.State)({ ...state, sample: "AAAAAAA=" }),
      "4 bytes each",
    )
  })
})
