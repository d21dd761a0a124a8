/** The time of a simulation, and what is to happen at which time. */
import * as Heap from "./heap.ts"

export interface Clock {
  /** Seconds from the beginning of the run. */
  now: number
  /** Events that have happened. */
  events: number
  readonly heap: Heap.Heap<() => void>
}

export const make = (): Clock => ({ now: 0, events: 0, heap: Heap.make() })

/** Has something happen at a time; at once, after what is to happen now, when that is over. */
export const at = (clock: Clock, time: number, event: () => void): void =>
  clock.heap.push(Math.max(clock.now, time), event)

/** Goes on to the next event. False when there is none. */
export const step = (clock: Clock): boolean => {
  const next = clock.heap.pop()
  if (next === undefined) return false
  clock.now = next.time
  clock.events++
  next.value()
  return true
}
