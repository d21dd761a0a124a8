/** One node of a graph while a simulation goes on. */
import type { Graph } from "@reelgraph/core"

import type { Overheads } from "../../Overheads.ts"
import type { PlacedNode } from "../../Placement.ts"
import type * as Profile from "../../Profile.ts"
import * as Draws from "./draws.ts"
import * as Duration from "./duration.ts"
import * as SimulatedPool from "./simulatedPool.ts"

/** What became of some items of a node. */
export interface Outcome {
  readonly items: number
  readonly kept: number
  readonly failed: number
  readonly out: number
  /** Shards that are through with it. */
  readonly shards: number
}

/** Shards of about as many items each: one, or several that are simulated as one. */
export interface Shards {
  count: number
  /** Items that are left, of all of them. */
  items: number
}

/** Workers that hold the same work: one, or several that are simulated as one. */
export interface Task {
  workers: number
  /** What is left to be made, one after another; of several workers, one shard for each. */
  readonly shards: Array<Shards>
  /** Of a whole call (`collect`, gang), once they are drawn: seconds that are left, and whether it fails. */
  left?: number | undefined
  failed?: number
  /** When it began to wait for its next shard. */
  since: number
  idle: boolean
}

export interface SimulatedNode {
  readonly placed: Graph.Placed
  readonly where: PlacedNode
  readonly profile: Profile.OperatorProfile
  readonly draws: Draws.Draws
  readonly pool: SimulatedPool.SimulatedPool | undefined
  /** Of one worker; of all ranks of a gang. */
  readonly demand: SimulatedPool.Amounts
  /** Largest share of a node that one worker takes, in nodes. */
  readonly nodesPerWorker: number
  /** Of one item, with reading and writing, in one of the lanes of a worker. */
  readonly duration: Duration.Duration
  /** Seconds of a whole call beside those of its items. */
  readonly callSeconds: number
  readonly lanes: number
  readonly collects: boolean
  /** Items of one shard, at least (once the driver knows what they take) and at most; shards of one task, at most. */
  readonly shard: { readonly min: number; readonly max: number; readonly perTask: number }
  /** Losses of one worker, a second. */
  readonly lossRate: number
  /** Workers that are simulated as one. */
  readonly group: number
  readonly consumers: Array<SimulatedNode>
  readonly sideConsumers: Array<SimulatedNode>

  /** Edges that may bring more, sides apart. */
  open: number
  sidesOpen: number
  ended: boolean
  waiting: number
  /** Since when something has waited. */
  waitingSince: number
  /** Since when the driver waits for more of it to come. */
  gathering: number | undefined
  /** Items of a shard of the heap that is being packed; 0 when none is. */
  share: number
  /** Shards that are packed, until the driver has all of their results. */
  inHand: number
  /** Shards that no task has, and their items. */
  readonly line: Array<Shards>
  lined: number
  /** Whether it is noted to submit them. */
  ordering: boolean
  /** Items that are packed, until the driver has their results. */
  inFlight: number
  /** Workers that have a place, and that wait in Slurm for one. */
  running: number
  queued: number
  /** Tasks that wait for a place, by when they may start. */
  readonly queue: Array<{ readonly task: Task; readonly from: number }>
  /** Held ones without a shard, and with one. */
  readonly idle: Set<Task>
  readonly short: Set<Task>
  driverBusy: boolean

  readonly tally: {
    in: number
    kept: number
    failed: number
    out: number
    retries: number
    tasks: number
    shards: number
    losses: number
    workSeconds: number
    firstSeconds: number | undefined
    lastSeconds: number | undefined
    waitingArea: number
    waitingMost: number
    waitingAt: number
  }
  readonly seconds: { readonly [U in SimulatedPool.Use]: number } & { [U in SimulatedPool.Use]: number }
}

export interface Site {
  readonly placed: Graph.Placed
  readonly where: PlacedNode
  readonly profile: Profile.OperatorProfile
  readonly pool: SimulatedPool.SimulatedPool | undefined
  readonly overheads: Overheads
  readonly seed: number
  /** Items that are expected to come in. */
  readonly expected: number
  /** Tasks that may be simulated, about. */
  readonly tasks: number
}

/** Losses that a worker lives with, per second. */
const lossRate = ({ overheads, pool, where }: Site, nodes: number): number => {
  if (pool?.pool._tag !== "Slurm") return 0
  const { nodeFailureHours, preemptionHours } = overheads
  const preempted = pool.pool.preemptible && preemptionHours !== undefined ? 1 / preemptionHours : 0
  // A worker of a part of a node dies with all of it; a gang with any of its nodes.
  const touched = where.ranks > 1 ? Math.max(1, Math.ceil(nodes - 1e-9)) : 1
  const failed = nodeFailureHours === undefined ? 0 : touched / nodeFailureHours
  return (preempted + failed) / 3600
}

/** Seconds of a call that are given by operations. */
const computeSeconds = ({ profile, where }: Site): number => {
  const { compute } = profile
  if (compute === undefined) return 0
  const gpus = Math.max(1, where.ranks * (where.resources.gpu?.count ?? 1)) / Math.max(1, where.perWorker)
  return compute.flops / (gpus * compute.peakFlops * compute.utilization)
}

