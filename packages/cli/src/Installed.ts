/** What comes with this installation beside the command itself: graphs, operators, and the processes that run them. */
import { existsSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"

import { type Graph, Operator } from "@reelgraph/core"
import type { Executor } from "@reelgraph/call"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

export interface InstalledGraph {
  readonly name: string
  readonly version: string
  /** Folder of its committed snapshots. */
  readonly snapshots: string
  /** Loads it, and the operators that it is made of. */
  readonly graph: Effect.Effect<Graph.Graph>
}

/** The graphs that can be run by name. */
export const graphs: Effect.Effect<ReadonlyArray<InstalledGraph>> = Effect.map(
  Effect.promise(() => import("@reelgraph/graphs")),
  ({ released, snapshots }) =>
    released.map(({ load, name, version }) => ({ name, version, snapshots, graph: Effect.promise(load) })),
)

export interface InstalledOperator {
  readonly family: string
  readonly operator: Operator.Any
}

/** Every operator of every family: a family is a folder with an index. */
export const operators: Effect.Effect<ReadonlyArray<InstalledOperator>> = Effect.gen(function* () {
  const root = fileURLToPath(new URL("..", import.meta.resolve("@reelgraph/operators/ports")))
  const families = readdirSync(root)
    .filter((name) => existsSync(join(root, name, "index.ts")))
    .sort()
  const found = yield* Effect.forEach(families, (family) =>
    Effect.map(
      Effect.promise(
        (): Promise<Record<string, unknown>> => import(pathToFileURL(join(root, family, "index.ts")).href),
      ),
      (module) =>
        Object.values(module)
          .filter(Operator.isOperator)
          .map((operator): InstalledOperator => ({ family, operator })),
    ),
  )
  return found.flat()
})

/** Executes on this machine, over the blobs of a store. */
export const executor = (store: string, pass: ReadonlyArray<string> = []): Layer.Layer<Executor> =>
  Layer.unwrap(
    Effect.map(
      Effect.promise(() => import("@reelgraph/local")),
      ({ LocalWorkers }) => LocalWorkers.layer({ store, pass }),
    ),
  )
