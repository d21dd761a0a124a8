/**
 * Classifier-free guidance (Ho and Salimans 2022, 2207.12598): the denoiser speaks twice, with the prompt and
 * without it, and is pushed away from the second:
 *
 *     y = y_negative + scale (y_positive - y_negative)
 *
 * `negative` is the prediction for the empty caption or for a negative prompt. Scale 1 is the plain conditional
 * prediction and needs no second pass.
 *
 * A large scale makes the prediction's deviation grow, and with it contrast. Rescaling (Lin et al. 2023, 2305.08891,
 * section 3.4) brings it back by a share phi: y <- phi y std(y_positive) / std(y) + (1 - phi) y. Deviations are over
 * a whole sample, so give one sample at a time.
 */
import * as Option from "./internal/option.ts"
import { checkLength } from "./Prediction.ts"

export interface Options {
  /** 5 to 7.5 for large models, 2 to 3.5 for small ones. */
  readonly scale: number
  /**
   * phi, 0 to 1: how much of the deviation is brought back.
   *
   * @default 0
   */
  readonly rescale?: number
}

/** The standard deviation of a sample, with n - 1. */
const deviation = (x: Float32Array): number => {
  let mean = 0
  for (const value of x) mean += value
  mean /= x.length
  let squares = 0
  for (const value of x) squares += (value - mean) ** 2
  return Math.sqrt(squares / (x.length - 1))
}

/**
 * The guided prediction for one sample.
 *
 * @throws OptionInvalid LengthMismatch
 */
export const apply = (
  positive: Float32Array,
  negative: Float32Array,
  { rescale = 0, scale }: Options,
): Float32Array => {
  Option.between("guidance", "scale", scale, 0, Number.MAX_VALUE)
  Option.between("guidance", "rescale", rescale, 0, 1)
  checkLength("the negative prediction", positive.length, negative.length)
  const out = new Float32Array(positive.length)
  for (let i = 0; i < out.length; i++) out[i] = negative[i]! + scale * (positive[i]! - negative[i]!)
  if (rescale > 0) {
    const guided = deviation(out)
    if (guided > 0) {
      const factor = (rescale * deviation(positive)) / guided + 1 - rescale
      for (let i = 0; i < out.length; i++) out[i] = out[i]! * factor
    }
  }
  return out
}
