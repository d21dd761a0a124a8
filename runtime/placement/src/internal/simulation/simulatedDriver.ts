/** The driver's own time: it does one thing after another, looks for results now and then, and passes them on. */
import * as Clock from "./clock.ts"
import type { Outcome, SimulatedNode } from "./simulatedNode.ts"
import type { SimulatedRun } from "./simulatedRun.ts"
import * as Waiting from "./waiting.ts"

/** Takes the driver for some seconds, after what it does already. */
export const drive = ({ clock, driver }: SimulatedRun, seconds: number, then: () => void): void => {
  driver.seconds += seconds
  driver.free = Math.max(driver.free, clock.now) + seconds
  if (driver.free <= clock.now) then()
  else Clock.at(clock, driver.free, then)
}

/** Has the driver look, when it next does, for what is committed. */
export const look = (run: SimulatedRun): void => {
  const { clock, driver, pollSeconds, profile } = run
  if (driver.looking) return
  driver.looking = true
  const next = pollSeconds === 0 ? clock.now : Math.ceil(clock.now / pollSeconds + 1e-9) * pollSeconds
  Clock.at(clock, next, () => {
    driver.looking = false
    const seen: Array<readonly [SimulatedNode, Outcome]> = []
    let items = 0
    for (const [node, outcomes] of driver.committed)
      for (const outcome of seeable(run, node, outcomes)) {
        seen.push([node, outcome])
        items += outcome.items
      }
    if (seen.length === 0) return run.changed()
    drive(run, items * profile.overheads.driverSecondsPerItem, () => {
      for (const [node, outcome] of seen) deliver(run, node, outcome)
      run.changed()
    })
  })
}

/** Takes those results out that the nodes they are for have room for; the others stay where they are. */
const seeable = (
  run: SimulatedRun,
  node: SimulatedNode,
  outcomes: Array<Outcome>,
): ReadonlyArray<Outcome> => {
  let room = Waiting.room(run, node.consumers)
  let count = 0
  while (count < outcomes.length && room > 0) room -= outcomes[count++]!.out
  return outcomes.splice(0, count)
}

/** What a worker has committed: the driver sees it at its next look, if those that it is for have room. */
export const commit = (run: SimulatedRun, node: SimulatedNode, outcome: Outcome): void => {
  const { committed } = run.driver
  const outcomes = committed.get(node)
  if (outcomes === undefined) committed.set(node, [outcome])
  else outcomes.push(outcome)
  if (Waiting.room(run, node.consumers) > 0) look(run)
}

/** Items passed on to those that take them. */
export const deliver = (
  run: SimulatedRun,
  node: SimulatedNode,
  { failed, items, kept, out, shards }: Outcome,
): void => {
  const { tally } = node
  node.inFlight -= items
  node.inHand -= shards
  tally.in += items
  tally.kept += kept
  tally.failed += failed
  tally.out += out
  tally.lastSeconds = run.clock.now
  run.finish = run.clock.now
  if (out > 0) for (const consumer of node.consumers) Waiting.add(run, consumer, out)
}
