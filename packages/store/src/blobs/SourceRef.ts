/**
 * External files: registered by digest and place instead of being copied, and checked on every use.
 *
 * Hashing a large file costs as much as reading it, so what a path had when it was last hashed is stored and
 * compared first, like git's index does. Git's "racily clean" case is handled the same way: a file whose
 * modification time is not clearly older than the moment it was hashed may have changed since without its times
 * showing it, so such an entry is not trusted and the file is hashed again. Change time is compared too: it
 * gives away a file rewritten under its old modification time. A skewed clock can only cause hashing.
 */
import { createHash } from "node:crypto"
import fs from "node:fs"
import { resolve } from "node:path"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { Artifact, Sha256 } from "./Artifact.ts"
import {
  type PutError,
  SourceChanged,
  type SourceError,
  SourceUnreadable,
  type StoreUnreadable,
} from "./BlobStore.ts"
import { attempt, hashFile } from "../internal/folder/fileIo.ts"
import { sourceFailure } from "../internal/folder/ioError.ts"

const Nanoseconds = Schema.String.check(Schema.isPattern(/^-?\d+$/))

/** Where an external file is and what it had when it was registered. Times in nanoseconds since the epoch. */
export const SourceRef = Schema.Struct({
  path: Schema.String,
  size: Schema.Int,
  mtimeNs: Nanoseconds,
  ctimeNs: Nanoseconds,
  inode: Schema.String,
})
export type SourceRef = typeof SourceRef.Type

/** A row of the stat cache: the digest that a path had, and when it was hashed. */
export const IndexEntry = Schema.Struct({
  source: SourceRef,
  sha256: Sha256,
  /** When hashing began, in milliseconds since the epoch. */
  hashedAtMs: Schema.Finite,
})
export type IndexEntry = typeof IndexEntry.Type

/**
 * The coarsest step of modification times that is met in practice: 2 s on FAT, 1 s on HFS+ and NFS version 2.
 */
const racyMs = 2000

/** Where references are stored: two small key spaces that files, maps and object stores all offer. */
export interface SourceTable {
  readonly readIndex: (pathKey: string) => Effect.Effect<Option.Option<IndexEntry>, StoreUnreadable>
  readonly writeIndex: (pathKey: string, entry: IndexEntry) => Effect.Effect<void, PutError>
  /** All places registered for a digest. */
  readonly readRefs: (sha256: string) => Effect.Effect<ReadonlyArray<SourceRef>, StoreUnreadable>
  readonly writeRef: (sha256: string, pathKey: string, ref: SourceRef) => Effect.Effect<void, PutError>
}

const pathKeyOf = (path: string): string => createHash("sha256").update(path).digest("hex")

const describe = (ref: SourceRef): string =>
  `${ref.size} bytes modified at ${new Date(Number(BigInt(ref.mtimeNs) / 1_000_000n)).toISOString()}`

/** What a regular file has now. */
const statSource = Effect.fnUntraced(function* (path: string): Effect.fn.Return<SourceRef, SourceError> {
  const status = yield* attempt(() => fs.statSync(path, { bigint: true }), sourceFailure(path))
  if (!status.isFile()) {
    return yield* new SourceUnreadable({ path, cause: new Error("it is not a regular file") })
  }
  return {
    path,
    size: Number(status.size),
    mtimeNs: String(status.mtimeNs),
    ctimeNs: String(status.ctimeNs),
    inode: String(status.ino),
  }
})

const sameContent = (a: SourceRef, b: SourceRef): boolean => a.size === b.size && a.mtimeNs === b.mtimeNs

const sameFile = (a: SourceRef, b: SourceRef): boolean =>
  sameContent(a, b) && a.ctimeNs === b.ctimeNs && a.inode === b.inode

/** Fails with `SourceMissing` or {@link SourceChanged} unless the file has the size and time recorded. */
const check = Effect.fnUntraced(function* (ref: SourceRef): Effect.fn.Return<void, SourceError> {
  const now = yield* statSource(ref.path)
  if (!sameContent(ref, now)) {
    yield* new SourceChanged({ path: ref.path, expected: describe(ref), actual: describe(now) })
  }
})

/** Whether nothing about a file differs from what it had when it was registered, its change time and inode included. */
export const isAsRegistered = (ref: SourceRef): Effect.Effect<boolean, SourceError> =>
  Effect.map(statSource(ref.path), (now) => sameFile(ref, now))

/** The digest of a file that did not change while it was hashed. */
const hashStable = Effect.fn("SourceRef.hashStable")(function* (path: string) {
  const before = yield* statSource(path)
  const hashedAtMs = yield* Clock.currentTimeMillis
  const { sha256, bytes } = yield* hashFile(path, sourceFailure(path))
  const after = yield* statSource(path)
  if (!sameFile(before, after) || bytes !== after.size) {
    return yield* new SourceChanged({ path, expected: describe(before), actual: describe(after) })
  }
  return { source: after, sha256, hashedAtMs } satisfies IndexEntry
})

const isRacy = (entry: IndexEntry): boolean =>
  Number(BigInt(entry.source.mtimeNs) / 1_000_000n) > entry.hashedAtMs - racyMs

/**
 * The artifact of an external file, hashing it only when it is new, changed, or was hashed too soon after it was
 * last written. A file that is being written while it is hashed fails with {@link SourceChanged}.
 */
export const register = Effect.fn("SourceRef.register")(function* (
  table: SourceTable,
  path: string,
  mediaType: string,
) {
  const absolute = resolve(path)
  const pathKey = pathKeyOf(absolute)
  const now = yield* statSource(absolute)
  const indexed = Option.getOrUndefined(yield* table.readIndex(pathKey))
  const isKnown =
    indexed !== undefined &&
    indexed.source.path === absolute &&
    sameFile(indexed.source, now) &&
    !isRacy(indexed)
  const entry = isKnown ? indexed : yield* hashStable(absolute)
  if (!isKnown) yield* table.writeIndex(pathKey, entry)
  const refs = yield* table.readRefs(entry.sha256)
  if (!refs.some((ref) => ref.path === absolute && sameFile(ref, entry.source))) {
    yield* table.writeRef(entry.sha256, pathKey, entry.source)
  }
  return Artifact.make({ sha256: entry.sha256, bytes: entry.source.size, mediaType })
})

/**
 * A place where a registered digest can still be read; none when it was never registered. Fails with what is
 * wrong with the first place when no place is intact.
 */
export const locate = Effect.fnUntraced(function* (
  table: SourceTable,
  sha256: string,
): Effect.fn.Return<Option.Option<SourceRef>, SourceError | StoreUnreadable> {
  let failure: SourceError | undefined
  for (const ref of yield* table.readRefs(sha256)) {
    const checked = yield* Effect.result(check(ref))
    if (checked._tag === "Success") return Option.some(ref)
    failure ??= checked.failure
  }
  return failure === undefined ? Option.none() : yield* Effect.fail(failure)
})
