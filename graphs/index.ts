/**
 * The graphs that come with reelgraph. A graph is loaded when it is asked for: its operators bring what they work with.
 * A graph of one's own is a file of its own: `reel run ./my.graph.ts`.
 */
import { fileURLToPath } from "node:url"

import type { Graph } from "@reelgraph/core"

export interface Released {
  readonly name: string
  readonly version: string
  readonly load: () => Promise<Graph.Graph>
}

/** Folder of the committed snapshots of released versions. */
export const snapshots = fileURLToPath(new URL("./snapshots/", import.meta.url))

export const released: ReadonlyArray<Released> = [
  { name: "curate", version: "1.0.0", load: () => import("./curate.graph.ts").then(({ curate }) => curate) },
  {
    name: "generate",
    version: "1.0.0",
    load: () => import("./generate.graph.ts").then(({ generate }) => generate),
  },
  { name: "train", version: "1.0.0", load: () => import("./train.graph.ts").then(({ train }) => train) },
  { name: "world", version: "1.1.0", load: () => import("./world.graph.ts").then(({ world }) => world) },
  {
    name: "world-train",
    version: "1.1.0",
    load: () => import("./worldTrain.graph.ts").then(({ worldTrain }) => worldTrain),
  },
  {
    name: "world-vae",
    version: "1.1.0",
    load: () => import("./worldVae.graph.ts").then(({ worldVae }) => worldVae),
  },
]
