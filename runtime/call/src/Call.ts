/**
 * Calls of an operator as plain data: what is to be called, with which records, and what came of it. The same data goes
 * to a worker process on this machine, into an object of a store, and to whatever else runs calls.
 */
import { type Graph, Resources } from "@reelgraph/core"
import * as Schema from "effect/Schema"

import * as Binding from "./Binding.ts"
import type { Failure } from "./Failure.ts"

const Digest = Schema.String.check(Schema.isPattern(/^[0-9a-f]{64}$/))

/** A record: its digest and its canonical JSON. */
const Item = Schema.Struct({ digest: Digest, record: Schema.String })

const facts = {
  /** Id of the node. */
  node: Schema.String,
  /** URL of the module that exports the operator. */
  module: Schema.String,
  operator: Schema.String,
  version: Schema.String,
  /** Fingerprint of its code: calls are made by this code or not at all. */
  code: Digest,
  /** Digest of what the operator's value captured, where a function made it. */
  captured: Schema.optionalKey(Digest),
  cardinality: Schema.Literals(["map", "filter", "flatMap", "batch", "collect"]),
  batchSize: Schema.Int,
  retries: Schema.Int,
  /** Milliseconds after which a call is ended, counted from when the operator begins. */
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
  ...facts,
  /** Of a `collect`: the digest of the set of its items. */
  set: Schema.optionalKey(Digest),
  items: Schema.Array(Item),
})
export type Shard = typeof Shard.Type

/** What all calls of a node have in common. */
export type Facts = Omit<Shard, "items" | "set">

/** One attempt at one call: a shard of the items that the call takes together. */
export interface Call extends Shard {
  /** 1 for the first attempt. */
  readonly attempt: number
}

const NewItem = Schema.Struct({ ...Item.fields, artifacts: Schema.Array(Digest) })

const Emitted = Schema.Union([
  Schema.TaggedStruct("Emit", { record: NewItem, from: Schema.Array(Schema.Int) }),
  Schema.TaggedStruct("Pass", { at: Schema.Int }),
  Schema.TaggedStruct("Drop", { at: Schema.Int, reason: Schema.String, detail: Schema.String }),
])
/** An emission of `collect`. */
export type Emitted = typeof Emitted.Type

const outcomes = [
  /** A filter passes the record on. */
  Schema.TaggedStruct("Kept", {}),
  Schema.TaggedStruct("Dropped", { reason: Schema.String, detail: Schema.String }),
  Schema.TaggedStruct("Made", { items: Schema.Array(NewItem) }),
  Schema.TaggedStruct("Collected", { emissions: Schema.Array(Emitted) }),
] as const

/** What a call made of an item. */
export const Outcome = Schema.Union(outcomes)
export type Outcome = typeof Outcome.Type

const Failed = Schema.TaggedStruct("Failed", {
  tag: Schema.String,
  message: Schema.String,
  retryable: Schema.Boolean,
  /** Whether the store as a whole has failed there. */
  endsRun: Schema.optionalKey(Schema.Boolean),
})

/** What came of one item of a shard (of a `collect`, of all of them, at 0). */
export const Result = Schema.Struct({
  /** Position of the item in the shard. */
  at: Schema.Int,
  what: Schema.Union([...outcomes, Failed]),
  attempts: Schema.Int,
  /** When the last attempt began, by the clock of the machine that made it. */
  startedMs: Schema.Finite,
  /** Milliseconds that it took. */
  ms: Schema.Finite,
})
export type Result = typeof Result.Type

/** The outcome of a result. */
export const outcomeOf = ({ what }: Result): Outcome | Failure =>
  what._tag === "Failed"
    ? {
        tag: what.tag,
        message: what.message,
        retryable: what.retryable,
        ...(what.endsRun === undefined ? {} : { endsRun: what.endsRun }),
      }
    : what

/** What a result tells of an outcome. */
export const whatOf = (outcome: Outcome | Failure): Result["what"] =>
  "_tag" in outcome ? outcome : { _tag: "Failed", ...outcome }

/** A result that reports that the call of an item was never made, as its worker did not live to make it. */
export const failed = (at: number, failure: Failure, startedMs: number): Result => ({
  at,
  what: whatOf(failure),
  attempts: 1,
  startedMs,
  ms: 0,
})

/** What all calls of a node have in common, from its operator. */
export const factsOf = (
  { id, operator, params }: Graph.Placed,
  code: Binding.Code,
  bound: string,
  seed: number | undefined,
  sides: Facts["sides"],
): Facts => ({
  node: id,
  module: operator.worker ?? "",
  operator: operator.name,
  version: operator.version,
  code: code.digest,
  ...(code.captured === "" ? {} : { captured: code.captured }),
  cardinality: operator.cardinality,
  batchSize: operator.batchSize,
  retries: operator.retries,
  ...(operator.timeoutMs === undefined ? {} : { timeoutMs: operator.timeoutMs }),
  resources: operator.resources,
  params: JSON.stringify(params),
  sides,
  bound,
  ...(operator.seeded && seed !== undefined ? { seed } : {}),
})

/** What each call of a shard is known by, in every attempt, run and session; of a `collect`, its one call. */
export const keys = ({ bound, items, set }: Shard): ReadonlyArray<string> =>
  set === undefined
    ? items.map(({ digest }) => Binding.callKey(bound, digest))
    : [Binding.callKey(bound, set)]

/** The digests that a call is known by: those of its items, of a `collect` that of their set. */
export const digestsOf = ({ items, set }: Shard): ReadonlyArray<string> =>
  set === undefined ? items.map(({ digest }) => digest) : [set]

/** What one call is known by, in every attempt, run and session. */
export const keyOf = (call: Shard): string =>
  call.cardinality === "batch"
    ? Binding.batchKey(call.bound, digestsOf(call))
    : Binding.callKey(call.bound, digestsOf(call)[0]!)
