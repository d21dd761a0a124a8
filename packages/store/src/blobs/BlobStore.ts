/**
 * The content-addressed store: bytes in, an {@link Artifact} out, and back.
 *
 * The interface promises only what a file system, memory and an object store can all guarantee:
 * - a blob appears whole or not at all, under the key `blobs/ab/<62 hex>` made from its sha256;
 * - putting a blob that is there is harmless and leaves the same blob, whichever other process is putting it;
 * - nothing is renamed, locked or conditionally written through this interface;
 * - a put counts (is durable, is visible to every reader) when its effect succeeds; in a call of an operator in a worker
 *   process, over a bucket, when the result of the call does (see `CallBlobs`): until then it is visible to the call alone;
 * - a put of a blob that is there makes its `mtime` new, so that garbage collection with a grace period never
 *   removes what a run in progress has just relied on; an object store does so only when it is older than a day
 *   (each time is a request), so a grace period has to be longer than that.
 *
 * A blob that any read finds to be damaged is moved out of the way, into `damaged/`, and never removed: from then on the
 * blob is missing, so that a run makes the result again that names it.
 *
 * A file too large or too precious to copy (a user's source video) is registered with `reference` instead: the
 * store records its digest and where it is, and every later read checks that it is unchanged.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { Artifact } from "./Artifact.ts"

const causeText = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))

/** Whether a cause is a problem of the store as a whole. */
const isOfStore = (cause: unknown): boolean | undefined =>
  typeof cause === "object" && cause !== null && "endsRun" in cause && typeof cause.endsRun === "boolean"
    ? cause.endsRun
    : undefined

/** What to do; nothing where the cause has the advice. */
const adviceAfter = (cause: unknown, advice: string): string =>
  isOfStore(cause) === undefined ? `; ${advice}` : ""

const isRetryable = (cause: unknown): boolean =>
  typeof cause === "object" && cause !== null && "retryable" in cause && cause.retryable === true

/** No blob and no registered file has this digest. */
export class BlobMissing extends Schema.TaggedError<BlobMissing>()("BlobMissing", {
  sha256: Schema.String,
}) {
  override get message() {
    return `blob ${this.sha256} is not in the store: it was removed or belongs to another store; run the graph again to make it anew`
  }
}

/** The stored bytes do not have the digest, or the length, that names them. */
export class BlobCorrupt extends Schema.TaggedError<BlobCorrupt>()("BlobCorrupt", {
  path: Schema.String,
  expected: Schema.String,
  actual: Schema.String,
  /** Where the damaged bytes were moved, so that the blob can be made again; absent: they stay. */
  movedTo: Schema.optionalKey(Schema.String),
}) {
  override get message() {
    const advice =
      this.movedTo === undefined
        ? "remove this blob from the store and run the graph again to make it anew"
        : `it was moved to ${this.movedTo}; run the graph again to make it anew`
    return `${this.path} is damaged: expected ${this.expected}, got ${this.actual}; ${advice}, and check the disk`
  }
}

/** `get` was asked for more bytes than its bound. */
export class BlobTooLarge extends Schema.TaggedError<BlobTooLarge>()("BlobTooLarge", {
  sha256: Schema.String,
  bytes: Schema.Finite,
  maxBytes: Schema.Finite,
}) {
  override get message() {
    return `blob ${this.sha256} has ${this.bytes} bytes, more than the bound of ${this.maxBytes}: read it with stream or localPath, or raise maxBytes`
  }
}

/** A digest that is not 64 lower-case hexadecimal digits; it is never made into a path. */
export class DigestInvalid extends Schema.TaggedError<DigestInvalid>()("DigestInvalid", {
  value: Schema.String,
}) {
  override get message() {
    return `${JSON.stringify(this.value)} is not a sha256 digest: expected 64 lower-case hexadecimal digits`
  }
}

/** The folder of a store is not where it was. What was in it is not lost, and no new one is made. */
export class StoreVanished extends Schema.TaggedError<StoreVanished>()("StoreVanished", {
  path: Schema.String,
}) {
  get endsRun(): boolean {
    return true
  }
  override get message() {
    return `the store ${this.path} is gone: it was removed or unmounted while it was in use, or is not mounted on this machine; put it back and run again: what is in it counts`
  }
}

/** The store, or a file in it, cannot be written: permissions, a read-only disk, a file where a folder belongs. */
export class StoreUnwritable extends Schema.TaggedError<StoreUnwritable>()("StoreUnwritable", {
  path: Schema.String,
  cause: Schema.Defect(),
}) {
  /** Whether it may pass soon. The cause decides. */
  get retryable(): boolean {
    return isRetryable(this.cause)
  }
  /** Whether nothing else can be written either, so that a run had better end. */
  get endsRun(): boolean {
    return isOfStore(this.cause) ?? true
  }
  override get message() {
    const advice = "check the owner and permissions, or choose another store with --store"
    return this.cause instanceof StoreVanished
      ? this.cause.message
      : `cannot write ${this.path}: ${causeText(this.cause)}${adviceAfter(this.cause, advice)}`
  }
}

