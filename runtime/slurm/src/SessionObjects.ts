/**
 * The messages between the driver and its workers, all of them named objects of the store. Of a session (one
 * driver, from its start to its end) `cluster/SESSION/` has
 *
 * - `shards/ID.json`: calls to be made;
 * - `orders/LABEL/TASK.N.json`: which shards task TASK of the job LABEL makes, its Nth assignment;
 * - `results/LABEL/...`: what workers report: see `Results`;
 * - `jobs/LABEL.json`: what was submitted, for a driver that comes after this one;
 * - `driver.json`: whether its driver lives: see `Drivers`.
 *
 * All but `driver.json` are sealed with the key of the run: see `RunKey`. docs/protocol/slurm.md has the states of each
 * object, and what happens when it is missing, damaged or somebody else's.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** Raised with every change of what is in these objects: drivers and workers of other formats refuse each other. */
export const format = 2

const Id = Schema.String.check(Schema.isPattern(/^[\w.-]{1,128}$/))

/** Shards for one task, in the order in which it makes them. */
export const Assignment = Schema.Struct({
  format: Schema.Int,
  /** Version of the driver's reelgraph. */
  version: Schema.String,
  session: Id,
  label: Id,
  shards: Schema.Array(Id).check(Schema.isMaxLength(10_000)),
  /** URLs of the modules of the driver's graph: a worker loads no others for its shards. */
  modules: Schema.Array(Schema.String.check(Schema.isMaxLength(4096))).check(Schema.isMaxLength(10_000)),
  /** Calls at once in each slot, which share what it has. */
  perWorker: Schema.Int.check(Schema.isGreaterThan(0)),
  cores: Schema.Finite,
  memoryGiB: Schema.optionalKey(Schema.Finite),
  /** No further assignment follows. */
  last: Schema.Boolean,
  /** Seconds after which a worker that waits for the next assignment leaves. */
  idleSeconds: Schema.Finite,
})
export type Assignment = typeof Assignment.Type

/** A job that was submitted. */
export const SubmittedJob = Schema.Struct({
  label: Id,
  /** Absent: it was about to be submitted when this was written. */
  job: Schema.optionalKey(Schema.Int),
  node: Schema.String,
  held: Schema.Boolean,
  tasks: Schema.Int,
  /** Of each task. */
  slots: Schema.Int.check(Schema.isGreaterThan(0)).pipe(Schema.withDecodingDefaultKey(Effect.succeed(1))),
  /** Shards by task, those of the first assignments. */
  shards: Schema.Array(Schema.Array(Id)),
})
export type SubmittedJob = typeof SubmittedJob.Type

/** The folder of a session among the objects. */
export const folder = (session: string): string => `cluster/${session}`

export const shardName = (session: string, shard: string): string => `${folder(session)}/shards/${shard}.json`

export const assignmentName = (session: string, label: string, task: number, turn: number): string =>
  `${folder(session)}/orders/${label}/${task}.${turn}.json`

export const resultsFolder = (session: string, label: string): string => `${folder(session)}/results/${label}`

export const submittedName = (session: string, label: string): string =>
  `${folder(session)}/jobs/${label}.json`
