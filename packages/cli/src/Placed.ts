/** A graph placed on the pools of a person's file, and the workers that this placement asks for. */
import type { Graph } from "@reelgraph/core"
import type { Workers } from "@reelgraph/engine"
import { Placement } from "@reelgraph/placement"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"

import * as Installed from "./Installed.ts"
import * as PoolsSource from "./PoolsSource.ts"

/** A placement, and where its pools came from. */
export interface Placed {
  /** As it was given. */
  readonly file: string
  readonly placement: Placement.Placement
  readonly warnings: ReadonlyArray<string>
}

/** Nodes that were placed under Slurm, which this version does not run. */
export class ClusterNotWired extends Schema.TaggedError<ClusterNotWired>()("ClusterNotWired", {
  nodes: Schema.Array(Schema.String),
}) {
  override get message() {
    return `${this.nodes.join(", ")}: placed under Slurm, which \`reel run\` is not wired to in this version; plan with --pools, or run with local pools only`
  }
}

/** Places a graph on the pools of a file. */
export const of: (
  graph: Graph.Graph,
  file: string,
) => Effect.Effect<Placed, PoolsSource.PoolsSourceError | Placement.PlacementImpossible> = Effect.fn(
  "Placed.of",
)(function* (graph: Graph.Graph, file: string) {
  const pools = yield* PoolsSource.find(file)
  const placement = yield* Placement.place(graph, pools)
  return { file, placement, warnings: Placement.warnings(graph, placement) }
})

/** Workers over a store: on this machine unless some nodes are placed under Slurm. */
export const workers = (placed: Placed | undefined, store: string): Layer.Layer<Workers, ClusterNotWired> => {
  if (placed === undefined) return Installed.workers(store)
  return placed.placement.nodes.some(isAway) ? cluster(placed, store) : local(placed, store)
}

const isAway = ({ how }: Placement.PlacedNode): boolean => how !== "driver" && how !== "local"

/** As much of this machine as its pools say. */
const local = ({ placement }: Placed, store: string): Layer.Layer<Workers> => {
  const pools = Object.values(placement.pools.pools).filter(({ _tag }) => _tag === "Local")
  if (pools.length === 0) return Installed.workers(store)
  const sum = (field: "cores" | "memoryGiB") => pools.reduce((total, pool) => total + pool[field], 0)
  return Layer.unwrap(
    Effect.map(
      Effect.promise(() => import("@reelgraph/local")),
      ({ LocalWorkers }) => LocalWorkers.layer({ store, cores: sum("cores"), memoryGiB: sum("memoryGiB") }),
    ),
  )
}

/** Where the runtime for Slurm comes in: `Cluster.layer(placement, ...)`. */
const cluster = ({ placement }: Placed, _store: string): Layer.Layer<Workers, ClusterNotWired> =>
  Layer.unwrap(new ClusterNotWired({ nodes: placement.nodes.filter(isAway).map(({ node }) => node) }))
