/** Tasks on their way to a place in a pool, and places that are given back. */
import * as Clock from "./clock.ts"
import * as SimulatedDriver from "./simulatedDriver.ts"
import * as Sharing from "./sharing.ts"
import * as SimulatedNode from "./simulatedNode.ts"
import * as SimulatedPool from "./simulatedPool.ts"
import type { SimulatedRun } from "./simulatedRun.ts"

type Node = SimulatedNode.SimulatedNode
type Task = SimulatedNode.Task
type Shards = SimulatedNode.Shards

/** Of the workers that are simulated as one, the part of them that begins without the others. */
export const quarter = 4

export const submit = (run: SimulatedRun, node: Node, task: Task): void => {
  const { clock, profile } = run
  const { startsPerSecond, submitSeconds } = profile.overheads
  const { now } = clock
  node.queued += task.workers
  node.tally.tasks += task.workers
  let from = now
  if (SimulatedNode.isSlurm(node)) {
    // Slurm starts tasks, not the workers in them.
    run.slurmFree = Math.max(run.slurmFree, now) + task.workers / node.where.perTask / startsPerSecond
    from = Math.max(now + submitSeconds, run.slurmFree)
  }
  node.queue.push({ task, from })
  keep(node, task)
  if (from <= now) startWaiting(run, node.pool!)
  else Clock.at(clock, from, () => startWaiting(run, node.pool!))
}

/** Gives places to tasks that wait for one, in the order in which they came. */
export const startWaiting = (run: SimulatedRun, pool: SimulatedPool.SimulatedPool): void => {
  const { now } = run.clock
  const here = run.nodes.filter((node) => node.pool === pool && node.queue.length > 0)
  const passed = new Set<Node>()
  let gang = false
  while (!gang) {
    let next: Node | undefined
    for (const node of here) {
      const head = node.queue[0]
      if (head === undefined || head.from > now || passed.has(node)) continue
      if (next === undefined || head.from < next.queue[0]!.from) next = node
    }
    if (next === undefined) break
    const free = Math.min(SimulatedPool.room(pool, next.demand), next.where.workers - next.running)
    const ready = next.queue.reduce((sum, { from, task }) => (from <= now ? sum + task.workers : sum), 0)
    if (free >= Math.min(ready, Math.max(1, next.group / quarter))) start(run, next, queued(now, next, free))
    else {
      // Nothing that came later goes before a gang that waits for its places.
      gang = next.where.how === "gang" && next.running < next.where.workers
      passed.add(next)
    }
  }
  if (passed.size > 0) dismissIdle(run, pool)
}

/** Held workers that wait for work make room for others. */
const dismissIdle = (run: SimulatedRun, pool: SimulatedPool.SimulatedPool): void => {
  for (const node of run.nodes)
    if (node.pool === pool && node.idle.size > 0) {
      const [task] = node.idle
      release(run, node, task!)
      return
    }
}

/** The next that has waited for a place: workers that are simulated as one, up to as many as there are places. */
const queued = (now: number, node: Node, places: number): Task => {
  const most = Math.min(node.group, places)
  const first = node.queue[0]!.task
  if (first.workers >= most) return split(node, most)
  node.queue.shift()
  while (first.workers < most && node.queue.length > 0 && node.queue[0]!.from <= now) {
    const more = split(node, most - first.workers)
    first.workers += more.workers
    for (const [round, { count, items }] of more.shards.entries()) {
      const into = (first.shards[round] ??= { count: 0, items: 0 })
      into.count += count
      into.items += items
    }
    node.short.delete(more)
    keep(node, first)
  }
  return first
}

/** At most so many workers of the first task in the queue, with their part of the shards. */
const split = (node: Node, workers: number): Task => {
  const { task } = node.queue[0]!
  if (task.workers <= workers) {
    node.queue.shift()
    return task
  }
  return part(node, task, workers)
}

/** Parts some of the workers of a task from the others, with as large a part of each of its shards. */
export const part = (node: Node, task: Task, workers: number): Task => {
  const taken: Array<Shards> = []
  for (const each of task.shards) {
    const count = Math.round((each.count * workers) / task.workers)
    if (count === 0) continue
    const items = count === each.count ? each.items : Math.ceil((each.items * count) / each.count)
    taken.push({ count, items })
    each.count -= count
    each.items -= items
  }
  task.workers -= workers
  task.shards.splice(0, task.shards.length, ...task.shards.filter(({ count }) => count > 0))
  const parted: Task = { workers, shards: taken, since: task.since, idle: false }
  keep(node, parted)
  keep(node, task)
  return parted
}

/** Keeps in mind which held workers can be given one more shard. */
export const keep = (node: Node, task: Task): void => {
  if (node.where.how !== "held") return
  if (task.shards.length === 1) node.short.add(task)
  else node.short.delete(task)
}

const start = (run: SimulatedRun, node: Node, task: Task): void => {
  const { clock, profile } = run
  const { workers } = task
  node.queued -= workers
  node.running += workers
  SimulatedPool.take(node.pool!, node.demand, workers)
  if (!SimulatedNode.isSlurm(node)) return run.ready(node, task)
  const begun = clock.now
  const alone = begun + profile.overheads.workerStartSeconds + node.profile.startupSeconds
  const started = () => {
    if (clock.now > begun) SimulatedNode.note(node, workers, "starting", begun, clock.now)
    run.ready(node, task)
  }
  const loaded = () => (alone <= clock.now ? started() : Clock.at(clock, alone, started))
  if (run.starts.seconds === 0) return loaded()
  Sharing.enter(run.starts, begun, workers * node.where.ranks, loaded)
  endStarts(run)
}

/** Lets those go on that have loaded what they start with, and sees to it that this happens again in time. */
const endStarts = (run: SimulatedRun): void => {
  const { clock, starts } = run
  if (run.starting) return
  const next = Sharing.next(starts)
  if (next === undefined) return
  run.starting = true
  Clock.at(clock, next, () => {
    run.starting = false
    let through = Sharing.leave(starts, clock.now)
    while (through !== undefined) {
      through()
      through = Sharing.leave(starts, clock.now)
    }
    endStarts(run)
  })
}

/** Gives the places of a task back. */
export const release = (run: SimulatedRun, node: Node, task: Task): void => {
  if (task.idle) {
    node.idle.delete(task)
    SimulatedNode.note(node, task.workers, "idle", task.since, run.clock.now)
    task.idle = false
  }
  node.short.delete(task)
  leave(node, task.workers)
  startWaiting(run, node.pool!)
  // The driver learns of it at its next look.
  if (node.waiting > 0 || node.line.length > 0) SimulatedDriver.look(run)
}

/** Frees the places of workers; what they were at is handled elsewhere. */
export const leave = (node: Node, workers: number): void => {
  node.running -= workers
  SimulatedPool.take(node.pool!, node.demand, -workers)
}
