/**
 * Named objects as files: `objects/<name>` in the folder of the store. Each is written to `tmp/`, flushed and renamed
 * in, so that no reader sees half of one, and no list has a file that is still being written.
 */
import fs from "node:fs"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"

import type { PutError, StoreUnreadable } from "../../blobs/BlobStore.ts"
import {
  checkName,
  checkPrefix,
  defaultMaxObjectBytes,
  isObjectName,
  Objects,
  ObjectTooLarge,
} from "../../Objects.ts"
import { renameDurably, withTemporary } from "./durableWrite.ts"
import { attempt, fsync, readWhole, writeAll } from "./fileIo.ts"
import { errorCode, isAbsent, readFailure, writeFailure } from "./ioError.ts"
import { type StoreRoot, temporaryPath } from "./StoreRoot.ts"
import * as Vanished from "./vanished.ts"

/** No file, or a part of its path is a file or the whole of it a folder: no object of that name. */
const isNoObject = (cause: unknown): boolean =>
  isAbsent(cause) || errorCode(cause) === "ENOTDIR" || errorCode(cause) === "EISDIR"

export const make = (root: StoreRoot): Objects["Service"] => {
  const top = join(root.path, "objects")

  const write = Effect.fnUntraced(function* (
    name: string,
    bytes: Uint8Array,
  ): Effect.fn.Return<void, PutError> {
    const path = join(top, name)
    const temporary = temporaryPath(root)
    yield* withTemporary(temporary, root.modes.file, (fd) =>
      Effect.gen(function* () {
        yield* writeAll(fd, bytes, writeFailure(path))
        if (root.durability === "fsync") yield* fsync(fd, writeFailure(path))
        yield* renameDurably(temporary, path, root)
      }),
    )
  })

  const read = Effect.fnUntraced(function* (name: string, maxBytes: number) {
    const path = join(top, name)
    const status = yield* attempt(() => fs.statSync(path), readFailure(path))
    if (!status.isFile()) return Option.none<Uint8Array<ArrayBuffer>>()
    // Another may come in its place, of another length: one byte more than it had shows that it is longer.
    const bound = Math.min(status.size, maxBytes) + 1
    const { bytes } = yield* readWhole(path, bound, false, readFailure(path))
    if (bytes.length > maxBytes)
      return yield* new ObjectTooLarge({ name, bytes: Math.max(status.size, bytes.length), maxBytes })
    return Option.some(bytes)
  })

  /** The entries of a folder in the order of the names below it: of `a` and `a-b`, the folder `a/` comes second. */
  const entries = (folder: string): Effect.Effect<ReadonlyArray<string>, StoreUnreadable> =>
    attempt(
      () => {
        const path = join(top, folder)
        return fs
          .readdirSync(path, { withFileTypes: true })
          .map((entry) => `${entry.name}${entry.isDirectory() ? "/" : ""}`)
          .sort()
      },
      readFailure(join(top, folder)),
    ).pipe(
      Effect.catchIf(
        (error) => isNoObject(error.cause),
        () => Effect.as(Vanished.check(root), []),
      ),
    )

  /** `folder` is empty or ends in a slash. */
  const below = (folder: string): Stream.Stream<string, StoreUnreadable> =>
    Stream.fromIterableEffect(entries(folder)).pipe(
      Stream.flatMap((entry) => {
        const name = `${folder}${entry}`
        if (entry.endsWith("/")) return below(name)
        return isObjectName(name) ? Stream.succeed(name) : Stream.empty
      }),
    )

  return Objects.of({
    put: Effect.fn("Objects.put")(function* (name, bytes) {
      yield* checkName(name)
      yield* Effect.mapError(write(name, bytes), Vanished.writing(root))
    }),
    get: Effect.fn("Objects.get")(function* (name, options) {
      yield* checkName(name)
      return yield* read(name, options?.maxBytes ?? defaultMaxObjectBytes).pipe(
        Effect.catchIf(
          (error) => error._tag === "StoreUnreadable" && isNoObject(error.cause),
          // A reader that waits for an object would wait for ever.
          () => Effect.as(Vanished.check(root), Option.none()),
        ),
        Effect.mapError(Vanished.reading(root)),
      )
    }),
    list: (prefix) =>
      Stream.unwrap(Effect.map(checkPrefix(prefix), () => below(prefix === "" ? "" : `${prefix}/`))),
    remove: Effect.fn("Objects.remove")(function* (name) {
      yield* checkName(name)
      const path = join(top, name)
      // Its folder stays: another process may be about to put an object there.
      yield* attempt(() => fs.rmSync(path, { force: true }), writeFailure(path)).pipe(
        Effect.catchIf(
          (error) => isNoObject(error.cause) || errorCode(error.cause) === "ERR_FS_EISDIR",
          () => Effect.void,
        ),
      )
    }),
  })
}
