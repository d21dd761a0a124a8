/**
 * A cluster in memory: a session with its real driver and real workers, a store that a test meddles with, and a Slurm
 * that begins whatever is submitted at once. Calls take as long as the test says, by its clock.
 */
import { Attempts, type Call } from "@reelgraph/call"
import { LocalWorkers } from "@reelgraph/local"
import { Objects } from "@reelgraph/store"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { TestClock } from "effect/testing"

import * as JobState from "../src/JobState.ts"
import * as WorkerExit from "../src/workerExit.ts"
import * as RunKey from "../src/RunKey.ts"
import * as DriverSession from "../src/DriverSession.ts"
import { SlurmClient } from "../src/SlurmClient.ts"
import type * as QueuedTask from "../src/QueuedTask.ts"
import * as TaskWorker from "../src/TaskWorker.ts"

export const module = "file:///graph/operators.ts"

/** A digest of each number. */
export const digest = (n: number): string => n.toString(16).padStart(64, "0")

/** Calls on items of these numbers. */
export const shardOf = (numbers: ReadonlyArray<number>, node = "node"): Call.Shard => ({
  node,
  module,
  operator: "node",
  version: "1.0.0",
  code: digest(1),
  cardinality: "filter",
  batchSize: 1,
  retries: 0,
  resources: { cores: 1 },
  params: "{}",
  sides: {},
  bound: digest(2),
  items: numbers.map((n) => ({ digest: digest(n), record: JSON.stringify({ n }) })),
})

/** What becomes of an object that is written: other bytes, or none. */
export type Meddle = (name: string, bytes: Uint8Array) => Uint8Array | undefined

/** A store of which somebody else may be a writer, too. */
export const meddled = (meddle: Meddle) =>
  Effect.map(Objects, (objects) =>
    Objects.of({
      ...objects,
      put: (name, bytes) => {
        const other = meddle(name, bytes)
        return other === undefined ? Effect.void : objects.put(name, other)
      },
    }),
  )

/** Does something to the first object whose name matches, and nothing to others. */
export const once = (pattern: RegExp, change: Meddle): Meddle & { readonly done: () => boolean } => {
  let done = false
  const meddle = (name: string, bytes: Uint8Array) => {
    if (done || !pattern.test(name)) return bytes
    done = true
    return change(name, bytes)
  }
  return Object.assign(meddle, { done: () => done })
}

export interface Options {
  readonly session?: string
  readonly key?: RunKey.RunKey
  readonly meddle?: Meddle
  readonly held?: boolean
  readonly workers?: number
  /** Tasks of the pool at once. */
  readonly maxJobs?: number
  readonly nodes?: ReadonlyArray<string>
  /** What a call takes. */
  readonly seconds?: number
  /** Whether tasks begin by themselves. @default true */
  readonly begins?: boolean
}

