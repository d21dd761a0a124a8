/**
 * Random numbers of a simulation, counter-based: what one node draws does not depend on how often others draw. Sums
 * of many draws are drawn at once, by their mean and variance.
 */
import { CounterRandom } from "@reelgraph/core"

export interface Draws {
  /** In (0, 1). */
  readonly uniform: () => number
  readonly normal: () => number
  /** Of mean 1. */
  readonly exponential: () => number
  /** How many of `n` happen that each have the chance `p`. */
  readonly binomial: (n: number, p: number) => number
  /** Lognormal of a mean and a standard deviation. */
  readonly lognormal: (mean: number, deviation: number) => number
  /** A whole number of this mean: one of the two beside it. */
  readonly round: (value: number) => number
}

/** Blocks of four words that are drawn ahead. */
const ahead = 64

export const make = (seed: number, stream: string): Draws => {
  const key = CounterRandom.key(seed, stream, "simulation")
  const words = new Uint32Array(4 * ahead)
  let block = 0
  let at = words.length
  let spare: number | undefined

  const uniform = (): number => {
    if (at === words.length) {
      for (let i = 0; i < ahead; i++) {
        CounterRandom.block(key, [block >>> 0, Math.floor(block / 0x1_0000_0000), 0, 0], words, 4 * i)
        block++
      }
      at = 0
    }
    return (words[at++]! + 0.5) / 0x1_0000_0000
  }
  /** Box and Muller, two at a time. */
  const normal = (): number => {
    if (spare !== undefined) {
      const value = spare
      spare = undefined
      return value
    }
    const radius = Math.sqrt(-2 * Math.log(uniform()))
    const angle = 2 * Math.PI * uniform()
    spare = radius * Math.sin(angle)
    return radius * Math.cos(angle)
  }
  const exponential = (): number => -Math.log(uniform())
  const binomial = (n: number, p: number): number => {
    if (n <= 0 || p <= 0) return 0
    if (p >= 1) return n
    if (p > 0.5) return n - binomial(n, 1 - p)
    const variance = n * p * (1 - p)
    if (variance > 100) {
      const value = Math.round(n * p + Math.sqrt(variance) * normal())
      return Math.min(n, Math.max(0, value))
    }
    // From one that happens to the next: geometric distances (Devroye 1986, X.4.3).
    const scale = 1 / Math.log1p(-p)
    let happened = 0
    let position = 0
    while (true) {
      position += Math.floor(Math.log(uniform()) * scale) + 1
      if (position > n) return happened
      happened++
    }
  }
  const lognormal = (mean: number, deviation: number): number => {
    if (mean <= 0 || deviation <= 0) return Math.max(0, mean)
    const variance = Math.log1p((deviation / mean) ** 2)
    return mean * Math.exp(Math.sqrt(variance) * normal() - variance / 2)
  }
  const round = (value: number): number => {
    const whole = Math.floor(value)
    return value > whole && uniform() < value - whole ? whole + 1 : whole
  }
  return { uniform, normal, exponential, binomial, lognormal, round }
}
