/** One worker process, as its driver sees it: makes one call at a time. */
import { type ChildProcess, fork } from "node:child_process"
import { fileURLToPath } from "node:url"

import { type Call, Failure } from "@reelgraph/call"
import type { Progress } from "@reelgraph/core"
import * as Effect from "effect/Effect"

import * as StderrTail from "../StderrTail.ts"
import { killGroup, killTree } from "./processTree.ts"
import { type Blobs, type Reply, type Request, storeVariable } from "./protocol.ts"

const main = fileURLToPath(new URL("./workerMain.ts", import.meta.url))

/** Milliseconds for a process to start and to import the module of an operator. */
const startMs = 300_000

/** Milliseconds for an idle process to close what operators have open: more than that takes itself. */
const endMs = 7_000

type Report = (progress: Progress.Progress) => void

/** What came of a call. */
export interface Made {
  readonly outcomes: ReadonlyArray<Call.Outcome>
  /** Of a call that overlaps with others. The process is to be told when they are `stored`. */
  readonly blobs: Blobs | undefined
  /** The cache may let go of what the call made. */
  readonly stored: Effect.Effect<void>
}

/** The call that a process is at. */
interface Current {
  readonly node: string
  readonly started: () => void
  readonly report: Report
  readonly settle: (outcome: Effect.Effect<Made, Failure.Failure>) => void
}

/** Bytes of the end of a worker's standard error that are held, to report why it ended. */
const tailBytes = 2000

/**
 * The process as its driver sees it. No timer of it keeps the driver: the channel and the pipes do, as long as there is
 * something to wait for, and a timer that is left is taken for one of an operator.
 */
export class WorkerProcess {
  readonly #child: ChildProcess
  #tail = ""
  #calls = 0
  #rss = 0
  #ended: string | undefined
  #current: Current | undefined

  constructor(store: string, environment: Readonly<Record<string, string>>) {
    this.#child = fork(main, [String(process.pid)], {
      execArgv: [],
      // A group of its own, to be ended with all that its operators begin.
      detached: true,
      env: { ...environment, [storeVariable]: store },
      serialization: "advanced",
      stdio: ["ignore", "pipe", "pipe", "ipc"],
    })
    const keep = (data: Buffer) => void (this.#tail = (this.#tail + data.toString("utf8")).slice(-tailBytes))
    this.#child.stdout!.on("data", keep)
    this.#child.stderr!.on("data", keep)
    this.#child.on("message", (reply: Reply) => {
      if (reply.id !== this.#calls) return
      if (reply._tag === "Started") return this.#current?.started()
      if (reply._tag === "Reported") return this.#current?.report(reply.progress)
      this.#rss = reply.rss
      const { blobs, id, result } = reply
      this.#finish(
        result._tag === "Done"
          ? Effect.succeed({ outcomes: result.outcomes, blobs, stored: this.#stored(id) })
          : Effect.fail(result.failure),
      )
    })
    this.#child.on("error", (cause) => this.#lost(cause.message))
    this.#child.on("exit", (code, signal) => {
      const how = signal ?? `exit code ${code}`
      this.#ended ??= how
      if (this.#child.pid !== undefined) killGroup(this.#child.pid)
      // Its last output may still be on its way. A process that left its group may hold its pipes open. It is not
      // waited for, and does not hold up this process.
      const late = setTimeout(() => this.#close(how), 200).unref()
      this.#child.once("close", () => {
        clearTimeout(late)
        this.#lost(how)
      })
    })
  }

  /** Whether it can take another call. Workers are replaced now and then: native code leaks a little. */
  get reusable(): boolean {
    return this.#ended === undefined && this.#calls < 500 && this.#rss < 2 * 1024 ** 3
  }

  /**
   * Makes a call; interrupting it, or its taking too long, kills the process. `started` is called when the operator
   * begins; from then on the call's `timeoutMs` count. A call that `overlaps` leaves its blobs to be stored.
   */
  call(
    call: Call.Call,
    overlaps: boolean,
    started: () => void,
    report: Report,
  ): Effect.Effect<Made, Failure.Failure> {
    return Effect.callback<Made, Failure.Failure>((resume) => {
      if (this.#ended !== undefined) return resume(Effect.fail(this.#lostFailure(call.node, this.#ended)))
      let timer: NodeJS.Timeout | undefined
      const limit = (ms: number, failure: () => Failure.Failure) => {
        clearTimeout(timer)
        timer = setTimeout(() => this.#finish(Effect.andThen(this.kill, Effect.fail(failure()))), ms).unref()
      }
      const { node, timeoutMs } = call
      this.#calls++
      this.#current = {
        node,
        report,
        started: () => {
          clearTimeout(timer)
          started()
          if (timeoutMs !== undefined)
            limit(timeoutMs, () => Failure.fromError(new Failure.CallTimeout({ node, timeoutMs })))
        },
        settle: (outcome) => {
          clearTimeout(timer)
          resume(outcome)
        },
      }
      limit(startMs, () =>
        this.#lostFailure(node, `its operator's module took more than ${startMs} ms to load`),
      )
      this.#send({ _tag: "Call", id: this.#calls, call, overlaps })
      return Effect.andThen(
        Effect.sync(() => {
          clearTimeout(timer)
          this.#current = undefined
        }),
        this.kill,
      )
    })
  }

  /** Tells the call that goes on, and those after it, to come to an end. */
  stop(): void {
    if (this.#ended === undefined) this.#send({ _tag: "Stop" })
  }

  /**
   * Has the process close what operators have open and end, and waits until it has gone. It is killed when it is making
   * a call, or takes longer than {@link endMs}.
   */
  get end(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const idle = this.#current === undefined && this.#calls > 0
      if (!idle || this.#ended !== undefined || this.#child.pid === undefined) return this.kill
      this.#ended = "it was ended"
      return Effect.callback<void>((resume) => {
        const late = setTimeout(() => Effect.runFork(this.kill), endMs).unref()
        this.#child.once("exit", () => {
          clearTimeout(late)
          resume(Effect.void)
        })
        this.#send({ _tag: "End" })
      })
    })
  }

  /** Kills the process and waits until it has gone. */
  get kill(): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      const child = this.#child
      this.#ended ??= "it was killed"
      // Without a pid it was never started: no exit will be heard of.
      if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null)
        return resume(Effect.void)
      child.once("exit", () => resume(Effect.void))
      killTree(child.pid)
    })
  }

  #stored(id: number): Effect.Effect<void> {
    return Effect.sync(() => {
      if (this.#ended === undefined) this.#send({ _tag: "Stored", id })
    })
  }

  #send(request: Request): void {
    this.#child.send(request, (cause) => {
      if (cause !== null) this.#lost(cause.message)
    })
  }

  #finish(outcome: Effect.Effect<Made, Failure.Failure>): void {
    const current = this.#current
    this.#current = undefined
    current?.settle(outcome)
  }

  #close(how: string): void {
    this.#lost(how)
    this.#child.stdout?.destroy()
    this.#child.stderr?.destroy()
  }

  #lost(how: string): void {
    this.#ended ??= how
    const node = this.#current?.node
    if (node !== undefined) this.#finish(Effect.fail(this.#lostFailure(node, how)))
  }

  #lostFailure(node: string, how: string): Failure.Failure {
    const said = StderrTail.of(this.#tail)
    return Failure.fromError(
      new Failure.WorkerLost({
        node,
        how: said === "" ? how : `${how}; its standard error ends with: ${said}`,
      }),
    )
  }
}
