/**
 * Pools: where operators can be placed, as plain data. A pool is a number of alike nodes: this machine, or a Slurm
 * partition (the part of it that has the features of `constraint`).
 */
import type { Resources } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

const Count = Schema.Int.check(Schema.isGreaterThan(0))
const Positive = Schema.Finite.check(Schema.isGreaterThan(0))
const Price = Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0))

/** A word that Slurm takes as a partition, account, QOS or feature: never anything that a command line splits. */
const Word = Schema.String.check(
  Schema.isPattern(/^[A-Za-z0-9][\w.-]{0,63}$/, {
    expected: "1 to 64 letters, digits, dots, dashes or underscores",
  }),
)

/** A feature expression such as `h100&sxm`. */
const Constraint = Schema.String.check(
  Schema.isPattern(/^[\w.&|()[\]*-]{1,200}$/, { expected: "a Slurm feature expression such as h100&sxm" }),
)

/** The GPUs of one node. */
export const Gpus = Schema.Struct({
  /** As Slurm calls the type: `h100`. */
  model: Word,
  count: Count,
  /** Of one GPU. */
  memoryGiB: Positive,
})
export type Gpus = typeof Gpus.Type

/** What one node has, and what it costs. */
const node = {
  cores: Positive,
  memoryGiB: Positive,
  gpus: Schema.optionalKey(Gpus),
  /** In the currency of your choice. Without GPUs, or beside their price. @default 0 */
  pricePerNodeHour: Price.pipe(Schema.withDecodingDefaultKey(Effect.succeed(0))),
  /** @default 0 */
  pricePerGpuHour: Price.pipe(Schema.withDecodingDefaultKey(Effect.succeed(0))),
  /** MiB a second that one node reads from, or writes to, the store; absent: no limit. */
  storeMiBps: Schema.optionalKey(Positive),
}

/** This machine. Calls of a local pool run in child processes of the driver. */
export const Local = Schema.TaggedStruct("Local", node)
export type Local = typeof Local.Type

/**
 * How work comes to the nodes of a Slurm pool: `array`, jobs of as many tasks as are of use, each with a packed range
 * of shards; `held`, workers that stay for a while and are given shards one after another, for calls of seconds.
 */
export const Allocation = Schema.Literals(["array", "held"])
export type Allocation = typeof Allocation.Type

/**
 * What one task of a job is: a `worker`, which begins wherever there is room for it; or a `node`: as many workers as a
 * node holds, each with a process and GPUs of its own. That is quicker to start and easier on Slurm where nodes are
 * yours alone; on nodes that others share, it waits until so much of one is free.
 */
export const Task = Schema.Literals(["worker", "node"])
export type Task = typeof Task.Type

/** A Slurm partition, or the nodes of it that a constraint leaves. */
export const Slurm = Schema.TaggedStruct("Slurm", {
  ...node,
  partition: Word,
  nodes: Count,
  constraint: Schema.optionalKey(Constraint),
  account: Schema.optionalKey(Word),
  qos: Schema.optionalKey(Word),
  /** Whether jobs of others may take the nodes away. @default false */
  preemptible: Schema.Boolean.pipe(Schema.withDecodingDefaultKey(Effect.succeed(false))),
  /** @default "array" */
  allocation: Allocation.pipe(Schema.withDecodingDefaultKey(Effect.succeed("array" as const))),
  /** @default "worker" */
  task: Task.pipe(Schema.withDecodingDefaultKey(Effect.succeed("worker" as const))),
  /** Minutes after which Slurm ends a job (it counts in whole minutes). @default 240 */
  timeLimitMinutes: Count.pipe(Schema.withDecodingDefaultKey(Effect.succeed(240))),
  /** Tasks at once, at most, of all nodes of a graph that are in the pool: the share of it that a run may take. @default as many as fit */
  maxJobs: Schema.optionalKey(Count),
})
export type Slurm = typeof Slurm.Type

export const Pool = Schema.Union([Local, Slurm])
export type Pool = typeof Pool.Type

/** A pool as it is written down: with the fields that have defaults left out. */
export type LocalOptions = Omit<typeof Local.Encoded, "_tag">
export type SlurmOptions = Omit<typeof Slurm.Encoded, "_tag">

/** This machine, or a part of it. */
export const local = (options: LocalOptions): typeof Local.Encoded => ({ _tag: "Local", ...options })

/** A Slurm partition. */
export const slurm = (options: SlurmOptions): typeof Slurm.Encoded => ({ _tag: "Slurm", ...options })

/** How many nodes a pool has. */
export const nodes = (pool: Pool): number => (pool._tag === "Slurm" ? pool.nodes : 1)

/** What one node of a pool offers to a request. */
export const capacity = (name: string, { cores, gpus, memoryGiB }: Pool): Resources.Capacity => ({
  name,
  cores,
  memoryGiB,
  gpus: gpus?.count ?? 0,
  ...(gpus === undefined ? {} : { gpuMemoryGiB: gpus.memoryGiB, gpuModel: gpus.model }),
})
