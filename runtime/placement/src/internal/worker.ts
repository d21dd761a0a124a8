/** Workers that make one shard after another, what is lost with them, and what they do when they are through. */
import * as Calls from "./calls.ts"
import * as Clock from "./clock.ts"
import * as Driver from "./driver.ts"
import * as Duration from "./duration.ts"
import * as SimulatedNode from "./simulatedNode.ts"
import type { SimulatedRun } from "./simulatedRun.ts"
import * as Slurm from "./slurm.ts"
import * as Waiting from "./waiting.ts"
import * as WholeCall from "./wholeCall.ts"

type Node = SimulatedNode.SimulatedNode
type Task = SimulatedNode.Task

/** Makes the next shard of a task, or gives its places back. */
export const work = (run: SimulatedRun, node: Node, task: Task): void => {
  const { clock } = run
  if (task.items === 0) return Slurm.release(run, node, task)
  if (node.collects || node.where.how === "gang") return WholeCall.work(run, node, task)
  const items = Math.min(task.items, node.shard.max * task.workers)
  const { calls, failed } = Calls.of(node, items)
  const { seconds, work: worked } = Duration.span(node.duration, calls, node.lanes, task.workers, node.dice)
  const took = Calls.transferred(
    run,
    node,
    items,
    seconds + SimulatedNode.commitSeconds(node, run.profile.overheads),
  )
  const chance = -Math.expm1(-node.lossRate * took)
  const lost = node.dice.binomial(task.workers, chance)
  const begun = clock.now
  if (lost === task.workers) {
    if (node.lossRate * took > 20) return WholeCall.giveUp(run, node, took)
    // When it is lost: exponential, given that it is before the end.
    const after = Math.min(took, -Math.log1p(-node.dice.uniform() * chance) / node.lossRate)
    return Clock.at(clock, begun + after, () => lose(run, node, task, begun))
  }
  Clock.at(clock, begun + took, () => {
    const left = lost === 0 ? items : Math.floor((items * (task.workers - lost)) / task.workers)
    SimulatedNode.note(node, task.workers - lost, "busy", begun, clock.now)
    node.tally.workSeconds += (worked * left) / items
    node.tally.shards += task.workers - lost
    task.items -= items
    if (lost > 0) loseSome(run, node, task, lost, items - left, took)
    Driver.commit(run, node, Calls.outcome(node, left, Math.min(left, failed)))
    after(run, node, task)
  })
}

/** What a task does when a shard of it is committed. */
const after = (run: SimulatedRun, node: Node, task: Task): void => {
  const { clock, pollSeconds, profile } = run
  if (task.items > 0) return work(run, node, task)
  if (node.where.how !== "held") return Slurm.release(run, node, task)
  const since = clock.now
  task.idle = true
  task.since = since
  node.idle.add(task)
  Clock.at(clock, since + Math.max(profile.overheads.heldSeconds, 2 * pollSeconds), () => {
    if (task.idle && task.since === since) Slurm.release(run, node, task)
  })
}

/** Gives a held worker that waited its next items. */
export const goOn = (run: SimulatedRun, node: Node, task: Task, items: number): void => {
  node.idle.delete(task)
  SimulatedNode.note(node, task.workers, "idle", task.since, run.clock.now)
  task.idle = false
  task.items = items
  work(run, node, task)
}

/** A whole task is gone, with what it was at and what it still had. */
const lose = (run: SimulatedRun, node: Node, task: Task, begun: number): void => {
  SimulatedNode.note(node, task.workers, "lost", begun, run.clock.now)
  node.tally.losses += task.workers
  const { items } = task
  task.items = 0
  Slurm.release(run, node, task)
  Waiting.giveBack(run, node, items)
}

/** Of workers that are simulated as one, some are gone: half-way through their shard, on the mean. */
const loseSome = (
  run: SimulatedRun,
  node: Node,
  task: Task,
  lost: number,
  items: number,
  took: number,
): void => {
  const { now } = run.clock
  SimulatedNode.note(node, lost, "lost", now - took / 2, now)
  const rest = Math.floor((task.items * lost) / task.workers)
  node.tally.losses += lost
  Slurm.leave(node, lost)
  task.workers -= lost
  task.items -= rest
  Waiting.giveBack(run, node, items + rest)
  Slurm.startWaiting(run, node.pool!)
}
