/**
 * What one call does with the blobs of a store in a bucket: which ones it reads, and which ones it has put that are in the
 * cache of this machine but not in the bucket yet. Whoever makes the call provides one, and has the bucket given the
 * rest ({@link CallBlobs.unstored}) before the call's result counts, so that the process is free for its next call
 * meanwhile. Without one, a put succeeds when its blob is in the bucket.
 *
 * What a call tells others by other means than its result must not name a blob that is not in the bucket: from its first
 * named object, or its first use of unfinished work on, its puts go to the bucket at once.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"

import type { Artifact } from "./Artifact.ts"
import type { PutError } from "./BlobStore.ts"

interface Unstored {
  readonly artifact: Artifact
  readonly store: Effect.Effect<void, PutError>
}

export class CallBlobs {
  /** Digests of the blobs that were read. */
  readonly read = new Set<string>()
  /** Copies in the cache stay until it is closed. */
  readonly #scope = Scope.makeUnsafe()
  readonly #unstored = new Map<string, Unstored>()
  #direct = false

  /** Whether puts go to the bucket at once. */
  get direct(): boolean {
    return this.#direct
  }

  /** Blobs that are in the cache alone. */
  get unstored(): ReadonlyArray<Artifact> {
    return [...this.#unstored.values()].map(({ artifact }) => artifact)
  }

  /** Whether a blob, of this length, was put and is in the cache alone. */
  has(sha256: string, bytes?: number): boolean {
    const found = this.#unstored.get(sha256)
    return found !== undefined && (bytes === undefined || found.artifact.bytes === bytes)
  }

  /** Adds a blob that is in the cache; `pin` keeps it there, `store` takes it to the bucket. */
  add(
    artifact: Artifact,
    pin: Effect.Effect<unknown, PutError, Scope.Scope>,
    store: Effect.Effect<void, PutError>,
  ): Effect.Effect<void, PutError> {
    return Effect.map(Effect.provideService(pin, Scope.Scope, this.#scope), () => {
      this.#unstored.set(artifact.sha256, { artifact, store })
    })
  }

  /** Takes to the bucket what is not there; later puts go there at once. */
  readonly settle: Effect.Effect<void, PutError> = Effect.suspend(() => {
    this.#direct = true
    const all = [...this.#unstored]
    return Effect.forEach(
      all,
      ([sha256, { store }]) => Effect.map(store, () => void this.#unstored.delete(sha256)),
      { concurrency: "unbounded", discard: true },
    )
  })

  /** The cache need not keep the copies any more. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => Scope.close(this.#scope, Exit.void))
}

/** Of the call that a fiber belongs to. @default none */
export const current: Context.Reference<CallBlobs | undefined> = Context.Reference<CallBlobs | undefined>(
  "reelgraph/store/CallBlobs",
  { defaultValue: () => undefined },
)

/** To be done before anything but a result names a blob that the call may have put. */
export const settled: Effect.Effect<void, PutError> = Effect.flatMap(
  current,
  (blobs) => blobs?.settle ?? Effect.void,
)