/** The store, or a file in it, cannot be read although it should be there. */
export class StoreUnreadable extends Schema.TaggedError<StoreUnreadable>()("StoreUnreadable", {
  path: Schema.String,
  cause: Schema.Defect(),
}) {
  /** Whether it may pass soon. The cause decides. */
  get retryable(): boolean {
    return isRetryable(this.cause)
  }
  /** Whether nothing else can be read either, so that a run had better end. */
  get endsRun(): boolean {
    return isOfStore(this.cause) ?? false
  }
  override get message() {
    const advice = "check the owner and permissions, and the disk"
    return this.cause instanceof StoreVanished
      ? this.cause.message
      : `cannot read ${this.path}: ${causeText(this.cause)}${adviceAfter(this.cause, advice)}`
  }
}

/** The disk, or the user's quota on it, is full. Nothing of the blob was stored. */
export class OutOfSpace extends Schema.TaggedError<OutOfSpace>()("OutOfSpace", {
  path: Schema.String,
  cause: Schema.Defect(),
}) {
  get endsRun(): boolean {
    return true
  }
  override get message() {
    return `no space left while writing ${this.path}; free some with \`reel gc\` or choose another store with --store, then run again: finished results are stored`
  }
}

/** A file outside the store is not where it was, or was never there. */
export class SourceMissing extends Schema.TaggedError<SourceMissing>()("SourceMissing", {
  path: Schema.String,
}) {
  override get message() {
    return `source file ${this.path} does not exist: put it back, or run again with the path where it is now`
  }
}

/** A file outside the store changed after it was registered, or while it was being read. */
export class SourceChanged extends Schema.TaggedError<SourceChanged>()("SourceChanged", {
  path: Schema.String,
  expected: Schema.String,
  actual: Schema.String,
}) {
  override get message() {
    return `source file ${this.path} changed: expected ${this.expected}, got ${this.actual}; restore it, or run again so that the new content is taken in`
  }
}

/** A file outside the store exists but cannot be read, or is not a regular file. */
export class SourceUnreadable extends Schema.TaggedError<SourceUnreadable>()("SourceUnreadable", {
  path: Schema.String,
  cause: Schema.Defect(),
}) {
  override get message() {
    return `cannot read source file ${this.path}: ${causeText(this.cause)}; check that it is a regular file and may be read`
  }
}

/** A folder with something else in it was named as the store; nothing was written to it. */
export class NotAStore extends Schema.TaggedError<NotAStore>()("NotAStore", {
  path: Schema.String,
  reason: Schema.String,
}) {
  override get message() {
    return `${this.path} is not a reelgraph store: ${this.reason}; name an existing store, an empty folder or one that does not exist yet`
  }
}

/** The store was written by a newer reelgraph. */
export class StoreVersionUnsupported extends Schema.TaggedError<StoreVersionUnsupported>()(
  "StoreVersionUnsupported",
  { path: Schema.String, found: Schema.Int, supported: Schema.Int, requires: Schema.String },
) {
  override get message() {
    return `${this.path} is a store of version ${this.found}, this reelgraph reads up to version ${this.supported}: it needs reelgraph ${this.requires}; update it with \`npm install\``
  }
}

/** What writing into a store can fail with. */
export type PutError = StoreUnwritable | OutOfSpace

/** What reading a file outside the store can fail with. */
export type SourceError = SourceMissing | SourceChanged | SourceUnreadable

/** What reading a blob can fail with. */
export type ReadError = DigestInvalid | BlobMissing | BlobCorrupt | StoreUnreadable | SourceError

/** What opening a store can fail with. */
export type OpenError = NotAStore | StoreVersionUnsupported | StoreUnwritable | StoreUnreadable | OutOfSpace

/** Everything a blob store can fail with, opening it included. */
export type BlobStoreError = PutError | ReadError | BlobTooLarge | OpenError

/** What names a blob: an {@link Artifact} is one. With `bytes`, a stored blob of another length is corrupt. */
export interface BlobId {
  readonly sha256: string
  readonly bytes?: number
}

/** A row of `list`: what garbage collection needs to know of a blob or a registered external file. */
export interface BlobInfo {
  readonly sha256: string
  readonly bytes: number
  /** When the blob was last put, or the external file last registered, in milliseconds since the epoch. */
  readonly mtimeMs: number
  readonly kind: "blob" | "reference"
}

