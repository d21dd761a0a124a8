/** The graphs that come with reelgraph. A graph of one's own is a file of its own: `reel run ./my.graph.ts`. */
import { fileURLToPath } from "node:url"

import type { Graph } from "@reelgraph/core"

import { curate } from "./curate.graph.ts"
import { generate } from "./generate.graph.ts"
import { train } from "./train.graph.ts"
import { world } from "./world.graph.ts"
import { worldTrain } from "./worldTrain.graph.ts"
import { worldVae } from "./worldVae.graph.ts"

export interface Released {
  readonly graph: Graph.Graph
  /** Folder of the committed snapshots of released versions. */
  readonly snapshots: string
}

const snapshots = fileURLToPath(new URL("./snapshots/", import.meta.url))

export const graphs: ReadonlyArray<Released> = [curate, generate, train, world, worldTrain, worldVae].map(
  (graph) => ({
    graph,
    snapshots,
  }),
)
