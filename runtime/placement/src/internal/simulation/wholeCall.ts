/** The one call of a `collect` or of a gang: goes on from its last checkpoint when it is lost. */
import * as Calls from "./calls.ts"
import * as Clock from "./clock.ts"
import * as SimulatedDriver from "./simulatedDriver.ts"
import * as Duration from "./duration.ts"
import * as SimulatedNode from "./simulatedNode.ts"
import type { SimulatedRun } from "./simulatedRun.ts"
import * as SimulatedQueue from "./simulatedQueue.ts"

type Node = SimulatedNode.SimulatedNode
type Task = SimulatedNode.Task

/** Times that the work of one task is lost before a run counts as endless. */
const endless = 200

export const work = (run: SimulatedRun, node: Node, task: Task): void => {
  const { clock } = run
  const left = leftOf(run, node, task)
  const begun = clock.now
  const survives = node.lossRate === 0 ? Number.POSITIVE_INFINITY : node.draws.exponential() / node.lossRate
  if (survives < left) return Clock.at(clock, begun + survives, () => lose(run, node, task, begun, survives))
  Clock.at(clock, begun + left, () => {
    SimulatedNode.note(node, task.workers, "busy", begun, clock.now)
    const { count, items } = task.shards.shift()!
    node.tally.shards += count
    task.left = undefined
    SimulatedDriver.commit(run, node, Calls.outcome(node, items, task.failed ?? 0, count))
    if (task.shards.length > 0) work(run, node, task)
    else SimulatedQueue.release(run, node, task)
  })
}

/** Seconds that are left of it: of a new one, as they are drawn. */
const leftOf = (run: SimulatedRun, node: Node, task: Task): number => {
  if (task.left !== undefined) return task.left
  const given = task.shards[0]!.items
  const { calls, failed } = Calls.of(node, node.collects ? 1 : given)
  const items = node.collects ? given : calls
  const { seconds, work: worked } = Duration.span(node.duration, items, node.lanes, 1, node.draws)
  const whole = node.collects ? node.callSeconds * calls : 0
  const committing = SimulatedNode.commitSeconds(node, run.profile.overheads)
  task.failed = node.collects ? failed * given : failed
  node.tally.workSeconds += worked + whole
  return (task.left = Calls.transferred(run, node, given, seconds + whole + committing))
}

const lose = (run: SimulatedRun, node: Node, task: Task, begun: number, survived: number): void => {
  const { clock, profile } = run
  const left = task.left!
  const every = keptEvery(node, task)
  const kept = every === undefined ? 0 : Math.floor(survived / every) * every
  SimulatedNode.note(node, task.workers, "busy", begun, begun + kept)
  SimulatedNode.note(node, task.workers, "lost", begun + kept, clock.now)
  node.tally.losses++
  task.left = left - kept
  if (node.tally.losses > endless && kept === 0) return giveUp(run, node, left)
  SimulatedQueue.leave(node, 1)
  SimulatedQueue.startWaiting(run, node.pool!)
  Clock.at(clock, clock.now + profile.overheads.lostSeconds, () => SimulatedQueue.submit(run, node, task))
}

/** Seconds between its checkpoints: a state of its call, or the results of the calls that a gang has made. */
const keptEvery = ({ collects, duration, profile }: Node, { shards }: Task): number | undefined =>
  !collects && shards[0]!.items > 1 && duration.mean > 0
    ? Math.min(duration.mean, profile.checkpointSeconds ?? duration.mean)
    : profile.checkpointSeconds

/** Ends a run that would never end: what its workers are at takes longer than they live. */
export const giveUp = (run: SimulatedRun, node: Node, seconds: number): void => {
  run.problem ??= {
    _tag: "Endless",
    node: node.placed.id,
    problem: `its workers are lost every ${(1 / node.lossRate / 3600).toFixed(1)} hours, and what they are at takes ${(seconds / 3600).toFixed(1)}; set how often it saves its state (checkpointSeconds)`,
  }
}