/** Reading and writing of an item, while all that shares its node reads and writes too. */
const transferSeconds = ({ pool, profile, where }: Site, nodes: number): number => {
  const rate = pool?.pool.storeMiBps
  const bytes = profile.bytesIn + profile.bytesOut
  if (rate === undefined || bytes === 0 || nodes === 0) return 0
  return bytes / ((rate * 2 ** 20 * Math.max(nodes, 1e-9)) / Math.max(1, where.perWorker))
}

export const make = (site: Site): SimulatedNode => {
  const { expected, placed, pool, profile, seed, where } = site
  const demand = SimulatedPool.demand(where.resources, where.ranks)
  const nodes = pool === undefined ? 0 : SimulatedPool.nodesOf(pool.pool, demand)
  const collects = placed.operator.cardinality === "collect"
  const lanes = Math.max(1, where.perWorker)
  const compute = computeSeconds(site)
  const perItem = Duration.plus(
    Duration.of(profile.seconds),
    transferSeconds(site, nodes) + (collects ? 0 : compute + profile.fixedSeconds),
  )
  const { group, shard } = sizes(site, perItem.mean / lanes, expected)
  return {
    placed,
    where,
    profile,
    draws: Draws.make(seed, placed.id),
    pool,
    demand,
    nodesPerWorker: nodes,
    duration: perItem,
    callSeconds: collects ? compute + profile.fixedSeconds : 0,
    lanes,
    collects,
    shard,
    lossRate: lossRate(site, nodes),
    group: collects || where.how === "gang" ? 1 : group,
    consumers: [],
    sideConsumers: [],
    open: 0,
    sidesOpen: 0,
    ended: false,
    waiting: 0,
    waitingSince: 0,
    gathering: undefined,
    share: 0,
    inHand: 0,
    line: [],
    lined: 0,
    ordering: false,
    inFlight: 0,
    running: 0,
    queued: 0,
    queue: [],
    idle: new Set(),
    short: new Set(),
    driverBusy: false,
    tally: {
      in: 0,
      kept: 0,
      failed: 0,
      out: 0,
      retries: 0,
      tasks: 0,
      shards: 0,
      losses: 0,
      workSeconds: 0,
      firstSeconds: undefined,
      lastSeconds: undefined,
      waitingArea: 0,
      waitingMost: 0,
      waitingAt: 0,
    },
    seconds: { busy: 0, starting: 0, idle: 0, lost: 0 },
  }
}

/** Whether its workers are those of Slurm. */
export const isSlurm = ({ pool }: SimulatedNode): boolean => pool?.pool._tag === "Slurm"

/** Seconds for which a worker commits a shard. */
export const commitSeconds = (node: SimulatedNode, { commitSeconds }: Overheads): number =>
  isSlurm(node) ? commitSeconds : 0

/** Notes what workers have done between two times. */
export const note = (
  node: SimulatedNode,
  workers: number,
  use: SimulatedPool.Use,
  from: number,
  to: number,
): void => {
  node.seconds[use] += workers * (to - from)
  SimulatedPool.note(node.pool!, node.demand, workers, use, from, to)
}

/** Most of the workers of a node that are simulated as one: the rest still shows how they take turns. */
const groupShare = 32

/** The sizes of shards, and how many workers have to be simulated as one to keep to the number of tasks. */
const sizes = (
  { overheads, tasks, where }: Site,
  secondsPerItem: number,
  expected: number,
): Pick<SimulatedNode, "group" | "shard"> => {
  const bound = Math.max(1, Math.ceil(expected / tasks))
  // Beside the driver, calls are handed out one by one; very many are simulated some at a time.
  if (where.how === "local" || where.how === "driver") {
    const several = Math.min(bound, Math.max(1, Math.floor(overheads.queueItems / 8)))
    return { group: 1, shard: { min: 1, max: several, perTask: 1 } }
  }
  const { flushSeconds, shardItems, shardMaxSeconds, shardMinSeconds, shardsPerTask, taskSeconds } = overheads
  const within = (seconds: number | undefined, each: number) =>
    seconds === undefined || each === 0
      ? Number.POSITIVE_INFINITY
      : Math.max(1, Math.floor(seconds / each + 1e-9))
  const max = Math.max(1, Math.floor(Math.min(shardItems, within(shardMaxSeconds, secondsPerItem))))
  const worth = secondsPerItem === 0 ? max : Math.ceil(shardMinSeconds / secondsPerItem - 1e-9)
  const min = Math.min(max, Math.max(1, worth))
  const usual = Math.min(max, Math.max(min, overheads.queueItems / Math.max(1, where.workers)))
  const perTask = Math.max(
    1,
    Math.floor(Math.min(shardsPerTask, within(taskSeconds, usual * secondsPerItem))),
  )
  // Of a long shard, every result that is written is simulated.
  const written = Math.min(usual, within(flushSeconds, secondsPerItem))
  const group = Math.max(1, Math.min(Math.floor(where.workers / groupShare), Math.ceil(bound / written)))
  return { group, shard: { min, max, perTask } }
}
