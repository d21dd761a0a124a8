/**
 * DDPM: ancestral sampling (Ho et al. 2020, 2006.11239, equations 6 and 7). With s the next level, the posterior of x_s
 * given x_t and the predicted x0 is normal:
 *
 *     alpha' = alpha_t / alpha_s,   sigma'^2 = sigma_t^2 - alpha'^2 sigma_s^2
 *     mean = alpha_s sigma'^2 / sigma_t^2 x0 + alpha' sigma_s^2 / sigma_t^2 x_t
 *     variance = sigma'^2 sigma_s^2 / sigma_t^2   (`small`)   or sigma'^2   (`large`)
 *
 * Written with alpha and sigma it holds on flow schedules too. The last step draws nothing. Noise comes from the
 * plan's key, one stream a step (stream 0 is left for the first sample).
 */
import * as CounterRandom from "@reelgraph/core/CounterRandom"
import * as Schema from "effect/Schema"

import * as Gaussian from "./Gaussian.ts"
import * as Option from "./internal/option.ts"
import type { NoiseSchedule } from "./NoiseSchedule.ts"
import * as Prediction from "./Prediction.ts"
import * as SamplerPlan from "./SamplerPlan.ts"
import * as SamplerState from "./SamplerState.ts"

export const Plan = Schema.Struct({
  ...SamplerPlan.fields,
  sampler: Schema.tag("ddpm"),
  variance: Schema.Literals(["small", "large"]),
  /** Bound of the predicted clean sample; null is none. */
  clip: Schema.NullOr(Schema.Finite),
  key: SamplerPlan.Key,
})
export type Plan = typeof Plan.Type

export interface Options extends SamplerPlan.Options {
  /** What the noise of the steps is drawn from. */
  readonly key: CounterRandom.Key
  /** @default "small" */
  readonly variance?: "small" | "large"
  /**
   * Keeps predicted clean samples within -clip to clip: 1 for pixels. Latents have no bound.
   *
   * @default none
   */
  readonly clip?: number
}

/** @throws OptionInvalid */
export const plan = (schedule: NoiseSchedule, steps: number, options: Options): Plan => {
  const { clip, key, variance = "small" } = options
  if (key === undefined) throw keyMissing("ddpm", "it draws noise at each step")
  if (clip !== undefined) Option.above("ddpm", "clip", clip, 0)
  if (variance !== "small" && variance !== "large")
    throw Option.invalid("ddpm", "variance", variance, `"small" or "large"`)
  const grid = SamplerPlan.timestepGrid("ddpm", schedule, steps, { ...options, end: "clean" })
  return {
    ...grid,
    sampler: "ddpm",
    prediction: SamplerPlan.prediction("ddpm", schedule, options, grid),
    startScale: 1,
    variance,
    clip: clip ?? null,
    key,
  }
}

/** What is wrong if noise is to be drawn from no key. */
export const keyMissing = (of: string, why: string) =>
  Option.invalid(of, "key", undefined, `a CounterRandom.key, since ${why}`)

/** A clean sample kept within -bound to bound. */
export const clipped = (x0: Float32Array, bound: number | null): Float32Array =>
  bound === null ? x0 : x0.map((value) => Math.min(Math.max(value, -bound), bound))

/** sigma'^2 above: the variance of the noise between two levels. */
export const between = (from: Prediction.Level, to: Prediction.Level): number =>
  Math.max(from.sigma ** 2 - (from.alpha / to.alpha) ** 2 * to.sigma ** 2, 0)

/**
 * One step. `noise` takes the place of what the key gives.
 *
 * @throws RunFinished LengthMismatch
 */
export const step = (
  state: SamplerState.State<Plan>,
  output: Float32Array,
  noise?: Float32Array,
): SamplerState.State<Plan> => {
  SamplerState.checkStep(state, output)
  const { plan, sample } = state
  const [from, to] = SamplerState.levels(state)
  const x0 = clipped(Prediction.toSample(plan.prediction, sample, output, from), plan.clip)
  const added = between(from, to)
  const whole = from.sigma ** 2
  const next = Prediction.combine(
    (to.alpha * added) / whole,
    x0,
    ((from.alpha / to.alpha) * to.sigma ** 2) / whole,
    sample,
  )
  if (to.sigma === 0) return SamplerState.advance(state, next)
  const deviation = Math.sqrt(plan.variance === "small" ? (added * to.sigma ** 2) / whole : added)
  const drawn = noise ?? Gaussian.normals(plan.key, sample.length, state.index + 1)
  return SamplerState.advance(state, Prediction.combine(1, next, deviation, drawn))
}
