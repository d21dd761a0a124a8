/**
 * A shard: calls of one node on a range of items, as plain data that can be sent to another machine, and what came
 * of them. The same calls as here, with the same retries and time-outs, are made by {@link perform} there.
 */
import { Operator, Progress, Resources } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Clock from "effect/Clock"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

import * as Failure from "./Failure.ts"
import type { Outcome } from "./Invocation.ts"
import * as Bind from "./internal/bind.ts"
import { callBatch, type Called, type Calling, callOne, callSet } from "./internal/Calls.ts"
import { Tally } from "./internal/Tally.ts"
import { Workers } from "./Workers.ts"

const Digest = Schema.String.check(Schema.isPattern(/^[0-9a-f]{64}$/))

/** What all calls of a shard have in common. */
const common = {
  /** Id of the node. */
  node: Schema.String,
  /** URL of the module that exports the operator. */
  module: Schema.String,
  operator: Schema.String,
  version: Schema.String,
  /** Digest of the text of its `run`: a worker with other code is found out. */
  source: Digest,
  cardinality: Schema.Literals(["map", "filter", "flatMap", "batch", "collect"]),
  batchSize: Schema.Int,
  retries: Schema.Int,
  timeoutMs: Schema.optionalKey(Schema.Finite),
  /** What one call occupies. */
  resources: Resources.Resources,
  /** Canonical JSON. */
  params: Schema.String,
  /** Canonical JSON of the records of the side inputs; an array for `all`. */
  sides: Schema.Record(Schema.String, Schema.Union([Schema.String, Schema.Array(Schema.String)])),
  /** Digest of the operator and everything that it is bound to. */
  bound: Digest,
  /** The seed of the run, for operators that draw random numbers. */
  seed: Schema.optionalKey(Schema.Int),
}

/** Calls of one node on so many items; of a `collect`, one call on all of them. */
export const Shard = Schema.Struct({
  ...common,
  /** Of a `collect`: the digest of the set of its items. */
  set: Schema.optionalKey(Digest),
  items: Schema.Array(Schema.Struct({ digest: Digest, record: Schema.String })),
})
export type Shard = typeof Shard.Type

const Item = Schema.Struct({ digest: Digest, record: Schema.String, artifacts: Schema.Array(Digest) })

const Emitted = Schema.Union([
  Schema.TaggedStruct("Emit", { record: Item, from: Schema.Array(Schema.Int) }),
  Schema.TaggedStruct("Pass", { at: Schema.Int }),
  Schema.TaggedStruct("Drop", { at: Schema.Int, reason: Schema.String, detail: Schema.String }),
])

/** What came of an item, or why nothing did. */
const What = Schema.Union([
  Schema.TaggedStruct("Kept", {}),
  Schema.TaggedStruct("Dropped", { reason: Schema.String, detail: Schema.String }),
  Schema.TaggedStruct("Made", { items: Schema.Array(Item) }),
  Schema.TaggedStruct("Collected", { emissions: Schema.Array(Emitted) }),
  Schema.TaggedStruct("Failed", {
    tag: Schema.String,
    message: Schema.String,
    retryable: Schema.Boolean,
    /** Whether the store as a whole has failed there. */
    endsRun: Schema.optionalKey(Schema.Boolean),
  }),
])

/** What came of one item of a shard (of a `collect`, of all of them, at 0). */
export const Result = Schema.Struct({
  /** Position of the item in the shard. */
  at: Schema.Int,
  what: What,
  attempts: Schema.Int,
  /** When the last attempt began, by the clock of the machine that made it. */
  startedMs: Schema.Finite,
  /** Milliseconds that it took. */
  ms: Schema.Finite,
})
export type Result = typeof Result.Type

/** The outcome of a result, as the engine goes on with it. */
export const outcomeOf = ({ what }: Result): Outcome | Failure.Failure =>
  what._tag === "Failed"
    ? {
        tag: what.tag,
        message: what.message,
        retryable: what.retryable,
        ...(what.endsRun === undefined ? {} : { endsRun: what.endsRun }),
      }
    : what

