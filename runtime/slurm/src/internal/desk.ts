/**
 * What a driver has in hand while a session lasts: its jobs with their tasks, the book of calls, and shards in line.
 * One driver, one thread: whoever changes something here does so between two waits.
 */
import { Call } from "@reelgraph/call"
import type { Objects } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import type * as JobState from "../JobState.ts"
import type * as Notes from "../Notes.ts"
import * as Order from "../Order.ts"
import type { SlurmClient } from "../SlurmClient.ts"
import type * as SlurmTask from "../Task.ts"
import type { Entry, Work } from "../Work.ts"
import type { Stillborn } from "./stillborn.ts"

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
  readonly version: string
  readonly sites: ReadonlyMap<string, Site>
  /** Milliseconds between looks into the store. */
  readonly lookMs: number
  /** Milliseconds between questions to Slurm. */
  readonly pollMs: number
  /** Seconds for which a held worker waits for work. */
  readonly idleSeconds: number
}

/** One task of a job, as the driver sees it. */
export interface Task {
  readonly index: number
  readonly entries: Array<Entry>
  turn: number
  /** No further order goes to it. */
  closed: boolean
  /** Its node of the cluster: as its worker says, once it has begun, and as Slurm does. */
  at: string | undefined
  on: string | undefined
  /** Why it has not begun, as Slurm says. */
  reason: string | undefined
  restarts: number
  /** Questions in which it was unknown. */
  unknown: number
  over: { readonly how: JobState.Outcome; readonly sinceMs: number } | undefined
  done: boolean
}

export interface Job {
  readonly key: string
  readonly session: string
  readonly label: string
  readonly node: string
  readonly held: boolean
  readonly id: number
  readonly submittedMs: number
  /** Of each task. */
  readonly slots: number
  readonly tasks: ReadonlyArray<Task>
  /** Objects of its results folder that were read. */
  readonly seen: Set<string>
  /** All that was in its results folder then was read. */
  collectedMs: number
}

export interface Desk {
  readonly options: Options
  readonly objects: typeof Objects.Service
  readonly slurm: typeof SlurmClient.Service
  readonly notes: Notes.Notes
  readonly work: Work
  /** By key. */
  readonly jobs: Map<string, Job>
  /** Shards that wait for a job, by node of the graph. */
  readonly waiting: Map<string, Array<Entry>>
  /** Nodes of the graph for which a job is being submitted. */
  readonly submitting: Set<string>
  /** Tasks that ended before they began, by node of the graph, since one did begin. */
  readonly stillborn: Map<string, Stillborn>
  /** Shards and jobs that were given names. */
  shards: number
  labels: number
}

export const activeJobs = ({ jobs }: Desk): ReadonlyArray<Job> => [...jobs.values()]

export const taskOf = (index: number, entries: ReadonlyArray<Entry>): Task => ({
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
  done: false,
})

/** Forgets a job whose tasks are all done. */
export const endJob = (desk: Desk, job: Job): void => {
  if (job.tasks.every(({ done }) => done)) desk.jobs.delete(job.key)
}

/** The name of a job in Slurm: unique, so that a submission is found again by it. */
export const jobName = (session: string, label: string): string => `reel:${session}:${label}`

export const idOf = ({ index, job }: SlurmTask.Task): SlurmTask.Id => ({
  job,
  ...(index === undefined ? {} : { index }),
})

export const utf8 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("utf8")
export const json = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value))
export const decodeShard = Schema.decodeUnknownEffect(Schema.fromJsonString(Call.Shard))

/** A shard with nothing made of it yet, and what befell its calls before. */
export const entryOf = (
  session: string,
  node: string,
  id: string,
  shard: Call.Shard,
  before: Pick<Entry, "avoid" | "memoryScale" | "troubles"> = {
    avoid: new Set(),
    memoryScale: 1,
    troubles: [],
  },
): Entry => {
  const keys = Call.keys(shard)
  const { avoid, memoryScale, troubles } = before
  const missing = new Set(keys.keys())
  return { id, session, node, keys, missing, troubles: [...troubles], avoid: new Set(avoid), memoryScale }
}

/** Writes a shard down and puts it in line. */
export const enter = (
  desk: Desk,
  shard: Call.Shard,
  node: string,
  before?: Parameters<typeof entryOf>[4],
): Effect.Effect<void, unknown> => {
  const { session } = desk.options
  const id = `${node}-${desk.shards++}`
  const entry = entryOf(session, node, id, shard, before)
  // In the book before it is in the store: a second one who asks meanwhile shares it.
  desk.work.add(entry)
  return Effect.map(desk.objects.put(Order.shardName(session, id), json(shard)), () => {
    const line = desk.waiting.get(node)
    if (line === undefined) desk.waiting.set(node, [entry])
    else line.push(entry)
  })
}
