/** Workers that make one shard after another, what is lost with them, and what they do when they are through. */
import * as Calls from "./calls.ts"
import * as Clock from "./clock.ts"
import * as SimulatedDriver from "./simulatedDriver.ts"
import * as Duration from "./duration.ts"
import * as SimulatedNode from "./simulatedNode.ts"
import type { SimulatedRun } from "./simulatedRun.ts"
import * as SimulatedQueue from "./simulatedQueue.ts"
import * as Waiting from "./waiting.ts"
import * as WholeCall from "./wholeCall.ts"

type Node = SimulatedNode.SimulatedNode
type Task = SimulatedNode.Task
type Shards = SimulatedNode.Shards

/** A shard at work. */
interface Making {
  readonly shards: Shards
  /** Of all its items: how many there were, how many fail, and the work. */
  readonly items: number
  readonly failed: number
  readonly work: number
  readonly begun: number
  /** Seconds that it takes, and those between two results that are written of it. */
  readonly took: number
  readonly every: number
  /** Until when its results are written. */
  written: number
}

/** Makes the next shard of a task, or gives its places back. */
export const work = (run: SimulatedRun, node: Node, task: Task): void => {
  const { clock, profile } = run
  const [shards] = task.shards
  if (shards === undefined) return SimulatedQueue.release(run, node, task)
  if (node.collects || node.where.how === "gang") return WholeCall.work(run, node, task)
  const { count, items } = shards
  // Of workers that are simulated as one, those for whom there is no shard part from the others.
  if (count < task.workers) {
    const surplus = task.workers - count
    task.workers = count
    after(run, node, { workers: surplus, shards: [], since: clock.now, idle: false })
  }
  const { calls, failed } = Calls.of(node, items)
  const { seconds, work } = Duration.span(node.duration, calls, node.lanes, count, node.draws)
  const committed = seconds + SimulatedNode.commitSeconds(node, profile.overheads)
  const took = Calls.transferred(run, node, items, committed)
  const rounds = Math.ceil(items / count / node.lanes - 1e-9)
  const every = rounds > 1 && SimulatedNode.isSlurm(node) ? profile.overheads.flushSeconds : took
  const chance = -Math.expm1(-node.lossRate * took)
  const lost = node.draws.binomial(task.workers, chance)
  const making = (shards: Shards): Making => {
    const part = shards.items / items
    const parts = { items: shards.items, failed: Math.floor(failed * part), work: work * part }
    return { shards, ...parts, begun: clock.now, took, every, written: clock.now }
  }
  if (lost > 0 && node.lossRate * took > 20) return WholeCall.giveUp(run, node, took)
  // When they are lost: exponential, given that it is before the end.
  const lostAfter = () => Math.min(took, -Math.log1p(-node.draws.uniform() * chance) / node.lossRate)
  if (lost === task.workers) return fail(run, node, task, making(shards), lostAfter())
  // Of workers that are simulated as one, those that are lost part from the others.
  if (Math.round((count * lost) / task.workers) > 0) {
    const gone = SimulatedQueue.part(node, task, lost)
    fail(run, node, gone, making(gone.shards[0]!), lostAfter())
    if (shards.count === 0) return after(run, node, task)
  }
  finish(run, node, task, making(shards))
}

const finish = (run: SimulatedRun, node: Node, task: Task, making: Making): void => {
  const { begun, shards, took } = making
  flush(run, node, making, begun + took)
  Clock.at(run.clock, begun + took, () => {
    SimulatedNode.note(node, shards.count, "busy", begun, run.clock.now)
    node.tally.shards += shards.count
    task.shards.shift()
    SimulatedQueue.keep(node, task)
    write(run, node, making, shards.items, shards.count)
    after(run, node, task)
  })
}

/** A task is lost, with what it had not written and what it still had. */
const fail = (run: SimulatedRun, node: Node, task: Task, making: Making, lostAfter: number): void => {
  const { begun } = making
  flush(run, node, making, begun + lostAfter)
  Clock.at(run.clock, begun + lostAfter, () => {
    SimulatedNode.note(node, task.workers, "busy", begun, making.written)
    SimulatedNode.note(node, task.workers, "lost", making.written, run.clock.now)
    node.tally.losses += task.workers
    const left = task.shards.splice(0)
    SimulatedQueue.release(run, node, task)
    Waiting.giveBack(run, node, left)
  })
}

/** Writes what is made of a shard every few seconds until a time, whole items only. */
const flush = (run: SimulatedRun, node: Node, making: Making, until: number): void => {
  const { begun, every, items, shards, took } = making
  const { clock } = run
  if (clock.now + every >= until) return
  Clock.at(clock, clock.now + every, () => {
    const atOnce = node.lanes * shards.count
    const made = Math.floor(((items / atOnce) * (clock.now - begun)) / took) * atOnce
    const fresh = Math.min(made - (items - shards.items), shards.items - 1)
    if (fresh > 0) write(run, node, making, fresh, 0)
    flush(run, node, making, until)
  })
}

/** Writes the results of some items of a shard, and with the last of them that so many shards are through. */
const write = (run: SimulatedRun, node: Node, making: Making, fresh: number, through: number): void => {
  const { items, shards } = making
  const before = items - shards.items
  const failedOf = (made: number) => Math.floor((making.failed * made) / items)
  const failed = Math.min(fresh, failedOf(before + fresh) - failedOf(before))
  making.written = run.clock.now
  node.tally.workSeconds += (making.work * fresh) / items
  shards.items -= fresh
  SimulatedDriver.commit(run, node, Calls.outcome(node, fresh, failed, through))
}

/** What a task does when a shard of it is committed. */
const after = (run: SimulatedRun, node: Node, task: Task): void => {
  const { clock, pollSeconds, profile } = run
  if (task.shards.length > 0) return work(run, node, task)
  if (node.where.how !== "held") return SimulatedQueue.release(run, node, task)
  const since = clock.now
  for (const other of node.idle)
    if (other.workers + task.workers <= node.group) {
      SimulatedNode.note(node, other.workers, "idle", other.since, since)
      node.idle.delete(other)
      other.idle = false
      task.workers += other.workers
      break
    }
  task.idle = true
  task.since = since
  node.idle.add(task)
  Clock.at(clock, since + Math.max(profile.overheads.heldSeconds, 2 * pollSeconds), () => {
    if (task.idle && task.since === since) SimulatedQueue.release(run, node, task)
  })
}

/** Gives a held worker one more shard: one that waits begins it. */
export const give = (run: SimulatedRun, node: Node, task: Task, shards: Shards): void => {
  task.shards.push(shards)
  SimulatedQueue.keep(node, task)
  if (!task.idle) return
  node.idle.delete(task)
  SimulatedNode.note(node, task.workers, "idle", task.since, run.clock.now)
  task.idle = false
  work(run, node, task)
}