/** A driver, with what its Slurm and its workers have seen. */
export const make = (options: Options = {}) =>
  Effect.gen(function* () {
    const { begins = true, held = false, nodes = ["node"], seconds = 1, workers = 2 } = options
    const { key = RunKey.make(), session: name = "test-session" } = options
    const objects = yield* meddled(options.meddle ?? ((_, bytes) => bytes))
    const states = new Map<string, QueuedTask.QueuedTask>()
    /** Numbers of calls that were made, one for each time. */
    const made: Array<number> = []
    const modules = new Set<string>()
    const jobs: Array<{ readonly name: string; readonly tasks: number }> = []
    let most = 0
    const slot: TaskWorker.Slot = {
      gpus: "",
      workers: LocalWorkers.LocalWorkers.of({
        capacity: { name: "here", cores: 1, memoryGiB: 1, gpus: 0 },
        perform: (shard, options) =>
          Attempts.perform(shard, options, (call, started) =>
            Effect.gen(function* () {
              started()
              modules.add(call.module)
              yield* Effect.sleep(seconds * 1000)
              made.push(...call.items.map((item) => Number.parseInt(item.digest, 16)))
              return call.items.map(() => ({ _tag: "Kept" as const }))
            }),
          ),
      }),
    }
    const state = (
      job: number,
      index: number,
      jobName: string,
      outcome: JobState.Outcome,
    ): QueuedTask.QueuedTask => ({
      job,
      index,
      name: jobName,
      state: outcome._tag,
      outcome,
      nodes: ["cpu-1"],
      restarts: 0,
      submittedAt: undefined,
      startedAt: undefined,
      endedAt: undefined,
      partition: "cpu",
      comment: "",
      reason: "",
      exitCode: undefined,
      signal: undefined,
    })
    const begin = (job: number, task: number, jobName: string, label: string) =>
      Effect.gen(function* () {
        const warned = yield* Deferred.make<void>()
        const attempt = { job, task, restart: 0, token: "00000000", node: "cpu-1", gpus: "" }
        const worker = { session: name, label, key, attempt, slots: [slot], rank: 0, ranks: 1, version: "1" }
        const exit = yield* Effect.exit(
          TaskWorker.work({ ...worker, graceMs: 0, warned }).pipe(Effect.provideService(Objects, objects)),
        )
        const tag = Exit.isFailure(exit) ? (Cause.squash(exit.cause) as { _tag?: string })._tag : undefined
        // As the process of a worker does.
        const codes = new Map([
          ["AssignmentRefused", WorkerExit.assignmentRefused],
          ["OutOfSpace", WorkerExit.storeFailed],
          ["StoreUnreadable", WorkerExit.storeFailed],
          ["StoreUnwritable", WorkerExit.storeFailed],
        ])
        const outcome = Exit.isSuccess(exit)
          ? JobState.make.Succeeded()
          : JobState.make.Failed({
              exitCode: codes.get(tag ?? "") ?? 1,
              signal: undefined,
              perhapsMemory: false,
            })
        states.set(`${job}_${task}`, state(job, task, jobName, outcome))
      })
    const running = () => [...states.values()].filter(({ outcome }) => outcome._tag === "Running").length
    const scope = yield* Effect.scope
    const slurm = SlurmClient.of({
      submit: (job) =>
        Effect.gen(function* () {
          const id = jobs.length + 1
          const tasks = job.array?.tasks ?? 1
          jobs.push({ name: job.name, tasks })
          const label = job.name.slice(DriverSession.jobName(name, "").length)
          for (let task = 0; task < tasks; task++) {
            states.set(
              `${id}_${task}`,
              state(id, task, job.name, JobState.make.Running({ phase: "running" })),
            )
            if (begins) yield* Effect.forkIn(begin(id, task, job.name, label), scope)
          }
          most = Math.max(most, running())
          return id
        }),
      find: () => Effect.succeed(undefined),
      queue: () => Effect.sync(() => [...states.values()]),
      cancel: () => Effect.void,
      cancelNamed: () => Effect.void,
      requeueNow: () => Effect.void,
      release: () => Effect.void,
      partitions: Effect.succeed([]),
      site: Effect.die("nobody asks"),
      controllerUp: Effect.succeed(true),
      accounted: () => Effect.succeed([]),
    })
    const site = (node: string): DriverSession.Site => ({
      node,
      pool: "cpu",
      nodes: 2,
      held,
      gang: false,
      workers,
      maxJobs: options.maxJobs,
      perWorker: 1,
      cores: 1,
      memoryGiB: undefined,
      slots: () => 1,
      log: () => "/nowhere",
      job: (label, tasks) => ({
        name: DriverSession.jobName(name, label),
        partition: "cpu",
        cores: 1,
        memoryMiB: 100,
        array: { tasks },
        timeLimitMinutes: 5,
        output: "/dev/null",
        command: ["true"],
      }),
    })
    const driver = new DriverSession.DriverSession(
      {
        session: name,
        key,
        version: "1",
        sites: new Map(nodes.map((node) => [node, site(node)])),
        lookMs: 300,
        pollMs: 1000,
        idleSeconds: 5,
      },
      objects,
      slurm,
    )
    return { driver, jobs, key, made, modules, most: () => most, objects, session: name, states }
  })

/** Has the calls of a shard made, and gives what came of each position, or why nothing did. */
export const ask = (driver: DriverSession.DriverSession, shard: Call.Shard) =>
  Effect.gen(function* () {
    const results = new Map<number, Call.Result>()
    const counts = new Map<number, number>()
    const ended = yield* Deferred.make<void>()
    let problem: string | undefined
    const end = () => void Deferred.doneUnsafe(ended, Effect.void)
    yield* driver.ask(
      shard,
      (part) => {
        for (const result of part.results) {
          results.set(result.at, result)
          counts.set(result.at, (counts.get(result.at) ?? 0) + 1)
        }
        Effect.runFork(part.committed ?? Effect.void)
      },
      end,
      (text) => {
        problem ??= text
        end()
      },
    )
    return { counts, ended, problem: () => problem, results }
  })

type Asked = Effect.Success<ReturnType<typeof ask>>

/** Lets time pass until those who asked have everything, or know why not; at most so many minutes. */
export const settle = (asked: ReadonlyArray<Asked>, minutes = 10) =>
  Effect.gen(function* () {
    const open = () => asked.filter(({ ended }) => !Deferred.isDoneUnsafe(ended))
    for (let second = 0; second < 60 * minutes && open().length > 0; second++)
      yield* TestClock.adjust("1 second")
    return open().length === 0
  })
