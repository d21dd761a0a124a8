/** Files that appear whole: written under another name, flushed, renamed, and the folder flushed. */
import fs from "node:fs"
import { dirname } from "node:path"
import * as Effect from "effect/Effect"
import type { PutError } from "../../blobs/BlobStore.ts"
import { attempt, fsync, fsyncFolder } from "./fileIo.ts"
import { writeFailure } from "./ioError.ts"
import type { Modes } from "./modes.ts"

/**
 * `fsync` makes a write survive a power failure before it counts; `none` leaves flushing to the system: a killed
 * process still loses nothing.
 */
export type Durability = "fsync" | "none"

/** Where files are to appear. */
export interface Durable {
  /** The folder that all of them are in: it exists. */
  readonly path: string
  readonly durability: Durability
  readonly modes: Modes
}

// A folder's own name has to be flushed once; which ones were is remembered, so that a put flushes one folder.
const flushedFolders = new Set<string>()

/** Forgets that a folder's name was flushed: it was removed. */
export const forgetFolder = (path: string): void => void flushedFolders.delete(path)

/**
 * Renames a flushed file and makes the new name durable, with the names of the folders above it up to that of `within`
 * (exclusive); those between are made.
 */
export const renameDurably = Effect.fnUntraced(function* (
  from: string,
  to: string,
  within: Durable,
): Effect.fn.Return<void, PutError> {
  const folder = dirname(to)
  const fail = writeFailure(to)
  yield* attempt(() => {
    // Not the folder of the store itself: where that has gone, no new one is made.
    if (!fs.existsSync(folder) && fs.existsSync(within.path))
      fs.mkdirSync(folder, { recursive: true, mode: within.modes.folder })
    fs.renameSync(from, to)
  }, fail)
  if (within.durability === "none") return
  yield* fsyncFolder(folder, fail)
  for (
    let named = folder;
    named.length > within.path.length && !flushedFolders.has(named);
    named = dirname(named)
  ) {
    yield* fsyncFolder(dirname(named), fail)
    flushedFolders.add(named)
  }
})

/** A new file for `use` to fill, closed and removed afterwards unless it was renamed away. */
export const withTemporary = <A, E, R>(
  path: string,
  mode: number,
  use: (fd: number) => Effect.Effect<A, E, R>,
): Effect.Effect<A, E | PutError, R> =>
  Effect.acquireUseRelease(
    attempt(() => fs.openSync(path, "wx", mode), writeFailure(path)),
    use,
    (fd) =>
      Effect.sync(() => {
        fs.closeSync(fd)
        fs.rmSync(path, { force: true })
      }),
  )

/** Small content, atomically in place of what is there. */
export const replaceFile = (
  temporary: string,
  path: string,
  text: string,
  within: Durable,
): Effect.Effect<void, PutError> =>
  withTemporary(temporary, within.modes.file, (fd) =>
    Effect.gen(function* () {
      yield* attempt(() => fs.writeFileSync(fd, text), writeFailure(path))
      if (within.durability === "fsync") yield* fsync(fd, writeFailure(path))
      yield* renameDurably(temporary, path, within)
    }),
  )
