/** An amount over time in a bounded number of steps, whose width doubles when time goes beyond them. */

export interface Timeline {
  width: number
  readonly sums: Float64Array
}

const steps = 128

export const make = (): Timeline => ({ width: 1 / 64, sums: new Float64Array(steps) })

/** Adds an amount that is there between two times. */
export const add = (timeline: Timeline, from: number, to: number, amount: number): void => {
  const { sums } = timeline
  while (to > timeline.width * steps) {
    for (let i = 0; i < steps / 2; i++) sums[i] = sums[2 * i]! + sums[2 * i + 1]!
    sums.fill(0, steps / 2)
    timeline.width *= 2
  }
  const { width } = timeline
  for (let i = Math.floor(from / width); i < steps && i * width < to; i++)
    sums[i]! += amount * (Math.min(to, (i + 1) * width) - Math.max(from, i * width))
}

/** The mean amount in each of `count` equal parts of the time until `end`. */
export const parts = ({ sums, width }: Timeline, end: number, count: number): ReadonlyArray<number> =>
  Array.from({ length: count }, (_, part) => {
    const [from, to] = [(part * end) / count, ((part + 1) * end) / count]
    let sum = 0
    for (let i = Math.floor(from / width); i < steps && i * width < to; i++)
      sum += (sums[i]! / width) * (Math.min(to, (i + 1) * width) - Math.max(from, i * width))
    return to === from ? 0 : sum / (to - from)
  })
