/**
 * The command of a task: `node taskWorkerMain.ts STORE SESSION LABEL SLOTS`. Which task it is, where, and with which GPUs,
 * it finds in what Slurm sets; its slots have equal shares of them. The key of its run is in `REELGRAPH_RUN_KEY`. Ends
 * with 0 when it is through, with 75 when it was warned and has left in time; of a gang, rank 0 alone does, for srun ends
 * the others when one ends with another number than 0. Ends with 76 when an assignment is not from its driver, 77 when it cannot
 * use the store.
 */
import { randomBytes } from "node:crypto"
import { hostname } from "node:os"

import { LocalWorkers } from "@reelgraph/local"
import { StoreAt } from "@reelgraph/store"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"

import * as WorkerExit from "./workerExit.ts"
import * as Rank from "./Rank.ts"
import * as RunKey from "./RunKey.ts"
import { version } from "./version.ts"
import * as TaskWorker from "./TaskWorker.ts"

/** Calls share what Slurm gave the task: as many as its assignments set, however many cores this machine has. */
const unbounded = 1e6

/** Seconds that calls which go on are given when the worker is warned. Slurm's own patience may be shorter. */
const grace = Config.Finite("REELGRAPH_GRACE_SECONDS").pipe(Config.withDefault(20))

const number = (name: string) => Config.Int(name)

const attempt = Config.all({
  job: number("SLURM_ARRAY_JOB_ID").pipe(Config.orElse(() => number("SLURM_JOB_ID"))),
  task: number("SLURM_ARRAY_TASK_ID").pipe(Config.withDefault(0)),
  restart: number("SLURM_RESTART_COUNT").pipe(Config.withDefault(0)),
  node: Config.String("SLURMD_NODENAME").pipe(Config.withDefault(hostname())),
  token: Config.succeed(randomBytes(4).toString("hex")),
})

/** The key, which no process of a call is given. */
const runKey = Effect.gen(function* () {
  const key = RunKey.parse(yield* Config.String(RunKey.variable).pipe(Config.withDefault("")))
  // oxlint-disable-next-line node/no-process-env -- a process boundary: child processes inherit the rest
  delete process.env[RunKey.variable]
  if (key !== undefined) return key
  const reason = `${RunKey.variable} is not set: a worker is started by its driver, in a job; if the site empties the environment of jobs, let it pass`
  return yield* new TaskWorker.WorkerRefused({ reason })
})

const [location = "", session = "", label = "", slotCount = "1"] = process.argv.slice(2)

/** Each slot has child processes of its own, which see its devices alone. */
const slotsOf = (rank: Rank.Rank, warned: Deferred.Deferred<void>) => {
  const slots = Math.max(1, Number(slotCount))
  if (rank.gpus.length % slots !== 0)
    return Effect.die(
      new Error(
        `Slurm gave ${rank.gpus.length} GPUs to a task of ${slots} slots: they cannot be shared evenly`,
      ),
    )
  return Effect.forEach(Array(slots).keys(), (slot) => {
    const gpus = Rank.share(rank.gpus, { localRank: slot, ranksPerNode: slots })
    const workers = LocalWorkers.layer({
      store: location,
      cores: unbounded,
      memoryGiB: unbounded,
      environment: Rank.environment({ ...rank, gpus }),
      stopping: Deferred.await(warned),
      overlap: rank.ranks === 1,
    })
    return Effect.map(Layer.build(workers), (built): TaskWorker.Slot => ({
      gpus: gpus.join(","),
      workers: Context.get(built, LocalWorkers.LocalWorkers),
    }))
  })
}

const program = Effect.gen(function* () {
  const warned = yield* Deferred.make<void>()
  const warn = () => void Effect.runFork(Deferred.succeed(warned, undefined))
  for (const signal of ["SIGTERM", "SIGUSR1", "SIGINT"] as const) process.on(signal, warn)
  const key = yield* runKey
  const rank = yield* Rank.current
  const ended = yield* TaskWorker.work({
    attempt: { ...(yield* attempt), gpus: rank.gpus.join(",") },
    slots: yield* slotsOf(rank, warned),
    rank: rank.rank,
    ranks: rank.ranks,
    label,
    session,
    key,
    version,
    warned,
    graceMs: (yield* grace) * 1000,
  }).pipe(
    // A file system that is not mounted on this node is no reason to make a store there.
    Effect.provide(StoreAt.layer(location, { existing: true })),
    Effect.tap((why) => Effect.logInfo(`the worker ends: ${why}`)),
    Effect.annotateLogs(rank.ranks === 1 ? {} : { rank: rank.rank }),
  )
  return ended === "warned" && rank.rank === 0 ? WorkerExit.leftInTime : 0
}).pipe(
  Effect.scoped,
  Effect.tapCause((cause) => Effect.logError(cause)),
  Effect.catchTag("AssignmentRefused", () => Effect.succeed(WorkerExit.assignmentRefused)),
  Effect.catchTag(["OutOfSpace", "StoreUnreadable", "StoreUnwritable"], () =>
    Effect.succeed(WorkerExit.storeFailed),
  ),
  Effect.provide(Logger.layer([Logger.consoleLogFmt])),
)

Effect.runCallback(program, {
  onExit: (exit) => {
    process.exitCode = Exit.isSuccess(exit) ? exit.value : 1
    // Child processes and connections that linger would keep the task.
    process.exit()
  },
})
