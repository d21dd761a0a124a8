/**
 * Samplers against the exact answer. If data are normal with mean m and deviation c, then x_t is normal with mean
 * alpha m and variance v = alpha^2 c^2 + sigma^2, the best denoiser is
 *
 *     E[x0 | x] = m + alpha c^2 (x - alpha m) / v
 *
 * and the probability-flow ODE keeps z in x_t = alpha m + sqrt(v) z.
 */
import { assert, describe, it } from "@effect/vitest"
import { CounterRandom } from "@reelgraph/core"
import { Gaussian, NoiseSchedule, Prediction, Sampler, SamplerPlan, SamplerState } from "@reelgraph/models"

const m = 0.7
const c = 0.4
const key = CounterRandom.key(3, "item", "test")

const exact = ({ alpha, sigma }: Prediction.Level, z: Float32Array): Float32Array =>
  z.map((value) => alpha * m + Math.sqrt(alpha ** 2 * c ** 2 + sigma ** 2) * value)

/** The level at which the model sees the sample, which euler scales. */
const seenAt = ({ index, plan }: Sampler.State): Prediction.Level => {
  const level = SamplerState.levelOf(plan, index)
  return plan.sampler === "euler" ? SamplerPlan.levelOfRatio(level.sigma) : level
}

const denoise = (state: Sampler.State): Float32Array => {
  const level = seenAt(state)
  const { alpha, sigma } = level
  const x = Sampler.modelInput(state)
  const x0 = x.map((value) => m + (alpha * c ** 2 * (value - alpha * m)) / (alpha ** 2 * c ** 2 + sigma ** 2))
  return Prediction.convert("sample", state.plan.prediction, x, x0, level)
}

const run = (start: Sampler.State): Sampler.State => {
  let state = start
  while (!Sampler.isDone(state)) state = Sampler.step(state, denoise(state))
  return state
}

/** A plan on levels evenly spaced in log-SNR, which ends before clean data. */
const onLogSnr = (plan: Sampler.Plan, n: number, kind: "discrete" | "flow" | "ratio"): Sampler.Plan => {
  const levels = Array.from({ length: n + 1 }, (_, i) => {
    const ratio = Math.exp(2 - (4 * i) / n)
    if (kind === "ratio") return { alpha: 1, sigma: ratio }
    return kind === "flow"
      ? { alpha: 1 / (1 + ratio), sigma: ratio / (1 + ratio) }
      : SamplerPlan.levelOfRatio(ratio)
  })
  return {
    ...plan,
    startScale: 1,
    timesteps: levels.slice(1).map((_, i) => n - i),
    alphas: levels.map(({ alpha }) => alpha),
    sigmas: levels.map(({ sigma }) => sigma),
  }
}

const discrete = NoiseSchedule.discrete()
const flow = NoiseSchedule.flow({ shift: 3 })
const z = Float32Array.of(-1.5, -0.4, 0.9, 2)

/** The largest error at the end of n steps. */
const errorOf = (plan: Sampler.Plan, n: number, kind: "discrete" | "flow" | "ratio"): number => {
  const own = onLogSnr(plan, n, kind)
  const end = run({ plan: own, index: 0, sample: exact(SamplerState.levelOf(own, 0), z), history: [] }).sample
  const truth = exact(SamplerState.levelOf(own, n), z)
  return Math.max(...end.map((value, i) => Math.abs(value - truth[i]!)))
}

describe("order of convergence, with the exact denoiser of normal data", () => {
  it.each([
    ["ddim", Sampler.plan("ddim", discrete, 2), "discrete", 1],
    ["ddim on a flow", Sampler.plan("ddim", flow, 2), "flow", 1],
    ["euler", Sampler.plan("euler", discrete, 2), "ratio", 1],
    ["flow-euler", Sampler.plan("flow-euler", flow, 2), "flow", 1],
    ["dpm-solver of order 1", Sampler.plan("dpm-solver", discrete, 2, { order: 1 }), "discrete", 1],
    ["dpm-solver", Sampler.plan("dpm-solver", discrete, 2, { lowerOrderFinal: false }), "discrete", 2],
    ["dpm-solver on a flow", Sampler.plan("dpm-solver", flow, 2, { lowerOrderFinal: false }), "flow", 2],
    ["unipc of order 1", Sampler.plan("unipc", discrete, 2, { order: 1 }), "discrete", 2],
    ["unipc", Sampler.plan("unipc", discrete, 2, { lowerOrderFinal: false }), "discrete", 3],
    ["unipc on a flow", Sampler.plan("unipc", flow, 2, { lowerOrderFinal: false }), "flow", 3],
  ] as const)("%s", (_, plan, kind, order) => {
    // Past 64 steps, float32 samples would hide the error of order 3.
    const measured = Math.log2(errorOf(plan, 32, kind) / errorOf(plan, 64, kind))
    assert.approximately(measured, order, 0.25)
  })
})