export interface ReadOptions {
  /**
   * Hash what is read and fail with {@link BlobCorrupt} if it does not have the digest. The length is always
   * compared.
   * @default true
   */
  readonly verify?: boolean
}

export interface GetOptions extends ReadOptions {
  /**
   * The largest blob to read into memory, in bytes.
   * @default 268435456 (256 MiB)
   */
  readonly maxBytes?: number
}

export interface PutFileOptions {
  /**
   * Take the file over instead of copying it. On the store's own file system it is read once to be hashed and
   * then renamed in; it is gone from its path afterwards. The caller must have stopped writing to it.
   * @default false
   */
  readonly move?: boolean
}

/** The bound of `get` when none is given, in bytes. */
export const defaultMaxBytes = 256 * 1024 * 1024

export class BlobStore extends Context.Service<
  BlobStore,
  {
    /** Stores bytes held in memory. They must not be changed before the effect ends. */
    readonly putBytes: (bytes: Uint8Array, mediaType: string) => Effect.Effect<Artifact, PutError>
    /** Stores a stream; nothing is stored when it fails. Memory is bounded by the largest chunk. */
    readonly putStream: <E, R>(
      stream: Stream.Stream<Uint8Array, E, R>,
      mediaType: string,
    ) => Effect.Effect<Artifact, PutError | E, R>
    /** Stores a copy of a file, or with `move` the file itself. */
    readonly putFile: (
      path: string,
      mediaType: string,
      options?: PutFileOptions,
    ) => Effect.Effect<Artifact, PutError | SourceError>
    /**
     * Registers an external file without copying it; an object store uploads it, once, because other machines have
     * to read it as well, and still counts it as a reference. An unchanged file is hashed once: later calls compare size,
     * modification time, change time and inode with what was recorded.
     */
    readonly reference: (
      path: string,
      mediaType: string,
    ) => Effect.Effect<Artifact, PutError | SourceError | StoreUnreadable>
    /** Whether a read of this blob would find it (for a registered file: still in place and unchanged). */
    readonly has: (sha256: string) => Effect.Effect<boolean, DigestInvalid | StoreUnreadable>
    /**
     * The digests of those that {@link has} is true of; one call for thousands. A blob of another length than the one
     * that is reported counts as missing. Nothing is hashed.
     */
    readonly hasAll: (
      ids: Iterable<string | BlobId>,
    ) => Effect.Effect<ReadonlySet<string>, DigestInvalid | StoreUnreadable>
    /** Whether the store made its content its own or only knows a file that has it; none when it has neither. */
    readonly kind: (
      sha256: string,
    ) => Effect.Effect<Option.Option<BlobInfo["kind"]>, DigestInvalid | StoreUnreadable>
    /** The whole blob in memory, up to `maxBytes`. */
    readonly get: (
      id: BlobId,
      options?: GetOptions,
    ) => Effect.Effect<Uint8Array<ArrayBuffer>, ReadError | BlobTooLarge>
    /** The blob in chunks of at most 1 MiB. With `verify` the last thing it does is to fail if damaged. */
    readonly stream: (id: BlobId, options?: ReadOptions) => Stream.Stream<Uint8Array<ArrayBuffer>, ReadError>
    /**
     * A path that native code can open for reading, valid until the scope closes (a remote store downloads and
     * pins it). The content is compared with its digest once in a process, and again when the file has changed since.
     * Never write to it.
     */
    readonly localPath: (id: BlobId) => Effect.Effect<string, ReadError | PutError, Scope.Scope>
    /** Reads the whole blob and compares its digest, also if it was compared before. */
    readonly verify: (id: BlobId) => Effect.Effect<void, ReadError>
    /** Every blob and every registered external file, in no particular order. */
    readonly list: () => Stream.Stream<BlobInfo, StoreUnreadable>
    /** Names of files among the blobs that name none: other programs have put them there. */
    readonly foreign: Stream.Stream<string, StoreUnreadable>
    /** Forgets a blob and what is registered under its digest. External files are left alone. Idempotent. */
    readonly remove: (sha256: string) => Effect.Effect<void, DigestInvalid | StoreUnwritable | OutOfSpace>
  }
>()("reelgraph/store/BlobStore") {}

/**
 * Folders to work in, on the file system of the store, so that `putFile` with `move` is a rename.
 *
 * Each is unique and removed with all its content when its scope closes; what processes that were killed left
 * behind is removed when a store is opened.
 */
export class Scratch extends Context.Service<
  Scratch,
  { readonly directory: Effect.Effect<string, PutError, Scope.Scope> }
>()("reelgraph/store/Scratch") {}
