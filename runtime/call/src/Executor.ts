/**
 * Where calls are made when the engine's own process does not make them: worker processes of this machine, jobs of a
 * cluster, or anything else that implements this service.
 */
import { type Graph, type Progress, Resources } from "@reelgraph/core"
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"

import type { Result, Shard } from "./Call.ts"

/** An executor takes no call of a node: its jobs are refused, or it cannot be reached. */
export class ExecutorFailed extends Schema.TaggedError<ExecutorFailed>()("ExecutorFailed", {
  node: Schema.String,
  place: Schema.String,
  problem: Schema.String,
}) {
  override get message() {
    return `${this.node} cannot run in ${this.place}: ${this.problem}`
  }
}

/** Results of a shard that count from now on. */
export interface Part {
  readonly results: ReadonlyArray<Result>
  /** The machine, job and task that made them; absent: this machine. */
  readonly place?: string
  /** To be run once they are in the journal. */
  readonly committed?: Effect.Effect<void>
}

export interface RunOptions {
  /** Where calls wait for the same cores, those of a higher priority (further down the graph) go first. */
  readonly priority: number
  /** Takes what calls report of their progress: the latest, a few times a second. */
  readonly report: (progress: Progress.Progress) => void
}

/** How items that wait are packed into shards. */
export type Packing =
  /** So many items to each; the last may have fewer. */
  | { readonly _tag: "Fixed"; readonly items: number }
  /** As many as are worth it, once no more have come for a while. */
  | {
      readonly _tag: "Gathered"
      /** Milliseconds to wait for more items when the first has come. */
      readonly lingerMs: number
      /** Items to put into the next shard, of so many that wait; calls take `meanMs` each, as far as is known. */
      readonly items: (waiting: number, meanMs: number | undefined) => number
    }

/** What an executor does for one node of a graph. */
export interface Lane {
  /** Calls at once. */
  readonly slots: number
  /** Shards that may be given to it at once: with the size of a shard, what bounds memory. */
  readonly shards: number
  /** Items that may wait to be packed into shards. */
  readonly waiting: number
  readonly packing: Packing
  /** How its workers are, in a few words for whoever watches; empty: there are none. */
  readonly state?: () => string
  /**
   * Has the calls of a shard made. Gives each position exactly once, in parts, in any order, as they come. Interrupting
   * it ends the calls. Fails when no call can be made at all, such as in a partition that refuses jobs.
   */
  readonly run: (shard: Shard, options: RunOptions) => Stream.Stream<Part, ExecutorFailed>
}

export class Executor extends Context.Service<
  Executor,
  {
    /** What calls on this machine share. */
    readonly capacity: Resources.Capacity
    /** What keeps a node from running here, in a few words; empty: nothing. */
    readonly lacks: (node: Graph.Placed) => ReadonlyArray<string>
    /** How calls of a node are made; undefined: in the engine's own process. */
    readonly lane: (node: Graph.Placed) => Lane | undefined
    /** What happened to jobs and machines on the way, for the report: a sentence each. */
    readonly notes: () => ReadonlyArray<string>
  }
>()("reelgraph/call/Executor") {}

/** Makes every call in the engine's own process, on a machine of this capacity. */
export const layerInline = (capacity: Resources.Capacity): Layer.Layer<Executor> =>
  Layer.succeed(
    Executor,
    Executor.of({
      capacity,
      lacks: ({ operator }) => Resources.shortfall(operator.resources, capacity),
      lane: () => undefined,
      notes: () => [],
    }),
  )
