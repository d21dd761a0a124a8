/**
 * Folders of unfinished work, and who has them.
 *
 * ```
 * unfinished/<key>/           the folder: its content is its user's affair
 * unfinished/<key>.<owner>    a claim of the process in its name
 * ```
 *
 * Who wants a folder puts a claim there first and then looks for claims of others; if a living process has one, it
 * takes its own back and waits. Of two that do so at once, at least one sees the other. A claim of a dead process
 * is removed by the first process that sees it. No name is ever used twice, so that is never the claim of another. A
 * process of another machine (or container) cannot be seen to live: its claim holds while its file is young. Owners
 * make their claims new three times a minute, and the times compared are both those of the store's file system. So
 * who waits for such a claim sees it made new, and gives up, or sees it grow old, and takes the folder: after a node
 * was lost, its work goes on elsewhere by itself.
 */
import fs from "node:fs"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"

import { isSha256 } from "../../blobs/Artifact.ts"
import { DigestInvalid, type PutError } from "../../blobs/BlobStore.ts"
import { type Unfinished, type UnfinishedInfo, UnfinishedInUse } from "../../Unfinished.ts"
import { attempt, fsyncFolder } from "./fileIo.ts"
import { errorCode, isAbsent, readFailure, writeFailure } from "./ioError.ts"
import { ownerIsAlive, uniqueName } from "../processIdentity.ts"
import { type StoreRoot, temporaryPath } from "./StoreRoot.ts"
import * as Vanished from "./vanished.ts"

/** Milliseconds to wait for another owner: a worker whose driver was killed ends well within them. */
const patienceMs = 5000
const renewMs = 20_000
/** A claim of another machine that was not made new for so long, nine times over, is a dead one's. */
const foreignMs = 3 * 60_000

const keyLength = 64

const checkKey = (key: string): Effect.Effect<string, DigestInvalid> =>
  isSha256(key) ? Effect.succeed(key) : Effect.fail(new DigestInvalid({ value: String(key) }))

