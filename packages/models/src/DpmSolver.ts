/**
 * DPM-Solver++ 2M (Lu et al. 2022, 2211.01095, algorithm 2, midpoint form). With lambda = ln(alpha / sigma) and
 * h = lambda_next - lambda, the probability-flow ODE for the data prediction is solved exactly but for x0's change:
 *
 *     x <- sigma_next / sigma x - alpha_next (e^-h - 1) D
 *     D = x0                                   (order 1: DDIM)
 *     D = x0 + (x0 - x0_before) / (2 r),  r = h_before / h    (order 2)
 *
 * The first step is of order 1. So is the last one: at sigma = 0, h is infinite and D must be x0 itself.
 * History: the predicted clean sample of the step before.
 */
import * as Schema from "effect/Schema"

import * as Option from "./internal/option.ts"
import type { NoiseSchedule } from "./NoiseSchedule.ts"
import * as Prediction from "./Prediction.ts"
import * as SamplerPlan from "./SamplerPlan.ts"
import * as SamplerState from "./SamplerState.ts"

export const Plan = Schema.Struct({
  ...SamplerPlan.fields,
  sampler: Schema.tag("dpm-solver"),
  order: Schema.Literals([1, 2]),
  lowerOrderFinal: Schema.Boolean,
})
export type Plan = typeof Plan.Type

export interface Options extends SamplerPlan.Options, SamplerPlan.End {
  /** @default 2 */
  readonly order?: 1 | 2
  /**
   * Whether the last step is of order 1 even where the grid ends above sigma 0, if there are fewer than 15 steps.
   *
   * @default true
   */
  readonly lowerOrderFinal?: boolean
}

/** @throws OptionInvalid */
export const plan = (schedule: NoiseSchedule, steps: number, options: Options = {}): Plan => {
  const { lowerOrderFinal = true, order = 2 } = options
  Option.whole("dpm-solver", "order", order, 1, 2)
  const grid = SamplerPlan.logSnrGrid("dpm-solver", schedule, steps, options, 1 - 1 / schedule.trainSteps)
  return {
    ...grid,
    sampler: "dpm-solver",
    prediction: SamplerPlan.prediction("dpm-solver", schedule, options, grid),
    startScale: 1,
    order,
    lowerOrderFinal,
  }
}

/** Half the log-SNR, ln(alpha / sigma): Infinity for clean data. */
export const lambda = ({ alpha, sigma }: Prediction.Level): number => Math.log(alpha) - Math.log(sigma)

/**
 * One step.
 *
 * @throws RunFinished LengthMismatch
 */
export const step = (state: SamplerState.State<Plan>, output: Float32Array): SamplerState.State<Plan> => {
  SamplerState.checkStep(state, output)
  const { history, index, plan, sample } = state
  const [from, to] = SamplerState.levels(state)
  const x0 = Prediction.toSample(plan.prediction, sample, output, from)
  const h = lambda(to) - lambda(from)
  const toX0 = -to.alpha * Math.expm1(-h)
  const steps = plan.timesteps.length
  const last = index === steps - 1 && (to.sigma === 0 || (plan.lowerOrderFinal && steps < 15))
  const [before] = history
  let direction = x0
  if (plan.order === 2 && before !== undefined && !last) {
    const half = h / (lambda(from) - lambda(SamplerState.levelOf(plan, index - 1))) / 2
    direction = Prediction.combine(1 + half, x0, -half, before)
  }
  return SamplerState.advance(state, Prediction.combine(to.sigma / from.sigma, sample, toX0, direction), [x0])
}
