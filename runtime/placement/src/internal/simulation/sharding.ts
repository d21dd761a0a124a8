/**
 * What waits in front of a node, packed into shards and handed to workers, by the rules of the driver:
 *
 * - It waits until no more comes, and then packs: into even shares of what waits for all workers, which stay so large
 *   until all of that is packed; and no more shards than two for each worker, and one, at once.
 * - At its next look it submits a job with a task for every place that is free, and gives each a fair share of the
 *   shards in line, some at most.
 *   Nothing is added to a task of an array: when it has made its shards, its place is free for another.
 * - Held workers are given shards before new ones are submitted, each one beyond that which it is at.
 */
import * as Calls from "./calls.ts"
import * as Clock from "./clock.ts"
import * as SimulatedDriver from "./simulatedDriver.ts"
import * as Duration from "./duration.ts"
import * as SimulatedNode from "./simulatedNode.ts"
import type { SimulatedRun } from "./simulatedRun.ts"
import * as SimulatedQueue from "./simulatedQueue.ts"
import * as Waiting from "./waiting.ts"
import * as SimulatedWorker from "./simulatedWorker.ts"

type Node = SimulatedNode.SimulatedNode
type Task = SimulatedNode.Task

/** Shards for each worker that are packed before there are results of them. One more is being packed. */
const ahead = 2

/** Times that it is looked whether more comes, at most. */
const looks = 10

/** Seconds, as a part of those of the run, in which what comes for workers that are simulated as one is one heap. */
const patience = 1 / 20_000

export const handOut = (run: SimulatedRun, node: Node): void => {
  const room = node.waiting > 0 && isReady(node) && Waiting.room(run, node.consumers) > 0
  if (node.where.how === "driver") return room ? callHere(run, node) : undefined
  if (room) pack(run, node)
  if (node.line.length > 0 && (placesOf(run, node) > 0 || node.idle.size + node.short.size > 0))
    order(run, node)
}

/** Whether it has all that it needs before it begins. */
const isReady = (node: Node): boolean => node.sidesOpen === 0 && (!node.collects || node.open === 0)

const pack = (run: SimulatedRun, node: Node): void => {
  if (node.collects) return Waiting.pack(node, { count: 1, items: node.waiting })
  const workers = Math.max(1, node.where.workers)
  const most = SimulatedNode.isSlurm(node) ? ahead * workers + 1 : workers
  while (node.waiting > 0 && node.inHand < most) {
    const gathers = SimulatedNode.isSlurm(node) && run.profile.overheads.lingerSeconds > 0
    if (node.share === 0 && gathers && !isHeap(run, node)) return gather(run, node)
    node.gathering = undefined
    node.share = shareOf(node)
    const count = Math.min(node.group, most - node.inHand, Math.ceil(node.waiting / node.share))
    const items = Math.min(node.waiting, node.share * count)
    if (items === node.waiting) node.share = 0
    Waiting.pack(node, { count, items })
  }
}

/** Items of a shard: even for all workers, and worth it once results show the time of an item. */
const shareOf = ({ share, shard, tally, waiting, where }: Node): number => {
  const even = Math.ceil(waiting / Math.max(1, where.workers))
  return Math.max(1, share, Math.min(shard.max, Math.max(even, tally.in > 0 ? shard.min : 1)))
}

/** Of workers that are simulated as one, what is enough for half of all, or a quarter of what may wait, is not waited for. */
const isHeap = ({ profile }: SimulatedRun, { group, shard, waiting, where }: Node): boolean =>
  group > 1 && waiting >= Math.min((shard.min * where.workers) / 2, profile.overheads.queueItems / 4)

