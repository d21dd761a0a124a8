/**
 * The state of a driver during a session: its jobs with their tasks, the table of calls, and the shards that wait.
 * One driver, one thread: whoever changes something here does so between two waits.
 */
import { Call } from "@reelgraph/call"
import {
  defaultMaxObjectBytes,
  type ObjectNameInvalid,
  type Objects,
  type ObjectTooLarge,
  type PutError,
  type StoreUnreadable,
} from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import type * as JobState from "../JobState.ts"
import type { RunNotes } from "../RunNotes.ts"
import * as SessionObjects from "../SessionObjects.ts"
import * as RunKey from "../RunKey.ts"
import type { SlurmClient } from "../SlurmClient.ts"
import type * as QueuedTask from "../QueuedTask.ts"
import type { CallTable, Entry } from "../CallTable.ts"

/** What named objects of the store fail with. */
export type StoreProblem = ObjectNameInvalid | ObjectTooLarge | PutError | StoreUnreadable

/** A shard that cannot be divided and is larger than any object that a worker reads. */
export class ShardTooLarge extends Schema.TaggedError<ShardTooLarge>()("ShardTooLarge", {
  node: Schema.String,
  bytes: Schema.Int,
  items: Schema.Int,
}) {
  override get message() {
    return `the call of ${this.node} on ${this.items} items takes ${this.bytes} bytes, more than the ${defaultMaxObjectBytes} that a worker of a cluster reads: place ${this.node} in a pool of this machine`
  }
}

/** How one node of the graph is made under Slurm. */
export interface Site {
  /** Node of the graph. */
  readonly node: string
  readonly pool: string
  /** Nodes of the cluster that the pool has. */
  readonly nodes: number
  readonly held: boolean
  /** Processes that begin together: a job has one task. */
  readonly gang: boolean
  /** Slots at once, in all tasks together, and calls at once in each. */
  readonly workers: number
  readonly perWorker: number
  /** Tasks of the pool at once, of all nodes of the graph together. */
  readonly maxJobs: number | undefined
  /** Slots of one task, with some memory: fewer when each needs more. */
  readonly slots: (memoryScale: number) => number
  readonly cores: number
  readonly memoryGiB: number | undefined
  /** Where Slurm puts what a task writes. */
  readonly log: (session: string, job: number, task: number) => string
  /** The job for so many tasks of so many slots, with some memory, away from some nodes. */
  readonly job: (
    label: string,
    tasks: number,
    slots: number,
    memoryScale: number,
    avoid: ReadonlyArray<string>,
  ) => Parameters<(typeof SlurmClient.Service)["submit"]>[0]
}

export interface Options {
  readonly session: string
  readonly key: RunKey.RunKey
  readonly version: string
  readonly sites: ReadonlyMap<string, Site>
  /** Milliseconds between looks into the store. */
  readonly lookMs: number
  /** Milliseconds between questions to Slurm. */
  readonly pollMs: number
  /** Seconds for which a held worker waits for work. */
  readonly idleSeconds: number
  /** Milliseconds without an answer of the store after which a run ends. @default 900000 */
  readonly storePatienceMs?: number
  /** Of Slurm. @default 14400000 */
  readonly slurmPatienceMs?: number
}

export const patience = ({ slurmPatienceMs = 14_400_000, storePatienceMs = 900_000 }: Options) => ({
  slurm: slurmPatienceMs,
  store: storePatienceMs,
})

/** One task of a job, as the driver sees it. */
export interface ActiveTask {
  readonly index: number
  readonly entries: Array<Entry>
  turn: number
  /** No further assignment goes to it. */
  closed: boolean
  /** Its node of the cluster: as its worker reports it, once it has begun, and as Slurm does. */
  at: string | undefined
  on: string | undefined
  /** Why it has not begun, as Slurm reports it. */
  reason: string | undefined
  restarts: number
  /** Questions in which it was unknown. */
  unknown: number
  over: { readonly how: JobState.Outcome; readonly sinceMs: number } | undefined
  /** Once it is over: the shards that it was at. */
  atWork: ReadonlySet<Entry> | undefined
  /** Shards that its worker is through with, and since when that is known here: what is missing does not come. */
  readonly through: Map<Entry, number>
  done: boolean
}

export interface ActiveJob {
  readonly key: string
  readonly session: string
  readonly label: string
  readonly node: string
  readonly held: boolean
  readonly id: number
  readonly submittedMs: number
  /** Of each task. */
  readonly slots: number
  readonly tasks: ReadonlyArray<ActiveTask>
  /** Objects of its results folder that were read. */
  readonly seen: Set<string>
  /** All that was in its results folder then was read. */
  collectedMs: number
  /** Objects of its results folder that could not be read, and since when. */
  readonly unread: Map<string, number>
}

/** Tasks of one node of the graph that ended before they began, since a worker of it last began. */
export interface StartFailures {
  tasks: number
  /** Nodes of the cluster. */
  readonly nodes: Set<string>
}

