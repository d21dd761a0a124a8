/**
 * Where the calls of a node are made when it is not here: in workers on other machines, a shard of items at a time. A
 * cluster runtime gives the service; without one, every call is made by this process and the `Workers` beside it.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"

import type { PlaceFailed } from "./RunError.ts"
import type { Result, Shard } from "./Shard.ts"

/** Results of a shard that count from now on. */
export interface Part {
  readonly results: ReadonlyArray<Result>
  /** The machine, job and task that made them. */
  readonly place: string
  /** To be run once they are in the journal. */
  readonly committed: Effect.Effect<void>
}

/** Another place where the calls of one node are made. */
export interface Place {
  /** Calls at once, in all its workers together. */
  readonly slots: number
  /** Shards that may be given to it at once: with the size of a shard, what bounds memory. */
  readonly shards: number
  /** Items to put into the next shard, of so many that wait; calls take `meanMs` each, as far as is known. */
  readonly shardItems: (waiting: number, meanMs: number | undefined) => number
  /** How its workers are, in a few words for whoever watches; empty: there are none. */
  readonly state: () => string
  /** Milliseconds to wait for more items when the first has come. */
  readonly lingerMs: number
  /**
   * Has the calls of a shard made. Gives each position exactly once, in parts, in any order, as they come. Fails when
   * no call can be made at all, such as in a partition that refuses jobs.
   */
  readonly run: (shard: Shard) => Stream.Stream<Part, PlaceFailed>
}

export const Places = Context.Reference<{
  /** Where a node's calls are made; undefined: here. */
  readonly of: (node: string) => Place | undefined
  /** What happened to jobs and nodes on the way, for the report: a sentence each. */
  readonly notes: () => ReadonlyArray<string>
}>("reelgraph/engine/Places", { defaultValue: () => ({ of: () => undefined, notes: () => [] }) })
