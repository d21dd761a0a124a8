/**
 * Noise schedules: how much data and how much noise a sample has at a training timestep, x_t = alpha_t x0 + sigma_t n.
 *
 * **Discrete** schedules (Ho et al. 2020, 2006.11239) have T timesteps and keep the variance:
 *
 *     alpha_t^2 = prod_{s <= t} (1 - beta_s),    sigma_t^2 = 1 - alpha_t^2
 *
 * | betas | beta_t |
 * |---|---|
 * | `linear` | a line from betaStart to betaEnd |
 * | `scaled-linear` | the square of a line between the roots: latent diffusion (2112.10752) |
 * | `cosine` | 1 - f(t+1)/f(t), f(t) = cos^2((t/T + 0.008)/1.008 pi/2), at most 0.999 (2102.09672) |
 *
 * None of them ends in pure noise, though sampling starts from it. Zero-terminal-SNR rescaling (Lin et al. 2023,
 * 2305.08891, algorithm 1) moves and stretches alpha so that its last value is exactly 0 and its first stays.
 *
 * The products are rounded to float32 where diffusers rounds them, which matters: near the ends, log-SNR
 * amplifies the rounding.
 *
 * **Flow** schedules are straight paths (Lipman et al. 2022, 2210.02747): alpha = 1 - s, sigma = s, t = s T. The
 * shift of Esser et al. 2024 (2403.03206), s' = k s / (1 + (k - 1) s), spends more of the way at high noise, as
 * larger samples need: 3 for 480p, 5 for 720p.
 */
import * as CounterRandom from "@reelgraph/core/CounterRandom"

import * as Gaussian from "./Gaussian.ts"
import * as Option from "./internal/option.ts"
import type { Level } from "./Prediction.ts"

export type Betas = "linear" | "scaled-linear" | "cosine"

export interface Discrete {
  readonly kind: "discrete"
  readonly trainSteps: number
  /** alpha^2 at each timestep: float32 values. */
  readonly alphasCumprod: ReadonlyArray<number>
}

export interface Flow {
  readonly kind: "flow"
  readonly trainSteps: number
  readonly shift: number
}

/** A schedule is plain data. */
export type NoiseSchedule = Discrete | Flow

export interface DiscreteOptions {
  /** @default "linear" */
  readonly betas?: Betas
  /** @default 1000 */
  readonly trainSteps?: number
  /** @default 0.0001 */
  readonly betaStart?: number
  /** @default 0.02 */
  readonly betaEnd?: number
  /** @default false */
  readonly zeroTerminalSnr?: boolean
}

/** `count` numbers from a to b, both included. */
const line = (a: number, b: number, count: number): ReadonlyArray<number> =>
  Array.from({ length: count }, (_, i) => (count === 1 ? a : a + ((b - a) * i) / (count - 1)))

/** 1 - beta of the cosine schedule's source. */
const cosineBar = (t: number): number => Math.cos((((t + 0.008) / 1.008) * Math.PI) / 2) ** 2

/**
 * The betas of a discrete schedule: float32 values.
 *
 * @throws OptionInvalid
 */
export const betas = ({
  betaEnd = 0.02,
  betaStart = 0.0001,
  betas = "linear",
  trainSteps = 1000,
}: DiscreteOptions = {}): ReadonlyArray<number> => {
  const of = "NoiseSchedule.discrete"
  Option.whole(of, "trainSteps", trainSteps, 1)
  Option.between(of, "betaStart", betaStart, 0, 1)
  Option.between(of, "betaEnd", betaEnd, betaStart, 1)
  switch (betas) {
    case "linear":
      return line(betaStart, betaEnd, trainSteps).map(Math.fround)
    case "scaled-linear":
      return line(Math.sqrt(betaStart), Math.sqrt(betaEnd), trainSteps).map((root) =>
        Math.fround(Math.fround(root) ** 2),
      )
    case "cosine":
      return Array.from({ length: trainSteps }, (_, t) =>
        Math.fround(Math.min(1 - cosineBar((t + 1) / trainSteps) / cosineBar(t / trainSteps), 0.999)),
      )
    default:
      throw Option.invalid(of, "betas", betas, `"linear", "scaled-linear" or "cosine"`)
  }
}

/** alpha^2 from betas: a float64 product, each value rounded to float32. */
const cumprod = (betas: ReadonlyArray<number>): ReadonlyArray<number> => {
  let product = 1
  return betas.map((beta) => Math.fround((product *= Math.fround(1 - beta))))
}

/**
 * Betas such that the last timestep is pure noise: their product ends at exactly 0 (2305.08891, algorithm 1).
 */
export const rescaleZeroTerminalSnr = (betas: ReadonlyArray<number>): ReadonlyArray<number> => {
  const roots = cumprod(betas).map((bar) => Math.fround(Math.sqrt(bar)))
  const first = roots[0]!
  const last = roots.at(-1)!
  const stretch = Math.fround(first / Math.fround(first - last))
  const bars = roots.map((root) => Math.fround(Math.fround(Math.fround(root - last) * stretch) ** 2))
  return bars.map((bar, t) => Math.fround(1 - (t === 0 ? bar : Math.fround(bar / bars[t - 1]!))))
}

/**
 * A discrete, variance-preserving schedule.
 *
 * @throws OptionInvalid
 */
