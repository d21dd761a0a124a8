/**
 * The blob store in a folder.
 *
 * A blob is written to `tmp/`, flushed, made read-only and renamed to `blobs/ab/<62 hex>`, and the folder is
 * flushed: a process killed, or power lost, at any instant leaves the whole blob or a file in `tmp/` that the
 * next opening removes. Several processes and machines may share the folder: two writers of one blob rename the
 * same content onto the same name.
 */
import { createHash, hash as hashOnce } from "node:crypto"
import fs from "node:fs"
import { dirname, join, resolve } from "node:path"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { Artifact, isSha256 } from "./Artifact.ts"
import {
  BlobCorrupt,
  type BlobId,
  type BlobInfo,
  BlobMissing,
  BlobStore,
  BlobTooLarge,
  defaultMaxBytes,
  DigestInvalid,
  type OpenError,
  type PutError,
  type ReadError,
  Scratch,
  SourceChanged,
  type StoreUnreadable,
} from "./BlobStore.ts"
import {
  type Durability,
  forgetFolder,
  renameDurably,
  withTemporary,
} from "../internal/folder/durableWrite.ts"
import {
  attempt,
  chunkBytes,
  fsync,
  hashFile,
  readChunks,
  readWhole,
  writeAll,
} from "../internal/folder/fileIo.ts"
import { errorCode, readFailure, sourceFailure, writeFailure } from "../internal/folder/ioError.ts"
import * as IntactFiles from "../internal/folder/intactFiles.ts"
import * as ObjectsFs from "../internal/folder/objectsFs.ts"
import { uniqueName } from "../internal/processIdentity.ts"
import { makeTable, namesIn, refsFolder } from "../internal/folder/sourceTableFs.ts"
import { openStore, type StoreRoot, temporaryPath } from "../internal/folder/StoreRoot.ts"
import * as Vanished from "../internal/folder/vanished.ts"
import * as UnfinishedFs from "../internal/folder/unfinishedFs.ts"
import { Objects } from "../Objects.ts"
import { isAsRegistered, locate, register, type SourceRef } from "./SourceRef.ts"
import { Unfinished } from "../Unfinished.ts"

export interface Options {
  /**
   * `fsync` makes a put survive a power failure before it counts; `none` leaves flushing to the system: a killed
   * process still loses nothing, a machine that loses power may.
   * @default "fsync"
   */
  readonly durability?: Durability
  /**
   * Whether there has to be a store: then none is made.
   * @default false
   */
  readonly existing?: boolean
}

/** A file that holds the bytes of a blob: in the store, or an external one registered under the digest. */
interface Place {
  readonly path: string
  readonly bytes: number
  readonly source: SourceRef | undefined
}

/** Where a blob of an open store is, or would be. */
export const blobPath = (root: StoreRoot, sha256: string): string =>
  join(root.path, "blobs", sha256.slice(0, 2), sha256.slice(2))

const checkDigest = (sha256: string): Effect.Effect<string, DigestInvalid> =>
  isSha256(sha256) ? Effect.succeed(sha256) : Effect.fail(new DigestInvalid({ value: String(sha256) }))

/** Codes of a rename onto something that is no file, or into something that is no folder. */
const inTheWay = new Set(["EISDIR", "ENOTDIR", "ENOTEMPTY", "EEXIST"])

const lengthText = (bytes: number): string => `${bytes} bytes`

/** A new file in `tmp/`, removed again unless `use` has renamed it away. */
const withTemporaryBlob = <A, E, R>(
  root: StoreRoot,
  use: (path: string, fd: number) => Effect.Effect<A, E, R>,
): Effect.Effect<A, E | PutError, R> =>
  Effect.suspend(() => {
    const path = temporaryPath(root)
    return withTemporary(path, root.modes.blob, (fd) => use(path, fd))
  })

const failureOf = (place: Place): ((cause: unknown) => ReadError) =>
  place.source === undefined ? readFailure(place.path) : sourceFailure(place.path)

