/**
 * Learning-rate schedules: the rate as a function of the step (0 is the first), both as a value inside a training
 * graph and as a plain number. Computed in float64, so both agree with each other to the last few bits.
 */
import * as Ops from "./Ops.ts"
import type { Value } from "./Value.ts"

export interface Schedule {
  /** The rate at a step. */
  readonly at: (step: number) => number
  /** The same inside a graph: float64 scalars. */
  readonly toGraph: (step: Value<"f64">) => Value<"f64">
}

/** Always the same rate. */
export const constant = (rate: number): Schedule => ({
  at: () => rate,
  toGraph: (step) => Ops.fullLike(step, rate),
})

/** How far along a decay of `steps` is: 0 at its start, 1 at its end and after. */
const progress = {
  at: (step: number, steps: number) => Math.min(Math.max(step / steps, 0), 1),
  toGraph: (step: Value<"f64">, steps: number) => Ops.min(Ops.max(Ops.div(step, steps), 0), 1),
}

export interface Decay {
  readonly peak: number
  /** Steps from the peak to the floor. */
  readonly steps: number
  /** @default 0 */
  readonly floor?: number
}

/** From peak to floor along half a cosine (Loshchilov and Hutter 2017, "SGDR"). */
export const cosine = ({ floor = 0, peak, steps }: Decay): Schedule => ({
  at: (step) => floor + (peak - floor) * 0.5 * (1 + Math.cos(Math.PI * progress.at(step, steps))),
  toGraph: (step) => {
    // Cos has no CPU kernel for float64: its half-angle form by a series of degree 16 is exact to a double's end.
    const half = Ops.mul(progress.toGraph(step, steps), Math.PI / 2)
    return Ops.add(Ops.mul(Ops.square(cosOfQuarter(half)), peak - floor), floor)
  },
})

/** cos of 0 to pi/2, as sin(pi/2 - x) by Taylor's series around 0. */
const cosOfQuarter = (x: Value<"f64">): Value<"f64"> => {
  const rest = Ops.add(Ops.neg(x), Math.PI / 2)
  const squared = Ops.square(rest)
  let sum = Ops.fullLike(rest, 1)
  for (let n = 11; n >= 1; n--)
    sum = Ops.add(Ops.neg(Ops.mul(Ops.mul(squared, 1 / (2 * n * (2 * n + 1))), sum)), 1)
  return Ops.mul(rest, sum)
}

/** From peak to floor along a line. */
export const linearDecay = ({ floor = 0, peak, steps }: Decay): Schedule => ({
  at: (step) => peak + (floor - peak) * progress.at(step, steps),
  toGraph: (step) => Ops.add(Ops.mul(progress.toGraph(step, steps), floor - peak), peak),
})

/**
 * Rises along a line for `steps` steps, then is `then`, counted from the end of the rise. The first step has
 * 1/steps of the rate, not none.
 */
export const warmup = (steps: number, then: Schedule): Schedule => ({
  at: (step) => (step < steps ? ((step + 1) / steps) * then.at(0) : then.at(step - steps)),
  toGraph: (step) => {
    const rise = Ops.min(Ops.div(Ops.add(step, 1), steps), 1)
    return Ops.mul(rise, then.toGraph(Ops.max(Ops.sub(step, steps), 0)))
  },
})

/** The first schedule for `steps` steps, then the second, counted from there. */
export const chain = (first: Schedule, steps: number, then: Schedule): Schedule => ({
  at: (step) => (step < steps ? first.at(step) : then.at(step - steps)),
  toGraph: (step) =>
    Ops.where(Ops.less(step, steps), first.toGraph(step), then.toGraph(Ops.max(Ops.sub(step, steps), 0))),
})