export const discrete = (options: DiscreteOptions = {}): Discrete => {
  const given = betas(options)
  return {
    kind: "discrete",
    trainSteps: given.length,
    alphasCumprod: cumprod(options.zeroTerminalSnr === true ? rescaleZeroTerminalSnr(given) : given),
  }
}

export interface FlowOptions {
  /** @default 1000 */
  readonly trainSteps?: number
  /**
   * 1 leaves sigmas as they are. See {@link shiftForTokens} for one that follows the resolution.
   *
   * @default 1
   */
  readonly shift?: number
}

/**
 * A flow-matching schedule.
 *
 * @throws OptionInvalid
 */
export const flow = ({ shift = 1, trainSteps = 1000 }: FlowOptions = {}): Flow => {
  Option.whole("NoiseSchedule.flow", "trainSteps", trainSteps, 1)
  Option.above("NoiseSchedule.flow", "shift", shift, 0)
  return { kind: "flow", trainSteps, shift }
}

/** k s / (1 + (k - 1) s): 0 and 1 stay where they are. */
export const shiftSigma = (sigma: number, shift: number): number =>
  (shift * sigma) / (1 + (shift - 1) * sigma)

export interface TokenShift {
  /** @default 256 */
  readonly baseTokens?: number
  /** @default 0.5 */
  readonly baseLogShift?: number
  /** @default 4096 */
  readonly maxTokens?: number
  /** @default 1.15 */
  readonly maxLogShift?: number
}

/**
 * The shift for a number of tokens: its logarithm is on a line through two points, and goes on beyond them. The
 * defaults are FLUX's and LTX-Video's "exponential time shift".
 *
 * @throws OptionInvalid
 */
export const shiftForTokens = (
  tokens: number,
  { baseLogShift = 0.5, baseTokens = 256, maxLogShift = 1.15, maxTokens = 4096 }: TokenShift = {},
): number => {
  Option.above("NoiseSchedule.shiftForTokens", "tokens", tokens, 0)
  Option.above("NoiseSchedule.shiftForTokens", "maxTokens", maxTokens, baseTokens)
  const slope = (maxLogShift - baseLogShift) / (maxTokens - baseTokens)
  return Math.exp(baseLogShift + slope * (tokens - baseTokens))
}

/**
 * The share of data and noise at a timestep: a whole number of 0 to T - 1 on discrete schedules, s T with 0 <= s <= 1
 * on flow schedules.
 *
 * @throws OptionInvalid
 */
export const levelAt = (schedule: NoiseSchedule, timestep: number): Level => {
  if (schedule.kind === "flow") {
    Option.between("NoiseSchedule.levelAt", "timestep", timestep, 0, schedule.trainSteps)
    const sigma = timestep / schedule.trainSteps
    return { alpha: 1 - sigma, sigma }
  }
  Option.whole("NoiseSchedule.levelAt", "timestep", timestep, 0, schedule.trainSteps - 1)
  const bar = schedule.alphasCumprod[timestep]!
  return { alpha: Math.sqrt(bar), sigma: Math.sqrt(1 - bar) }
}

/** Signal-to-noise ratio, (alpha / sigma)^2: Infinity for clean data. */
export const snr = ({ alpha, sigma }: Level): number => (alpha / sigma) ** 2

/** How training timesteps are spread over 0 to 1, before any shift. */
export type Distribution =
  | { readonly kind: "uniform" }
  /** The logistic function of a normal number (2403.03206): a mean above 0 favours noise. */
  | { readonly kind: "logit-normal"; readonly mean: number; readonly std: number }

export interface TrainingOptions {
  /** @default { kind: "uniform" } */
  readonly distribution?: Distribution
  /**
   * Which draw of the key this is, such as the training step.
   *
   * @default 0
   */
  readonly stream?: number
}

/**
 * Timesteps to train on, a function of (key, stream, position) alone. Whole numbers on discrete schedules; on flow
 * schedules s T with s shifted as the schedule says.
 *
 * @throws OptionInvalid
 */
export const trainingTimesteps = (
  schedule: NoiseSchedule,
  key: CounterRandom.Key,
  count: number,
  { distribution = { kind: "uniform" }, stream = 0 }: TrainingOptions = {},
): Float64Array => {
  const of = "NoiseSchedule.trainingTimesteps"
  Option.whole(of, "count", count, 0)
  Option.whole(of, "stream", stream, 0, 0xffff_ffff)
  if (distribution.kind === "logit-normal") Option.above(of, "std", distribution.std, 0)
  const shares =
    distribution.kind === "uniform" ? uniforms(key, count, stream) : Gaussian.normals(key, count, stream)
  const { trainSteps } = schedule
  return Float64Array.from(shares, (drawn) => {
    const share =
      distribution.kind === "uniform"
        ? drawn
        : 1 / (1 + Math.exp(-(distribution.mean + distribution.std * drawn)))
    return schedule.kind === "flow"
      ? shiftSigma(share, schedule.shift) * trainSteps
      : Math.min(Math.floor(share * trainSteps), trainSteps - 1)
  })
}

/** Uniform numbers of a stream, which CounterRandom.uniforms has not. */
const uniforms = (key: CounterRandom.Key, count: number, stream: number): Float64Array => {
  const words = new Uint32Array(Math.ceil(count / 4) * 4)
  for (let i = 0; i < words.length; i += 4) CounterRandom.block(key, [i / 4, 0, stream, 0], words, i)
  return Float64Array.from({ length: count }, (_, i) => words[i]! / 0x1_0000_0000)
}
