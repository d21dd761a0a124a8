/**
 * What every sampler's plan has, and how its grid is laid.
 *
 * A plan is immutable plain data: n timesteps at which the model is asked, and n + 1 levels (alpha, sigma) from the
 * first sample to the last, which is clean. A sampler's `step` reads nothing else, so any grid can be sampled by
 * writing a plan by hand, and a plan inside a saved state does not depend on how its schedule was made.
 *
 * | grid | levels | source |
 * |---|---|---|
 * | discrete | alpha_t, sigma_t at timesteps | `Timesteps` |
 * | flow | sigmas along a line from 1 to about 1/T, shifted | diffusers, FLUX, Wan |
 *
 * On a discrete grid the step goes to the next timestep's level. diffusers' DDIM goes to t - floor(T/n) instead: the same
 * for `leading`, and for `trailing` if n divides T, but not for `linspace`, where it leaves a gap at each step.
 */
import * as Schema from "effect/Schema"

import * as Option from "./internal/option.ts"
import * as NoiseSchedule from "./NoiseSchedule.ts"
import type { Level, Prediction } from "./Prediction.ts"
import * as Timesteps from "./Timesteps.ts"

const Numbers = Schema.Array(Schema.Finite)

export const Key = Schema.Struct({ k0: Schema.Int, k1: Schema.Int })

/** The fields that the plans of all samplers have. */
export const fields = {
  prediction: Schema.Literals(["epsilon", "sample", "v", "flow"]),
  /** [n]: what the model is told. */
  timesteps: Numbers,
  /** [n + 1] */
  alphas: Numbers,
  /** [n + 1] */
  sigmas: Numbers,
  /** The first sample is this times standard normal noise. */
  startScale: Schema.Finite,
}

export interface Grid {
  readonly timesteps: ReadonlyArray<number>
  readonly alphas: ReadonlyArray<number>
  readonly sigmas: ReadonlyArray<number>
}

/** The options that all samplers have. */
export interface Options {
  /** @default "epsilon" on discrete schedules, "flow" on flow schedules */
  readonly prediction?: Prediction
  /**
   * On discrete schedules.
   *
   * @default "leading" for ddpm and ddim, "linspace" for others
   */
  readonly spacing?: Timesteps.Spacing
  /**
   * On discrete schedules with leading spacing.
   *
   * @default 0
   */
  readonly offset?: number
  /**
   * On flow schedules: sigmas of the steps before the shift, falling, instead of a line from 1 to about 1/T.
   */
  readonly sigmas?: ReadonlyArray<number>
}

export interface End {
  /**
   * On discrete schedules: whether the last step ends in clean data, or at the noise of the first training timestep.
   *
   * @default "clean"
   */
  readonly end?: "clean" | "first"
}

/** @throws OptionInvalid if the prediction is unknown, or says nothing at the first level */
export const prediction = (
  of: string,
  schedule: NoiseSchedule.NoiseSchedule,
  { prediction = schedule.kind === "flow" ? "flow" : "epsilon" }: Options,
  { alphas }: Grid,
): Prediction => {
  if (!["epsilon", "sample", "v", "flow"].includes(prediction))
    throw Option.invalid(of, "prediction", prediction, `"epsilon", "sample", "v" or "flow"`)
  if (prediction === "epsilon" && alphas[0] === 0)
    throw Option.invalid(
      of,
      "prediction",
      prediction,
      `"v", "sample" or "flow", since the first sample is pure noise, or a grid that starts later`,
    )
  return prediction
}

/** An alpha^2 that half precision can hold: where a logarithm or a quotient needs one above 0. */
const SMALLEST_BAR = 2 ** -24

/** (1 - alpha^2) / alpha^2 to the power of a half: the noise per data at each training timestep, as float32. */
export const ratios = (schedule: NoiseSchedule.Discrete): ReadonlyArray<number> =>
  schedule.alphasCumprod.map((bar) => {
    const positive = bar === 0 ? SMALLEST_BAR : bar
    return Math.fround(Math.sqrt((1 - positive) / positive))
  })

/**
 * The ratio at which a run ends.
 *
 * @throws OptionInvalid
 */
export const endRatio = (of: string, ratios: ReadonlyArray<number>, { end = "clean" }: End): number => {
  if (end !== "clean" && end !== "first") throw Option.invalid(of, "end", end, `"clean" or "first"`)
  return end === "clean" ? 0 : ratios[0]!
}

