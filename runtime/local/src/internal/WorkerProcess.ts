/** One worker process, as its driver sees it: makes one call at a time. */
import { type ChildProcess, fork } from "node:child_process"
import { fileURLToPath } from "node:url"

import { Failure, type Invocation } from "@reelgraph/engine"
import * as Effect from "effect/Effect"

import { type Reply, type Request, storeVariable } from "./protocol.ts"

const main = fileURLToPath(new URL("./workerMain.ts", import.meta.url))

/** Bytes of what a worker wrote to its standard error that are kept, to say why it ended. */
const tailBytes = 2000

export class WorkerProcess {
  readonly #child: ChildProcess
  #tail = ""
  #calls = 0
  #rss = 0
  #ended: string | undefined
  #settle: ((outcome: Effect.Effect<ReadonlyArray<Invocation.Outcome>, Failure.Failure>) => void) | undefined

  constructor(store: string) {
    this.#child = fork(main, [], {
      execArgv: [],
      // oxlint-disable-next-line node/no-process-env -- a process boundary: workers see what their driver sees
      env: { ...process.env, [storeVariable]: store },
      serialization: "advanced",
      stdio: ["ignore", "pipe", "pipe", "ipc"],
    })
    const keep = (data: Buffer) => void (this.#tail = (this.#tail + data.toString("utf8")).slice(-tailBytes))
    this.#child.stdout!.on("data", keep)
    this.#child.stderr!.on("data", keep)
    this.#child.on("message", (reply: Reply) => {
      this.#rss = reply.rss
      const { result } = reply
      this.#finish(result._tag === "Done" ? Effect.succeed(result.outcomes) : Effect.fail(result.failure))
    })
    this.#child.on("error", (cause) => this.#lost(cause.message))
    this.#child.on("exit", (code, signal) => this.#lost(signal ?? `exit code ${code}`))
  }

  /** Whether it can take another call. Workers are replaced now and then: native code leaks a little. */
  get reusable(): boolean {
    return this.#ended === undefined && this.#calls < 500 && this.#rss < 2 * 1024 ** 3
  }

  /** Makes a call; interrupting it kills the process. */
  call(job: Invocation.Job): Effect.Effect<ReadonlyArray<Invocation.Outcome>, Failure.Failure> {
    return Effect.callback((resume) => {
      if (this.#ended !== undefined) return resume(Effect.fail(this.#lostFailure(job.node, this.#ended)))
      this.#calls++
      this.#settle = resume
      this.#node = job.node
      this.#child.send({ id: this.#calls, job } satisfies Request, (cause) => {
        if (cause !== null) this.#lost(cause.message)
      })
      return Effect.andThen(
        Effect.sync(() => {
          this.#settle = undefined
        }),
        this.kill,
      )
    })
  }

  /** Kills the process and waits until it has gone. */
  get kill(): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      if (this.#child.exitCode !== null || this.#child.signalCode !== null) return resume(Effect.void)
      this.#child.once("exit", () => resume(Effect.void))
      this.#child.kill("SIGKILL")
    })
  }

  #node = ""

  #finish(outcome: Effect.Effect<ReadonlyArray<Invocation.Outcome>, Failure.Failure>): void {
    const settle = this.#settle
    this.#settle = undefined
    settle?.(outcome)
  }

  #lost(how: string): void {
    this.#ended ??= how
    this.#finish(Effect.fail(this.#lostFailure(this.#node, how)))
  }

  #lostFailure(node: string, how: string): Failure.Failure {
    const said = this.#tail.trim().split("\n").slice(-3).join(" | ")
    return Failure.fromError(
      new Failure.WorkerLost({ node, how: said === "" ? how : `${how}; it said: ${said}` }),
    )
  }
}