const resultOf = (at: number, { attempts, ms, outcome, startedMs }: Called): Result => ({
  at,
  what:
    "_tag" in outcome
      ? outcome._tag === "Made"
        ? { _tag: "Made", items: outcome.items }
        : outcome
      : { _tag: "Failed", ...outcome },
  attempts,
  startedMs,
  ms,
})

/** A result that says that the call of an item was not to be made, as its worker never lived to make it. */
export const failed = (at: number, failure: Failure.Failure, startedMs: number): Result => ({
  at,
  what: { _tag: "Failed", ...failure },
  attempts: 1,
  startedMs,
  ms: 0,
})

export interface Options {
  /** Calls at once. */
  readonly concurrency: number
  /** Positions that need no call any more. */
  readonly skip?: ReadonlySet<number>
  readonly report?: (progress: Progress.Progress) => void
}

/** Makes the calls of a shard in worker processes of this machine. Each result is given as soon as it is there. */
export const perform = (
  shard: Shard,
  { concurrency, report = () => {}, skip = new Set() }: Options,
): Stream.Stream<Result, never, Workers> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const workers = yield* Workers
      const clock = yield* Clock.Clock
      const calling = callingOf(shard, workers, clock, report)
      const items = shard.items.map((item, at) => ({ id: at, ...item }))
      if (shard.set !== undefined) {
        const set = { id: 0, digest: shard.set, record: "" }
        return Stream.fromEffect(Effect.map(callSet(calling, items, set), (called) => resultOf(0, called)))
      }
      const missing = items.filter(({ id }) => !skip.has(id))
      const size = shard.cardinality === "batch" ? shard.batchSize : 1
      const groups = Array.from({ length: Math.ceil(missing.length / size) }, (_, i) =>
        missing.slice(i * size, (i + 1) * size),
      )
      return Stream.fromIterable(groups).pipe(
        Stream.mapEffect(
          (group) =>
            shard.cardinality === "batch"
              ? callBatch(calling, group)
              : Effect.map(callOne(calling, group[0]!), (one) => [one]),
          { concurrency, unordered: true },
        ),
        Stream.flattenIterable,
        Stream.map((called) => resultOf(called.item.id, called)),
      )
    }),
  )

const callingOf = (
  shard: Shard,
  workers: typeof Workers.Service,
  clock: Clock.Clock,
  report: (progress: Progress.Progress) => void,
): Calling => ({
  clock,
  tally: new Tally(),
  underway: new Set(),
  retries: shard.retries,
  invoke: (items, lead, attempt, started, underway) => {
    const batch = shard.cardinality === "batch"
    const digests = (batch ? items : [lead]).map(({ digest }) => digest!)
    const job = {
      node: shard.node,
      module: shard.module,
      operator: shard.operator,
      version: shard.version,
      params: shard.params,
      records: items.map(({ record }) => record!),
      sides: shard.sides,
      items: digests,
      key: batch ? Bind.batchKey(shard.bound, digests) : Bind.callKey(shard.bound, digests[0]!),
      seed: shard.seed,
      attempt,
      timeoutMs: shard.timeoutMs,
    }
    return workers.call(job, shard.resources, 0, started, (progress) => {
      underway.report(progress)
      report(progress)
    })
  },
})

/** What all shards of a node have in common, from its operator. */
export const facts = (
  id: string,
  operator: Operator.Any,
  params: string,
  bound: string,
  seed: number | undefined,
  sides: Shard["sides"],
): Omit<Shard, "items" | "set"> => ({
  node: id,
  module: operator.worker!,
  operator: operator.name,
  version: operator.version,
  source: operator.source,
  cardinality: operator.cardinality,
  batchSize: operator.batchSize,
  retries: operator.retries,
  ...(operator.timeoutMs === undefined ? {} : { timeoutMs: operator.timeoutMs }),
  resources: operator.resources,
  params,
  sides,
  bound,
  ...(operator.seeded && seed !== undefined ? { seed } : {}),
})

/** What each call of a shard is known by, in every attempt, run and session; of a `collect`, its one call. */
export const keys = ({ bound, items, set }: Shard): ReadonlyArray<string> =>
  set === undefined ? items.map(({ digest }) => Bind.callKey(bound, digest)) : [Bind.callKey(bound, set)]
