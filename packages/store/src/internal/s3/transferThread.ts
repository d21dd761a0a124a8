/**
 * A thread that moves blobs between a bucket and the cache of this machine, many at once. It has a connection of its
 * own, so that neither the thread that runs graphs nor a process that makes a call waits for what is hashed.
 */
import { workerData } from "node:worker_threads"

import * as ThreadServer from "@reelgraph/threads/ThreadServer"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"

import type { Artifact } from "../../blobs/Artifact.ts"
import type { BlobId } from "../../blobs/BlobStore.ts"
import * as BlobStoreS3 from "../../blobs/BlobStoreS3.ts"
import * as StoreLocation from "../../StoreLocation.ts"

export interface Data {
  /** URL of the store. */
  readonly store: string
  /** Variables of the processes that make calls: their cache is that of this thread. */
  readonly environment: Readonly<Record<string, string>>
}

export type Request =
  | { readonly _tag: "Fetch"; readonly id: BlobId }
  | { readonly _tag: "Store"; readonly artifact: Artifact }

export interface Response {
  readonly Fetch: undefined
  readonly Store: undefined
}

/** An error as it travels. */
export interface Failure {
  readonly _tag: "Failed"
  readonly isFull: boolean
  readonly path: string
  readonly problem: string
  readonly retryable: boolean
  readonly endsRun: boolean | undefined
}

const { environment, store } = workerData as Data
// A copy that is this thread's alone.
// oxlint-disable-next-line node/no-process-env -- a process boundary: what a child process would be given
Object.assign(process.env, environment)

const layer = Layer.unwrap(
  Effect.gen(function* () {
    const at = yield* StoreLocation.parse(store)
    if (at._tag === "Folder") return yield* Effect.die(new Error("blobs of a folder are where they are"))
    return BlobStoreS3.layer(at, { cacheBytes: yield* StoreLocation.cacheBytes, existing: true })
  }),
)

type Transfer = BlobStoreS3.BlobTransfer["Service"]

let opened: Promise<Transfer> | undefined

/** Opened by the first that need it; by others again when it could not be. */
const open = (): Promise<Transfer> => {
  const opening = (opened ??= Effect.runPromise(
    Effect.map(Layer.buildWithScope(layer, Scope.makeUnsafe()), Context.get(BlobStoreS3.BlobTransfer)),
  ))
  opening.catch(() => {
    if (opened === opening) opened = undefined
  })
  return opening
}

const answer = (request: Request): Promise<void> =>
  open().then((transfer) =>
    Effect.runPromise(
      request._tag === "Fetch" ? transfer.fetch(request.id) : transfer.store(request.artifact),
    ),
  )

const messageOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))

const failureOf = (error: unknown): Failure => {
  const facts = (typeof error === "object" && error !== null ? error : {}) as Record<string, unknown>
  const isPut = facts["_tag"] === "StoreUnwritable" || facts["_tag"] === "OutOfSpace"
  const cause = isPut ? facts["cause"] : error
  const ends = typeof cause === "object" && cause !== null && "endsRun" in cause ? cause.endsRun : undefined
  return {
    _tag: "Failed",
    isFull: facts["_tag"] === "OutOfSpace",
    path: typeof facts["path"] === "string" ? facts["path"] : store,
    problem: messageOf(cause),
    retryable: facts["retryable"] === true,
    endsRun: typeof ends === "boolean" ? ends : undefined,
  }
}

// Connections that are open would keep the thread.
ThreadServer.serveConcurrently<Request, Failure>({ answer, failureOf, close: () => process.exit() })
