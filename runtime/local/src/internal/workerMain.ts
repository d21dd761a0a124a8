/**
 * The main module of a worker process: takes one call at a time over IPC, imports the module that exports the
 * operator, runs it, and sends back what came of it. Ends with its driver.
 */
import { Worker } from "node:worker_threads"

import { Operator, Params, type Progress } from "@reelgraph/core"
// One by one: a process that is started for each slot of a cluster loads no more than it needs.
import * as Failure from "@reelgraph/engine/Failure"
import * as Invocation from "@reelgraph/engine/Invocation"
import * as RecordCodec from "@reelgraph/engine/RecordCodec"
import * as StoreAt from "@reelgraph/store/StoreAt"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Schema from "effect/Schema"

import * as CompileCache from "./compileCache.ts"
import { type Reply, type Request, type Result, storeVariable } from "./protocol.ts"
import { Throttle } from "./Throttle.ts"

/** Reports of a call reach the driver at most once in so many milliseconds. */
const reportMs = 200

/** The module of an operator does not export it, so that no other process can find it. */
class OperatorNotExported extends Schema.TaggedError<OperatorNotExported>()("OperatorNotExported", {
  operator: Schema.String,
  version: Schema.String,
  module: Schema.String,
}) {
  override get message() {
    return `${this.module} does not export the operator ${this.operator}@${this.version}; export it, and let its \`worker\` be import.meta.url of that module`
  }
}

// The driver decides what an interruption means: a terminal and Slurm tell the whole process group.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"] as const) process.on(signal, () => {})
// A driver that is gone wants no result. SIGKILL, because leaving politely can crash native decoders.
process.on("disconnect", () => process.kill(process.pid, "SIGKILL"))
new Worker(new URL("./watchdog.ts", import.meta.url), {
  workerData: Number(process.argv[2]),
  resourceLimits: { maxYoungGenerationSizeMb: 1, maxOldGenerationSizeMb: 16 },
}).unref()

const reply = (message: Reply) => void process.send!(message)

// oxlint-disable-next-line node/no-process-env -- a process boundary: set by the driver that forked this process
const runtime = ManagedRuntime.make(StoreAt.layer(process.env[storeVariable]!))

/** Whether the driver has said that calls are to come to an end. */
let stopping = false

const find = (job: Invocation.Job): Effect.Effect<Operator.Any, OperatorNotExported> =>
  Effect.flatMap(
    Effect.promise((): Promise<Record<string, unknown>> => import(job.module)),
    (exports) => {
      const operator = Object.values(exports).find(
        (value): value is Operator.Any =>
          Operator.isOperator(value) && value.name === job.operator && value.version === job.version,
      )
      return operator === undefined
        ? Effect.fail(
            new OperatorNotExported({ operator: job.operator, version: job.version, module: job.module }),
          )
        : Effect.succeed(operator)
    },
  )

const perform = (id: number, job: Invocation.Job, report: (progress: Progress.Progress) => void) =>
  Effect.gen(function* () {
    const operator = yield* find(job)
    const { value } = Params.resolve(operator, JSON.parse(job.params))
    const sides = Object.fromEntries(
      Object.entries(job.sides).map(([side, records]) => {
        const codec = RecordCodec.of(operator.sides[side]!.port.record)
        return [
          side,
          typeof records === "string" ? codec.decode(records) : records.map((record) => codec.decode(record)),
        ]
      }),
    )
    const call = new Invocation.Call({
      operator: job.operator,
      items: () => job.items,
      key: () => job.key,
      seed: job.seed,
      attempt: job.attempt,
      sides,
      report,
      stopping: () => stopping,
    })
    const records = yield* Invocation.decode(job.node, operator, job.records)
    yield* Effect.sync(() => reply({ _tag: "Started", id }))
    return yield* Invocation.invoke(job.node, operator, value, records, call)
  })

const resultOf = (exit: Exit.Exit<ReadonlyArray<Invocation.Outcome>, unknown>): Result =>
  Exit.isSuccess(exit)
    ? {
        _tag: "Done",
        outcomes: exit.value.map((outcome) =>
          outcome._tag === "Made" ? { _tag: "Made", items: outcome.items } : outcome,
        ),
      }
    : { _tag: "Failed", failure: Failure.fromCause(exit.cause) }

process.on("message", (request: Request) => {
  if (request._tag === "Stop") return void (stopping = true)
  const { id, job } = request
  const reports = new Throttle<Progress.Progress>(reportMs, (progress) =>
    reply({ _tag: "Reported", id, progress }),
  )
  runtime.runCallback(
    perform(id, job, (progress) => reports.offer(progress)),
    {
      onExit: (exit) => {
        reports.close()
        reply({ _tag: "Ended", id, result: resultOf(exit), rss: process.memoryUsage.rss() })
        if (id === 1) CompileCache.keep()
      },
    },
  )
})
