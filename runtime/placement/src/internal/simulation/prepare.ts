/** What is known before a run is simulated: its nodes in their pools, its inputs, and how many items these have. */
import type { Graph } from "@reelgraph/core"

import * as Profile from "../../Profile.ts"
import type * as Simulated from "../../Simulated.ts"
import * as SimulatedNode from "./simulatedNode.ts"
import * as SimulatedPool from "./simulatedPool.ts"
import type { Problem } from "./simulatedRun.ts"
import * as SimulatedSource from "./simulatedSource.ts"

export interface Prepared {
  readonly nodes: ReadonlyArray<SimulatedNode.SimulatedNode>
  readonly pools: ReadonlyMap<string, SimulatedPool.SimulatedPool>
  readonly sources: ReadonlyArray<SimulatedSource.SimulatedSource>
  readonly counts: { readonly [input: string]: number }
  /** Seconds that the run takes at least. */
  readonly least: number
}

interface Refused {
  readonly problem: Problem
}

/** How many items each input has: those that feed nothing but side inputs of exactly one have one. */
const countsOf = (graph: Graph.Graph, { items }: Profile.Profile) => {
  const counts: { [input: string]: number } = {}
  const unknown: Array<string> = []
  for (const input of Object.keys(graph.inputs)) {
    const given = Object.hasOwn(items, input) ? items[input] : undefined
    const drives = graph.nodes.some((node) => node.input === input)
    const asAll = graph.nodes.some(({ operator, sides }) =>
      Object.entries(sides).some(([side, from]) => from === input && operator.sides[side]!.mode === "all"),
    )
    if (given !== undefined) counts[input] = typeof given === "number" ? given : given.count
    else if (drives || asAll) unknown.push(input)
    else counts[input] = 1
  }
  return { counts, unknown }
}

export const prepare = (options: Simulated.Options, seed: number, tasks: number): Prepared | Refused => {
  const { graph, placement, profile } = options
  const { counts, unknown } = countsOf(graph, profile)
  if (unknown.length > 0) return { problem: { _tag: "Uncounted", inputs: unknown } }
  const pools = new Map(
    Object.entries(placement.pools.pools).map(([name, pool]) => [name, SimulatedPool.make(name, pool)]),
  )
  const expected = new Map(Object.entries(counts))
  const nodes = nodesOf(options, pools, expected, seed, tasks)
  if ("problem" in nodes) return nodes
  const sources = Object.keys(graph.inputs).map((name) =>
    SimulatedSource.make(name, profile.items[name] ?? counts[name]!, seed),
  )
  connect(nodes, sources)
  const least = Math.max(
    ...[...nodes.values()].map(({ callSeconds, duration, lanes, placed, where }) =>
      where.how === "driver"
        ? 0
        : callSeconds + (expected.get(placed.input)! * duration.mean) / lanes / Math.max(1, where.workers),
    ),
    0,
  )
  return { nodes: [...nodes.values()], pools, sources, counts, least }
}

type Nodes = ReadonlyMap<string, SimulatedNode.SimulatedNode>

/** Each node where it is placed. Adds to `expected` how many items come out of each. */
const nodesOf = (
  { graph, placement, profile }: Simulated.Options,
  pools: Prepared["pools"],
  expected: Map<string, number>,
  seed: number,
  tasks: number,
): Nodes | Refused => {
  const places = new Map(placement.nodes.map((where) => [where.node, where]))
  const nodes = new Map<string, SimulatedNode.SimulatedNode>()
  const unprofiled: Array<string> = []
  for (const placed of graph.nodes) {
    const where = places.get(placed.id)
    const homeless = (problem: string): Refused => ({
      problem: { _tag: "NotPlaced", node: placed.id, problem },
    })
    if (where === undefined) return homeless("has no place")
    const pool = pools.get(where.pool)
    if (pool === undefined && where.how !== "driver")
      return homeless(`is placed in a pool ${where.pool} that there is not`)
    const known = Profile.of(profile, placed)
    if (known === undefined && where.how !== "driver") unprofiled.push(placed.id)
    const cost = known ?? Profile.free
    const inCount = expected.get(placed.input)!
    const node = SimulatedNode.make({
      placed,
      where,
      profile: cost,
      pool: where.how === "driver" ? undefined : pool,
      overheads: profile.overheads,
      seed,
      expected: inCount,
      tasks: Math.max(1, tasks / graph.nodes.length),
    })
    if (where.how !== "driver" && where.workers < 1) return homeless(`has no worker in pool ${where.pool}`)
    if (pool !== undefined && where.how !== "driver" && SimulatedPool.room(pool, node.demand) < 1)
      return homeless(`asks for more than all of pool ${where.pool} has`)
    nodes.set(placed.id, node)
    expected.set(placed.id, cost.emits ?? inCount * cost.keep * (1 - cost.poison) * cost.out)
  }
  return unprofiled.length > 0 ? { problem: { _tag: "Unknown", nodes: unprofiled } } : nodes
}

/** Tells everything for whom its items are. */
const connect = (nodes: Nodes, sources: Prepared["sources"]): void => {
  const from = (name: string) => nodes.get(name) ?? sources.find((source) => source.name === name)!
  for (const node of nodes.values()) {
    from(node.placed.input).consumers.push(node)
    node.open = 1
    for (const side of Object.values(node.placed.sides)) {
      from(side).sideConsumers.push(node)
      node.sidesOpen++
    }
  }
}
