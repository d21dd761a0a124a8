/** Which node of a graph runs in which pool, and how. */
import type { Resources } from "@reelgraph/core"

import type * as Pools from "./Pools.ts"

/**
 * How a node's calls are made: by the driver itself (`driver`: the operator has no module of its own to load
 * elsewhere, so that it is quick), in child processes beside it (`local`), or under Slurm: in tasks of arrays, in
 * workers that are held, or as one job of several processes that begin together (`gang`).
 */
export type How = "driver" | "local" | "array" | "held" | "gang"

/** Where one node of a graph runs. */
export interface PlacedNode {
  readonly node: string
  readonly operator: string
  /** Name of the pool; for `driver`, of the pool of this machine. */
  readonly pool: string
  readonly how: How
  /** Of one worker: of all its calls at once together. Of a gang: of each rank. */
  readonly resources: Resources.Resources
  /** Processes of a gang; 1 for everything else. */
  readonly ranks: number
  /** Calls that one worker makes at once, sharing its GPUs or cores. */
  readonly perWorker: number
  /** Workers of this node that the pool holds at once, when nothing else is in it. */
  readonly workers: number
  /** Why this pool and not another, a sentence each. */
  readonly why: ReadonlyArray<string>
}

export interface Placement {
  readonly pools: Pools.Pools
  /** In the order of the graph. */
  readonly nodes: ReadonlyArray<PlacedNode>
}
