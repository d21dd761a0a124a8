/**
 * A folder store as the cache of a remote one: what is in use is pinned, the least recently used goes.
 *
 * A pin is another hard link to the file, in `tmp/` under the name of the process that has it. Making it either
 * succeeds, and then no process can remove the content, or fails because the file is gone. A pin of a process that was
 * killed is swept with what else it left in `tmp/`. A file with links elsewhere (pins, or outputs that were linked) is
 * never removed: that would free nothing.
 *
 * Several processes use one folder. Each looks at the whole of it after it has added a part of the limit, so that
 * together they may exceed it by that part each.
 */
import fs from "node:fs"
import { join } from "node:path"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"

import { isSha256 } from "../../blobs/Artifact.ts"
import type { PutError } from "../../blobs/BlobStore.ts"
import { attempt } from "../folder/fileIo.ts"
import { errorCode, isAbsent, readFailure, writeFailure } from "../folder/ioError.ts"
import { ownerIsAlive } from "../processIdentity.ts"
import { namesIn } from "../folder/sourceTableFs.ts"
import { type StoreRoot, temporaryPath } from "../folder/StoreRoot.ts"

export interface BlobCache {
  /** Keeps the content of a file in the cache until the scope closes, and returns where; undefined when it is gone. */
  readonly pin: (path: string, sha256: string) => Effect.Effect<string | undefined, PutError, Scope.Scope>
  /** Is called for every file added. Removes others when there are too many. */
  readonly added: (bytes: number) => Effect.Effect<void>
}

/** Looks at the whole folder after this part of the limit was added. */
const partOfLimit = 0.1
/** Removes down to this part of the limit, not to have to do it again at once. */
const fullPart = 0.9

interface Entry {
  readonly path: string
  readonly bytes: number
  readonly usedMs: number
  readonly free: boolean
}

const digestLength = 64

export const make = (root: StoreRoot, limitBytes: number): BlobCache => {
  const turn = Semaphore.makeUnsafe(1)
  // As good as full: the first file added makes this process look.
  let sinceLook = Number.POSITIVE_INFINITY

  const pinned = Effect.map(namesIn(join(root.path, "tmp")), (names) => {
    const digests = names
      .filter((name) => isSha256(name.slice(-digestLength)) && ownerIsAlive(name) !== false)
      .map((name) => name.slice(-digestLength))
    return new Set(digests)
  })

  const entriesIn = Effect.fnUntraced(function* (fan: string, pins: ReadonlySet<string>) {
    const folder = join(root.path, "blobs", fan)
    const names = yield* namesIn(folder)
    return yield* attempt(
      () =>
        names.flatMap((name): ReadonlyArray<Entry> => {
          const path = join(folder, name)
          const status = fs.statSync(path, { throwIfNoEntry: false })
          // Linked elsewhere, and not by us: it takes no room that is ours.
          if (status === undefined || (status.nlink > 1 && !pins.has(fan + name))) return []
          return [{ path, bytes: status.size, usedMs: status.atimeMs, free: status.nlink === 1 }]
        }),
      readFailure(folder),
    )
  })

  const trim = Effect.gen(function* () {
    const pins = yield* pinned
    const entries: Array<Entry> = []
    for (const fan of yield* namesIn(join(root.path, "blobs"))) {
      entries.push(...(yield* entriesIn(fan, pins)))
      yield* Effect.yieldNow
    }
    let bytes = entries.reduce((sum, entry) => sum + entry.bytes, 0)
    if (bytes <= limitBytes) return bytes
    for (const entry of entries.filter(({ free }) => free).sort((a, b) => a.usedMs - b.usedMs)) {
      if (bytes <= limitBytes * fullPart) break
      yield* Effect.ignore(attempt(() => removeUnlinked(entry.path), writeFailure(entry.path)))
      bytes -= entry.bytes
    }
    return bytes
  })

  return {
    pin: (path, sha256) =>
      Effect.gen(function* () {
        const now = (yield* Clock.currentTimeMillis) / 1000
        const pin = `${temporaryPath(root)}.${sha256}`
        return yield* Effect.acquireRelease(
          attempt(() => link(path, pin, now), writeFailure(pin)).pipe(
            Effect.as(pin as string | undefined),
            Effect.catchIf(
              (error) => isAbsent(error.cause),
              () => Effect.succeed(undefined),
            ),
          ),
          () => Effect.sync(() => fs.rmSync(pin, { force: true })),
        )
      }),
    added: (bytes) =>
      Effect.suspend(() => {
        sinceLook += bytes
        if (sinceLook <= limitBytes * partOfLimit) return Effect.void
        sinceLook = 0
        return Effect.ignore(turn.withPermits(1)(trim))
      }),
  }
}

/** Removes a file unless a process has pinned it since it was looked at. */
const removeUnlinked = (path: string): void => {
  if (fs.statSync(path, { throwIfNoEntry: false })?.nlink === 1) fs.rmSync(path, { force: true })
}

/** A hard link, or a copy where a file cannot have another one; `now` in seconds. */
const link = (path: string, pin: string, now: number): void => {
  const status = fs.statSync(path)
  try {
    fs.linkSync(path, pin)
  } catch (cause) {
    if (isAbsent(cause)) throw cause
    if (!["EMLINK", "EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EXDEV"].includes(errorCode(cause) ?? ""))
      throw cause
    fs.copyFileSync(path, pin, fs.constants.COPYFILE_FICLONE | fs.constants.COPYFILE_EXCL)
  }
  // The time of last use: file systems are often mounted without it.
  fs.utimesSync(path, now, status.mtimeMs / 1000)
}
