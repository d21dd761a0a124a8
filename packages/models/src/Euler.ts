/**
 * Euler's method on the probability-flow ODE in the form of Karras et al. 2022 (2206.00364, algorithm 2 without churn),
 * as in k-diffusion. The sample is x / alpha, so that only noise is scaled: x = x0 + k n with k = sigma / alpha, and
 *
 *     dx/dk = (x - x0) / k,     x <- x + (k_next - k) dx/dk
 *
 * The model was trained on variance-preserving samples, so it is given x / sqrt(k^2 + 1). Timesteps may fall between
 * training timesteps: k is then interpolated, and the model is told the fraction.
 * On a schedule that ends at zero SNR, k would be infinite there: alpha^2 is taken as 2^-24.
 */
import * as Schema from "effect/Schema"

import * as Option from "./internal/option.ts"
import type { NoiseSchedule } from "./NoiseSchedule.ts"
import * as Prediction from "./Prediction.ts"
import * as SamplerPlan from "./SamplerPlan.ts"
import * as SamplerState from "./SamplerState.ts"
import * as Timesteps from "./Timesteps.ts"

/** alphas are 1 and sigmas are k. */
export const Plan = Schema.Struct({ ...SamplerPlan.fields, sampler: Schema.tag("euler") })
export type Plan = typeof Plan.Type

export interface Options extends SamplerPlan.Options, SamplerPlan.End {}

/** @throws OptionInvalid */
export const plan = (schedule: NoiseSchedule, steps: number, options: Options = {}): Plan => {
  if (schedule.kind !== "discrete")
    throw Option.invalid("euler", "schedule", schedule.kind, "a discrete schedule, or use flow-euler")
  const { offset = 0, spacing = "linspace" } = options
  const timesteps = Timesteps.spaced(schedule.trainSteps, steps, { spacing, offset, rounded: false })
  const ratios = SamplerPlan.ratios(schedule)
  const sigmas = timesteps.map((t) => {
    const below = Math.floor(t)
    const above = Math.min(below + 1, ratios.length - 1)
    return Math.fround(ratios[below]! + (t - below) * (ratios[above]! - ratios[below]!))
  })
  const grid = {
    timesteps,
    alphas: Array.from({ length: steps + 1 }, () => 1),
    sigmas: [...sigmas, SamplerPlan.endRatio("euler", ratios, options)],
  }
  const [largest] = sigmas
  return {
    ...grid,
    sampler: "euler",
    prediction: SamplerPlan.prediction("euler", schedule, options, grid),
    startScale: spacing === "leading" ? Math.sqrt(largest! ** 2 + 1) : largest!,
  }
}

/** What the model is to be given: the sample, scaled to the variance it was trained on. */
export const modelInput = ({ index, plan, sample }: SamplerState.State<Plan>): Float32Array => {
  const scale = SamplerPlan.levelOfRatio(plan.sigmas[index] ?? 0).alpha
  return sample.map((value) => value * scale)
}

/**
 * One step.
 *
 * @throws RunFinished LengthMismatch
 */
export const step = (state: SamplerState.State<Plan>, output: Float32Array): SamplerState.State<Plan> => {
  SamplerState.checkStep(state, output)
  const { plan, sample } = state
  const [{ sigma: k }, { sigma: next }] = SamplerState.levels(state)
  const x0 = Prediction.toSample(plan.prediction, modelInput(state), output, SamplerPlan.levelOfRatio(k))
  return SamplerState.advance(state, Prediction.combine(next / k, sample, 1 - next / k, x0))
}
