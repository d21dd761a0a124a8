/**
 * The blob store in a bucket of S3, or of a server that speaks its protocol.
 *
 * ```
 * <prefix>/store.json             {"format":"reelgraph-store","version":1,"requires":">=0.1.0"}
 * <prefix>/blobs/ab/<62 hex>      a blob
 * <prefix>/refs/ab/<62 hex>       the content of a file that was registered with `reference`
 * <prefix>/damaged/<64 hex>       what was found in the place of a blob and does not have its digest
 * <prefix>/objects/<name>         a named object
 * <prefix>/unfinished/<64 hex>/   work that outlives the process that does it; see unfinishedS3.ts
 * ```
 *
 * A folder store on this machine is its cache: what is put is written there first, which gives its digest, and what is
 * read is downloaded there first, compared with its digest, and again when it arrived damaged. Native code reads the
 * cached file. The bucket alone decides what is in the store.
 *
 * Uploads of killed processes that had several parts stay in the bucket, unseen, until a lifecycle rule of the bucket
 * (`AbortIncompleteMultipartUpload`) removes them.
 */
import { createHash } from "node:crypto"
import fs from "node:fs"
import { join, resolve, sep } from "node:path"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

import { type Artifact, isSha256 } from "./Artifact.ts"
import {
  BlobCorrupt,
  type BlobId,
  type BlobInfo,
  BlobMissing,
  BlobStore,
  BlobTooLarge,
  defaultMaxBytes,
  DigestInvalid,
  NotAStore,
  type OpenError,
  OutOfSpace,
  type PutError,
  type ReadError,
  Scratch,
  SourceChanged,
  StoreUnreadable,
  StoreUnwritable,
  StoreVanished,
} from "./BlobStore.ts"
import * as BlobStoreFs from "./BlobStoreFs.ts"
import * as CallBlobs from "./CallBlobs.ts"
import * as BlobCache from "../internal/s3/blobCache.ts"
import { type Durability, renameDurably } from "../internal/folder/durableWrite.ts"
import { attempt, fsync } from "../internal/folder/fileIo.ts"
import { isAbsent, readFailure, sourceFailure, writeFailure } from "../internal/folder/ioError.ts"
import * as ObjectsS3 from "../internal/s3/objectsS3.ts"
import * as S3Download from "../internal/s3/download.ts"
import * as S3Requests from "../internal/s3/requests.ts"
import {
  checkVersion,
  openStore,
  type StoreRoot,
  storeFileText,
  temporaryPath,
} from "../internal/folder/StoreRoot.ts"
import * as Turns from "../internal/turns.ts"
import * as UnfinishedS3 from "../internal/s3/unfinishedS3.ts"
import { Objects } from "../Objects.ts"
import { type S3Error } from "../S3Error.ts"
import * as StoreLocation from "../StoreLocation.ts"
import { Unfinished } from "../Unfinished.ts"

export interface Options {
  /**
   * Folder of this machine for copies of blobs, files being written, and unfinished work. Stores may share one.
   * @default `StoreLocation.cacheFolder`
   */
  readonly cache?: string
  /**
   * Bytes of copies, at most; the least recently used are removed. A little more may be there for a while, and what is in use.
   * @default 53687091200 (50 GiB)
   */
  readonly cacheBytes?: number
  /**
   * Requests at once.
   * @default 32
   */
  readonly requests?: number
  /**
   * How often a request is made before it is given up.
   * @default 10
   */
  readonly attempts?: number
  /**
   * Milliseconds of silence after which a request counts as unanswered.
   * @default 30000
   */
  readonly timeoutMs?: number
  /**
   * Milliseconds before the second attempt; the pause doubles with each.
   * @default 100
   */
  readonly pauseMs?: number
  /**
   * Milliseconds after which changes of unfinished work are uploaded, and its owner renews its claim.
   * @default 30000
   */
  readonly saveEveryMs?: number
  /**
   * Whether files of the cache survive a power failure whole; `none` is for tests.
   * @default "fsync"
   */
  readonly durability?: Durability
  /**
   * Whether there has to be a store: then none is made.
   * @default false
   */
  readonly existing?: boolean
}

