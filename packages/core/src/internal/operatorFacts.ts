/** What an operator is to those who work with it: its facts, with types erased, and what its calls are given. */
import type * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"

import type * as CounterRandom from "../CounterRandom.ts"
import type * as Digest from "../Digest.ts"
import type * as Port from "../Port.ts"
import type { Progress } from "../Progress.ts"
import type { Resources } from "../Resources.ts"
import type * as Services from "../Services.ts"

/**
 * How many records come out for what goes in: `map` one for one; `filter` the same one or none; `flatMap` any
 * number for one; `batch` one for one, run on several at once; `collect` any number for all.
 */
export type Cardinality = "map" | "filter" | "flatMap" | "batch" | "collect"

/** A second input, beside the one that drives calls: exactly one item (`one`) or every item (`all`) of an edge. */
export interface Side<P extends Port.Any = Port.Any, Mode extends "one" | "all" = "one" | "all"> {
  readonly mode: Mode
  readonly port: P
}

export type Sides = { readonly [name: string]: Side }

/** What a call knows beside its record and its params. */
export interface Call<S = {}> {
  /** Digest of the item that drives this call (of the set of items, for `collect`). */
  readonly item: Digest.Digest
  /** The key of this call's random numbers; only of use to operators with `seeded: true`. */
  readonly random: CounterRandom.Key
  /**
   * For `batch`: the key of each record, in order, so that what a record draws does not depend on the others of its
   * batch. For other operators, `random` alone.
   */
  readonly randoms: ReadonlyArray<CounterRandom.Key>
  /**
   * What this call's work is known by, in every attempt and every run: digest of the operator, its version, its
   * params, its side inputs, the seed if it is `seeded`, and the item (for `batch`, the items). Names the folder in
   * which a long call keeps its unfinished work.
   */
  readonly key: Digest.Digest
  /** 1 for the first attempt. */
  readonly attempt: number
  /** Tells how far this call has come. Costs next to nothing: of many reports the latest is shown, now and then. */
  readonly progress: (report: Progress) => Effect.Effect<void>
  /**
   * Whether whoever makes this call is about to be ended, as a job is that others preempt. A call of hours asks now and
   * then, keeps what it has, and fails with an error that has `retryable: true`: it is made again elsewhere. Never
   * true where nobody is told. Gives way to other work of the process, so that news arrive.
   */
  readonly stopping: Effect.Effect<boolean>
  readonly sides: S
}

/** A schema without services, whose encoded form is JSON. */
export type Params<A = any> = Schema.Codec<A, any>

/** An operator whose types are erased: what a runtime works with. */
export interface Any {
  readonly name: string
  readonly version: string
  readonly description: string
  readonly cardinality: Cardinality
  readonly params: Params
  readonly input: Port.Any
  /** Absent: an operator that gives the records it takes (`filter`). */
  readonly output: Port.Any | undefined
  readonly sides: Sides
  readonly resources: Resources
  readonly worker: string | undefined
  readonly concurrency: number | undefined
  readonly timeoutMs: number | undefined
  readonly retries: number
  readonly seeded: boolean
  /** Largest batch; 1 for everything but `batch`. */
  readonly batchSize: number
  /**
   * URLs or paths of the modules whose code made this value, the innermost first: the one that defines it, and, when a
   * function made it, those of its callers. What the code of an operator is known by begins here.
   */
  readonly modules: ReadonlyArray<string>
  /** Gives services to `run`; absent: it needs none but those of `needs`. */
  readonly layer: Services.AnyLayer | undefined
  /** Whether the layer is another than the one that the operator's code gives it: see `Operator.withLayer`. */
  readonly relayered: boolean
  /** Keys of the services that `run` and `layer` need from the runtime. */
  readonly needs: Services.Keys
  readonly run: (input: any, params: any, call: Call<any>) => Effect.Effect<any, any, any>
}
