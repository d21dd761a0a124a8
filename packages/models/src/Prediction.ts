/**
 * What a denoiser is trained to say, and how one saying becomes another.
 *
 * A noisy sample is x = alpha x0 + sigma n, with n standard normal. Every prediction in use is a mixture of the
 * same two, y = p x0 + q n:
 *
 * | prediction | p | q | source |
 * |---|---|---|---|
 * | `epsilon` | 0 | 1 | Ho et al. 2020 (2006.11239) |
 * | `sample` | 1 | 0 | |
 * | `v` | -sigma | alpha | Salimans and Ho 2022 (2202.00512) |
 * | `flow` | -1 | 1 | Lipman et al. 2022 (2210.02747), Liu et al. 2022 (2209.03003) |
 *
 * so x and y are two equations for x0 and n. With det = alpha q - sigma p,
 *
 *     x0 = (q x - sigma y) / det        n = (alpha y - p x) / det
 *
 * This holds on variance-preserving schedules (alpha^2 + sigma^2 = 1) and on straight paths (alpha + sigma = 1)
 * alike. det is 0 where y only repeats x: epsilon at alpha = 0, sample at sigma = 0.
 * Samples are Float32Array of any shape, coefficients are float64. Results are new arrays always: a model may use the
 * memory of its output again.
 */
import { LengthMismatch, PredictionSingular } from "./SamplingError.ts"

export type Prediction = "epsilon" | "sample" | "v" | "flow"

/** The share of data and of noise in a noisy sample. */
export interface Level {
  readonly alpha: number
  readonly sigma: number
}

/** p and q of the table above: what of data and of noise is in the prediction. */
export const mixture = (prediction: Prediction, { alpha, sigma }: Level): readonly [p: number, q: number] => {
  switch (prediction) {
    case "epsilon":
      return [0, 1]
    case "sample":
      return [1, 0]
    case "v":
      return [-sigma, alpha]
    case "flow":
      return [-1, 1]
  }
}

/** a x + b y. */
export const combine = (a: number, x: Float32Array, b: number, y: Float32Array): Float32Array => {
  checkLength("the second array", x.length, y.length)
  const out = new Float32Array(x.length)
  for (let i = 0; i < out.length; i++) out[i] = a * x[i]! + b * y[i]!
  return out
}

/** @throws LengthMismatch */
export const checkLength = (of: string, expected: number, got: number): void => {
  if (expected !== got) throw new LengthMismatch({ of, expected, got })
}

/**
 * The noisy sample: alpha x0 + sigma n.
 *
 * @throws LengthMismatch
 */
export const addNoise = (x0: Float32Array, noise: Float32Array, { alpha, sigma }: Level): Float32Array =>
  combine(alpha, x0, sigma, noise)

/**
 * What a perfect denoiser would say: the target of the mean squared error.
 *
 * @throws LengthMismatch
 */
export const target = (
  prediction: Prediction,
  x0: Float32Array,
  noise: Float32Array,
  level: Level,
): Float32Array => {
  const [p, q] = mixture(prediction, level)
  return combine(p, x0, q, noise)
}

/**
 * The two numbers by which the noisy sample and the prediction give something else: `of x + y of output`.
 *
 * @throws PredictionSingular
 */
const solve = (prediction: Prediction, level: Level) => {
  const [p, q] = mixture(prediction, level)
  const det = level.alpha * q - level.sigma * p
  if (det === 0) throw new PredictionSingular({ prediction, ...level })
  return {
    sample: [q / det, -level.sigma / det],
    noise: [-p / det, level.alpha / det],
  } as const
}

/**
 * The clean sample that a prediction implies.
 *
 * @throws PredictionSingular LengthMismatch
 */
export const toSample = (
  prediction: Prediction,
  x: Float32Array,
  output: Float32Array,
  level: Level,
): Float32Array => {
  if (prediction === "sample") return output.slice()
  const [ofX, ofOutput] = solve(prediction, level).sample
  return combine(ofX, x, ofOutput, output)
}

/**
 * The noise that a prediction implies.
 *
 * @throws PredictionSingular LengthMismatch
 */
export const toNoise = (
  prediction: Prediction,
  x: Float32Array,
  output: Float32Array,
  level: Level,
): Float32Array => {
  if (prediction === "epsilon") return output.slice()
  const [ofX, ofOutput] = solve(prediction, level).noise
  return combine(ofX, x, ofOutput, output)
}

/**
 * One prediction as another, for the same noisy sample.
 *
 * @throws PredictionSingular LengthMismatch
 */
export const convert = (
  from: Prediction,
  to: Prediction,
  x: Float32Array,
  output: Float32Array,
  level: Level,
): Float32Array => {
  if (from === to) return output.slice()
  const [p, q] = mixture(to, level)
  const { noise, sample } = solve(from, level)
  return combine(p * sample[0] + q * noise[0], x, p * sample[1] + q * noise[1], output)
}