/** A put of a blob that is older than this makes its time new. */
const renewAfterMs = 86_400_000
/** S3 copies no larger object in one request. */
const maxCopyBytes = 5 * 1024 ** 3
/** Digests from which on looking for them in listings is tried. */
const listFrom = 256
/** Digests that a page of a listing has to settle for the next one to be asked for. */
const worthPage = 4
const pageKeys = 1000

type Place = "blobs" | "refs"
const places: ReadonlyArray<Place> = ["blobs", "refs"]

const checkDigest = (sha256: string): Effect.Effect<string, DigestInvalid> =>
  isSha256(sha256) ? Effect.succeed(sha256) : Effect.fail(new DigestInvalid({ value: String(sha256) }))

const lengthText = (bytes: number): string => `${bytes} bytes`

/** The error of a store for a request to write that was refused. */
const unwritableAt =
  (url: string) =>
  (cause: S3Error): PutError =>
    cause._tag === "StorageFull"
      ? new OutOfSpace({ path: url, cause })
      : new StoreUnwritable({ path: url, cause })

interface Opened {
  readonly requests: S3Requests.Requests
  readonly root: StoreRoot
  readonly cache: BlobCache.BlobCache
  /** Ends in a slash unless it is empty. */
  readonly prefix: string
}

/**
 * What goes between the bucket and the cache beside the calls of operators. Both may be asked for in one process while
 * others, with the same cache, make the calls.
 */
export class BlobTransfer extends Context.Service<
  BlobTransfer,
  {
    /** Brings a blob into the cache. What is there is not read, and nothing keeps it there. */
    readonly fetch: (id: BlobId) => Effect.Effect<void, ReadError | PutError>
    /** Takes a blob of the cache to the bucket. */
    readonly store: (artifact: Artifact) => Effect.Effect<void, PutError>
  }
>()("reelgraph/store/BlobTransfer") {}

/** A copy that was to be stored is not in the cache: the call that made it is to be made again. */
const leftCache = Object.assign(new Error("its copy left the cache of this machine before it was stored"), {
  retryable: true,
  endsRun: false,
})

