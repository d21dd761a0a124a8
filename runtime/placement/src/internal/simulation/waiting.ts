/** Items that wait in front of nodes: as they came, and then packed into shards, in line for a task. */
import * as Clock from "./clock.ts"
import type { Shards, SimulatedNode } from "./simulatedNode.ts"
import type { SimulatedRun } from "./simulatedRun.ts"

/** Notes for how long so many items have waited. To be called before there are more or fewer. */
const note = ({ clock: { now } }: SimulatedRun, { lined, tally, waiting }: SimulatedNode): void => {
  tally.waitingArea += (waiting + lined) * (now - tally.waitingAt)
  tally.waitingAt = now
}

/** Puts items in front of a node. */
export const add = (run: SimulatedRun, node: SimulatedNode, items: number): void => {
  note(run, node)
  if (node.waiting === 0) node.waitingSince = run.clock.now
  node.waiting += items
  node.tally.waitingMost = Math.max(node.tally.waitingMost, node.waiting + node.lined)
}

/** Takes items away for a call by the driver. */
export const take = (run: SimulatedRun, node: SimulatedNode, items: number): void => {
  note(run, node)
  node.waiting -= items
  node.inFlight += items
  node.tally.firstSeconds ??= run.clock.now
}

/** Packs items into shards, which stand in line for a task. */
export const pack = (node: SimulatedNode, shards: Shards): void => {
  node.waiting -= shards.items
  node.inFlight += shards.items
  node.inHand += shards.count
  node.lined += shards.items
  node.line.push(shards)
}

/** Takes shards out of the line, so many at most. There has to be one. */
export const next = (run: SimulatedRun, node: SimulatedNode, most: number): Shards => {
  note(run, node)
  node.tally.firstSeconds ??= run.clock.now
  const taken = { count: 0, items: 0 }
  while (taken.count < most && node.line.length > 0) {
    const first = node.line[0]!
    const count = Math.min(first.count, most - taken.count)
    const items = Math.ceil((first.items * count) / first.count)
    taken.count += count
    taken.items += items
    if (count === first.count) node.line.shift()
    else {
      first.count -= count
      first.items -= items
    }
  }
  node.lined -= taken.items
  return taken
}

/** Shards whose worker is lost stand in line again, once that is noticed. */
export const giveBack = (run: SimulatedRun, node: SimulatedNode, shards: ReadonlyArray<Shards>): void => {
  if (shards.length === 0) return
  const { lostSeconds } = run.profile.overheads
  const back = () => {
    note(run, node)
    for (const each of shards) {
      // No shard is without items.
      const none = Math.max(0, each.count - each.items)
      each.count -= none
      node.inHand -= none
      node.lined += each.items
      node.line.push(each)
    }
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
