/** What comes with this installation beside the command itself: its graphs, and the processes that run operators. */
import type { Graph } from "@reelgraph/core"
import { Failure, Workers } from "@reelgraph/engine"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

export interface InstalledGraph {
  readonly graph: Graph.Graph
  /** Folder of its committed snapshots. */
  readonly snapshots: string
}

/** The graphs that can be run by name. */
export const graphs: Effect.Effect<ReadonlyArray<InstalledGraph>> = Effect.map(
  Effect.promise(
    (): Promise<{ readonly graphs?: ReadonlyArray<InstalledGraph> }> => import("@reelgraph/graphs"),
  ),
  (module) => module.graphs ?? [],
)

interface LocalRuntime {
  readonly LocalWorkers?: {
    readonly layer: (options: { readonly store: string; readonly cores?: number }) => Layer.Layer<Workers>
  }
}

/** Worker processes on this machine, over the blobs of a store. */
export const workers = (store: string): Layer.Layer<Workers> =>
  Layer.unwrap(
    Effect.map(
      Effect.promise((): Promise<LocalRuntime> => import("@reelgraph/local")),
      ({ LocalWorkers }) => LocalWorkers?.layer({ store }) ?? withoutWorkers,
    ),
  )

/** Runs what needs no worker process. */
const withoutWorkers: Layer.Layer<Workers> = Layer.sync(Workers, () => ({
  cores: 2,
  call: ({ node }) =>
    Effect.fail(
      Failure.fromError(new Failure.WorkerLost({ node, how: "no worker processes in this installation" })),
    ),
}))