export const make = (root: StoreRoot): Unfinished["Service"] => {
  const top = join(root.path, "unfinished")
  const folderOf = (key: string): string => join(top, key)
  /** Keys whose folders were given out here, and not given back. */
  const held = new Set<string>()

  const otherClaims = (key: string, own: string): ReadonlyArray<string> =>
    fs.readdirSync(top).filter((name) => name.startsWith(`${key}.`) && join(top, name) !== own)

  /** Whether the owner of a claim may be at work; `nowMs` is the file system's time. */
  const lives = (name: string, nowMs: number): boolean => {
    const alive = ownerIsAlive(name.slice(keyLength + 1))
    if (alive !== undefined) return alive
    const status = fs.statSync(join(top, name), { throwIfNoEntry: false })
    return status !== undefined && nowMs - status.mtimeMs < foreignMs
  }

  /** Puts a claim there, unless there is another: then returns its owner. */
  const claim = (key: string): { readonly path: string; readonly by?: string } => {
    const path = join(top, `${key}.${uniqueName()}`)
    fs.closeSync(fs.openSync(path, "wx", root.modes.file))
    try {
      const nowMs = fs.statSync(path).mtimeMs
      for (const name of otherClaims(key, path)) {
        if (lives(name, nowMs)) {
          fs.rmSync(path)
          return { path, by: name }
        }
        fs.rmSync(join(top, name), { force: true })
      }
    } catch (cause) {
      fs.rmSync(path, { force: true })
      throw cause
    }
    return { path }
  }

  const inUse = (key: string, name: string): UnfinishedInUse => {
    const owner = name.slice(keyLength + 1)
    const here = ownerIsAlive(owner) !== undefined
    return new UnfinishedInUse({
      key,
      owner: here ? `process ${owner.split(".")[1]}` : "a process of another machine or container",
      claim: join(top, name),
    })
  }

  // The folder of the store itself is not made: where it has gone, work does not begin again elsewhere.
  const ready = attempt(() => {
    if (!fs.existsSync(top)) makeOnce(top, root.modes.folder)
  }, writeFailure(top))

  /** A claim that holds, tried for until patience ends. To be called where nothing interrupts. */
  const acquire = (key: string): Effect.Effect<string, UnfinishedInUse | PutError> =>
    Effect.gen(function* () {
      yield* ready
      /** When claims were made new, as they were first seen. */
      const seen = new Map<string, number>()
      for (let waitedMs = 0; ;) {
        const { by, path } = yield* attempt(() => claim(key), writeFailure(top))
        if (by === undefined) return path
        const madeMs = fs.statSync(join(top, by), { throwIfNoEntry: false })?.mtimeMs ?? 0
        if (!seen.has(by)) seen.set(by, madeMs)
        const silent = ownerIsAlive(by.slice(keyLength + 1)) === undefined && seen.get(by) === madeMs
        const patient = waitedMs < patienceMs
        if (!patient && !silent) return yield* inUse(key, by)
        // Not in step: two that began at once would see each other for ever.
        const pauseMs = yield* patient ? Random.nextIntBetween(50, 150) : Random.nextIntBetween(1000, 2000)
        yield* Effect.interruptible(Effect.sleep(pauseMs))
        waitedMs += pauseMs
      }
    })

  const release = (path: string) =>
    Effect.ignore(attempt(() => fs.rmSync(path, { force: true }), writeFailure(path)))

  /** Makes a claim new, again and again. A time on the file system's clock, not on this machine's: by writing to it. */
  const renew = (path: string) =>
    attempt(() => fs.writeFileSync(path, "\n", { flag: "r+" }), writeFailure(path)).pipe(
      Effect.ignore,
      Effect.delay(renewMs),
      Effect.forever,
    )

  const makeFolder = Effect.fnUntraced(function* (key: string) {
    const folder = folderOf(key)
    const fail = writeFailure(folder)
    const made = yield* attempt(() => makeOnce(folder, root.modes.folder), fail)
    if (made && root.durability === "fsync") {
      yield* fsyncFolder(top, fail)
      yield* fsyncFolder(root.path, fail)
    }
    return folder
  })

  const remove = Effect.fnUntraced(function* (key: string) {
    const folder = folderOf(key)
    const away = temporaryPath(root)
    const moved = yield* attempt(() => fs.renameSync(folder, away), writeFailure(folder)).pipe(
      Effect.as(true),
      Effect.catchIf(
        (error) => isAbsent(error.cause),
        () => Effect.succeed(false),
      ),
    )
    if (!moved) return
    if (root.durability === "fsync") yield* fsyncFolder(top, writeFailure(folder))
    // What cannot be removed now is swept with the other temporary files.
    yield* Effect.ignore(attempt(() => fs.rmSync(away, { recursive: true, force: true }), writeFailure(away)))
  })

  const gone = Vanished.writing(root)

  return {
    use: Effect.fn("Unfinished.use")(function* (given) {
      const key = yield* checkKey(given)
      const path = yield* Effect.acquireRelease(
        Effect.tap(Effect.mapError(acquire(key), gone), () => Effect.sync(() => void held.add(key))),
        (claimed) =>
          Effect.andThen(
            Effect.sync(() => void held.delete(key)),
            release(claimed),
          ),
      )
      yield* Effect.forkScoped(renew(path))
      return yield* Effect.mapError(makeFolder(key), gone)
    }),
    share: Effect.fn("Unfinished.share")(function* (given) {
      const key = yield* checkKey(given)
      yield* Effect.mapError(ready, gone)
      return yield* Effect.mapError(makeFolder(key), gone)
    }),
    discard: Effect.fn("Unfinished.discard")(function* (given) {
      const key = yield* checkKey(given)
      if (held.has(key)) return yield* remove(key)
      yield* Effect.acquireUseRelease(acquire(key), () => remove(key), release)
    }),
    list: Effect.suspend(() => attempt(() => read(top), readFailure(top))),
  }
}

/** Makes a folder in one that is there; false when another has made it. */
const makeOnce = (folder: string, mode: number): boolean => {
  try {
    fs.mkdirSync(folder, { mode })
    return true
  } catch (cause) {
    if (errorCode(cause) === "EEXIST") return false
    throw cause
  }
}

/** The names in a folder; none when it is gone. */
const entriesIn = (folder: string): ReadonlyArray<fs.Dirent> => {
  try {
    return fs.readdirSync(folder, { withFileTypes: true })
  } catch (cause) {
    if (isAbsent(cause)) return []
    throw cause
  }
}

/** Every folder below `top`, measured while others may be writing in it. */
const read = (top: string): ReadonlyArray<UnfinishedInfo> =>
  entriesIn(top)
    .filter((entry) => entry.isDirectory() && isSha256(entry.name))
    .map(({ name }) => name)
    .sort()
    .flatMap((key) => {
      let bytes = 0
      let modified = 0
      const pending = [join(top, key)]
      while (pending.length > 0) {
        const path = pending.pop()!
        const status = fs.lstatSync(path, { throwIfNoEntry: false })
        if (status === undefined) continue
        modified = Math.max(modified, status.mtimeMs)
        if (status.isDirectory()) pending.push(...entriesIn(path).map(({ name }) => join(path, name)))
        else bytes += status.size
      }
      return modified === 0 ? [] : [{ key, bytes, modified }]
    })
