/**
 * Blobs that move between a bucket and the cache of this machine while processes make calls: fetched ahead of the calls
 * that read them, stored behind those that made them. Threads do it, which are started when there is something to do.
 */
import { availableParallelism } from "node:os"

import { ThreadClient, type ThreadLost } from "@reelgraph/threads"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

import type { Data, Failure, Request, Response } from "../internal/s3/transferThread.ts"
import type { Artifact } from "./Artifact.ts"
import { type BlobId, OutOfSpace, type PutError, StoreUnwritable } from "./BlobStore.ts"

export interface Transfers {
  /** Brings blobs into the cache. What cannot be brought is left to whoever reads it. */
  readonly fetch: (ids: ReadonlyArray<BlobId>) => Effect.Effect<void>
  /** Takes blobs of the cache to the bucket. */
  readonly store: (artifacts: ReadonlyArray<Artifact>) => Effect.Effect<void, PutError>
}

/** Cores for each thread: hashing and the network's encryption take some of one. */
const coresPerThread = 8
const threadsAtMost = 4
/** Blobs that a thread moves at once before there is another. */
const worthThread = 4

type Thread = ThreadClient.ThreadClient<Request, Response, Failure, PutError>

const errorOf = (store: string, cause: Failure | ThreadLost): PutError => {
  if (cause._tag === "ThreadLost")
    return new StoreUnwritable({
      path: store,
      cause: Object.assign(new Error(cause.message), { retryable: true, endsRun: false }),
    })
  const { endsRun, isFull, path, problem, retryable } = cause
  const facts = { retryable, ...(endsRun === undefined ? {} : { endsRun }) }
  const error = Object.assign(new Error(problem), facts)
  return isFull ? new OutOfSpace({ path, cause: error }) : new StoreUnwritable({ path, cause: error })
}

/**
 * Transfers of a store, by its URL, for processes with this environment. When the scope closes, what is on its way is
 * given up.
 */
export const make = (
  store: string,
  environment: Readonly<Record<string, string>>,
): Effect.Effect<Transfers, never, Scope.Scope> =>
  Effect.gen(function* () {
    const most = Math.max(1, Math.min(threadsAtMost, Math.floor(availableParallelism() / coresPerThread)))
    const busy = new Map<Thread, number>()
    yield* Effect.addFinalizer(() =>
      Effect.forEach(
        busy.keys(),
        (thread) =>
          Effect.andThen(
            Effect.sync(() => thread.giveUp()),
            thread.gone,
          ),
        { concurrency: "unbounded", discard: true },
      ),
    )
    const start = (): Thread =>
      new ThreadClient.ThreadClient<Request, Response, Failure, PutError>({
        name: "transfers of blobs",
        module: new URL("../internal/s3/transferThread.ts", import.meta.url),
        data: { store, environment } satisfies Data,
        // Flags of the main program, such as --input-type, may be wrong for a thread.
        execArgv: [],
        keepsProcess: false,
        errorOf: (cause) => errorOf(store, cause),
      })
    /** The thread with the least to do. */
    const idlest = (): Thread => {
      let least: Thread | undefined
      for (const [thread, count] of busy) {
        if (thread.ended) busy.delete(thread)
        else if (least === undefined || count < busy.get(least)!) least = thread
      }
      if (least !== undefined && (busy.get(least)! < worthThread || busy.size >= most)) return least
      const thread = start()
      busy.set(thread, 0)
      return thread
    }
    const ask = (request: Request): Effect.Effect<void, PutError> =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          const thread = idlest()
          busy.set(thread, busy.get(thread)! + 1)
          return thread
        }),
        (thread) => thread.ask(request),
        (thread) =>
          Effect.sync(() => {
            const count = busy.get(thread)
            if (count !== undefined) busy.set(thread, count - 1)
          }),
      )
    const all = { concurrency: "unbounded", discard: true } as const
    return {
      fetch: (ids) => Effect.forEach(ids, (id) => Effect.ignore(ask({ _tag: "Fetch", id: { ...id } })), all),
      store: (artifacts) =>
        Effect.forEach(artifacts, (artifact) => ask({ _tag: "Store", artifact: { ...artifact } }), all),
    }
  })
