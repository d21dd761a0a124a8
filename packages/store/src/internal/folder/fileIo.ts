/**
 * `node:fs` as Effects, for what Effect's own FileSystem has no word for: flushing a folder, creating a file
 * exclusively with a mode, hashing while reading.
 *
 * Short metadata calls are made synchronously (a few microseconds each against some 60 for a trip through the
 * thread pool); what waits for a disk (`fsync`, chunks of content) goes through the pool. A call in flight is
 * uninterruptible: interruption waits for it, because closing a descriptor under it could hand the same number
 * to another file.
 */
import { createHash } from "node:crypto"
import fs from "node:fs"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

/** Bytes per read or write of content. */
export const chunkBytes = 1024 * 1024

type Callback<A> = (error: NodeJS.ErrnoException | null, value: A) => void

const pooled = <A, E>(call: (done: Callback<A>) => void, fail: (cause: unknown) => E): Effect.Effect<A, E> =>
  Effect.uninterruptible(
    Effect.callback<A, E>((resume) => {
      call((error, value) => resume(error === null ? Effect.succeed(value) : Effect.fail(fail(error))))
    }),
  )

/** A synchronous call, its exception as a typed error. */
export const attempt = <A, E>(call: () => A, fail: (cause: unknown) => E): Effect.Effect<A, E> =>
  Effect.try({ try: call, catch: fail })

export const fsync = <E>(fd: number, fail: (cause: unknown) => E): Effect.Effect<void, E> =>
  pooled((done) => fs.fsync(fd, (error) => done(error, undefined)), fail)

/** Makes the names in a folder durable: a rename into it survives a power failure after this. */
export const fsyncFolder = <E>(path: string, fail: (cause: unknown) => E): Effect.Effect<void, E> =>
  Effect.acquireUseRelease(
    attempt(() => fs.openSync(path, "r"), fail),
    (fd) => fsync(fd, fail),
    (fd) => Effect.sync(() => fs.closeSync(fd)),
  )

/** Content up to this length is read and written in one synchronous call. */
const smallBytes = 64 * 1024

/** Writes all of the bytes at the file's position. */
export const writeAll = <E>(
  fd: number,
  bytes: Uint8Array,
  fail: (cause: unknown) => E,
): Effect.Effect<void, E> => {
  if (bytes.length <= smallBytes) {
    return attempt(() => {
      for (let offset = 0; offset < bytes.length;) offset += fs.writeSync(fd, bytes, offset)
    }, fail)
  }
  return Effect.gen(function* () {
    for (let offset = 0; offset < bytes.length;) {
      const length = Math.min(4 * chunkBytes, bytes.length - offset)
      offset += yield* pooled<number, E>((done) => fs.write(fd, bytes, offset, length, null, done), fail)
    }
  })
}

const openForReading = <E>(path: string, fail: (cause: unknown) => E) =>
  Effect.acquireRelease(
    attempt(() => fs.openSync(path, "r"), fail),
    (fd) => Effect.sync(() => fs.closeSync(fd)),
  )

/** The content of a file in fresh chunks of at most {@link chunkBytes}. */
export const readChunks = <E>(
  path: string,
  fail: (cause: unknown) => E,
): Stream.Stream<Uint8Array<ArrayBuffer>, E> =>
  Stream.unwrap(
    Effect.map(openForReading(path, fail), (fd) =>
      Stream.fromPull(
        Effect.succeed(
          Effect.gen(function* () {
            const chunk = new Uint8Array(chunkBytes)
            const length = yield* pooled<number, E>(
              (done) => fs.read(fd, chunk, 0, chunkBytes, null, done),
              fail,
            )
            if (length === 0) return yield* Cause.done()
            return [chunk.subarray(0, length)] as const
          }),
        ),
      ),
    ),
  )

/**
 * The first `length` bytes of a file in memory of their own (not of a shared pool: they may be transferred), fewer
 * if it ends before; `sha256` is of what was read, and undefined unless asked for.
 */
export const readWhole = Effect.fnUntraced(function* <E>(
  path: string,
  length: number,
  withHash: boolean,
  fail: (cause: unknown) => E,
) {
  const fd = yield* openForReading(path, fail)
  const bytes = new Uint8Array(length)
  const hash = withHash ? createHash("sha256") : undefined
  let end = 0
  while (end < length) {
    const wanted = Math.min(chunkBytes, length - end)
    const at = end
    const read = yield* length <= smallBytes
      ? attempt(() => fs.readSync(fd, bytes, at, wanted, null), fail)
      : pooled<number, E>((done) => fs.read(fd, bytes, at, wanted, null, done), fail)
    if (read === 0) break
    hash?.update(bytes.subarray(end, end + read))
    end += read
  }
  return { bytes: bytes.subarray(0, end), sha256: hash?.digest("hex") }
}, Effect.scoped)

export interface Hashed {
  readonly sha256: string
  readonly bytes: number
}

/** The digest and length of a file, read once through one buffer. */
export const hashFile = Effect.fn("fileIo.hashFile")(function* <E>(
  path: string,
  fail: (cause: unknown) => E,
) {
  const fd = yield* openForReading(path, fail)
  const hash = createHash("sha256")
  const buffer = new Uint8Array(chunkBytes)
  let bytes = 0
  while (true) {
    const length = yield* pooled<number, E>((done) => fs.read(fd, buffer, 0, chunkBytes, null, done), fail)
    if (length === 0) break
    hash.update(buffer.subarray(0, length))
    bytes += length
  }
  return { sha256: hash.digest("hex"), bytes } satisfies Hashed
}, Effect.scoped)
