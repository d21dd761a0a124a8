/**
 * The main module of a worker process: takes one call at a time over IPC, imports the module that exports the
 * operator, runs it, and sends back what came of it. Ends with its driver.
 */
import { Worker } from "node:worker_threads"

import { Operator, Params, type Progress } from "@reelgraph/core"
// One by one: a process that is started for each slot of a cluster loads no more than it needs.
import * as Call from "@reelgraph/call/Call"
import * as Environment from "@reelgraph/call/Environment"
import * as Failure from "@reelgraph/call/Failure"
import * as Fingerprints from "@reelgraph/call/Fingerprints"
import * as Invoke from "@reelgraph/call/Invoke"
import * as LoadedModules from "@reelgraph/call/LoadedModules"
import * as RecordCodec from "@reelgraph/call/RecordCodec"
import * as CallBlobs from "@reelgraph/store/blobs/CallBlobs"
import * as StoreAt from "@reelgraph/store/StoreAt"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Schema from "effect/Schema"

import * as CompileCache from "./compileCache.ts"
import { urlOf } from "./operatorModule.ts"
import { killTree } from "./processTree.ts"
import { type Blobs, type Reply, type Request, type Result, storeVariable } from "./protocol.ts"
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

/** The module of an operator exports several of its name and version. */
class OperatorAmbiguous extends Schema.TaggedError<OperatorAmbiguous>()("OperatorAmbiguous", {
  operator: Schema.String,
  module: Schema.String,
}) {
  override get message() {
    return `${this.module} exports several operators named ${this.operator}; give each a name of its own, or make one and let params say what differs`
  }
}

// The driver decides what an interruption means: Slurm signals all processes of a task.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"] as const) process.on(signal, () => {})
// A driver that is gone wants no result. SIGKILL, because leaving politely can crash native decoders.
process.on("disconnect", () => killTree(process.pid))
new Worker(new URL("./watchdog.ts", import.meta.url), {
  workerData: Number(process.argv[2]),
  resourceLimits: { maxYoungGenerationSizeMb: 1, maxOldGenerationSizeMb: 16 },
}).unref()

const reply = (message: Reply) => void process.send!(message)

// The driver has made the store: where that has gone, no new one is made.
// oxlint-disable-next-line node/no-process-env -- a process boundary: set by the driver that forked this process
const runtime = ManagedRuntime.make(
  Environment.layer.pipe(Layer.provideMerge(StoreAt.layer(process.env[storeVariable]!, { existing: true }))),
)

// Operators are loaded from here on: what they were then is what results are made by.
LoadedModules.record()

/** Whether the driver has signalled that calls should end. */
let stopping = false

/** The operator of a call, by the code that the run began with. */
const find = (call: Call.Call) =>
  Effect.gen(function* () {
    const url = yield* urlOf(call.operator, call.module)
    const exports = yield* Effect.promise((): Promise<Record<string, unknown>> => import(url))
    const named = new Set(
      Object.values(exports).filter(
        (value): value is Operator.Any =>
          Operator.isOperator(value) && value.name === call.operator && value.version === call.version,
      ),
    )
    const [operator] = named
    if (named.size > 1)
      return yield* new OperatorAmbiguous({
        operator: `${call.operator}@${call.version}`,
        module: call.module,
      })
    if (operator === undefined)
      return yield* new OperatorNotExported({
        operator: call.operator,
        version: call.version,
        module: call.module,
      })
    const fingerprints = yield* Fingerprints.Fingerprints
    const code = (yield* fingerprints.of([operator])).get(operator)
    if (code?.digest !== call.code)
      return yield* new Failure.CodeChanged({
        node: call.node,
        operator: `${call.operator}@${call.version}`,
      })
    // The module may export a value of that name which is not the graph's.
    if (code.captured !== (call.captured ?? ""))
      return yield* new OperatorNotExported({
        operator: call.operator,
        version: call.version,
        module: call.module,
      })
    return { operator, code }
  })

const perform = (id: number, call: Call.Call, report: (progress: Progress.Progress) => void) =>
  Effect.gen(function* () {
    const { code, operator } = yield* find(call)
    const { value } = Params.resolve(operator, JSON.parse(call.params))
    const sides = Object.fromEntries(
      Object.entries(call.sides).map(([side, records]) => {
        const codec = RecordCodec.of(operator.sides[side]!.port.record)
        return [
          side,
          typeof records === "string" ? codec.decode(records) : records.map((record) => codec.decode(record)),
        ]
      }),
    )
    const view = new Invoke.View({
      operator: call.operator,
      items: () => Call.digestsOf(call),
      key: () => Call.keyOf(call),
      seed: call.seed,
      attempt: call.attempt,
      // As in the engine's own process, where calls share them.
      sides: Invoke.frozen(sides),
      report,
      stopping: () => stopping,
    })
    const records = yield* Invoke.decode(
      call.node,
      operator,
      call.items.map(({ record }) => record),
    )
    yield* Effect.sync(() => reply({ _tag: "Started", id }))
    const environment = yield* Environment.Environment
    const outcomes = yield* environment.provide(
      call.node,
      operator,
      Invoke.invoke(call.node, operator, Invoke.frozen(value), records, view),
    )
    // What files that are part of the code gave is of this code only while they are what they were.
    if (!code.isIntact())
      return yield* new Failure.CodeChanged({
        node: call.node,
        operator: `${call.operator}@${call.version}`,
      })
    return outcomes
  })

const resultOf = (exit: Exit.Exit<ReadonlyArray<Call.Outcome>, unknown>): Result =>
  Exit.isSuccess(exit)
    ? { _tag: "Done", outcomes: exit.value }
    : { _tag: "Failed", failure: Failure.fromCause(exit.cause) }

/** Closes what operators have open, and ends with all that they have begun. SIGKILL: see above. */
const end = () => void runtime.dispose().finally(() => killTree(process.pid))

/** Calls whose blobs are in the cache, and not yet in the bucket. */
const unstored = new Map<number, CallBlobs.CallBlobs>()

/** What a call that has ended did with blobs. The cache keeps what is to be stored, of a call that has a result. */
const blobsOf = (id: number, blobs: CallBlobs.CallBlobs, result: Result): Blobs => {
  const made = result._tag === "Done" ? blobs.unstored : []
  if (made.length === 0) Effect.runFork(blobs.close)
  else unstored.set(id, blobs)
  return { read: [...blobs.read], unstored: made }
}

process.on("message", (request: Request) => {
  if (request._tag === "Stored") {
    const blobs = unstored.get(request.id)
    unstored.delete(request.id)
    return void (blobs !== undefined && Effect.runFork(blobs.close))
  }
  if (request._tag === "Stop") return void (stopping = true)
  if (request._tag === "End") return end()
  const { call, id } = request
  const blobs = request.overlaps ? new CallBlobs.CallBlobs() : undefined
  const reports = new Throttle<Progress.Progress>(reportMs, (progress) =>
    reply({ _tag: "Reported", id, progress }),
  )
  runtime.runCallback(
    Effect.provideService(
      perform(id, call, (progress) => reports.offer(progress)),
      CallBlobs.current,
      blobs,
    ),
    {
      onExit: (exit) => {
        reports.close()
        const result = resultOf(exit)
        reply({
          _tag: "Ended",
          id,
          result,
          rss: process.memoryUsage.rss(),
          ...(blobs === undefined ? {} : { blobs: blobsOf(id, blobs, result) }),
        })
        if (id === 1) CompileCache.keep()
      },
    },
  )
})
