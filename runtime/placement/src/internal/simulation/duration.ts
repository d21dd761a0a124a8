/**
 * How long items take: one, many one after another, and many that are made several at once.
 *
 * Few items are drawn one by one. Of many, the sum is drawn at once: it has the mean and the variance of the sum, and
 * is lognormal (Fenton and Wilkinson), which is exact enough for a single skewed item and normal for many.
 */
import type * as Profile from "../../Profile.ts"
import type { Draws } from "./draws.ts"

export interface Duration {
  readonly mean: number
  readonly deviation: number
  readonly draw: (draws: Draws) => number
}

/** Items up to which each is drawn. */
const drawn = 32

export const of = (seconds: Profile.Seconds): Duration => {
  if (typeof seconds === "number") return { mean: seconds, deviation: 0, draw: () => seconds }
  if ("mean" in seconds) {
    const { mean, sigma } = seconds
    const deviation = mean * Math.sqrt(Math.expm1(sigma ** 2))
    const middle = Math.log(mean) - sigma ** 2 / 2
    return { mean, deviation, draw: (draws) => Math.exp(middle + sigma * draws.normal()) }
  }
  const { quantiles } = seconds
  const steps = quantiles.length - 1
  let mean = 0
  let square = 0
  for (let i = 0; i < steps; i++) {
    const [a, b] = [quantiles[i]!, quantiles[i + 1]!]
    mean += (a + b) / 2 / steps
    square += (a * a + a * b + b * b) / 3 / steps
  }
  return {
    mean,
    deviation: Math.sqrt(Math.max(0, square - mean * mean)),
    draw: (draws) => {
      const at = draws.uniform() * steps
      const below = Math.min(steps - 1, Math.floor(at))
      return quantiles[below]! + (at - below) * (quantiles[below + 1]! - quantiles[below]!)
    },
  }
}

/** The same with a constant beside each item. */
export const plus = (duration: Duration, seconds: number): Duration =>
  seconds === 0
    ? duration
    : {
        mean: duration.mean + seconds,
        deviation: duration.deviation,
        draw: (draws) => duration.draw(draws) + seconds,
      }

/** Work in all, and the time until it is done. */
export interface Span {
  readonly work: number
  readonly seconds: number
}

/**
 * Of `items` that `workers` share, each making `lanes` at once. One worker: until its last item is done. Several stand
 * for workers that each go on when they are done: the mean of their times.
 */
export const span = (
  duration: Duration,
  items: number,
  lanes: number,
  workers: number,
  draws: Draws,
): Span => {
  const { deviation, draw, mean } = duration
  const each = items / workers
  if (deviation === 0) return { work: items * mean, seconds: Math.ceil(each / lanes - 1e-9) * mean }
  if (workers === 1 && items <= drawn) return scheduled(draw, items, lanes, draws)
  const work = draws.lognormal(items * mean, Math.sqrt(items) * deviation)
  if (each <= lanes) return { work, seconds: work / items }
  // While the last item is made, other lanes have no more: each idles for half of what is left of it on the mean.
  const left = (mean + (deviation * deviation) / mean) / 2
  return { work, seconds: work / workers / lanes + (left * (lanes - 1)) / lanes }
}

/** Each item to the lane that is free first. */
const scheduled = (draw: Duration["draw"], items: number, lanes: number, draws: Draws): Span => {
  if (lanes === 1 || items === 1) {
    let work = 0
    for (let i = 0; i < items; i++) work += draw(draws)
    return { work, seconds: work }
  }
  const free = new Float64Array(Math.min(lanes, items))
  let work = 0
  for (let i = 0; i < items; i++) {
    let first = 0
    for (let lane = 1; lane < free.length; lane++) if (free[lane]! < free[first]!) first = lane
    const seconds = draw(draws)
    work += seconds
    free[first] = free[first]! + seconds
  }
  return { work, seconds: Math.max(...free) }
}
