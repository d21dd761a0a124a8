/** What a simulated run comes to: hours, money and bytes. */
import type { Graph } from "@reelgraph/core"

import * as Pool from "../../Pool.ts"
import type * as Profile from "../../Profile.ts"
import type * as Simulated from "../../Simulated.ts"
import type * as SimulatedNode from "./simulatedNode.ts"
import type * as SimulatedPool from "./simulatedPool.ts"
import * as Timeline from "./timeline.ts"

export interface Ended {
  readonly graph: Graph.Graph
  readonly profile: Profile.Profile
  readonly seed: number
  readonly seconds: number
  readonly counts: { readonly [input: string]: number }
  readonly nodes: ReadonlyArray<SimulatedNode.SimulatedNode>
  readonly pools: ReadonlyArray<SimulatedPool.SimulatedPool>
  readonly driverSeconds: number
  readonly events: number
}

const sum = (values: ReadonlyArray<number>): number => values.reduce((total, value) => total + value, 0)

export const make = (ended: Ended): Simulated.Simulated => {
  const { counts, events, graph, profile, seconds, seed } = ended
  const nodes = ended.nodes.map((node) => nodeOf(node, seconds))
  const pools = ended.pools.map((pool) => poolOf(pool, ended.nodes, seconds))
  const outOf = new Map([...Object.entries(counts), ...nodes.map(({ node, out }) => [node, out] as const)])
  const bytesRead = sum(nodes.map((node) => node.bytesRead))
  const bytesWritten = sum(nodes.map((node) => node.bytesWritten))
  const { storeBytesPerSecond } = profile
  return {
    graph: graph.name,
    version: graph.version,
    seed,
    seconds,
    inputs: counts,
    outputs: Object.fromEntries(
      Object.entries(graph.outputs).map(([output, from]) => [output, outOf.get(from)!]),
    ),
    nodes,
    pools,
    gpuHours: sum(pools.map(({ gpuHours }) => gpuHours)),
    cost: sum(pools.map(({ cost }) => cost)),
    wholeCost: sum(pools.map(({ wholeCost }) => wholeCost)),
    driverShare: seconds === 0 ? 0 : ended.driverSeconds / seconds,
    store: {
      bytesRead,
      bytesWritten,
      ...(storeBytesPerSecond === undefined || seconds === 0
        ? {}
        : { share: (bytesRead + bytesWritten) / storeBytesPerSecond / seconds }),
    },
    events,
    warnings: ended.nodes.flatMap(warningsOf),
  }
}

/** What an hour of a worker costs: its GPUs, and the largest share of the node that it takes. */
const pricePerHour = ({ demand, nodesPerWorker, pool }: SimulatedNode.SimulatedNode): number =>
  pool === undefined ? 0 : demand[2] * pool.pool.pricePerGpuHour + nodesPerWorker * pool.pool.pricePerNodeHour

const workerHours = ({ seconds }: SimulatedNode.SimulatedNode): number =>
  (seconds.busy + seconds.starting + seconds.idle + seconds.lost) / 3600

const nodeOf = (node: SimulatedNode.SimulatedNode, end: number): Simulated.SimulatedNode => {
  const { group, placed, profile, seconds, tally, waiting, where } = node
  const { firstSeconds, lastSeconds } = tally
  const hours = workerHours(node)
  return {
    node: placed.id,
    operator: placed.operator.name,
    pool: where.pool,
    how: where.how,
    workers: where.workers,
    group,
    in: tally.in,
    kept: tally.kept,
    dropped: tally.in - tally.kept - tally.failed,
    failed: tally.failed,
    out: tally.out,
    retries: tally.retries,
    tasks: tally.tasks,
    shards: tally.shards,
    losses: tally.losses,
    workHours: tally.workSeconds / 3600,
    workerHours: {
      busy: seconds.busy / 3600,
      starting: seconds.starting / 3600,
      lost: seconds.lost / 3600,
      idle: seconds.idle / 3600,
    },
    gpuHours: hours * node.demand[2],
    cost: hours * pricePerHour(node),
    waiting: {
      mean: end === 0 ? 0 : (tally.waitingArea + waiting * (end - tally.waitingAt)) / end,
      most: tally.waitingMost,
    },
    ...(firstSeconds === undefined ? {} : { firstSeconds }),
    ...(lastSeconds === undefined ? {} : { lastSeconds }),
    bytesRead: tally.in * profile.bytesIn,
    bytesWritten: (tally.in - tally.failed) * profile.bytesOut,
  }
}

/** Parts of a run for which a report shows how busy a pool is. */
const parts = 32

const scarce = ["cores", "memory", "gpus"] as const

const poolOf = (
  { capacity, integrals, name, pool, timelines }: SimulatedPool.SimulatedPool,
  nodes: ReadonlyArray<SimulatedNode.SimulatedNode>,
  end: number,
): Simulated.SimulatedPool => {
  const here = nodes.filter((node) => node.pool?.name === name)
  const share = (use: SimulatedPool.Use, i: number) =>
    integrals[use][i]! / Math.max(Number.MIN_VALUE, capacity[i]! * end)
  const taken = scarce.map(
    (_, i) => share("busy", i) + share("starting", i) + share("lost", i) + share("idle", i),
  )
  // Of equals, GPUs rather than what comes with them.
  const most = taken.reduce((most, value, i) => (value >= taken[most]! - 1e-9 ? i : most), 0)
  const [busy, starting, lost] = [share("busy", most), share("starting", most), share("lost", most)]
  const count = Pool.nodes(pool)
  const gpus = pool.gpus?.count ?? 0
  return {
    pool: name,
    nodes: count,
    gpus: count * gpus,
    share: { busy, starting, lost, idle: Math.max(0, 1 - busy - starting - lost) },
    of: scarce[most]!,
    gpuHours: sum(here.map((node) => workerHours(node) * node.demand[2])),
    nodeHours: sum(here.map((node) => workerHours(node) * node.nodesPerWorker)),
    cost: sum(here.map((node) => workerHours(node) * pricePerHour(node))),
    wholeCost: (count * (pool.pricePerNodeHour + gpus * pool.pricePerGpuHour) * end) / 3600,
    busyOverTime: Timeline.parts(timelines[most]!, end, parts).map((amount) => amount / capacity[most]!),
  }
}

const warningsOf = ({ callSeconds, duration, placed, pool, profile, where }: SimulatedNode.SimulatedNode) => {
  const warnings: Array<string> = []
  const { memoryGiB } = profile
  const given = where.resources.memoryGiB
  if (memoryGiB !== undefined && given !== undefined && memoryGiB * where.perWorker > given)
    warnings.push(
      `${placed.id} needs ${memoryGiB * where.perWorker} GiB of memory and is placed with ${given}: give it more resources, or fewer calls at once`,
    )
  const whole = callSeconds + duration.mean
  if (pool?.pool._tag === "Slurm" && whole > pool.pool.timeLimitMinutes * 60)
    warnings.push(
      `a call of ${placed.id} takes ${(whole / 3600).toFixed(1)} hours, and jobs of ${pool.name} are ended after ${(pool.pool.timeLimitMinutes / 60).toFixed(1)}: it goes on from its checkpoints, in several jobs`,
    )
  return warnings
}
