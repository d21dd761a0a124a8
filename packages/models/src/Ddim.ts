/**
 * DDIM (Song et al. 2020, 2010.02502, equations 12 and 16). With s the next level:
 *
 *     x_s = alpha_s x0 + sqrt(sigma_s^2 - d^2) eps + d z,   d = eta sqrt(sigma'^2 sigma_s^2 / sigma_t^2)
 *
 * where x0 and eps are what the model implies, sigma'^2 is DDPM's and z is fresh noise. eta = 0 is deterministic: one
 * Euler step of the probability-flow ODE in x / alpha against sigma / alpha. eta = 1 draws as much as DDPM.
 */
import * as CounterRandom from "@reelgraph/core/CounterRandom"
import * as Schema from "effect/Schema"

import * as Ddpm from "./Ddpm.ts"
import * as Gaussian from "./Gaussian.ts"
import * as Option from "./internal/option.ts"
import type { NoiseSchedule } from "./NoiseSchedule.ts"
import * as Prediction from "./Prediction.ts"
import * as SamplerPlan from "./SamplerPlan.ts"
import * as SamplerState from "./SamplerState.ts"

export const Plan = Schema.Struct({
  ...SamplerPlan.fields,
  sampler: Schema.tag("ddim"),
  eta: Schema.Finite,
  /** Bound of the predicted clean sample; null is none. */
  clip: Schema.NullOr(Schema.Finite),
  /** null where eta is 0. */
  key: Schema.NullOr(SamplerPlan.Key),
})
export type Plan = typeof Plan.Type

export interface Options extends SamplerPlan.Options, SamplerPlan.End {
  /**
   * 0 to 1: how much fresh noise.
   *
   * @default 0
   */
  readonly eta?: number
  /** What the noise of the steps is drawn from: needed if eta is above 0. */
  readonly key?: CounterRandom.Key
  /**
   * Keeps predicted clean samples within -clip to clip: 1 for pixels. Latents have no bound.
   *
   * @default none
   */
  readonly clip?: number
}

/** @throws OptionInvalid */
export const plan = (schedule: NoiseSchedule, steps: number, options: Options = {}): Plan => {
  const { clip, eta = 0, key } = options
  Option.between("ddim", "eta", eta, 0, 1)
  if (clip !== undefined) Option.above("ddim", "clip", clip, 0)
  if (eta > 0 && key === undefined) throw Ddpm.keyMissing("ddim", "eta above 0 draws noise")
  const grid = SamplerPlan.timestepGrid("ddim", schedule, steps, options)
  return {
    ...grid,
    sampler: "ddim",
    prediction: SamplerPlan.prediction("ddim", schedule, options, grid),
    startScale: 1,
    eta,
    clip: clip ?? null,
    key: key ?? null,
  }
}

const drawAt = ({ key }: Plan, index: number, length: number): Float32Array => {
  if (key === null) throw Ddpm.keyMissing("ddim", "eta above 0 draws noise")
  return Gaussian.normals(key, length, index + 1)
}

/**
 * One step. `noise` takes the place of what the key gives.
 *
 * @throws RunFinished LengthMismatch; OptionInvalid if it draws and the plan, written by hand, has no key
 */
export const step = (
  state: SamplerState.State<Plan>,
  output: Float32Array,
  noise?: Float32Array,
): SamplerState.State<Plan> => {
  SamplerState.checkStep(state, output)
  const { plan, sample } = state
  const [from, to] = SamplerState.levels(state)
  const x0 = Ddpm.clipped(Prediction.toSample(plan.prediction, sample, output, from), plan.clip)
  const eps = Prediction.toNoise(plan.prediction, sample, output, from)
  const variance = plan.eta ** 2 * ((Ddpm.between(from, to) * to.sigma ** 2) / from.sigma ** 2)
  const next = Prediction.combine(to.alpha, x0, Math.sqrt(Math.max(to.sigma ** 2 - variance, 0)), eps)
  if (variance === 0) return SamplerState.advance(state, next)
  const drawn = noise ?? drawAt(plan, state.index, sample.length)
  return SamplerState.advance(state, Prediction.combine(1, next, Math.sqrt(variance), drawn))
}
