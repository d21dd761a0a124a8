/** The blob store in memory: the same laws as the folder, for tests and for runs that store nothing. */
import { createHash, hash as hashOnce } from "node:crypto"
import fs from "node:fs"
import os from "node:os"
import { join, resolve } from "node:path"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
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
  type PutError,
  type ReadError,
  Scratch,
  SourceChanged,
} from "./BlobStore.ts"
import { attempt, chunkBytes, readChunks, readWhole } from "../internal/folder/fileIo.ts"
import { sourceFailure, writeFailure } from "../internal/folder/ioError.ts"
import { ownModes } from "../internal/folder/modes.ts"
import * as ObjectsMemory from "../internal/objectsMemory.ts"
import * as UnfinishedFs from "../internal/folder/unfinishedFs.ts"
import { Objects } from "../Objects.ts"
import { type IndexEntry, locate, register, type SourceRef, type SourceTable } from "./SourceRef.ts"
import { Unfinished } from "../Unfinished.ts"

/** A blob held in memory, and when it was last put, in milliseconds since the epoch. */
export interface MemoryBlob {
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly mtimeMs: number
}

/** A folder of the system's own for temporary files, gone when the scope closes. */
const temporaryFolder: Effect.Effect<string, PutError, Scope.Scope> = Effect.acquireRelease(
  Effect.suspend(() =>
    attempt(() => fs.mkdtempSync(join(os.tmpdir(), "reelgraph-")), writeFailure(os.tmpdir())),
  ),
  (path) => Effect.sync(() => fs.rmSync(path, { recursive: true, force: true })),
)

const makeTable = (): SourceTable & { readonly refs: Map<string, Map<string, SourceRef>> } => {
  const index = new Map<string, IndexEntry>()
  const refs = new Map<string, Map<string, SourceRef>>()
  return {
    refs,
    readIndex: (pathKey) => Effect.sync(() => Option.fromNullishOr(index.get(pathKey))),
    writeIndex: (pathKey, entry) => Effect.sync(() => void index.set(pathKey, entry)),
    readRefs: (sha256) => Effect.sync(() => [...(refs.get(sha256)?.values() ?? [])]),
    writeRef: (sha256, pathKey, ref) =>
      Effect.sync(() => {
        const places = refs.get(sha256) ?? new Map<string, SourceRef>()
        refs.set(sha256, places.set(pathKey, ref))
      }),
  }
}

const checkDigest = (sha256: string): Effect.Effect<string, DigestInvalid> =>
  isSha256(sha256) ? Effect.succeed(sha256) : Effect.fail(new DigestInvalid({ value: String(sha256) }))