const streamPlace = (
  id: BlobId,
  place: Place,
  verify: boolean,
  wrong: (place: Place, sha256: string, expected: string, actual: string) => Effect.Effect<never, ReadError>,
) =>
  Stream.suspend(() => {
    const hash = createHash("sha256")
    let bytes = 0
    const content = Stream.mapArray(readChunks(place.path, failureOf(place)), (chunks) => {
      for (const chunk of chunks) {
        bytes += chunk.length
        if (verify) hash.update(chunk)
      }
      return chunks
    })
    const ending = Effect.suspend((): Effect.Effect<void, ReadError> => {
      if (bytes !== place.bytes) return wrong(place, id.sha256, lengthText(place.bytes), lengthText(bytes))
      const actual = verify ? hash.digest("hex") : id.sha256
      return actual === id.sha256 ? Effect.void : wrong(place, id.sha256, id.sha256, actual)
    })
    return Stream.concat(content, Stream.drain(Stream.fromEffect(ending)))
  })

export interface MakeOptions {
  /**
   * Whether another store has everything that is here: what is damaged is removed, and fetched again from there.
   * @default false
   */
  readonly isCache?: boolean
}

/** The blobs of an open store: also of one that is the cache of another store. */
export const make = (root: StoreRoot, { isCache = false }: MakeOptions = {}): BlobStore["Service"] => {
  const table = makeTable(root)
  const intact = IntactFiles.make({ changeTime: !isCache })

  /** The length of a stored blob, or undefined. Synchronous: a stat takes a few microseconds. */
  const storedBytes = (sha256: string): number | undefined => {
    const status = fs.statSync(blobPath(root, sha256), { throwIfNoEntry: false })
    return status?.isFile() === true ? status.size : undefined
  }

  /**
   * Moves a damaged file out of the way, if it is damaged: a reader may have been given a wrong length, and
   * another process may have made the blob again since. Returns where it is now; nothing when it stays.
   */
  const setAside = Effect.fnUntraced(function* (path: string, sha256: string) {
    const fail = readFailure(path)
    const before = yield* attempt(() => fs.statSync(path), fail)
    if ((yield* hashFile(path, fail)).sha256 === sha256) return undefined
    const now = yield* attempt(() => fs.statSync(path), fail)
    if (now.ino !== before.ino) return undefined
    if (isCache) {
      yield* attempt(() => fs.rmSync(path), writeFailure(path))
      return undefined
    }
    const damaged = join(root.path, "damaged", `${sha256}.${uniqueName()}`)
    yield* renameDurably(path, damaged, root)
    return damaged
  })

  /** Damage inside the store and an edit of an external file are different errors to a user. */
  const wrong = (
    { path, source }: Place,
    sha256: string,
    expected: string,
    actual: string,
  ): Effect.Effect<never, ReadError> =>
    source === undefined
      ? // What cannot be moved, as in a store that may only be read, is reported all the same.
        Effect.flatMap(
          Effect.orElseSucceed(setAside(path, sha256), () => undefined),
          (movedTo) =>
            Effect.fail(
              new BlobCorrupt({ path, expected, actual, ...(movedTo === undefined ? {} : { movedTo }) }),
            ),
        )
      : Effect.fail(new SourceChanged({ path, expected, actual }))

  const find = Effect.fnUntraced(function* (id: BlobId): Effect.fn.Return<Place, ReadError> {
    const sha256 = yield* checkDigest(id.sha256)
    const path = blobPath(root, sha256)
    const stored = yield* attempt(() => storedBytes(sha256), readFailure(path))
    if (stored !== undefined) {
      const place: Place = { path, bytes: stored, source: undefined }
      if (id.bytes !== undefined && id.bytes !== stored)
        return yield* wrong(place, sha256, lengthText(id.bytes), lengthText(stored))
      return place
    }
    const source = Option.getOrUndefined(yield* locate(table, sha256))
    if (source === undefined) return yield* new BlobMissing({ sha256 })
    return { path: source.path, bytes: source.size, source }
  })

  /** The place of a blob whose content has the digest, as far as this process has compared it. */
  const findIntact = Effect.fnUntraced(function* (id: BlobId): Effect.fn.Return<Place, ReadError> {
    const place = yield* find(id)
    // Nothing has touched a registered file since it was hashed.
    if (place.source !== undefined && (yield* isAsRegistered(place.source))) return place
    const actual = yield* intact.digestOf(place.path, id.sha256, failureOf(place))
    return actual === id.sha256 ? place : yield* wrong(place, id.sha256, id.sha256, actual)
  })

  /** Makes the blob's time new, so that garbage collection leaves alone what was just put again. */
  const freshen = Effect.fnUntraced(function* (path: string) {
    const now = (yield* Clock.currentTimeMillis) / 1000
    yield* attempt(() => fs.utimesSync(path, now, now), writeFailure(path))
  })

  /** Moves away what is no file in the place of a blob, or no folder in that of its folder: whether there was any. */
  const clearWay = Effect.fnUntraced(function* (path: string, sha256: string) {
    const isAt = (at: string, kind: "isFile" | "isDirectory") =>
      attempt(() => fs.statSync(at, { throwIfNoEntry: false })?.[kind]() === true, writeFailure(at))
    const folder = dirname(path)
    const wrongly = !(yield* isAt(folder, "isDirectory"))
      ? folder
      : (yield* isAt(path, "isDirectory"))
        ? path
        : undefined
    if (wrongly === undefined) return false
    yield* renameDurably(wrongly, join(root.path, "damaged", `${sha256}.${uniqueName()}`), root)
    forgetFolder(wrongly)
    return true
  })

  /** Flushes a whole temporary file and makes it the blob. */
  const commit = Effect.fnUntraced(function* (temporary: string, fd: number, sha256: string) {
    if (root.durability === "fsync") yield* fsync(fd, writeFailure(temporary))
    const path = blobPath(root, sha256)
    const rename = renameDurably(temporary, path, root)
    yield* Effect.catchIf(
      rename,
      ({ cause }) => inTheWay.has(errorCode(cause) ?? ""),
      (error) => Effect.flatMap(clearWay(path, sha256), (cleared) => (cleared ? rename : Effect.fail(error))),
    )
    yield* attempt(() => intact.note(path, sha256), writeFailure(path))
  })

  /** Whether a blob of this length is there, and whole: a damaged one is moved out of the way. */
  const hasIntact = Effect.fnUntraced(function* (sha256: string, bytes: number) {
    const path = blobPath(root, sha256)
    if ((yield* attempt(() => storedBytes(sha256), writeFailure(path))) !== bytes) return false
    const found = yield* Effect.result(findIntact({ sha256, bytes }))
    return found._tag === "Success"
  })

  const putBytes = Effect.fnUntraced(function* (bytes: Uint8Array, mediaType: string) {
    let sha256: string
    if (bytes.length <= chunkBytes) {
      sha256 = hashOnce("sha256", bytes, "hex")
    } else {
      const hash = createHash("sha256")
      for (let offset = 0; offset < bytes.length; offset += 4 * chunkBytes) {
        hash.update(bytes.subarray(offset, offset + 4 * chunkBytes))
        yield* Effect.yieldNow
      }
      sha256 = hash.digest("hex")
    }
    const artifact = Artifact.make({ sha256, bytes: bytes.length, mediaType })
    const path = blobPath(root, sha256)
    if (yield* hasIntact(sha256, bytes.length)) {
      yield* freshen(path)
      yield* attempt(() => intact.note(path, sha256), writeFailure(path))
      return artifact
    }
    yield* withTemporaryBlob(root, (temporary, fd) =>
      Effect.andThen(writeAll(fd, bytes, writeFailure(path)), commit(temporary, fd, sha256)),
    )
    return artifact
  })

  // What was streamed is renamed over a blob that is there: it costs no more and mends a damaged one.
  const putStream = Effect.fn("BlobStore.putStream")(function* <E, R>(
    stream: Stream.Stream<Uint8Array, E, R>,
    mediaType: string,
  ) {
    return yield* withTemporaryBlob(root, (temporary, fd) =>
      Effect.gen(function* () {
        const hash = createHash("sha256")
        let bytes = 0
        yield* Stream.runForEach(stream, (chunk) => {
          hash.update(chunk)
          bytes += chunk.length
          return writeAll(fd, chunk, writeFailure(temporary))
        })
        const sha256 = hash.digest("hex")
        yield* commit(temporary, fd, sha256)
        return Artifact.make({ sha256, bytes, mediaType })
      }),
    )
  })

  /** Hashes a file where it is and renames it in; undefined when it is on another file system. */
  const adopt = Effect.fnUntraced(function* (path: string, mediaType: string) {
    const fail = sourceFailure(path)
    const before = yield* attempt(() => fs.statSync(path), fail)
    const { sha256, bytes } = yield* hashFile(path, fail)
    const after = yield* attempt(() => fs.statSync(path), fail)
    if (bytes !== after.size || before.mtimeMs !== after.mtimeMs) {
      return yield* new SourceChanged({
        path,
        expected: lengthText(before.size),
        actual: `${lengthText(after.size)}, still being written`,
      })
    }
    // Never by way of tmp/: killed between two renames, the user's file would be swept away as a leftover.
    const moved = yield* Effect.acquireUseRelease(
      attempt(() => fs.openSync(path, "r"), fail),
      (fd) =>
        commit(path, fd, sha256).pipe(
          Effect.andThen(
            attempt(() => {
              fs.fchmodSync(fd, root.modes.blob)
              intact.note(blobPath(root, sha256), sha256)
            }, writeFailure(path)),
          ),
          Effect.as(true),
          Effect.catchIf(
            (error) => errorCode(error.cause) === "EXDEV",
            () => Effect.succeed(false),
          ),
        ),
      (fd) => Effect.sync(() => fs.closeSync(fd)),
    )
    if (!moved) return undefined
    return Artifact.make({ sha256, bytes, mediaType })
  })

  const putFile: BlobStore["Service"]["putFile"] = Effect.fn("BlobStore.putFile")(
    function* (path, mediaType, options) {
      const from = resolve(path)
      const status = yield* attempt(() => fs.lstatSync(from), sourceFailure(from))
      if (options?.move === true && status.isFile() && status.nlink === 1) {
        const adopted = yield* adopt(from, mediaType)
        if (adopted !== undefined) return adopted
      }
      // Also for a link, or a file with another name: what it points to could be changed from outside.
      const artifact = yield* putStream(readChunks(from, sourceFailure(from)), mediaType)
      if (options?.move === true) yield* attempt(() => fs.rmSync(from), writeFailure(from))
      return artifact
    },
  )

  const hasOne = (sha256: string, bytes?: number) =>
    attempt(() => storedBytes(sha256), readFailure(blobPath(root, sha256))).pipe(
      Effect.flatMap((stored) =>
        stored !== undefined
          ? Effect.succeed(bytes === undefined || stored === bytes)
          : Effect.map(locate(table, sha256), Option.isSome).pipe(
              Effect.catchTag(["SourceMissing", "SourceChanged", "SourceUnreadable"], () =>
                Effect.succeed(false),
              ),
            ),
      ),
    )

  const kind = Effect.fnUntraced(function* (value: string) {
    const sha256 = yield* checkDigest(value)
    const stored = yield* attempt(() => storedBytes(sha256), readFailure(blobPath(root, sha256)))
    if (stored !== undefined) return Option.some("blob" as const)
    return (yield* hasOne(sha256)) ? Option.some("reference" as const) : Option.none()
  })

  const hasAll = Effect.fn("BlobStore.hasAll")(function* (ids: Iterable<string | BlobId>) {
    const present = new Set<string>()
    let sinceYield = 0
    for (const id of ids) {
      const sha256 = yield* checkDigest(typeof id === "string" ? id : id.sha256)
      if (yield* hasOne(sha256, typeof id === "string" ? undefined : id.bytes)) present.add(sha256)
      // Some 5 ms of stat calls, then others have their turn.
      if (++sinceYield % 512 === 0) yield* Effect.yieldNow
    }
    if (present.size === 0 && sinceYield > 0) yield* Vanished.check(root)
    return present
  })

  const stream: BlobStore["Service"]["stream"] = (id, options) =>
    Stream.unwrap(Effect.map(find(id), (place) => streamPlace(id, place, options?.verify ?? true, wrong)))

  const get: BlobStore["Service"]["get"] = Effect.fnUntraced(function* (id, options) {
    const place = yield* find(id)
    const maxBytes = options?.maxBytes ?? defaultMaxBytes
    if (place.bytes > maxBytes) {
      return yield* new BlobTooLarge({ sha256: id.sha256, bytes: place.bytes, maxBytes })
    }
    const verify = options?.verify ?? true
    const { bytes, sha256 } = yield* readWhole(place.path, place.bytes, verify, failureOf(place))
    if (bytes.length !== place.bytes)
      return yield* wrong(place, id.sha256, lengthText(place.bytes), lengthText(bytes.length))
    if (sha256 !== undefined && sha256 !== id.sha256) return yield* wrong(place, id.sha256, id.sha256, sha256)
    return bytes
  })

  const verify = Effect.fn("BlobStore.verify")(function* (id: BlobId) {
    const place = yield* find(id)
    const { sha256 } = yield* hashFile(place.path, failureOf(place))
    if (sha256 !== id.sha256) yield* wrong(place, id.sha256, id.sha256, sha256)
  })

  /** One fan-out folder's worth of rows. A blob removed meanwhile is left out. */
  const listFolder = Effect.fnUntraced(function* (kind: BlobInfo["kind"], fan: string) {
    const folder = join(root.path, kind === "blob" ? "blobs" : "refs", fan)
    const infos: Array<BlobInfo> = []
    for (const name of yield* namesIn(folder)) {
      const sha256 = fan + name
      if (!isSha256(sha256)) continue
      const status = yield* attempt(
        () => fs.statSync(join(folder, name), { throwIfNoEntry: false }),
        readFailure(folder),
      )
      if (status === undefined) continue
      if (kind === "blob") {
        infos.push({ sha256, bytes: status.size, mtimeMs: status.mtimeMs, kind })
      } else {
        const ref = (yield* table.readRefs(sha256))[0]
        if (ref !== undefined) infos.push({ sha256, bytes: ref.size, mtimeMs: status.mtimeMs, kind })
      }
    }
    return infos
  })

  const list = (): Stream.Stream<BlobInfo, StoreUnreadable> =>
    Stream.fromIterable(["blob", "reference"] as const).pipe(
      Stream.flatMap((kind) =>
        Stream.fromIterableEffect(namesIn(join(root.path, kind === "blob" ? "blobs" : "refs"))).pipe(
          Stream.filter((fan) => /^[0-9a-f]{2}$/.test(fan)),
          Stream.flatMap((fan) => Stream.fromIterableEffect(listFolder(kind, fan))),
        ),
      ),
    )

  /** What is in `blobs/` and is no blob; a link is none either. */
  const foreignIn = Effect.fnUntraced(function* (fan: string) {
    const folder = join(root.path, "blobs", fan)
    const isFan = /^[0-9a-f]{2}$/.test(fan)
    const entries = yield* attempt(() => {
      if (!isFan || !fs.lstatSync(folder).isDirectory()) return undefined
      return fs.readdirSync(folder, { withFileTypes: true })
    }, readFailure(folder))
    if (entries === undefined) return [join("blobs", fan)]
    return entries
      .filter((entry) => !entry.isFile() || !isSha256(fan + entry.name))
      .map((entry) => join("blobs", fan, entry.name))
  })

  /** Nothing is missing from a store that has gone. */
  const orGone = (found: boolean) => (found ? Effect.void : Vanished.check(root))
  const reading = Vanished.reading(root)
  const writing = Vanished.writing(root)

  return BlobStore.of({
    foreign: Stream.fromIterableEffect(namesIn(join(root.path, "blobs"))).pipe(
      Stream.flatMap((fan) => Stream.fromIterableEffect(foreignIn(fan))),
      Stream.mapError(reading),
    ),
    putBytes: (bytes, mediaType) => Effect.mapError(putBytes(bytes, mediaType), writing),
    putStream: (content, mediaType) => Effect.mapError(putStream(content, mediaType), writing),
    putFile: (path, mediaType, options) => Effect.mapError(putFile(path, mediaType, options), writing),
    reference: (path, mediaType) => Effect.mapError(register(table, path, mediaType), writing),
    has: (value) =>
      Effect.flatMap(checkDigest(value), (sha256) => Effect.tap(hasOne(sha256), orGone)).pipe(
        Effect.mapError(reading),
      ),
    hasAll: (ids) => Effect.mapError(hasAll(ids), reading),
    kind: (value) =>
      Effect.mapError(
        Effect.tap(kind(value), (found) => orGone(Option.isSome(found))),
        reading,
      ),
    get: (id, options) => Effect.mapError(get(id, options), reading),
    stream: (id, options) => Stream.mapError(stream(id, options), reading),
    localPath: (id) =>
      Effect.mapError(
        Effect.map(findIntact(id), (place) => place.path),
        reading,
      ),
    verify: (id) => Effect.mapError(verify(id), reading),
    list: () => Stream.mapError(list(), reading),
    remove: Effect.fn("BlobStore.remove")(function* (value: string) {
      const sha256 = yield* checkDigest(value)
      for (const path of [blobPath(root, sha256), refsFolder(root, sha256)]) {
        yield* attempt(() => fs.rmSync(path, { recursive: true, force: true }), writeFailure(path))
      }
      forgetFolder(refsFolder(root, sha256))
    }),
  })
}

