import { assert, describe, it } from "@effect/vitest"
import { CounterRandom } from "@reelgraph/core"
import { Ddim, Ddpm, NoiseSchedule, Sampler, TimestepEmbedding, type Prediction } from "@reelgraph/models"
import { readFileSync } from "node:fs"

/** What test/oracle/samplers/make.py wrote. */
interface Run {
  readonly sampler: Sampler.Name
  readonly steps: number
  readonly schedule:
    | (NoiseSchedule.DiscreteOptions & { readonly kind: "discrete" })
    | (NoiseSchedule.FlowOptions & { readonly kind: "flow" })
  readonly options: { readonly prediction?: Prediction.Prediction; readonly eta?: number }
  readonly timesteps: ReadonlyArray<number>
  readonly path: ReadonlyArray<ReadonlyArray<number>>
}
interface Fixture {
  readonly schedules: ReadonlyArray<
    NoiseSchedule.DiscreteOptions & {
      readonly at: ReadonlyArray<number>
      readonly alphasCumprod: ReadonlyArray<number>
    }
  >
  readonly runs: ReadonlyArray<Run>
}
const fixture = JSON.parse(
  readFileSync(new URL("../../../test/oracle/samplers/trajectories.json", import.meta.url), "utf8"),
) as Fixture

const key = CounterRandom.key(1, "item", "sample")

/** 1e-4 of the number, or of 1 for smaller ones. */
const near = (got: number, expected: number, what: string, tolerance = 1e-4) =>
  assert.isAtMost(Math.abs(got - expected), tolerance * Math.max(1, Math.abs(expected)), what)

const planOf = ({ options, sampler, schedule, steps }: Run): Sampler.Plan =>
  Sampler.plan(
    sampler,
    schedule.kind === "flow" ? NoiseSchedule.flow(schedule) : NoiseSchedule.discrete(schedule),
    steps,
    {
      key,
      ...options,
    },
  )

const model = (x: Float32Array, t: number): Float32Array =>
  x.map((value) => 0.6 * Math.sin(2 * value) + 0.3 * Math.cos(t / 150))

const noiseOf = (step: number, length: number): Float32Array =>
  Float32Array.from({ length }, (_, j) => Math.SQRT2 * Math.sin(12.9898 * (j + 1) + 78.233 * (step + 1)))

describe("diffusers' schedulers", () => {
  for (const run of fixture.runs) {
    const { kind, ...schedule } = run.schedule
    it(`${run.sampler}, ${run.steps} steps, ${kind} ${JSON.stringify(schedule)}, ${JSON.stringify(run.options)}`, () => {
      const plan = planOf(run)
      assert.strictEqual(plan.timesteps.length, run.timesteps.length)
      run.timesteps.forEach((t, i) => near(plan.timesteps[i]!, t, `timestep ${i}`, 1e-6))
      let state = Sampler.start(
        plan,
        Float32Array.from({ length: 8 }, (_, j) => 1.5 * Math.sin(j + 1)),
      )
      for (const [i, expected] of run.path.entries()) {
        const output = model(Sampler.modelInput(state), Sampler.timestep(state))
        state = Sampler.step(state, output, noiseOf(i, 8))
        expected.forEach((value, j) => near(state.sample[j]!, value, `after step ${i}, number ${j}`))
      }
      assert.isTrue(Sampler.isDone(state))
    })
  }

  it.each(fixture.schedules)("alphas of $betas betas, zero-terminal $zeroTerminalSnr", (schedule) => {
    const { alphasCumprod } = NoiseSchedule.discrete(schedule)
    schedule.at.forEach((t, i) =>
      assert.approximately(alphasCumprod[t]!, schedule.alphasCumprod[i]!, 5e-7, `timestep ${t}`),
    )
  })
})

/** arange(768) / 768 as (3, 8, 8, 4), permuted to (4, 3, 8, 8). */
const upstreamSample = (): Float32Array => {
  const out = new Float32Array(768)
  for (let last = 0; last < 4; last++)
    for (let rest = 0; rest < 192; rest++) out[last * 192 + rest] = (rest * 4 + last) / 768
  return out
}
const upstreamModel = (x: Float32Array, t: number): Float32Array => x.map((value) => (value * t) / (t + 1))

/** Sum and mean of the absolute values after a run as upstream's tests run: they keep euler's scaled samples. */
const upstream = (plan: Sampler.Plan): readonly [sum: number, mean: number] => {
  let state = Sampler.start(plan, upstreamSample())
  while (!Sampler.isDone(state)) {
    const sample = Sampler.modelInput(state)
    state = Sampler.step({ ...state, sample }, upstreamModel(sample, Sampler.timestep(state)))
  }
  const sum = state.sample.reduce((total, x) => total + Math.abs(x), 0)
  return [sum, sum / 768]
}

describe("upstream's unit tests", () => {
  const linear = NoiseSchedule.discrete()

  it("ddim", () => {
    const [sum, mean] = upstream(Ddim.plan(linear, 10, { clip: 1 }))
    assert.approximately(sum, 172.0067, 1e-2)
    assert.approximately(mean, 0.223967, 1e-3)
  })

  it("ddim, v", () => {
    const [sum, mean] = upstream(Ddim.plan(linear, 10, { clip: 1, prediction: "v" }))
    assert.approximately(sum, 52.5302, 1e-2)
    assert.approximately(mean, 0.0684, 1e-3)
  })

  it("unipc", () => {
    const [, mean] = upstream(Sampler.plan("unipc", linear, 10, { end: "first" }))
    assert.approximately(mean, 0.2464, 1e-3)
  })

  it("euler", () => {
    const [sum, mean] = upstream(Sampler.plan("euler", NoiseSchedule.discrete({ trainSteps: 1100 }), 10))
    assert.approximately(sum, 10.0807, 1e-2)
    assert.approximately(mean, 0.0131, 1e-3)
  })

  it("flow sigmas with shift 3", () => {
    const { sigmas } = Sampler.plan("unipc", NoiseSchedule.flow({ shift: 3 }), 5)
    const expected = [0.999999, 0.923166, 0.81843, 0.667222, 0.429795, 0]
    expected.forEach((sigma, i) => assert.approximately(sigmas[i]!, sigma, 1e-6))
  })

  it("timestep embedding", () => {
    const rows = TimestepEmbedding.sinusoid(
      Array.from({ length: 128 }, (_, t) => t),
      64,
    )
    const expected = [0.9646, 0.9804, 0.9892, 0.9615, 0.9787, 0.9882, 0.9582, 0.9769, 0.9872]
    const got = [23, 24, 25].flatMap((row) => [...rows.subarray(row * 64 + 47, row * 64 + 50)])
    expected.forEach((value, i) => assert.approximately(got[i]!, value, 1e-3))
  })
})

describe("a fixture that could not fail would prove nothing", () => {
  it("a step without its noise is off", () => {
    const run = fixture.runs.find(({ sampler }) => sampler === "ddpm")!
    const state = Sampler.start(
      planOf(run),
      Float32Array.from({ length: 8 }, (_, j) => 1.5 * Math.sin(j + 1)),
    ) as Parameters<typeof Ddpm.step>[0]
    const got = Ddpm.step(state, model(state.sample, Sampler.timestep(state)), new Float32Array(8)).sample
    assert.isTrue(run.path[0]!.some((value, j) => Math.abs(value - got[j]!) > 1e-2))
  })
})