export interface DriverState {
  readonly options: Options
  readonly objects: typeof Objects.Service
  readonly slurm: typeof SlurmClient.Service
  readonly notes: RunNotes
  readonly calls: CallTable
  /** URLs of the modules of the operators that calls were asked for: workers load no others. */
  readonly modules: Set<string>
  /** Of this session, and of those that were taken over. */
  readonly keys: Map<string, RunKey.RunKey>
  /** By key. */
  readonly jobs: Map<string, ActiveJob>
  /** Shards that wait for a job, by node of the graph. */
  readonly waiting: Map<string, Array<Entry>>
  /** Nodes of the graph for which a job is being submitted. */
  readonly submitting: Set<string>
  /** Tasks that are being submitted, by pool. */
  readonly reserved: Map<string, number>
  /** Nodes of the graph for which no job can be submitted now, and since when. */
  readonly stalled: Map<string, number>
  /** Tasks that ended before they began, by node of the graph, since one did begin. */
  readonly startFailures: Map<string, StartFailures>
  /** Tasks that could not use the store, by node of the graph, since results of it came. */
  readonly storeFailures: Map<string, number>
  /** Shards and jobs that were given names. */
  shards: number
  labels: number
}

/** The key of a session, where it is known. */
export const keyOf = ({ keys }: DriverState, session: string): RunKey.RunKey | undefined => keys.get(session)

/** Writes an object of a session that is known. */
export const putSealed = (
  { keys, objects }: DriverState,
  session: string,
  name: string,
  bytes: Uint8Array,
): Effect.Effect<void, StoreProblem> => objects.put(name, RunKey.seal(keys.get(session)!, name, bytes))

export const activeJobs = ({ jobs }: DriverState): ReadonlyArray<ActiveJob> => [...jobs.values()]

export const taskOf = (index: number, entries: ReadonlyArray<Entry>): ActiveTask => ({
  index,
  entries: [...entries],
  turn: 0,
  closed: false,
  at: undefined,
  on: undefined,
  reason: undefined,
  restarts: 0,
  unknown: 0,
  over: undefined,
  atWork: undefined,
  through: new Map(),
  done: false,
})

/** Forgets a job whose tasks are all done. */
export const endJob = (driver: DriverState, job: ActiveJob): void => {
  if (job.tasks.every(({ done }) => done)) driver.jobs.delete(job.key)
}

/** The name of a job in Slurm: unique, so that a submission is found again by it. */
export const jobName = (session: string, label: string): string => `reel:${session}:${label}`

export const idOf = ({ index, job }: QueuedTask.QueuedTask): QueuedTask.Id => ({
  job,
  ...(index === undefined ? {} : { index }),
})

export const utf8 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("utf8")
export const json = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value))
export const decodeShard = Schema.decodeUnknownEffect(Schema.fromJsonString(Call.Shard))

/** What befell calls before. */
export type Before = Pick<Entry, "avoid" | "memoryScale" | "failedAttempts">

/** A shard with nothing made of it yet, and what befell its calls before. */
export const entryOf = (
  session: string,
  node: string,
  id: string,
  shard: Call.Shard,
  before: Before = {
    avoid: new Set(),
    memoryScale: 1,
    failedAttempts: [],
  },
): Entry => {
  const keys = Call.keys(shard)
  const { avoid, memoryScale, failedAttempts } = before
  const missing = new Set(keys.keys())
  return {
    id,
    session,
    node,
    keys,
    missing,
    failedAttempts: [...failedAttempts],
    avoid: new Set(avoid),
    memoryScale,
  }
}

/** A shard of this session, not yet in the table. */
const draft = (driver: DriverState, shard: Call.Shard, before?: Before): Entry => {
  driver.modules.add(shard.module)
  return entryOf(driver.options.session, shard.node, `${shard.node}-${driver.shards++}`, shard, before)
}

/** Writes a shard down. */
const write = (
  driver: DriverState,
  { id, session }: Entry,
  shard: Call.Shard,
): Effect.Effect<void, ShardTooLarge | StoreProblem> =>
  Effect.gen(function* () {
    const bytes = json(shard)
    if (bytes.length + RunKey.sealBytes > defaultMaxObjectBytes)
      return yield* new ShardTooLarge({ node: shard.node, bytes: bytes.length, items: shard.items.length })
    yield* putSealed(driver, session, SessionObjects.shardName(session, id), bytes)
  })

const lineUp = (driver: DriverState, entry: Entry): void => {
  const line = driver.waiting.get(entry.node)
  if (line === undefined) driver.waiting.set(entry.node, [entry])
  else line.push(entry)
}

/** Writes a shard down and puts it in line. */
export const enter = (
  driver: DriverState,
  shard: Call.Shard,
): Effect.Effect<void, ShardTooLarge | StoreProblem> => {
  const entry = draft(driver, shard)
  // In the table before it is in the store: a second one who asks meanwhile shares it.
  driver.calls.add(entry)
  return Effect.map(write(driver, entry, shard), () => lineUp(driver, entry))
}

/**
 * Writes what is left of a shard down anew, and puts it in line instead. Until all of it is written the old one stays
 * in the table: when the store fails in between, that is done again.
 */
export const replace = (
  driver: DriverState,
  entry: Entry,
  before: Before,
  split: (shard: Call.Shard) => ReadonlyArray<Call.Shard> = (shard) => [shard],
): Effect.Effect<void, ShardTooLarge | StoreProblem> =>
  Effect.gen(function* () {
    const others: Array<Entry> = []
    const covered = new Set<string>()
    // Somebody may ask for more of it while it is written.
    for (;;) {
      const rest = driver.calls.remainder(entry, covered).flatMap(split)
      if (rest.length === 0) break
      for (const shard of rest) {
        const other = draft(driver, shard, before)
        yield* write(driver, other, shard)
        others.push(other)
        for (const key of other.keys) covered.add(key)
      }
    }
    driver.calls.replace(entry, others)
    for (const other of others) if (other.missing.size > 0) lineUp(driver, other)
    yield* Effect.ignore(driver.objects.remove(SessionObjects.shardName(entry.session, entry.id)))
  })
