/**
 * Unfinished work: folders that outlive the process that fills them, for calls that take hours.
 *
 * A folder is known by the key of the work, not of the attempt. An operator asks for it with `use(call.key)`, finds
 * there what an earlier attempt left, also one that was killed, and goes on; when its result is whole, it has the
 * folder removed with `discard`. Nothing else removes one: `list` of {@link Unfinished} shows what is there.
 *
 * What is in a folder after a power failure is what its user has flushed. Write a file under another name, flush
 * it and rename it, so that one cut short never counts as a whole one.
 *
 * @example
 * ```ts
 * const unfinished = yield* Unfinished
 * const folder = yield* unfinished.use(call.key)
 * const weights = yield* trainFrom(latestCheckpoint(folder))
 * yield* unfinished.discard(call.key)
 * ```
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"

import type { DigestInvalid, PutError, StoreUnreadable } from "./blobs/BlobStore.ts"

/** Somebody else is at the same work: another run on this store, or what is left of one that is ending. */
export class UnfinishedInUse extends Schema.TaggedError<UnfinishedInUse>()("UnfinishedInUse", {
  key: Schema.String,
  /** The process, or where it runs. */
  owner: Schema.String,
  /** The file of its claim. */
  claim: Schema.String,
}) {
  /** It may have ended by the next attempt. */
  get retryable(): boolean {
    return true
  }
  override get message() {
    return `the unfinished work ${this.key} is in use by ${this.owner}; wait until that run has ended, then run again (if no process uses it any more, remove ${this.claim})`
  }
}

/** A folder of unfinished work. */
export interface UnfinishedInfo {
  readonly key: string
  /** Of all files in it. */
  readonly bytes: number
  /** When something in it last changed, in milliseconds since the epoch. */
  readonly modified: number
}

export class Unfinished extends Context.Service<
  Unfinished,
  {
    /**
     * The folder of this key (64 lower-case hexadecimal digits), with what an earlier attempt left in it; made when
     * there is none. It is this caller's alone until the scope closes or the process ends, however it ends. Waits
     * some seconds for another that has it, as a process that is being killed may.
     */
    readonly use: (
      key: string,
    ) => Effect.Effect<string, DigestInvalid | UnfinishedInUse | PutError, Scope.Scope>
    /**
     * The folder of this key without a claim to it: for a process that works together with the one that uses it, such
     * as a rank of a gang. Of a store in a bucket it is a folder of this machine, and what is saved is what is in the
     * user's own.
     */
    readonly share: (key: string) => Effect.Effect<string, DigestInvalid | PutError>
    /**
     * Removes the folder of this key, whole: it is gone at once, not file by file. For the one who uses it, and
     * for one that nobody uses. Idempotent.
     */
    readonly discard: (key: string) => Effect.Effect<void, DigestInvalid | UnfinishedInUse | PutError>
    /** Every folder there is, in the order of their keys. */
    readonly list: Effect.Effect<ReadonlyArray<UnfinishedInfo>, StoreUnreadable>
  }
>()("reelgraph/store/Unfinished") {}