/** Waits until no more comes. */
const gather = (run: SimulatedRun, node: Node): void => {
  if (node.gathering !== undefined) return
  const { clock, least, profile } = run
  const { lingerSeconds } = profile.overheads
  const begun = clock.now
  node.gathering = begun
  // What comes at once comes one after another: the driver begins with the first.
  let counted = node.waitingSince < clock.now ? node.waiting : 1
  const look = (left: number, seconds: number) =>
    Clock.at(clock, clock.now + seconds, () => {
      if (node.gathering !== begun) return
      if (left > 1 && node.waiting !== counted) {
        counted = node.waiting
        return look(left - 1, seconds)
      }
      node.gathering = undefined
      node.share = shareOf(node)
      run.changed()
    })
  if (node.group === 1) look(looks, lingerSeconds)
  else look(1, Math.max(2 * lingerSeconds, least * patience))
}

/** Workers for which there is a place, so far as the driver knows. */
const placesOf = ({ profile }: SimulatedRun, node: Node): number => {
  const backlog = SimulatedNode.isSlurm(node) ? profile.overheads.backlog : 0
  return Math.ceil(Math.max(1, node.where.workers) * (1 + backlog)) - node.running - node.queued
}

/** Has shards that are in line handed out at the next look for that, which comes between two looks for results. */
const order = (run: SimulatedRun, node: Node): void => {
  const { clock, pollSeconds } = run
  if (pollSeconds === 0 || !SimulatedNode.isSlurm(node)) return submit(run, node)
  if (node.ordering) return
  node.ordering = true
  const next = (Math.floor(clock.now / pollSeconds - 0.5 + 1e-9) + 1.5) * pollSeconds
  Clock.at(clock, next, () => {
    node.ordering = false
    submit(run, node)
  })
}

/** Gives shards in line to held workers, and then to the tasks of a new job. */
const submit = (run: SimulatedRun, node: Node): void => {
  const { how } = node.where
  // Few of those that are simulated as one get nothing ahead: they wait, and then go on together.
  const few = (task: Task) => task.workers < node.group / SimulatedQueue.quarter
  for (const hands of [node.idle, node.short])
    for (const task of hands)
      if (node.line.length > 0 && (task.idle || !few(task)))
        SimulatedWorker.give(run, node, task, Waiting.next(run, node, task.workers))
  const inLine = node.line.reduce((sum, { count }) => sum + count, 0)
  const fair = Math.max(1, Math.ceil(inLine / Math.max(1, node.where.workers)))
  // A gang is a job of one task.
  let places = how === "gang" ? Math.min(1, placesOf(run, node)) : placesOf(run, node)
  const tasks: Array<Task> = []
  while (places > 0 && node.line.length > 0) {
    const shards = Waiting.next(run, node, Math.min(node.group, places))
    places -= shards.count
    tasks.push({ workers: shards.count, shards: [shards], since: run.clock.now, idle: false })
  }
  const rounds = how === "held" ? 1 : Math.min(node.shard.perTask, fair)
  for (let round = 1; round < rounds; round++)
    for (const task of tasks)
      if (node.line.length > 0) task.shards.push(Waiting.next(run, node, task.workers))
  for (const task of tasks) SimulatedQueue.submit(run, node, task)
}

/** A call by the driver itself. */
const callHere = (run: SimulatedRun, node: Node): void => {
  if (node.driverBusy) return
  const { driverSecondsPerItem, queueItems } = run.profile.overheads
  const stretch = Math.min(queueItems / 8, 0.5 / Math.max(1e-9, node.duration.mean))
  const items = node.collects ? node.waiting : Math.min(node.waiting, Math.max(1, Math.floor(stretch)))
  Waiting.take(run, node, items)
  node.driverBusy = true
  const { work } = Duration.span(node.duration, items, 1, 1, node.draws)
  const seconds = work + node.callSeconds
  node.tally.workSeconds += seconds
  node.seconds.busy += seconds
  node.tally.tasks++
  node.tally.shards++
  SimulatedDriver.drive(run, seconds + items * driverSecondsPerItem, () => {
    node.driverBusy = false
    SimulatedDriver.deliver(run, node, Calls.outcome(node, items, Calls.of(node, items).failed, 0))
    run.changed()
  })
}
