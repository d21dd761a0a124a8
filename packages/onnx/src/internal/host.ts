/**
 * A thread that holds models, as Effects. It is started again, models and all, after it was given up.
 *
 * A thread is never terminated: when V8 ends one inside the runtime, the runtime aborts the whole process
 * (`Napi::Error`), and so does `process.exit`. One that is given up ends by itself after the run it is in, and the
 * scope waits for that.
 */
import { ThreadClient } from "@reelgraph/threads"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"

import { ModelInvalid, ProviderMissing, RunFailed, ThreadLost } from "../SessionError.ts"
import type { Failure, Opened, Provider, Request, Response, Source } from "./protocol.ts"

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

type Thread = ThreadClient.ThreadClient<Request, Response, Failure, Error>

/** Starts a thread for these models. */
const threadOf = (models: { readonly [key: string]: Hosted }): Thread => {
  const names = Object.values(models).map(({ name }) => name)
  const nameOf = (request: Request): string =>
    "key" in request ? (models[request.key]?.name ?? request.key) : names.join(", ")
  return new ThreadClient.ThreadClient<Request, Response, Failure, Error>({
    name: names.join(", "),
    module: new URL("./sessionThread.ts", import.meta.url),
    // Flags of the main program, such as --input-type, may be wrong for a thread.
    execArgv: [],
    keepsProcess: false,
    errorOf: (cause, request) => {
      const model = nameOf(request)
      const { problem } = cause
      switch (cause._tag) {
        case "ProviderMissing": {
          const provider = request._tag === "Open" ? request.provider : ""
          return new ProviderMissing({ model, provider, available: cause.available, problem })
        }
        case "ModelInvalid":
          return new ModelInvalid({ model, problem })
        case "RunFailed":
          return new RunFailed({ model, problem })
        case "ThreadLost":
          return new ThreadLost({ model, problem })
      }
    },
  })
}

/** How long a scope waits for threads that are in a run, at most. They end by themselves. */
const patience = "1 minute"

export const make = (models: {
  readonly [key: string]: Hosted
}): Effect.Effect<Host, OpenError, Scope.Scope> =>
  Effect.gen(function* () {
    const turn = yield* Semaphore.make(1)
    let thread: Thread | undefined
    const threads = new Set<Thread>()

    const start = Effect.gen(function* () {
      const started = threadOf(models)
      thread = started
      for (const each of threads) if (each.exited) threads.delete(each)
      threads.add(started)
      const opened: Record<string, Opened> = {}
      for (const [key, { provider, source, threads }] of Object.entries(models)) {
        opened[key] = yield* started
          .ask({ _tag: "Open", key, source, provider, threads })
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
        return Effect.forEach(threads, ({ gone }) => gone, { concurrency: "unbounded", discard: true })
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
