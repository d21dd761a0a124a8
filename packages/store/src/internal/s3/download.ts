/** A file from a bucket, whole and with its digest: continued when it was cut off, begun again when it is damaged. */
import { createHash } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"

import { BlobCorrupt, type PutError } from "../../blobs/BlobStore.ts"
import type { S3Error } from "../../S3Error.ts"
import { withTemporary } from "../folder/durableWrite.ts"
import { writeAll } from "../folder/fileIo.ts"
import { writeFailure } from "../folder/ioError.ts"
import { transient } from "./fault.ts"
import type { Requests } from "./requests.ts"

/** What is wanted of an object. */
export interface Wanted<E> {
  readonly key: string
  readonly sha256: string
  readonly bytes?: number | undefined
  /** Asked before anything is read. */
  readonly check: (bytes: number) => Effect.Effect<void, E>
}

/** Downloads of a body that arrives damaged each time. */
const damagedAttempts = 5

/** Reads the whole object once; none when there is none. The length and digest of what came. */
const readOnce = Effect.fnUntraced(function* <E, E2>(
  requests: Requests,
  wanted: Wanted<E>,
  take: (chunk: Uint8Array) => Effect.Effect<void, E2>,
) {
  const hash = createHash("sha256")
  let offset = 0
  let total: number | undefined
  const attempt = Effect.suspend(() => {
    if (offset === total) return Effect.void
    return requests.read(wanted.key, offset, (opened) =>
      Effect.gen(function* () {
        yield* wanted.check(opened.bytes)
        // Another length: nothing of it is of use, and the whole is judged by its digest.
        if (wanted.bytes !== undefined && opened.bytes !== wanted.bytes) return void (total = opened.bytes)
        if (opened.from !== offset) return void (total = opened.bytes)
        total = opened.bytes
        yield* Stream.runForEach(opened.content, (chunk) => {
          hash.update(chunk)
          offset += chunk.length
          return take(chunk)
        })
        if (offset < total) return yield* transient(`${offset} of ${total} bytes came`)
      }),
    )
  })
  const done = yield* requests.retry(wanted.key, attempt)
  return Option.map(done, () => ({ bytes: total ?? offset, sha256: hash.digest("hex") }))
})

const lengthText = (bytes: number): string => `${bytes} bytes`

const judge = <E>(requests: Requests, wanted: Wanted<E>, got: { bytes: number; sha256: string }) => {
  const path = requests.urlOf(wanted.key)
  if (wanted.bytes !== undefined && wanted.bytes !== got.bytes)
    return new BlobCorrupt({ path, expected: lengthText(wanted.bytes), actual: lengthText(got.bytes) })
  if (wanted.sha256 === got.sha256) return undefined
  return new BlobCorrupt({ path, expected: wanted.sha256, actual: got.sha256 })
}

/** Reads until what came is what is wanted; `each` reads it once. */
const untilIntact = <E, A, E2, R>(
  requests: Requests,
  wanted: Wanted<E>,
  each: Effect.Effect<
    Option.Option<{ readonly got: { bytes: number; sha256: string }; readonly value: A }>,
    E2,
    R
  >,
): Effect.Effect<Option.Option<A>, E2 | BlobCorrupt, R> =>
  Effect.gen(function* () {
    for (let attempts = 1; ; attempts++) {
      const read = Option.getOrUndefined(yield* each)
      if (read === undefined) return Option.none<A>()
      const damage = judge(requests, wanted, read.got)
      if (damage === undefined) return Option.some(read.value)
      if (attempts >= damagedAttempts) return yield* damage
    }
  })

/** Compares an object with its digest, keeping nothing; false when there is none. */
export const verify = (
  requests: Requests,
  key: string,
  id: { readonly sha256: string; readonly bytes?: number | undefined },
): Effect.Effect<boolean, S3Error | BlobCorrupt> => {
  const wanted: Wanted<never> = { key, sha256: id.sha256, bytes: id.bytes, check: () => Effect.void }
  const each = Effect.map(
    readOnce(requests, wanted, () => Effect.void),
    Option.map((got) => ({ got, value: undefined })),
  )
  return Effect.map(untilIntact(requests, wanted, each), Option.isSome)
}

/**
 * Writes an object to a new file that `temporary` names, and hands it to `commit`; the file is removed unless that has
 * renamed it. None when there is no such object.
 */
export const download = <E, A, E2>(
  requests: Requests,
  wanted: Wanted<E>,
  temporary: () => string,
  mode: number,
  commit: (path: string, fd: number) => Effect.Effect<A, E2>,
): Effect.Effect<Option.Option<A>, E | E2 | S3Error | BlobCorrupt | PutError> =>
  untilIntact(
    requests,
    wanted,
    Effect.suspend(() => {
      const path = temporary()
      return withTemporary(path, mode, (fd) =>
        Effect.gen(function* () {
          const read = yield* readOnce(requests, wanted, (chunk) => writeAll(fd, chunk, writeFailure(path)))
          if (Option.isNone(read)) return Option.none()
          const got = read.value
          if (judge(requests, wanted, got) !== undefined) return Option.some({ got, value: undefined as A })
          return Option.some({ got, value: yield* commit(path, fd) })
        }),
      )
    }),
  )
