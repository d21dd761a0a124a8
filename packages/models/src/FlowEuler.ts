/**
 * Euler's method on the flow-matching ODE dx/ds = u, s from 1 (noise) to 0 (data), as in Stable Diffusion 3, FLUX and
 * LTX-Video:
 *
 *     x <- x + (s_next - s) u,     u = n - x0
 *
 * sigmas are n numbers from 1 to the smallest shifted one, shifted (again, at that end), then 0.
 */
import * as Schema from "effect/Schema"

import * as Option from "./internal/option.ts"
import { shiftSigma, type NoiseSchedule } from "./NoiseSchedule.ts"
import * as Prediction from "./Prediction.ts"
import * as SamplerPlan from "./SamplerPlan.ts"
import * as SamplerState from "./SamplerState.ts"

export const Plan = Schema.Struct({ ...SamplerPlan.fields, sampler: Schema.tag("flow-euler") })
export type Plan = typeof Plan.Type

export type Options = Pick<SamplerPlan.Options, "prediction" | "sigmas">

/** @throws OptionInvalid */
export const plan = (schedule: NoiseSchedule, steps: number, options: Options = {}): Plan => {
  if (schedule.kind !== "flow")
    throw Option.invalid("flow-euler", "schedule", schedule.kind, "a flow schedule, or use euler")
  const end = shiftSigma(1 / schedule.trainSteps, schedule.shift)
  const line = () =>
    Array.from({ length: steps }, (_, i) => 1 - (i === 0 ? 0 : ((1 - end) * i) / (steps - 1)))
  const grid = SamplerPlan.flowGrid("flow-euler", schedule, steps, options, line)
  return {
    ...grid,
    sampler: "flow-euler",
    prediction: SamplerPlan.prediction("flow-euler", schedule, options, grid),
    startScale: 1,
  }
}

/**
 * One step.
 *
 * @throws RunFinished LengthMismatch
 */
export const step = (state: SamplerState.State<Plan>, output: Float32Array): SamplerState.State<Plan> => {
  SamplerState.checkStep(state, output)
  const { plan, sample } = state
  const [from, to] = SamplerState.levels(state)
  const velocity = Prediction.convert(plan.prediction, "flow", sample, output, from)
  return SamplerState.advance(state, Prediction.combine(1, sample, to.sigma - from.sigma, velocity))
}