const make = ({ cache, prefix, requests, root }: Opened): Context.Context<BlobStore | BlobTransfer> => {
  const local = BlobStoreFs.make(root, { isCache: true })
  const blobsFolder = join(root.path, "blobs") + sep
  /** The others then find what the first has brought. */
  const inTurn = Turns.make()

  const keyOf = (place: Place, sha256: string): string =>
    `${prefix}${place}/${sha256.slice(0, 2)}/${sha256.slice(2)}`
  const urlOf = (place: Place, sha256: string): string => requests.urlOf(keyOf(place, sha256))
  const unwritable = unwritableAt
  const unreadable = (url: string) => (cause: S3Error) => new StoreUnreadable({ path: url, cause })

  /** Whether content of this length is there; makes its time new when it is old. */
  const isThere = Effect.fnUntraced(function* (place: Place, sha256: string, bytes: number) {
    const key = keyOf(place, sha256)
    const found = Option.getOrUndefined(yield* requests.head(key))
    if (found?.bytes !== bytes) return false
    const age = (yield* Clock.currentTimeMillis) - found.modifiedMs
    if (age < renewAfterMs) return true
    return bytes <= maxCopyBytes && Option.isSome(yield* requests.touch(key, sha256))
  })

  /** Uploads a file of the cache unless the bucket has its content. */
  const upload = Effect.fnUntraced(
    function* ({ bytes, sha256 }: Artifact, from: string): Effect.fn.Return<void, PutError, Scope.Scope> {
      const fail = unwritable(urlOf("blobs", sha256))
      const path = yield* cache.pin(from, sha256)
      yield* cache.added(bytes)
      if (yield* Effect.mapError(isThere("blobs", sha256, bytes), fail)) return
      const file = { path: path ?? from, bytes, sha256 }
      yield* requests
        .putFile(keyOf("blobs", sha256), file, readFailure(file.path), Effect.void)
        .pipe(
          Effect.mapError((error) =>
            error._tag === "StoreUnreadable"
              ? new StoreUnwritable({ path: urlOf("blobs", sha256), cause: error })
              : fail(error),
          ),
        )
    },
    (effect) => Effect.scoped(effect),
  )

  /** Stores a file of the cache: at once, or for whoever makes the call to have it stored. */
  const keep = Effect.fnUntraced(function* (artifact: Artifact) {
    const path = BlobStoreFs.blobPath(root, artifact.sha256)
    const store = upload(artifact, path)
    const blobs = yield* CallBlobs.current
    if (blobs === undefined || blobs.direct) yield* store
    else yield* blobs.add(artifact, cache.pin(path, artifact.sha256), store)
    return artifact
  })

  /** Uploads a registered file from where it is. */
  const uploadSource = Effect.fnUntraced(function* ({ bytes, sha256 }: Artifact, path: string) {
    const fail = unwritable(urlOf("refs", sha256))
    if (yield* Effect.mapError(isThere("refs", sha256, bytes), fail)) return
    const before = yield* attempt(() => fs.statSync(path, { bigint: true }), sourceFailure(path))
    const unchanged = Effect.flatMap(
      attempt(() => fs.statSync(path, { bigint: true }), sourceFailure(path)),
      (now) =>
        now.size === before.size && now.mtimeNs === before.mtimeNs && now.ctimeNs === before.ctimeNs
          ? Effect.void
          : Effect.fail(
              new SourceChanged({
                path,
                expected: lengthText(Number(before.size)),
                actual: `${lengthText(Number(now.size))}, still being written`,
              }),
            ),
    )
    yield* requests
      .putFile(keyOf("refs", sha256), { path, bytes, sha256 }, sourceFailure(path), unchanged)
      .pipe(
        Effect.mapError((error) =>
          error._tag === "SourceMissing" ||
          error._tag === "SourceUnreadable" ||
          error._tag === "SourceChanged"
            ? error
            : fail(error),
        ),
      )
  })

  /** The copy in the cache, pinned, or an intact registered file of this machine; undefined when there is neither. */
  const cached = Effect.fnUntraced(function* (id: BlobId) {
    const path = Option.getOrUndefined(yield* Effect.option(local.localPath(id)))
    if (path === undefined || !path.startsWith(blobsFolder)) return path
    return yield* cache.pin(path, id.sha256)
  })

  /**
   * Moves a damaged blob out of the way, if it is damaged: a reader may have been given a wrong length. Returns
   * where it is now; nothing when it stays.
   */
  const setAside = Effect.fnUntraced(function* (place: Place, sha256: string, compared: boolean) {
    const key = keyOf(place, sha256)
    const found = Option.getOrUndefined(yield* requests.head(key))
    if (found === undefined || found.bytes > maxCopyBytes) return undefined
    if (!compared) {
      const whole = yield* Effect.result(S3Download.verify(requests, key, { sha256 }))
      if (whole._tag === "Success" || whole.failure._tag !== "BlobCorrupt") return undefined
    }
    const damaged = `${prefix}damaged/${sha256}`
    if (Option.isNone(yield* requests.copy(key, damaged))) return undefined
    yield* requests.remove(key)
    return requests.urlOf(damaged)
  })

  /** The same damage, with where it was moved. */
  const toldAside = (place: Place, sha256: string) => (error: BlobCorrupt) =>
    Effect.flatMap(
      Effect.orElseSucceed(setAside(place, sha256, error.expected === sha256), () => undefined),
      (movedTo) =>
        Effect.fail(
          movedTo === undefined
            ? error
            : new BlobCorrupt({ path: error.path, expected: error.expected, actual: error.actual, movedTo }),
        ),
    )

  const downloadFrom = (place: Place, id: BlobId, maxBytes: number) => {
    const { sha256 } = id
    const path = BlobStoreFs.blobPath(root, sha256)
    const check = (bytes: number) =>
      bytes > maxBytes ? Effect.fail(new BlobTooLarge({ sha256, bytes, maxBytes })) : Effect.void
    return S3Download.download(
      requests,
      { key: keyOf(place, sha256), sha256, bytes: id.bytes, check },
      () => temporaryPath(root),
      root.modes.blob,
      (temporary, fd) =>
        Effect.gen(function* () {
          if (root.durability === "fsync") yield* fsync(fd, writeFailure(temporary))
          yield* renameDurably(temporary, path, root)
          return yield* attempt(() => fs.statSync(path).size, writeFailure(path))
        }),
    ).pipe(
      Effect.catchTag("BlobCorrupt", toldAside(place, sha256)),
      Effect.mapError((error) =>
        error._tag === "BlobTooLarge" ||
        error._tag === "BlobCorrupt" ||
        error._tag === "StoreUnwritable" ||
        error._tag === "OutOfSpace"
          ? error
          : unreadable(urlOf(place, sha256))(error),
      ),
    )
  }

  /** Brings a blob into the cache and pins it there. */
  const download = Effect.fn("BlobStoreS3.download")(function* (id: BlobId, maxBytes: number) {
    for (const place of places) {
      const bytes = Option.getOrUndefined(yield* downloadFrom(place, id, maxBytes))
      if (bytes === undefined) continue
      const path = BlobStoreFs.blobPath(root, id.sha256)
      const pin = yield* cache.pin(path, id.sha256)
      yield* cache.added(bytes)
      return pin ?? path
    }
    return yield* new BlobMissing({ sha256: id.sha256 })
  })

  /** A file with the content of a blob, until the scope closes. */
  const pin = Effect.fnUntraced(function* (id: BlobId, maxBytes: number = Number.POSITIVE_INFINITY) {
    const sha256 = yield* checkDigest(id.sha256)
    ;(yield* CallBlobs.current)?.read.add(sha256)
    const there = yield* cached(id)
    if (there !== undefined) return there
    return yield* inTurn(
      sha256,
      Effect.gen(function* () {
        return (yield* cached(id)) ?? (yield* download(id, maxBytes))
      }),
    )
  })

  const fetch = Effect.fn("BlobStoreS3.fetch")(function* (id: BlobId) {
    const sha256 = yield* checkDigest(id.sha256)
    if (yield* local.has(sha256)) return
    yield* inTurn(
      sha256,
      Effect.gen(function* () {
        if (yield* local.has(sha256)) return
        const bounded = download(id, Number.POSITIVE_INFINITY)
        yield* Effect.scoped(Effect.catchTag(bounded, "BlobTooLarge", (error) => Effect.die(error)))
      }),
    )
  })

  /** As {@link upload}, where the copy may have left the cache. */
  const store = (artifact: Artifact) => {
    const path = BlobStoreFs.blobPath(root, artifact.sha256)
    return Effect.catchIf(
      upload(artifact, path),
      (error) => !fs.existsSync(path) && error._tag === "StoreUnwritable",
      () => Effect.fail(new StoreUnwritable({ path: urlOf("blobs", artifact.sha256), cause: leftCache })),
    )
  }

  const pinAny = (id: BlobId) => Effect.catchTag(pin(id), "BlobTooLarge", (error) => Effect.die(error))

  /** A cache that cannot be written is a store that cannot be read. */
  const asUnreadable = <E extends { readonly _tag: string }>(error: E | PutError) =>
    error._tag === "StoreUnwritable" || error._tag === "OutOfSpace"
      ? new StoreUnreadable({ path: (error as PutError).path, cause: error })
      : (error as Exclude<E, PutError>)

  /** Forgets a copy that is damaged, and a registration here of a file that has changed; the bucket has the content. */
  const forget = (sha256: string) => Effect.ignore(local.remove(sha256))

  /** Whether reading a copy failed for a reason that another copy does not have. */
  const isOfCopy = (error: ReadError | BlobTooLarge | PutError): boolean =>
    error._tag === "BlobCorrupt"
      ? error.path.startsWith(blobsFolder)
      : error._tag === "SourceChanged" ||
        error._tag === "SourceMissing" ||
        error._tag === "SourceUnreadable" ||
        (error._tag === "StoreUnreadable" && isAbsent(error.cause))

  const get: BlobStore["Service"]["get"] = (id, options) => {
    const one = Effect.scoped(
      Effect.andThen(pin(id, options?.maxBytes ?? defaultMaxBytes), local.get(id, options)),
    )
    return one.pipe(
      Effect.catchIf(isOfCopy, () => Effect.andThen(forget(id.sha256), one)),
      Effect.mapError(asUnreadable),
    )
  }

  const stream: BlobStore["Service"]["stream"] = (id, options) =>
    Stream.unwrap(Effect.as(pinAny(id), local.stream(id, options))).pipe(
      // What was handed out cannot be taken back; the next reader gets another copy.
      Stream.tapError((error) => (isOfCopy(error) ? forget(id.sha256) : Effect.void)),
      Stream.mapError(asUnreadable),
    )

  const kind = Effect.fnUntraced(function* (value: string) {
    const sha256 = yield* checkDigest(value)
    if ((yield* CallBlobs.current)?.has(sha256) === true) return Option.some("blob" as const)
    for (const place of places) {
      const found = yield* Effect.mapError(
        requests.head(keyOf(place, sha256)),
        unreadable(urlOf(place, sha256)),
      )
      if (Option.isSome(found))
        return Option.some(place === "blobs" ? ("blob" as const) : ("reference" as const))
    }
    return Option.none<BlobInfo["kind"]>()
  })

  /**
   * Those of sorted digests that are in a place. Looked for in listings while a page of one settles several, and then
   * one by one: a page costs as much as some heads.
   */
  const presentIn = Effect.fnUntraced(function* (
    place: Place,
    sorted: ReadonlyArray<string>,
    lengths: ReadonlyMap<string, number>,
  ) {
    const top = `${prefix}${place}/`
    const present = new Set<string>()
    const isLong = (sha256: string, bytes: number): boolean => (lengths.get(sha256) ?? bytes) === bytes
    const fail = unreadable(requests.urlOf(top))
    let next = 0
    let isWorth = sorted.length >= listFrom
    while (isWorth && next < sorted.length) {
      const wanted = keyOf(place, sorted[next]!)
      // Everything that sorts after this sorts after no other digest before the wanted one.
      const after = `${wanted.slice(0, -1)}${String.fromCharCode(wanted.charCodeAt(wanted.length - 1) - 1)}`
      const { listed, more } = yield* Effect.mapError(requests.page(top, { after }, pageKeys), fail)
      // Not every server lists in the order of keys.
      if (listed.some(({ key }, index) => key <= (listed[index - 1]?.key ?? after))) break
      const found = new Map(listed.map(({ bytes, key }) => [key, bytes]))
      const last = more ? listed.at(-1)?.key : undefined
      const from = next
      for (; next < sorted.length; next++) {
        const key = keyOf(place, sorted[next]!)
        if (last !== undefined && key > last) break
        const bytes = found.get(key)
        if (bytes !== undefined && isLong(sorted[next]!, bytes)) present.add(sorted[next]!)
      }
      isWorth = next - from >= worthPage
    }
    yield* Effect.forEach(
      sorted.slice(next),
      (sha256) =>
        Effect.map(
          requests.head(keyOf(place, sha256)),
          (found) => void (Option.isSome(found) && isLong(sha256, found.value.bytes) && present.add(sha256)),
        ),
      { concurrency: "unbounded", discard: true },
    ).pipe(Effect.mapError(fail))
    return present
  })

  const hasAll = Effect.fn("BlobStore.hasAll")(function* (ids: Iterable<string | BlobId>) {
    const lengths = new Map<string, number>()
    const wanted = new Set<string>()
    for (const id of ids) {
      const sha256 = yield* checkDigest(typeof id === "string" ? id : id.sha256)
      wanted.add(sha256)
      if (typeof id !== "string" && id.bytes !== undefined) lengths.set(sha256, id.bytes)
    }
    const own = yield* CallBlobs.current
    const put = [...wanted].filter((sha256) => own?.has(sha256, lengths.get(sha256)))
    for (const sha256 of put) wanted.delete(sha256)
    const sorted = [...wanted].sort()
    const blobs = new Set([...put, ...(yield* presentIn("blobs", sorted, lengths))])
    const others = sorted.filter((sha256) => !blobs.has(sha256))
    if (others.length === 0) return blobs
    return new Set([...blobs, ...(yield* presentIn("refs", others, lengths))])
  })

  const listPlace = (place: Place): Stream.Stream<BlobInfo, StoreUnreadable> => {
    const top = `${prefix}${place}/`
    return requests.list(top).pipe(
      Stream.map(({ bytes, key, modifiedMs }): BlobInfo => ({
        sha256: key.slice(top.length).replace("/", ""),
        bytes,
        mtimeMs: modifiedMs,
        kind: place === "blobs" ? "blob" : "reference",
      })),
      Stream.filter(({ sha256 }) => isSha256(sha256)),
      Stream.mapError(unreadable(requests.urlOf(top))),
    )
  }

  const blobStore = BlobStore.of({
    foreign: requests.list(`${prefix}blobs/`).pipe(
      Stream.map(({ key }) => key),
      Stream.filter((key) => {
        const sha256 = key.slice(`${prefix}blobs/`.length).replace("/", "")
        return !isSha256(sha256) || key !== keyOf("blobs", sha256)
      }),
      Stream.map(requests.urlOf),
      Stream.mapError(unreadable(requests.urlOf(`${prefix}blobs/`))),
    ),
    putBytes: Effect.fnUntraced(function* (bytes, mediaType) {
      return yield* keep(yield* local.putBytes(bytes, mediaType))
    }),
    putStream: Effect.fn("BlobStore.putStream")(function* (content, mediaType) {
      return yield* keep(yield* local.putStream(content, mediaType))
    }),
    putFile: Effect.fn("BlobStore.putFile")(function* (path, mediaType, options) {
      return yield* keep(yield* local.putFile(path, mediaType, options))
    }),
    reference: Effect.fn("BlobStore.reference")(function* (path, mediaType) {
      const artifact = yield* local.reference(path, mediaType)
      yield* uploadSource(artifact, resolve(path))
      return artifact
    }),
    has: (sha256) => Effect.map(kind(sha256), Option.isSome),
    hasAll,
    kind,
    get,
    stream,
    localPath: pinAny,
    verify: Effect.fn("BlobStore.verify")(function* (id) {
      const sha256 = yield* checkDigest(id.sha256)
      if ((yield* CallBlobs.current)?.has(sha256) === true) return yield* local.verify(id)
      for (const place of places) {
        const found = yield* S3Download.verify(requests, keyOf(place, sha256), id).pipe(
          Effect.catchTag("BlobCorrupt", toldAside(place, sha256)),
          Effect.mapError((error) =>
            error._tag === "BlobCorrupt" ? error : unreadable(urlOf(place, sha256))(error),
          ),
        )
        if (found) return
      }
      return yield* new BlobMissing({ sha256 })
    }),
    list: () => Stream.concat(listPlace("blobs"), listPlace("refs")),
    remove: Effect.fn("BlobStore.remove")(function* (value) {
      const sha256 = yield* checkDigest(value)
      for (const place of places) {
        yield* Effect.mapError(requests.remove(keyOf(place, sha256)), unwritable(urlOf(place, sha256)))
      }
      yield* local.remove(sha256)
    }),
  })
  return Context.add(Context.make(BlobStore, blobStore), BlobTransfer, BlobTransfer.of({ fetch, store }))
}

