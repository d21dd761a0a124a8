/** Graphs and placements by hand, to simulate. */
import { Graph, Operator, Port } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { Overheads, type Placement, Pool, Pools, Profile, type Simulation } from "../src/index.ts"

export const Num = Port.make("Num", { record: Schema.Struct({ n: Schema.Int }) })

const given = { version: "1.0.0", input: Num, output: Num, worker: import.meta.url } as const

/** An operator of a cardinality that nobody runs. */
export const operator = (
  name: string,
  cardinality: Operator.Cardinality = "map",
  sides: { readonly [side: string]: Operator.Side<typeof Num> } = {},
) => {
  const run = (): Effect.Effect<never> => Effect.die("nobody runs it")
  if (cardinality === "collect") return Operator.collect(name, { ...given, sides, run })
  if (cardinality === "flatMap") return Operator.flatMap(name, { ...given, sides, run })
  return Operator.map(name, { ...given, sides, run })
}

/** Operators one after another. */
export const chain = (...names: ReadonlyArray<string | readonly [string, Operator.Cardinality]>) =>
  Graph.make("chain", { version: "1.0.0" }, (g) => {
    let edge: any = g.input("in", Num)
    for (const name of names)
      edge = edge.pipe((typeof name === "string" ? operator(name) : operator(name[0], name[1]))())
    return { out: edge }
  })

/** How a node is placed: so many workers of one core each, unless something else is said. */
export interface At extends Partial<Omit<Placement.PlacedNode, "node" | "operator" | "why">> {}

/** A pool `cpu` of nodes of one core, and every node of the graph in it. */
export const site = (
  graph: Graph.Graph,
  cores: number,
  options: {
    readonly nodes?: { readonly [node: string]: At }
    readonly pool?: Partial<Pool.SlurmOptions>
  } = {},
): Placement.Placement => ({
  pools: Pools.make({
    pools: {
      cpu: Pool.slurm({ partition: "cpu", nodes: cores, cores: 1, memoryGiB: 1, ...options.pool }),
    },
  }),
  nodes: graph.nodes.map(({ id, operator }) => ({
    node: id,
    operator: operator.name,
    pool: "cpu",
    how: "array",
    resources: { cores: 1 },
    ranks: 1,
    perWorker: 1,
    perTask: 1,
    workers: cores,
    why: [],
    ...options.nodes?.[id],
  })),
})

/** Every node the same number of seconds, or each its own; nothing but the work unless overheads are given. */
export const profile = (
  operators: Profile.Options["operators"],
  items: number | typeof Profile.Arrivals.Encoded,
  overheads: Overheads.Overheads = Overheads.none,
  more: Partial<Profile.Options> = {},
): Profile.Profile => Profile.make({ operators, items: { in: items }, overheads, ...more })

/** Exponential durations of a mean, as quantiles: cut off where one of ten thousand is beyond. */
export const exponential = (mean: number): Profile.Seconds => ({
  quantiles: Array.from({ length: 2001 }, (_, i) => -mean * Math.log1p(-Math.min(i / 2000, 1 - 1e-4))),
})

export const nodeOf = (simulated: Simulation.Simulated, id: string): Simulation.SimulatedNode =>
  simulated.nodes.find(({ node }) => node === id)!
