/**
 * UniPC (Zhao et al. 2023, 2302.04867), data prediction, B(h) = e^-h - 1 ("bh2"), of order 1 or 2: what Wan samples with.
 * A predictor goes to the next level; when the model has spoken there, a corrector goes the same way again with what it
 * said, at no further call. With h the step in lambda = ln(alpha / sigma), m the predicted clean samples, B = e^-h - 1:
 *
 *     base = sigma_next / sigma x - alpha_next B m_0
 *     UniP: x_next = base - alpha_next B (1/2) D,                      D = (m_-1 - m_0) / r,  r = (lambda_-1 - lambda_0) / h
 *     UniC: x_next = base - alpha_next B (rho_0 D + rho_1 (m_1 - m_0))
 *
 * Order 1 has no D and rho_1 = 1/2. At order 2, rho solves [[1, 1], [r, 1]] rho = b, from phi_1 = (B / -h) - 1,
 * b_1 = phi_1 / B, b_2 = 2 (phi_1 / -h - 1/2) / B. The corrector is one order better than the predictor.
 * The first step is of order 1, and with `lowerOrderFinal` so is the last; at sigma = 0 it always is.
 *
 * History, newest last: the (corrected) sample that the last step left from, then the predicted clean samples.
 */
import * as Schema from "effect/Schema"

import { lambda } from "./DpmSolver.ts"
import * as Option from "./internal/option.ts"
import type { NoiseSchedule } from "./NoiseSchedule.ts"
import * as Prediction from "./Prediction.ts"
import * as SamplerPlan from "./SamplerPlan.ts"
import * as SamplerState from "./SamplerState.ts"

export const Plan = Schema.Struct({
  ...SamplerPlan.fields,
  sampler: Schema.tag("unipc"),
  order: Schema.Literals([1, 2]),
  lowerOrderFinal: Schema.Boolean,
})
export type Plan = typeof Plan.Type

export interface Options extends SamplerPlan.Options, SamplerPlan.End {
  /** @default 2 */
  readonly order?: 1 | 2
  /**
   * Whether the last step is of order 1 even where the grid ends above sigma 0.
   *
   * @default true
   */
  readonly lowerOrderFinal?: boolean
}

/** @throws OptionInvalid */
export const plan = (schedule: NoiseSchedule, steps: number, options: Options = {}): Plan => {
  const { lowerOrderFinal = true, order = 2 } = options
  Option.whole("unipc", "order", order, 1, 2)
  const grid = SamplerPlan.logSnrGrid("unipc", schedule, steps, options, 1)
  return {
    ...grid,
    sampler: "unipc",
    prediction: SamplerPlan.prediction("unipc", schedule, options, grid),
    startScale: 1,
    order,
    lowerOrderFinal,
  }
}

/** The order of the step that leaves place `index` of the grid. */
const orderAt = (plan: Plan, index: number): 1 | 2 => {
  const last = index === plan.timesteps.length - 1 && (plan.lowerOrderFinal || plan.sigmas[index + 1] === 0)
  return plan.order === 2 && index > 0 && !last ? 2 : 1
}

/** What both halves share, for the step that leaves place `index`. */
const coefficients = (plan: Plan, index: number) => {
  const from = SamplerState.levelOf(plan, index)
  const to = SamplerState.levelOf(plan, index + 1)
  const h = lambda(to) - lambda(from)
  const B = Math.expm1(-h)
  const order = orderAt(plan, index)
  const r = order === 2 ? (lambda(SamplerState.levelOf(plan, index - 1)) - lambda(from)) / h : 1
  return { B, h, order, r, scale: to.sigma / from.sigma, toClean: -to.alpha * B }
}

/** UniP: from the sample at `index` to the one after it. */
const predict = (
  plan: Plan,
  index: number,
  sample: Float32Array,
  m0: Float32Array,
  before: Float32Array | undefined,
): Float32Array => {
  const { order, r, scale, toClean } = coefficients(plan, index)
  const half = order === 2 ? 0.5 / r : 0
  const direction = half === 0 || before === undefined ? m0 : Prediction.combine(1 - half, m0, half, before)
  return Prediction.combine(scale, sample, toClean, direction)
}

/** UniC: the same way as the predictor's, now that the model has said `m1` at its end. */
const correct = (
  plan: Plan,
  index: number,
  left: Float32Array,
  m1: Float32Array,
  m0: Float32Array,
  before: Float32Array | undefined,
): Float32Array => {
  const { B, h, order, r, scale, toClean } = coefficients(plan, index)
  const phi = -B / h - 1
  const b1 = phi / B
  const b2 = (2 * (-phi / h - 0.5)) / B
  const rho0 = order === 2 ? (b1 - b2) / (1 - r) : 0
  const rho1 = order === 2 ? b1 - rho0 : 0.5
  const out = new Float32Array(left.length)
  for (let i = 0; i < out.length; i++) {
    const here = m0[i]!
    const slope = order === 2 ? (before![i]! - here) / r : 0
    out[i] = scale * left[i]! + toClean * (here + rho0 * slope + rho1 * (m1[i]! - here))
  }
  return out
}

/**
 * One step: corrects the sample with what the model said of it, then predicts the next.
 *
 * @throws RunFinished LengthMismatch
 */
export const step = (state: SamplerState.State<Plan>, output: Float32Array): SamplerState.State<Plan> => {
  SamplerState.checkStep(state, output)
  const { history, index, plan } = state
  const x0 = Prediction.toSample(plan.prediction, state.sample, output, SamplerState.levelOf(plan, index))
  const [left, ...clean] = history
  const m0 = clean.at(-1)
  const sample =
    left === undefined || m0 === undefined
      ? state.sample
      : correct(plan, index - 1, left, x0, m0, clean.at(-2))
  const kept = m0 === undefined || plan.order === 1 ? [x0] : [m0, x0]
  return SamplerState.advance(state, predict(plan, index, sample, x0, m0), [sample, ...kept])
}