const make = (blobs: Map<string, MemoryBlob>): BlobStore["Service"] => {
  const table = makeTable()
  /** What was found in the place of blobs and does not have their digests. */
  const damaged = new Map<string, MemoryBlob>()

  const compare = (
    found: Uint8Array | SourceRef,
    expected: string,
    actual: string,
  ): Effect.Effect<void, ReadError> => {
    if (expected === actual) return Effect.void
    if (!(found instanceof Uint8Array))
      return Effect.fail(new SourceChanged({ path: found.path, expected, actual }))
    const blob = blobs.get(expected)
    if (blob?.bytes === found) {
      damaged.set(expected, blob)
      blobs.delete(expected)
    }
    return Effect.fail(
      new BlobCorrupt({
        path: `memory:${expected}`,
        expected,
        actual,
        movedTo: `memory:damaged/${expected}`,
      }),
    )
  }

  const keep = Effect.fnUntraced(function* (bytes: Uint8Array<ArrayBuffer>, mediaType: string) {
    const sha256 = hashOnce("sha256", bytes, "hex")
    blobs.set(sha256, { bytes, mtimeMs: yield* Clock.currentTimeMillis })
    return Artifact.make({ sha256, bytes: bytes.length, mediaType })
  })

  const putStream = Effect.fn("BlobStore.putStream")(function* <E, R>(
    stream: Stream.Stream<Uint8Array, E, R>,
    mediaType: string,
  ) {
    const chunks: Array<Uint8Array> = []
    yield* Stream.runForEach(stream, (chunk) => Effect.sync(() => void chunks.push(chunk.slice())))
    const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0))
    let offset = 0
    for (const chunk of chunks) {
      bytes.set(chunk, offset)
      offset += chunk.length
    }
    return yield* keep(bytes, mediaType)
  })

  /** The blob, or the intact external file registered under the digest. */
  const find = Effect.fnUntraced(function* (
    id: BlobId,
  ): Effect.fn.Return<Uint8Array<ArrayBuffer> | SourceRef, ReadError> {
    const sha256 = yield* checkDigest(id.sha256)
    const blob = blobs.get(sha256)
    if (blob === undefined) {
      const source = Option.getOrUndefined(yield* locate(table, sha256))
      return source ?? (yield* new BlobMissing({ sha256 }))
    }
    if (id.bytes !== undefined && id.bytes !== blob.bytes.length) {
      return yield* new BlobCorrupt({
        path: `memory:${sha256}`,
        expected: `${id.bytes} bytes`,
        actual: `${blob.bytes.length} bytes`,
      })
    }
    return blob.bytes
  })

  const stream: BlobStore["Service"]["stream"] = (id, options) =>
    Stream.unwrap(
      Effect.map(find(id), (found) => {
        const hash = createHash("sha256")
        const content =
          found instanceof Uint8Array
            ? Stream.fromIterable(
                Array.from({ length: Math.ceil(found.length / chunkBytes) }, (_, index) =>
                  found.slice(index * chunkBytes, (index + 1) * chunkBytes),
                ),
              )
            : readChunks(found.path, sourceFailure(found.path))
        if (options?.verify === false) return content
        const ending = Effect.suspend(() => compare(found, id.sha256, hash.digest("hex")))
        return content.pipe(
          Stream.tap((chunk) => Effect.sync(() => void hash.update(chunk))),
          Stream.concat(Stream.drain(Stream.fromEffect(ending))),
        )
      }),
    )

  const get: BlobStore["Service"]["get"] = Effect.fnUntraced(function* (id, options) {
    const found = yield* find(id)
    const length = found instanceof Uint8Array ? found.length : found.size
    const maxBytes = options?.maxBytes ?? defaultMaxBytes
    if (length > maxBytes) return yield* new BlobTooLarge({ sha256: id.sha256, bytes: length, maxBytes })
    const bytes =
      found instanceof Uint8Array
        ? found.slice()
        : (yield* readWhole(found.path, length, false, sourceFailure(found.path))).bytes
    if (options?.verify !== false) yield* compare(found, id.sha256, hashOnce("sha256", bytes, "hex"))
    return bytes
  })

  const has = (value: string, bytes?: number) =>
    checkDigest(value).pipe(
      Effect.flatMap((sha256) =>
        blobs.has(sha256)
          ? Effect.succeed(bytes === undefined || blobs.get(sha256)!.bytes.length === bytes)
          : Effect.map(locate(table, sha256), Option.isSome),
      ),
      Effect.catchTag(["SourceMissing", "SourceChanged", "SourceUnreadable"], () => Effect.succeed(false)),
    )

  const list = (): Stream.Stream<BlobInfo> =>
    Stream.suspend(() =>
      Stream.fromIterable([
        ...Array.from(blobs, ([sha256, { bytes, mtimeMs }]): BlobInfo => {
          return { sha256, bytes: bytes.length, mtimeMs, kind: "blob" }
        }),
        ...Array.from(table.refs, ([sha256, places]): BlobInfo => {
          const ref = [...places.values()][0]
          const mtimeMs = Number(BigInt(ref?.ctimeNs ?? 0) / 1_000_000n)
          return { sha256, bytes: ref?.size ?? 0, mtimeMs, kind: "reference" }
        }),
      ]),
    )

  return BlobStore.of({
    putBytes: (bytes, mediaType) => keep(new Uint8Array(bytes), mediaType),
    putStream,
    putFile: Effect.fn("BlobStore.putFile")(function* (path, mediaType, options) {
      const from = resolve(path)
      const artifact = yield* putStream(readChunks(from, sourceFailure(from)), mediaType)
      if (options?.move === true) yield* attempt(() => fs.rmSync(from), writeFailure(from))
      return artifact
    }),
    reference: (path, mediaType) => register(table, path, mediaType),
    has: (sha256) => has(sha256),
    hasAll: Effect.fn("BlobStore.hasAll")(function* (ids: Iterable<string | BlobId>) {
      const present = new Set<string>()
      for (const id of ids) {
        const { bytes, sha256 } = typeof id === "string" ? { sha256: id, bytes: undefined } : id
        if (yield* has(sha256, bytes)) present.add(sha256)
      }
      return present
    }),
    kind: (sha256) =>
      Effect.map(has(sha256), (present) => {
        if (!present) return Option.none()
        return Option.some(blobs.has(sha256) ? "blob" : "reference")
      }),
    get,
    stream,
    localPath: Effect.fnUntraced(function* (id) {
      const found = yield* find(id)
      if (!(found instanceof Uint8Array)) return found.path
      yield* compare(found, id.sha256, hashOnce("sha256", found, "hex"))
      const path = join(yield* temporaryFolder, id.sha256)
      yield* attempt(() => fs.writeFileSync(path, found, { mode: ownModes.blob }), writeFailure(path))
      return path
    }),
    verify: (id) => Stream.runDrain(stream(id)),
    list,
    foreign: Stream.empty,
    remove: (value) =>
      Effect.map(checkDigest(value), (sha256) => {
        blobs.delete(sha256)
        table.refs.delete(sha256)
      }),
  })
}

/** Folders among the system's temporary files, gone with the layer; none is made before one is asked for. */
const makeUnfinished = Effect.map(Effect.scope, (scope): Unfinished["Service"] => {
  let made: Unfinished["Service"] | undefined
  const within = Effect.suspend(() =>
    made === undefined
      ? Effect.map(temporaryFolder, (path) => {
          fs.mkdirSync(join(path, "tmp"))
          return (made = UnfinishedFs.make({ path, durability: "none", modes: ownModes }))
        })
      : Effect.succeed(made),
  ).pipe(Effect.provideService(Scope.Scope, scope))
  return {
    use: (key) => Effect.flatMap(within, ({ use }) => use(key)),
    share: (key) => Effect.flatMap(within, ({ share }) => share(key)),
    discard: (key) => Effect.flatMap(within, ({ discard }) => discard(key)),
    list: Effect.suspend(() => made?.list ?? Effect.succeed([])),
  }
})

/** A store over the given map, for a caller who wants to look inside or to damage what is there. */
export const layerFrom = (
  blobs: Map<string, MemoryBlob>,
): Layer.Layer<BlobStore | Scratch | Unfinished | Objects> =>
  Layer.effectContext(
    Effect.map(makeUnfinished, (unfinished) =>
      Context.make(BlobStore, make(blobs)).pipe(
        Context.add(Scratch, { directory: temporaryFolder }),
        Context.add(Unfinished, unfinished),
        Context.add(Objects, ObjectsMemory.make()),
      ),
    ),
  )

/** An empty store in memory; what is put is gone when the layer is. */
export const layer: Layer.Layer<BlobStore | Scratch | Unfinished | Objects> = Layer.suspend(() =>
  layerFrom(new Map()),
)
