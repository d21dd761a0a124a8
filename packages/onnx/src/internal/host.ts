/**
 * A thread that holds models, as Effects. It is started again, models and all, after it was given up.
 *
 * A thread is never terminated: when V8 ends one inside the runtime, the runtime aborts the whole process
 * (`Napi::Error`), and so does `process.exit`. One that is given up ends by itself after the run it is in, and the
 * scope waits for that.
 */
import { Worker } from "node:worker_threads"

import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"

import { ModelInvalid, ProviderMissing, RunFailed, ThreadLost } from "../SessionError.ts"
import type {
  Envelope,
  Failure,
  Message,
  Opened,
  Provider,
  Reply,
  Request,
  Response,
  Source,
} from "./protocol.ts"

export interface Hosted {
  readonly name: string
  readonly source: Source
  readonly provider: Provider
  readonly threads: number
}

export type OpenError = ProviderMissing | ModelInvalid | ThreadLost
export type Error = OpenError | RunFailed

type Send = <R extends Request>(
  request: R,
  transfer?: ReadonlyArray<ArrayBuffer>,
) => Effect.Effect<Response[R["_tag"]], Error>

export interface Host {
  readonly opened: { readonly [key: string]: Opened }
  /** One request at a time. When it is interrupted, the thread is given up, and with it what it held. */
  readonly exclusive: Send
  /** When it is interrupted, the thread goes on and its answer is dropped: what the thread holds stays. */
  readonly patient: Send
}

type Resume = (reply: Effect.Effect<unknown, Error>) => void

/** One thread and those who wait for it. */
class Thread {
  readonly #worker: Worker
  readonly #names: { readonly [key: string]: string }
  readonly #waiting = new Map<number, readonly [Resume, Request]>()
  /** Resolves when the thread is gone. */
  readonly gone: Promise<void>
  #ended: string | undefined
  #next = 0

  constructor(models: { readonly [key: string]: Hosted }) {
    this.#names = Object.fromEntries(Object.entries(models).map(([key, { name }]) => [key, name]))
    this.#worker = new Worker(new URL("./sessionThread.ts", import.meta.url), {
      // Flags of the main program, such as --input-type, may be wrong for a thread.
      execArgv: [],
    })
    this.#worker.on("message", (reply: Reply) => {
      const [resume, request] = this.#waiting.get(reply.id) ?? []
      this.#waiting.delete(reply.id)
      if (this.#waiting.size === 0 && this.#ended === undefined) this.#worker.unref()
      resume?.(
        "failure" in reply ? Effect.fail(this.#error(reply.failure, request!)) : Effect.succeed(reply.value),
      )
    })
    this.#worker.on("error", (cause) => this.#end(cause instanceof Error ? cause.message : String(cause)))
    this.gone = new Promise((resolve) => {
      this.#worker.on("exit", (code) => {
        this.#end(`exit code ${code}`)
        resolve()
      })
    })
    this.#worker.unref()
  }

  get ended(): boolean {
    return this.#ended !== undefined
  }

  #nameOf(request: Request): string {
    return "key" in request
      ? (this.#names[request.key] ?? request.key)
      : Object.values(this.#names).join(", ")
  }

  #error(failure: Failure, request: Request): Error {
    const model = this.#nameOf(request)
    switch (failure._tag) {
      case "ProviderMissing": {
        const provider = request._tag === "Open" ? request.provider : ""
        return new ProviderMissing({
          model,
          provider,
          available: failure.available,
          problem: failure.problem,
        })
      }
      case "ModelInvalid":
        return new ModelInvalid({ model, problem: failure.problem })
      case "RunFailed":
        return new RunFailed({ model, problem: failure.problem })
    }
  }

  #end(problem: string) {
    this.#ended ??= problem
    for (const [resume, request] of this.#waiting.values())
      resume(Effect.fail(new ThreadLost({ model: this.#nameOf(request), problem: this.#ended })))
    this.#waiting.clear()
  }

  /** Asks the thread; its owner may stop listening, the thread goes on. */
  ask<R extends Request>(
    request: R,
    transfer: ReadonlyArray<ArrayBuffer>,
  ): Effect.Effect<Response[R["_tag"]], Error> {
    return Effect.callback((resume) => {
      if (this.#ended !== undefined)
        return resume(Effect.fail(new ThreadLost({ model: this.#nameOf(request), problem: this.#ended })))
      const id = this.#next++
      this.#waiting.set(id, [resume as Resume, request])
      this.#worker.ref()
      this.#worker.postMessage({ id, request } satisfies Envelope, [...transfer])
    })
  }

  /** Nobody listens any more. An operator that is running cannot be stopped: the thread ends after it. */
  giveUp(): void {
    if (this.#ended !== undefined) return
    this.#end("it was given up")
    this.#worker.ref()
    this.#worker.postMessage("close" satisfies Message)
  }
}

/** How long a scope waits for threads that are in a run, before it leaves them to their fate. */
const patience = "1 minute"

export const make = (models: {
  readonly [key: string]: Hosted
}): Effect.Effect<Host, OpenError, Scope.Scope> =>
  Effect.gen(function* () {
    const turn = yield* Semaphore.make(1)
    let thread: Thread | undefined
    const threads = new Set<Thread>()

    const start = Effect.gen(function* () {
      const started = new Thread(models)
      thread = started
      threads.add(started)
      void started.gone.then(() => threads.delete(started))
      const opened: Record<string, Opened> = {}
      for (const [key, { provider, source, threads }] of Object.entries(models)) {
        opened[key] = yield* started
          .ask({ _tag: "Open", key, source, provider, threads }, [])
          .pipe(Effect.catchTag("RunFailed", ({ model, problem }) => new ModelInvalid({ model, problem })))
      }
      return opened
    }).pipe(Effect.onError(() => Effect.sync(() => thread?.giveUp())))

    const running = Effect.suspend(() =>
      thread === undefined || thread.ended ? Effect.map(start, () => thread!) : Effect.succeed(thread),
    )

    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        thread?.giveUp()
        return Effect.promise(() => Promise.all([...threads].map(({ gone }) => gone)))
      }).pipe(Effect.timeoutOption(patience)),
    )
    const opened = yield* start
    return {
      opened,
      exclusive: (request, transfer = []) =>
        turn.withPermits(1)(
          Effect.flatMap(running, (each) =>
            Effect.onInterrupt(each.ask(request, transfer), () => Effect.sync(() => each.giveUp())),
          ),
        ),
      patient: (request, transfer = []) => Effect.suspend(() => thread!.ask(request, transfer)),
    }
  })
