/**
 * Worker threads that answer requests: a request is sent with an id, and its reply resumes who asked. What the thread
 * fails with is typed data of its own; a thread that ends fails everybody who waits for it with {@link ThreadLost}.
 *
 * ```ts
 * // in squares.ts
 * ThreadServer.serve({ answer: ({ n }: Request) => n * n, failureOf: (cause) => String(cause) })
 *
 * // in its owner
 * const client = yield* ThreadClient.scoped<Request, Response, string, SquareFailed | ThreadLost>({
 *   name: "squares",
 *   module: new URL("./squares.ts", import.meta.url),
 *   errorOf: (cause) => (typeof cause === "string" ? new SquareFailed({ problem: cause }) : cause),
 * })
 * const four = yield* client.ask({ _tag: "Square", n: 2 })
 * ```
 */
import { type ResourceLimits, type Transferable, Worker } from "node:worker_threads"

import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"

import type { FromThread, ToThread } from "./internal/messages.ts"

/** A thread ended before it answered: it could not be started, crashed, ran out of memory, or was given up. */
export class ThreadLost extends Schema.TaggedError<ThreadLost>()("ThreadLost", {
  thread: Schema.String,
  problem: Schema.String,
}) {
  override get message() {
    return `the thread of ${this.thread} has ended: ${this.problem}`
  }
}

interface Tagged {
  readonly _tag: string
}

/** The values of requests, by their tags. */
export type Responses<Request extends Tagged> = { readonly [Tag in Request["_tag"]]: unknown }

export interface Options<Request extends Tagged, Failure, E> {
  /** What it does, for messages: `the thread of NAME has ended`. */
  readonly name: string
  /** Its module, which calls `ThreadServer`. */
  readonly module: URL
  /** What it finds as `workerData`. */
  readonly data?: unknown
  /** Flags of Node. @default those of this process */
  readonly execArgv?: ReadonlyArray<string>
  readonly resourceLimits?: ResourceLimits
  /** Whether it keeps the process alive also when nothing is asked of it. @default true */
  readonly keepsProcess?: boolean
  /** The error of a request, from what the thread sent, or from its end. */
  readonly errorOf: (cause: Failure | ThreadLost, request: Request) => E
}

type Resume = (reply: Effect.Effect<any, any>) => void

export class ThreadClient<Request extends Tagged, Response extends Responses<Request>, Failure, E> {
  readonly #worker: Worker
  readonly #options: Options<Request, Failure, E>
  readonly #waiting = new Map<number, { readonly resume: Resume; readonly request: Request }>()
  #next = 0
  #lost: ThreadLost | undefined
  #exited = false

  /** Starts the thread. */
  constructor(options: Options<Request, Failure, E>) {
    this.#options = options
    const { data, execArgv, module, resourceLimits } = options
    this.#worker = new Worker(module, {
      workerData: data,
      ...(execArgv === undefined ? {} : { execArgv: [...execArgv] }),
      ...(resourceLimits === undefined ? {} : { resourceLimits }),
    })
    this.#worker.on("message", (replies: FromThread<Failure>) => this.#take(replies))
    // Who waits for a reply that cannot be read would wait for ever.
    this.#worker.on("messageerror", (cause) => this.#end(cause.message))
    this.#worker.on("error", (cause) => this.#end(cause instanceof Error ? cause.message : String(cause)))
    this.#worker.on("exit", (code) => {
      this.#exited = true
      this.#end(`exit code ${code}`)
    })
    if (options.keepsProcess === false) this.#worker.unref()
  }

  /** Whether the thread has ended, or was given up: it answers nothing any more. */
  get ended(): boolean {
    return this.#lost !== undefined
  }

  /** Whether the thread is gone. */
  get exited(): boolean {
    return this.#exited
  }

  /** Ends when the thread is gone. */
  readonly gone: Effect.Effect<void> = Effect.callback((resume) => {
    if (this.#exited) return resume(Effect.void)
    const exited = () => resume(Effect.void)
    this.#worker.once("exit", exited)
    return Effect.sync(() => void this.#worker.off("exit", exited))
  })

  /** Ends the thread when it has answered all that was asked of it, and waits for that. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    if (this.#lost === undefined) this.#post("close")
    return this.gone
  })

  /**
   * The value of a request. Fails with what `errorOf` makes of the thread's failure, or of its end.
   *
   * When it is interrupted, the thread goes on and its reply is dropped. Buffers in `transfer` are handed over: they are
   * empty afterwards. A request that cannot be cloned is a defect.
   */
  ask<R extends Request>(
    request: R,
    transfer?: ReadonlyArray<Transferable>,
  ): Effect.Effect<Response[R["_tag"]], E> {
    return Effect.callback((resume) => {
      if (this.#lost !== undefined) return resume(this.#failed(this.#lost, request))
      const id = this.#next++
      this.#waiting.set(id, { resume, request })
      if (this.#options.keepsProcess === false) this.#worker.ref()
      try {
        this.#post({ id, request }, transfer)
      } catch (cause) {
        this.#answered(id)
        resume(Effect.die(cause))
      }
    })
  }

  /**
   * Fails everybody who waits. The thread is not terminated: it ends after the request that it is at, and what waits
   * behind is dropped. The process stays until then.
   */
  giveUp(): void {
    if (this.#lost !== undefined) return
    this.#end("it was given up")
    this.#worker.ref()
    this.#post("stop")
  }

  #post(message: ToThread<Request>, transfer?: ReadonlyArray<Transferable>): void {
    if (transfer === undefined || transfer.length === 0) this.#worker.postMessage(message)
    else this.#worker.postMessage(message, [...transfer])
  }

  #answered(id: number): void {
    this.#waiting.delete(id)
    if (this.#options.keepsProcess === false && this.#waiting.size === 0 && this.#lost === undefined)
      this.#worker.unref()
  }

  /** What `errorOf` throws is a defect of who asked: here it would end the process. */
  #failed(cause: Failure | ThreadLost, request: Request): Effect.Effect<never, E> {
    return Effect.suspend(() => Effect.fail(this.#options.errorOf(cause, request)))
  }

  #take(replies: FromThread<Failure>): void {
    for (const reply of replies) {
      const asked = this.#waiting.get(reply.id)
      if (asked === undefined) continue
      this.#answered(reply.id)
      const { request, resume } = asked
      resume("failure" in reply ? this.#failed(reply.failure, request) : Effect.succeed(reply.value))
    }
  }

  #end(problem: string): void {
    const lost = (this.#lost ??= new ThreadLost({ thread: this.#options.name, problem }))
    const waiting = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const { request, resume } of waiting) resume(this.#failed(lost, request))
  }
}

/** Starts a thread that is closed with the scope. */
export const scoped = <Request extends Tagged, Response extends Responses<Request>, Failure, E>(
  options: Options<Request, Failure, E>,
): Effect.Effect<ThreadClient<Request, Response, Failure, E>, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => new ThreadClient<Request, Response, Failure, E>(options)),
    (client) => client.close,
  )