/** A run from noise on the plan of a schedule. */
const sampled = (plan: Sampler.Plan, noise: Float32Array): Float32Array =>
  run(Sampler.start(plan, noise)).sample

const close = (a: Float32Array, b: Float32Array, tolerance: number) => {
  assert.strictEqual(a.length, b.length)
  assert.isAtMost(
    a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0),
    tolerance,
  )
}

describe("samplers that are one method in two forms", () => {
  const noise = Gaussian.normals(key, 64)

  it("euler is ddim in x / alpha", () => {
    const [ddim, euler] = [
      Sampler.plan("ddim", discrete, 20, { spacing: "trailing" }),
      Sampler.plan("euler", discrete, 20, { spacing: "trailing" }),
    ]
    let [a, b] = [Sampler.start(ddim, noise), Sampler.start(euler, noise)]
    b = { ...b, sample: a.sample.map((value) => value / ddim.alphas[0]!) }
    while (!Sampler.isDone(a)) {
      a = Sampler.step(a, denoise(a))
      b = Sampler.step(b, denoise(b))
      close(
        b.sample.map((value) => value * ddim.alphas[a.index]!),
        a.sample,
        2e-5,
      )
    }
  })

  it("flow-euler is ddim on a flow", () => {
    const sigmas = [1, 0.8, 0.5, 0.3, 0.1]
    close(
      sampled(Sampler.plan("flow-euler", flow, 5, { sigmas }), noise),
      sampled(Sampler.plan("ddim", flow, 5, { sigmas }), noise),
      1e-5,
    )
  })

  it("dpm-solver of order 1 is ddim", () => {
    const plan = Sampler.plan("dpm-solver", discrete, 12, { order: 1 })
    const ddim = { ...Sampler.plan("ddim", discrete, 12), alphas: plan.alphas, sigmas: plan.sigmas }
    close(sampled(plan, noise), sampled(ddim, noise), 1e-5)
  })
})

describe("every prediction of one exact model gives the same samples", () => {
  const noise = Gaussian.normals(key, 32)
  const predictions = ["epsilon", "sample", "v", "flow"] as const
  for (const [of, schedule] of [
    ["a discrete schedule", discrete],
    ["a flow", flow],
  ] as const)
    for (const name of ["ddpm", "ddim", "euler", "flow-euler", "dpm-solver", "unipc"] as const) {
      if (name === (schedule.kind === "flow" ? "euler" : "flow-euler")) continue
      it(`${name} on ${of}`, () => {
        // A flow's first level has no data, where epsilon says nothing.
        const sigmas = schedule.kind === "flow" ? { sigmas: [0.97, 0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05] } : {}
        const [first, ...others] = predictions.map((prediction) =>
          sampled(Sampler.plan(name, schedule, 8, { key, prediction, ...sigmas }), noise),
        )
        for (const other of others) close(other, first!, 1e-4)
      })
    }
})

describe("samples have the mean and deviation of the data", () => {
  const n = 20_000
  const noise = Gaussian.normals(key, n)
  it.each([
    ["ddpm", Sampler.plan("ddpm", discrete, 200, { key })],
    ["ddpm on a flow", Sampler.plan("ddpm", NoiseSchedule.flow(), 200, { key })],
    ["ddim with eta 1", Sampler.plan("ddim", discrete, 200, { key, eta: 1 })],
    ["ddim with eta 0.5", Sampler.plan("ddim", discrete, 200, { key, eta: 0.5 })],
    ["ddim", Sampler.plan("ddim", discrete, 200)],
    ["euler", Sampler.plan("euler", discrete, 200)],
    ["flow-euler", Sampler.plan("flow-euler", flow, 200)],
    ["dpm-solver", Sampler.plan("dpm-solver", discrete, 30)],
    ["unipc", Sampler.plan("unipc", flow, 30)],
  ] as const)("%s", (_, plan) => {
    const samples = sampled(plan, noise)
    const mean = samples.reduce((sum, x) => sum + x, 0) / n
    const deviation = Math.sqrt(samples.reduce((sum, x) => sum + (x - mean) ** 2, 0) / n)
    // Five standard errors of the mean are 0.014; the rest is the discretisation's.
    assert.approximately(mean, m, 0.02)
    assert.approximately(deviation, c, 0.02)
  })

  it("ddpm draws from its key alone", () => {
    const plan = Sampler.plan("ddpm", discrete, 50, { key })
    const other = Sampler.plan("ddpm", discrete, 50, { key: CounterRandom.key(4, "item", "test") })
    const few = noise.slice(0, 8)
    assert.notDeepEqual(sampled(plan, few), sampled(other, few))
    assert.deepStrictEqual(sampled(plan, few), sampled(plan, few))
  })
})
