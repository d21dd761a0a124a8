/** What waits in front of a node, cut into shards and handed to workers, to tasks for them, or called for here. */
import * as Calls from "./calls.ts"
import * as Clock from "./clock.ts"
import * as Driver from "./driver.ts"
import * as Duration from "./duration.ts"
import * as SimulatedNode from "./simulatedNode.ts"
import type { SimulatedRun } from "./simulatedRun.ts"
import * as Slurm from "./slurm.ts"
import * as Waiting from "./waiting.ts"
import * as Worker from "./worker.ts"

type Node = SimulatedNode.SimulatedNode

export const handOut = (run: SimulatedRun, node: Node): void => {
  const { clock, profile } = run
  const { overheads } = profile
  const { now } = clock
  if (node.where.how === "driver") return callHere(run, node)
  if (node.collects) {
    const items = node.waiting
    Waiting.take(run, node, items)
    return Slurm.submit(run, node, { workers: 1, items, since: now, idle: false })
  }
  const workers = Math.max(1, node.where.workers)
  const places = Math.ceil(workers * (1 + (SimulatedNode.isSlurm(node) ? overheads.backlog : 0)))
  const enough = node.shard.min * Math.max(1, node.group / Slurm.quarter)
  const patience = node.group === 1 ? 0 : run.least / 20_000
  while (node.waiting > 0) {
    const free = places - node.running - node.queued
    const [idle] = node.idle
    if (free <= 0 && idle === undefined) return
    if (node.waiting < enough && node.open > 0) {
      const until = node.waitingSince + Math.max(overheads.lingerSeconds, patience)
      if (now < until) return linger(run, node, until)
    }
    const share = Math.ceil(node.waiting / workers)
    const most = node.where.how === "held" ? node.shard.max : node.shard.task
    const each = Math.min(most, Math.max(node.shard.min, share))
    const together = idle?.workers ?? Math.min(node.group, free, Math.ceil(node.waiting / each))
    const items = Math.min(node.waiting, each * together)
    Waiting.take(run, node, items)
    if (idle === undefined) Slurm.submit(run, node, { workers: together, items, since: now, idle: false })
    else Worker.goOn(run, node, idle, items)
  }
}

/** Looks again when items have waited long enough for others. */
const linger = (run: SimulatedRun, node: Node, until: number): void => {
  if (node.lingering) return
  node.lingering = true
  Clock.at(run.clock, until, () => {
    node.lingering = false
    run.changed()
  })
}

/** A call by the driver itself. */
const callHere = (run: SimulatedRun, node: Node): void => {
  if (node.driverBusy) return
  const { driverSecondsPerItem, queueItems } = run.profile.overheads
  const stretch = Math.min(queueItems / 8, 0.5 / Math.max(1e-9, node.duration.mean))
  const items = node.collects ? node.waiting : Math.min(node.waiting, Math.max(1, Math.floor(stretch)))
  Waiting.take(run, node, items)
  node.driverBusy = true
  const { work } = Duration.span(node.duration, items, 1, 1, node.dice)
  const seconds = work + node.callSeconds
  node.tally.workSeconds += seconds
  node.seconds.busy += seconds
  node.tally.tasks++
  node.tally.shards++
  Driver.drive(run, seconds + items * driverSecondsPerItem, () => {
    node.driverBusy = false
    Driver.deliver(run, node, Calls.outcome(node, items, Calls.of(node, items).failed))
    run.changed()
  })
}
