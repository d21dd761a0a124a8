/**
 * Sinusoidal embeddings of timesteps (Vaswani et al. 2017, 1706.03762, as used by Ho et al. 2020): with half = width / 2,
 *
 *     w_i = maxPeriod ^ (-i / (half - downscale)),   [sin(t w_i), cos(t w_i)]
 *
 * Sines come first as in DDPM; with `cosineFirst` cosines do, as in Wan, LTX and most video transformers, which also
 * take a downscale of 0. An odd width ends with a 0.
 */
import { OptionInvalid } from "./SamplingError.ts"

export interface Options {
  /** @default false */
  readonly cosineFirst?: boolean
  /** @default 1 */
  readonly downscale?: number
  /** @default 1 */
  readonly scale?: number
  /** @default 10000 */
  readonly maxPeriod?: number
}

/**
 * The embeddings of timesteps: [timesteps, width], float32, rows one after another.
 *
 * @throws OptionInvalid
 */
export const sinusoid = (
  timesteps: ReadonlyArray<number>,
  width: number,
  { cosineFirst = false, downscale = 1, maxPeriod = 10_000, scale = 1 }: Options = {},
): Float32Array => {
  const half = Math.floor(width / 2)
  if (!Number.isInteger(width) || half - downscale <= 0)
    throw new OptionInvalid({
      of: "timestep embedding",
      option: "width",
      got: String(width),
      expected: `a whole number of at least ${2 * Math.floor(downscale + 1)}`,
    })
  const out = new Float32Array(timesteps.length * width)
  const [sineAt, cosineAt] = cosineFirst ? [half, 0] : [0, half]
  for (const [row, t] of timesteps.entries())
    for (let i = 0; i < half; i++) {
      const angle = scale * t * maxPeriod ** (-i / (half - downscale))
      out[row * width + sineAt + i] = Math.sin(angle)
      out[row * width + cosineAt + i] = Math.cos(angle)
    }
  return out
}