/** Finds the mark of a store, or leaves one where nothing else is, unless it has to exist. */
const checkMark = Effect.fnUntraced(function* (
  requests: S3Requests.Requests,
  prefix: string,
  existing: boolean,
) {
  const key = `${prefix}store.json`
  const url = requests.urlOf(prefix)
  let mark = Option.getOrUndefined(yield* requests.get(key))
  if (mark === undefined && existing)
    return yield* new StoreUnreadable({ path: url, cause: new StoreVanished({ path: url }) })
  if (mark === undefined) {
    const { listed } = yield* requests.page(prefix, {}, 100)
    const strangers = listed
      .map((object) => object.key.slice(prefix.length))
      .filter(
        (name) => name !== "" && !/^(?:(?:blobs|refs|objects|unfinished|damaged)\/|store\.json$)/.test(name),
      )
    if (strangers.length > 0) {
      const reason = `it holds other objects (${strangers.slice(0, 3).join(", ")}) and no store.json`
      return yield* new NotAStore({ path: url, reason })
    }
    const bytes = new TextEncoder().encode(storeFileText)
    yield* requests.put(key, bytes, createHash("sha256").update(bytes).digest("hex"))
    mark = Option.getOrUndefined(yield* requests.get(key))
  }
  if (mark === undefined)
    return yield* new NotAStore({ path: url, reason: "it does not keep what is put there" })
  yield* checkVersion(url, new TextDecoder().decode(mark.bytes))
  requests.learn(mark)
})

