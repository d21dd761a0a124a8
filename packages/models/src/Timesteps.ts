/**
 * Which timesteps a sampler visits, from noisy to clean (table 2 of Lin et al. 2023, 2305.08891). For T = 1000
 * training steps and 10 steps:
 *
 * | spacing | timesteps | |
 * |---|---|---|
 * | `linspace` | 999 888 ... 111 0 | both ends |
 * | `leading` | 900 800 ... 100 0 | never visits the noisiest; `offset` is added |
 * | `trailing` | 999 899 ... 199 99 | starts at the noisiest, as zero-terminal-SNR needs |
 *
 * Multistep solvers space one more, the clean end, and leave it out: linspace is then 999 899 ... 200 100 and leading
 * 900 ... 90. Every rule, and its rounding of halves to even, is that of diffusers.
 */
import * as Option from "./internal/option.ts"

export type Spacing = "linspace" | "leading" | "trailing"

export interface Options {
  readonly spacing: Spacing
  /**
   * Added to `leading` timesteps: 1 for Stable Diffusion.
   *
   * @default 0
   */
  readonly offset?: number
  /**
   * Whether the clean end counts as one more timestep.
   *
   * @default false
   */
  readonly cleanEnd?: boolean
  /**
   * Whether timesteps are whole numbers.
   *
   * @default true
   */
  readonly rounded?: boolean
}

/** The nearest whole number, halves to the even one. */
export const roundHalfEven = (x: number): number => {
  const floor = Math.floor(x)
  const rest = x - floor
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1
  return floor % 2 === 0 ? floor : floor + 1
}

/**
 * The timesteps of a discrete schedule, in the order of sampling.
 *
 * @throws OptionInvalid
 */
export const spaced = (
  trainSteps: number,
  steps: number,
  { cleanEnd = false, offset = 0, rounded = true, spacing }: Options,
): ReadonlyArray<number> => {
  Option.whole(
    "timesteps",
    "steps",
    steps,
    1,
    cleanEnd && spacing !== "trailing" ? trainSteps - 1 : trainSteps,
  )
  Option.whole("timesteps", "offset", offset, 0, trainSteps - 1)
  const round = rounded ? roundHalfEven : Math.fround
  const nodes = cleanEnd ? steps + 1 : steps
  const last = cleanEnd ? 1 : 0
  switch (spacing) {
    case "linspace":
      return Array.from({ length: steps }, (_, i) =>
        round(nodes === 1 ? 0 : (trainSteps - 1) * ((nodes - 1 - i) / (nodes - 1))),
      )
    case "leading": {
      const ratio = Math.floor(trainSteps / nodes)
      const timesteps = Array.from({ length: steps }, (_, i) => (steps - 1 - i + last) * ratio + offset)
      if (timesteps[0]! >= trainSteps)
        throw Option.invalid(
          "timesteps",
          "offset",
          offset,
          `at most ${trainSteps - 1 - (timesteps[0]! - offset)}`,
        )
      return timesteps
    }
    case "trailing":
      return Array.from({ length: steps }, (_, i) => roundHalfEven(trainSteps - (i * trainSteps) / steps) - 1)
    default:
      throw Option.invalid("timesteps", "spacing", spacing, `"linspace", "leading" or "trailing"`)
  }
}