/** Folders in the `tmp/` of an open store. */
export const makeScratch = (root: StoreRoot): Scratch["Service"] => ({
  directory: Effect.acquireRelease(
    Effect.suspend(() => {
      const path = temporaryPath(root)
      return Effect.as(
        Effect.mapError(
          attempt(() => fs.mkdirSync(path, { mode: root.modes.folder }), writeFailure(path)),
          Vanished.writing(root),
        ),
        path,
      )
    }),
    (path) =>
      Effect.ignore(attempt(() => fs.rmSync(path, { recursive: true, force: true }), writeFailure(path))),
  ),
})

/**
 * The store in the folder `root`, which is made when it does not exist, is empty or is named `.reel`.
 *
 * Fails with `NotAStore` for a folder with other files in it, `StoreVersionUnsupported` for a store of a newer
 * reelgraph, `StoreUnwritable` for a path that is a file or may not be written.
 */
export const layer = (
  root: string,
  options?: Options,
): Layer.Layer<BlobStore | Scratch | Unfinished | Objects, OpenError> =>
  Layer.effectContext(
    Effect.map(openStore(root, options?.durability ?? "fsync", options?.existing ?? false), (opened) =>
      Context.make(BlobStore, make(opened)).pipe(
        Context.add(Scratch, makeScratch(opened)),
        Context.add(Unfinished, UnfinishedFs.make(opened)),
        Context.add(Objects, ObjectsFs.make(opened)),
      ),
    ),
  )