/**
 * The store at a prefix of a bucket, made when there is nothing. Credentials, and what the location leaves out, come
 * from the environment and the files in `~/.aws`, as with other programs for S3.
 *
 * Fails with {@link S3Error} for what the bucket or its server refuses, `NotAStore` for a prefix with other objects,
 * `StoreVersionUnsupported` for a store of a newer reelgraph, `StoreUnwritable` when the cache cannot be written.
 */
export const layer = (
  location: StoreLocation.Bucket,
  options: Options = {},
): Layer.Layer<BlobStore | BlobTransfer | Scratch | Unfinished | Objects, OpenError | S3Error> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const prefix = location.prefix === "" ? "" : `${location.prefix}/`
      const folder = resolve(options.cache ?? (yield* StoreLocation.cacheFolder))
      const durability = options.durability ?? "fsync"
      const requests = yield* S3Requests.open({
        bucket: location.bucket,
        endpoint: location.endpoint,
        region: location.region,
        pathStyle: location.pathStyle,
        requests: options.requests ?? 32,
        attempts: options.attempts ?? 10,
        timeoutMs: options.timeoutMs ?? location.timeoutMs ?? 30_000,
        pauseMs: options.pauseMs ?? 100,
      })
      yield* checkMark(requests, prefix, options.existing ?? false)
      const root = yield* openStore(folder, durability)
      const own = yield* openStore(StoreLocation.localFolder(folder, location), durability)
      const cache = BlobCache.make(root, options.cacheBytes ?? 50 * 1024 ** 3)
      return make({ requests, root, cache, prefix }).pipe(
        Context.add(Scratch, BlobStoreFs.makeScratch(root)),
        Context.add(Objects, ObjectsS3.make(requests, prefix)),
        Context.add(Unfinished, UnfinishedS3.make(requests, prefix, own, options.saveEveryMs ?? 30_000)),
      )
    }),
  )
