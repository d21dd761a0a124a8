/** Items that come in through inputs: at a rate or all at the beginning, and on to those that take them. */
import * as Clock from "./clock.ts"
import * as SimulatedDriver from "./simulatedDriver.ts"
import type { SimulatedRun } from "./simulatedRun.ts"
import type { SimulatedSource } from "./simulatedSource.ts"
import * as Waiting from "./waiting.ts"

/** Items that are passed on at once, at most. */
const most = 2 ** 20

/** Arrivals of one input that are simulated, about: of more, some come together. */
const steps = 400_000

/** Passes on what is here, as far as there is room for it. */
export const feed = (run: SimulatedRun, source: SimulatedSource): void => {
  if (source.feeding || source.here === 0) return
  const { driverSecondsPerItem, queueItems } = run.profile.overheads
  const room = Math.min(most, Waiting.room(run, source.consumers))
  if (room < 1 || room < Math.min(source.here, queueItems / 8)) return
  const items = Math.min(source.here, Math.max(1, Math.floor(room)))
  source.here -= items
  source.feeding = true
  SimulatedDriver.drive(run, items * driverSecondsPerItem, () => {
    source.feeding = false
    for (const node of source.consumers) Waiting.add(run, node, items)
    run.finish = run.clock.now
    run.changed()
  })
}

/** The next of what arrives at a rate; of very many, some at a time. */
export const arrive = (run: SimulatedRun, source: SimulatedSource): void => {
  if (typeof source.arrivals === "number" || source.coming === 0) return
  const { count, perSecond, spread } = source.arrivals
  const items = Math.min(source.coming, Math.ceil(count / steps))
  const mean = items / perSecond
  const gap =
    spread === "regular"
      ? mean
      : items === 1
        ? mean * source.draws.exponential()
        : source.draws.lognormal(mean, mean / Math.sqrt(items))
  Clock.at(run.clock, run.clock.now + gap, () => {
    source.coming -= items
    source.here += items
    arrive(run, source)
    run.changed()
  })
}