/** The level with a ratio of sigma to alpha, if variance is preserved. */
export const levelOfRatio = (ratio: number): Level => {
  const alpha = 1 / Math.sqrt(ratio ** 2 + 1)
  return { alpha, sigma: ratio * alpha }
}

const gridOf = (timesteps: ReadonlyArray<number>, levels: ReadonlyArray<Level>): Grid => ({
  timesteps,
  alphas: levels.map(({ alpha }) => alpha),
  sigmas: levels.map(({ sigma }) => sigma),
})

/**
 * The grid of the samplers that go by timesteps: ddpm and ddim.
 *
 * @throws OptionInvalid
 */
export const timestepGrid = (
  of: string,
  schedule: NoiseSchedule.NoiseSchedule,
  steps: number,
  options: Options & End,
): Grid => {
  if (schedule.kind === "flow")
    return flowGrid(of, schedule, steps, options, () => lineFrom(schedule, steps, 1))
  const { offset = 0, spacing = "leading" } = options
  const timesteps = Timesteps.spaced(schedule.trainSteps, steps, { spacing, offset })
  const end = levelOfRatio(endRatio(of, ratios(schedule), options))
  return gridOf(timesteps, [...timesteps.map((t) => NoiseSchedule.levelAt(schedule, t)), end])
}

/** What is left of data in a grid whose first level must have a logarithm. */
const LEAST_DATA = 1e-6

/**
 * The grid of the multistep samplers, which go by log-SNR: no level but the last is free of data or of noise, and
 * timesteps are whole numbers. Flow sigmas are a line from `flowStart`.
 *
 * @throws OptionInvalid
 */
export const logSnrGrid = (
  of: string,
  schedule: NoiseSchedule.NoiseSchedule,
  steps: number,
  options: Options & End,
  flowStart: number,
): Grid => {
  if (schedule.kind === "flow") {
    const grid = flowGrid(
      of,
      schedule,
      steps,
      options,
      () => lineFrom(schedule, steps, flowStart),
      LEAST_DATA,
    )
    return { ...grid, timesteps: grid.timesteps.map(Math.trunc) }
  }
  const { offset = 0, spacing = "linspace" } = options
  const timesteps = Timesteps.spaced(schedule.trainSteps, steps, { spacing, offset, cleanEnd: true })
  const ratio = ratios(schedule)
  const end = levelOfRatio(endRatio(of, ratio, options))
  return gridOf(timesteps, [...timesteps.map((t) => levelOfRatio(ratio[t]!)), end])
}

/** `steps` sigmas from `start` on, evenly: one more would be 1 - 1/T below it. */
const lineFrom = ({ trainSteps }: NoiseSchedule.Flow, steps: number, start: number): ReadonlyArray<number> =>
  Array.from({ length: steps }, (_, i) => start - ((1 - 1 / trainSteps) * i) / steps)

/**
 * The grid of a flow schedule: the sigmas given in the options, or else `line`, shifted, then 0. Timesteps are sigma T.
 *
 * @throws OptionInvalid
 */
export const flowGrid = (
  of: string,
  schedule: NoiseSchedule.Flow,
  steps: number,
  { sigmas: given }: Options,
  line: () => ReadonlyArray<number>,
  leastData = 0,
): Grid => {
  Option.whole(of, "steps", steps, 1)
  if (given !== undefined) {
    if (given.length !== steps) throw Option.invalid(of, "sigmas", given, `as many as steps: ${steps}`)
    if (!given.every((sigma, i) => sigma > 0 && (i === 0 ? sigma <= 1 : sigma < given[i - 1]!)))
      throw Option.invalid(of, "sigmas", given, "numbers that fall, from at most 1 to above 0")
  }
  const shifted = (given ?? line()).map((sigma) => {
    const exact = NoiseSchedule.shiftSigma(sigma, schedule.shift)
    return Math.abs(exact - 1) < leastData ? exact - leastData : exact
  })
  const sigmas = [...shifted.map(Math.fround), 0]
  return {
    timesteps: shifted.map((sigma) => sigma * schedule.trainSteps),
    alphas: sigmas.map((sigma) => 1 - sigma),
    sigmas,
  }
}
