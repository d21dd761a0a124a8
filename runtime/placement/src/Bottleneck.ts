/**
 * Bottlenecks: what a run waits for. Everything that could be more or faster is made so, one at a time, and the run
 * simulated again: what moves its end is what it waits for.
 */
import * as Effect from "effect/Effect"

import type { Placement } from "./Placement.ts"
import * as Pool from "./Pool.ts"
import type * as Profile from "./Profile.ts"
import * as Simulation from "./Simulation.ts"

/** Something that could be more: the nodes of a pool, the speed of a node of the graph, or what the run has one of. */
export type Lever =
  | { readonly _tag: "Pool"; readonly pool: string }
  | { readonly _tag: "Stage"; readonly node: string }
  | { readonly _tag: "Driver" }
  | { readonly _tag: "Store" }
  | { readonly _tag: "Slurm" }
  | { readonly _tag: "Queues" }

export interface Bottleneck {
  readonly lever: Lever
  /** By how much of its time the run is shorter with a tenth more of it. A tenth at most, for what is all of it. */
  readonly gain: number
}

/** How much more everything is made. */
const more = 1.1

/** Seeds from which the spread of the end is estimated. */
const seeds = 3

/** What a run waits for, the most first. What moves its end by less than luck does is left out. */
export const find = (
  options: Simulation.Options,
): Effect.Effect<ReadonlyArray<Bottleneck>, Simulation.SimulationError> =>
  Effect.gen(function* () {
    const luck = yield* Simulation.repeat(options, seeds)
    const base = luck.first
    const least = Math.max(leastGain, (luck.mostSeconds - luck.leastSeconds) / luck.meanSeconds)
    const found: Array<Bottleneck> = []
    for (const { changed, factor, lever } of changes(options, base)) {
      const { seconds } = yield* Simulation.run(changed)
      const gain = ((1 - seconds / base.seconds) * (more - 1)) / (factor - 1)
      if (gain > least) found.push({ lever, gain: Math.min(gain, 1 - 1 / more) })
    }
    return found.sort((a, b) => b.gain - a.gain)
  })

/** Stages whose workers are busy for less of the run than that are none that it waits for. */
const leastShare = 0.02

/** Gains that are too small to report. */
const leastGain = 0.004

interface Change {
  readonly lever: Lever
  readonly changed: Simulation.Options
  /** How much more it is: a tenth, or one node of few. */
  readonly factor: number
}

const changes = (options: Simulation.Options, base: Simulation.Simulated): ReadonlyArray<Change> => {
  const { placement, profile } = options
  const out: Array<Change> = []
  const change = (lever: Lever, changed: Partial<Simulation.Options>, factor = more) =>
    out.push({ lever, changed: { ...options, ...changed }, factor })
  const overheads = (changed: Partial<Profile.Profile["overheads"]>) => ({
    profile: { ...profile, overheads: { ...profile.overheads, ...changed } },
  })
  for (const { nodeHours, nodes, pool } of base.pools) {
    if (placement.pools.pools[pool]?._tag !== "Slurm" || nodeHours === 0) continue
    const larger = Math.ceil(nodes * more - 1e-9)
    change({ _tag: "Pool", pool }, { placement: resize(placement, pool, larger) }, larger / nodes)
  }
  for (const { how, node, operator, workHours, workerHours, workers } of base.nodes) {
    const cost = profile.operators[node] ?? profile.operators[operator]
    const leastHours = how === "driver" ? workHours : workerHours.busy / Math.max(1, workers)
    if (cost === undefined || leastHours * 3600 < leastShare * base.seconds) continue
    const operators = { ...profile.operators, [node]: faster(cost) }
    change({ _tag: "Stage", node }, { profile: { ...profile, operators } })
  }
  const { driverSecondsPerItem, queueItems, startsPerSecond } = profile.overheads
  if (base.driverShare > 0.02)
    change({ _tag: "Driver" }, overheads({ driverSecondsPerItem: driverSecondsPerItem / more }))
  change({ _tag: "Queues" }, overheads({ queueItems: queueItems * more }))
  if (base.pools.length > 0) change({ _tag: "Slurm" }, overheads({ startsPerSecond: startsPerSecond * more }))
  const { storeBytesPerSecond } = profile
  if (storeBytesPerSecond !== undefined)
    change({ _tag: "Store" }, { profile: { ...profile, storeBytesPerSecond: storeBytesPerSecond * more } })
  return out
}

const faster = (cost: Profile.OperatorProfile): Profile.OperatorProfile => {
  const { compute, fixedSeconds, seconds } = cost
  return {
    ...cost,
    seconds:
      typeof seconds === "number"
        ? seconds / more
        : "mean" in seconds
          ? { ...seconds, mean: seconds.mean / more }
          : { quantiles: seconds.quantiles.map((value) => value / more) },
    fixedSeconds: fixedSeconds / more,
    ...(compute === undefined ? {} : { compute: { ...compute, peakFlops: compute.peakFlops * more } }),
  }
}

/** The same placement with another number of nodes in a Slurm pool. The ranks of gangs grow and shrink with it. */
export const resize = (placement: Placement, name: string, nodes: number): Placement => {
  const pool = placement.pools.pools[name]
  if (pool === undefined || pool._tag !== "Slurm") return placement
  const factor = nodes / Pool.nodes(pool)
  return {
    pools: {
      pools: { ...placement.pools.pools, [name]: { ...pool, nodes } },
      operators: placement.pools.operators,
    },
    nodes: placement.nodes.map((node) => {
      if (node.pool !== name || node.how === "driver") return node
      if (node.how === "gang") return { ...node, ranks: Math.max(1, Math.floor(node.ranks * factor + 1e-9)) }
      return { ...node, workers: Math.max(1, Math.floor(node.workers * factor + 1e-9)) }
    }),
  }
}
