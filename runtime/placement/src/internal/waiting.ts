/** Items that wait in front of nodes, and those that are given back to it. */
import * as Clock from "./clock.ts"
import type { SimulatedNode } from "./simulatedNode.ts"
import type { SimulatedRun } from "./simulatedRun.ts"

/** Puts items in front of a node; takes them away when it is negative. */
export const add = ({ clock: { now } }: SimulatedRun, node: SimulatedNode, items: number): void => {
  const { tally } = node
  tally.waitingArea += node.waiting * (now - tally.waitingAt)
  tally.waitingAt = now
  if (node.waiting === 0) node.waitingSince = now
  node.waiting += items
  tally.waitingMost = Math.max(tally.waitingMost, node.waiting)
}

/** Takes items of those that wait, for a worker. */
export const take = (run: SimulatedRun, node: SimulatedNode, items: number): void => {
  const { now } = run.clock
  add(run, node, -items)
  node.waitingSince = now
  node.inFlight += items
  node.tally.firstSeconds ??= now
}

/** Items whose worker is lost wait again, once that is noticed. */
export const giveBack = (run: SimulatedRun, node: SimulatedNode, items: number): void => {
  if (items === 0) return
  const { lostSeconds } = run.profile.overheads
  const back = () => {
    node.inFlight -= items
    add(run, node, items)
    run.changed()
  }
  if (lostSeconds === 0) back()
  else Clock.at(run.clock, run.clock.now + lostSeconds, back)
}

/** Items that those that are fed here still take: what gathers its input first takes all. */
export const room = (
  { profile: { overheads } }: SimulatedRun,
  consumers: ReadonlyArray<SimulatedNode>,
): number => {
  let room = Number.POSITIVE_INFINITY
  for (const node of consumers)
    if (!node.collects && node.sidesOpen === 0) room = Math.min(room, overheads.queueItems - node.waiting)
  return room
}
