/**
 * Folders of unfinished work on this machine, saved in a bucket so that another machine can go on.
 *
 * ```
 * <prefix>/unfinished/<key>/saved.json        the files of the folder when it was last saved: path, digest, length
 * <prefix>/unfinished/<key>/files/<sha256>    their content
 * <prefix>/unfinished/<key>/claim.json        who is at it
 * ```
 *
 * The folder that a caller gets is a local one. What has changed in it is uploaded now and then and when its scope
 * closes; files first, then `saved.json`, which therefore always names whole files that are there. A file that changes
 * while it is uploaded is left as it was saved before, so write files under another name and rename them. Empty folders
 * and links are not saved.
 *
 * A copy of the last `saved.json` of this machine lies beside the local folders. Where it equals the one in the bucket,
 * the local folder is as new or newer and is gone on with; otherwise another machine was at it since, and the folder is
 * made again from the bucket.
 *
 * Claims are best effort, a bucket has no locks: who wants a folder writes a claim, waits, and looks whether it is
 * still its own. Owners write theirs again with every save; one that has not been for {@link staleMs}, or whose process
 * on this machine is dead, holds nothing. Whoever finds another's claim in place of its own saves no more.
 */
import { createHash } from "node:crypto"
import fs from "node:fs"
import os from "node:os"
import { dirname, join } from "node:path"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

import { isSha256, Sha256 } from "../../blobs/Artifact.ts"
import { DigestInvalid, type PutError, StoreUnreadable, StoreUnwritable } from "../../blobs/BlobStore.ts"
import * as CallBlobs from "../../blobs/CallBlobs.ts"
import { type Unfinished, type UnfinishedInfo, UnfinishedInUse } from "../../Unfinished.ts"
import { replaceFile } from "../folder/durableWrite.ts"
import { attempt, fsync, hashFile } from "../folder/fileIo.ts"
import { isAbsent, readFailure, writeFailure } from "../folder/ioError.ts"
import { ownerIsAlive, uniqueName } from "../processIdentity.ts"
import { download } from "./download.ts"
import type { Requests } from "./requests.ts"
import { type StoreRoot, temporaryPath } from "../folder/StoreRoot.ts"
import * as UnfinishedFs from "../folder/unfinishedFs.ts"

/** Milliseconds to wait for another owner. */
const patienceMs = 5000
/** Milliseconds between writing a claim and looking whether another was written over it. */
const settleMs = 200
/** Saves that an owner may miss before its claim counts for nothing, and the least time for that. */
const missedSaves = 4
const leastStaleMs = 60_000
/** Files in transfer at once. */
const filesAtOnce = 4

const isFilePath = (path: string): boolean =>
  path.split("/").every((part) => part !== "" && part !== "." && part !== "..") && !path.includes("\0")

const SavedFile = Schema.Struct({
  path: Schema.String.check(Schema.makeFilter(isFilePath)),
  sha256: Sha256,
  bytes: Schema.Int,
  modifiedMs: Schema.Finite,
})
type SavedFile = typeof SavedFile.Type

const Saved = Schema.fromJsonString(
  Schema.Struct({ version: Schema.Literal(1), savedMs: Schema.Finite, files: Schema.Array(SavedFile) }),
)
type Saved = typeof Saved.Type

const Claim = Schema.fromJsonString(Schema.Struct({ owner: Schema.String, host: Schema.String }))

/** A use of a folder by this process. */
interface Session {
  readonly key: string
  readonly folder: string
  readonly owner: string
  /** What is in the bucket: files by path, digests. */
  files: ReadonlyMap<string, SavedFile>
  /** What a file had when its digest was taken. */
  readonly known: Map<string, { readonly stamp: string; readonly sha256: string }>
  /** Removed by its user, or taken by another. */
  over: boolean
}

const textBytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const digestOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex")

const checkKey = (key: string): Effect.Effect<string, DigestInvalid> =>
  isSha256(key) ? Effect.succeed(key) : Effect.fail(new DigestInvalid({ value: String(key) }))

const stampOf = (status: fs.BigIntStats): string =>
  `${status.size} ${status.mtimeNs} ${status.ctimeNs} ${status.ino}`

/** The regular files below a folder, in the order of their paths. */
const filesBelow = (folder: string): ReadonlyArray<string> =>
  fs
    .readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .filter(isFilePath)
    .sort()

export const make = (
  requests: Requests,
  prefix: string,
  root: StoreRoot,
  saveEveryMs: number,
): Unfinished["Service"] => {
  const local = UnfinishedFs.make(root)
  const sessions = new Map<string, Session>()
  const top = `${prefix}unfinished/`
  const keyOf = (key: string, name: string): string => `${top}${key}/${name}`
  const staleMs = Math.max(leastStaleMs, missedSaves * saveEveryMs)
  const copyPath = (key: string): string => join(root.path, "saved", `${key}.json`)

  const unwritable = (name: string) => (cause: unknown) =>
    new StoreUnwritable({ path: requests.urlOf(name), cause })
  const unreadable = (name: string) => (cause: unknown) =>
    new StoreUnreadable({ path: requests.urlOf(name), cause })

  /** What was last saved, as text; none when nothing was. */
  const savedText = Effect.fnUntraced(function* (key: string) {
    const found = yield* requests.get(keyOf(key, "saved.json"))
    return Option.map(found, ({ bytes }) => new TextDecoder().decode(bytes))
  })

  const decode = (key: string, text: string) =>
    Effect.mapError(Schema.decodeUnknownEffect(Saved)(text), unreadable(keyOf(key, "saved.json")))

  const readCopy = (key: string) =>
    attempt(() => fs.readFileSync(copyPath(key), "utf8"), readFailure(copyPath(key))).pipe(
      Effect.map(Option.some),
      Effect.catchIf(
        (error) => isAbsent(error.cause),
        () => Effect.succeed(Option.none<string>()),
      ),
    )

  const writeCopy = (key: string, text: string) => replaceFile(temporaryPath(root), copyPath(key), text, root)

  const removeCopy = (key: string) =>
    attempt(() => fs.rmSync(copyPath(key), { force: true }), writeFailure(copyPath(key)))

  const readClaim = (key: string) =>
    Effect.map(
      requests.get(keyOf(key, "claim.json")),
      Option.flatMap(({ bytes, modifiedMs, nowMs }) =>
        Option.map(Schema.decodeUnknownOption(Claim)(new TextDecoder().decode(bytes)), ({ host, owner }) => ({
          host,
          owner,
          modifiedMs,
          nowMs,
        })),
      ),
    )

  const writeClaim = (key: string, owner: string) => {
    const bytes = textBytes(Schema.encodeSync(Claim)({ owner, host: os.hostname() }))
    return requests.put(keyOf(key, "claim.json"), bytes, digestOf(bytes))
  }

  /**
   * Claims a folder in the bucket; waits some seconds for another that has it, and for one of another machine until it
   * is seen to live, or its claim holds no more.
   */
  const claim = Effect.fnUntraced(
    function* (key: string) {
      const owner = uniqueName()
      /** When claims were written, as they were first seen. */
      const seen = new Map<string, number>()
      for (let waitedMs = 0; ;) {
        const other = Option.getOrUndefined(yield* readClaim(key))
        const now = other?.nowMs ?? (yield* Clock.currentTimeMillis)
        const lives = other !== undefined && (ownerIsAlive(other.owner) ?? now - other.modifiedMs < staleMs)
        const silent = lives && isSilent(seen, other)
        if (!lives) {
          yield* writeClaim(key, owner)
          yield* Effect.sleep(settleMs)
          const mine = Option.getOrUndefined(yield* readClaim(key))
          if (mine?.owner === owner) return owner
        } else if (waitedMs >= patienceMs && !silent) {
          return yield* new UnfinishedInUse({
            key,
            owner: `process ${other.owner.split(".")[1]} of ${other.host}`,
            claim: requests.urlOf(keyOf(key, "claim.json")),
          })
        }
        const pauseMs =
          waitedMs < patienceMs
            ? yield* Random.nextIntBetween(100, 400)
            : yield* Random.nextIntBetween(1000, 2000)
        yield* Effect.sleep(pauseMs)
        waitedMs += pauseMs
      }
    },
    (effect, key) =>
      Effect.mapError(effect, (error) =>
        error._tag === "UnfinishedInUse" ? error : unwritable(keyOf(key, "claim.json"))(error),
      ),
  )

  /** Whether an owner cannot be seen to live, and has not written its claim again since it was first seen. */
  const isSilent = (
    seen: Map<string, number>,
    { modifiedMs, owner }: { readonly owner: string; readonly modifiedMs: number },
  ): boolean => {
    if (!seen.has(owner)) seen.set(owner, modifiedMs)
    return ownerIsAlive(owner) === undefined && seen.get(owner) === modifiedMs
  }

  /** Whether the claim is still the owner's. */
  const isOwn = (key: string, owner: string) =>
    Effect.map(readClaim(key), (found) => Option.isNone(found) || found.value.owner === owner)

  const release = (key: string, owner: string) =>
    Effect.ignore(
      Effect.flatMap(isOwn(key, owner), (own) =>
        own ? requests.remove(keyOf(key, "claim.json")) : Effect.void,
      ),
    )

  /** Makes the local folder what was saved, unless it is as new or newer. The files that are in the bucket. */
  const restore = Effect.fnUntraced(
    function* (key: string, folder: string) {
      const text = yield* savedText(key)
      const copy = yield* readCopy(key)
      if (Option.isNone(text)) {
        // Saved from here and not there any more: it was discarded elsewhere.
        if (Option.isSome(copy)) yield* replaceFolder(folder, undefined)
        yield* removeCopy(key)
        return []
      }
      const { files } = yield* decode(key, text.value)
      if (Option.isSome(copy) && copy.value === text.value) return files
      const fresh = temporaryPath(root)
      yield* attempt(() => fs.mkdirSync(fresh, { mode: root.modes.folder }), writeFailure(fresh))
      yield* Effect.forEach(files, (file) => fetch(key, file, fresh), {
        concurrency: filesAtOnce,
        discard: true,
      })
      yield* replaceFolder(folder, fresh)
      yield* writeCopy(key, text.value)
      return files
    },
    (effect, key) =>
      Effect.mapError(effect, (error) =>
        error._tag === "StoreUnwritable" || error._tag === "OutOfSpace"
          ? error
          : unwritable(keyOf(key, "saved.json"))(error),
      ),
  )

  const fetch = Effect.fnUntraced(function* (key: string, file: SavedFile, into: string) {
    const path = join(into, file.path)
    yield* attempt(
      () => fs.mkdirSync(dirname(path), { recursive: true, mode: root.modes.folder }),
      writeFailure(path),
    )
    const name = keyOf(key, `files/${file.sha256}`)
    const got = yield* download(
      requests,
      { key: name, sha256: file.sha256, bytes: file.bytes, check: () => Effect.void },
      () => `${path}.${uniqueName()}`,
      root.modes.file,
      (temporary, fd) =>
        Effect.gen(function* () {
          if (root.durability === "fsync") yield* fsync(fd, writeFailure(path))
          yield* attempt(() => fs.renameSync(temporary, path), writeFailure(path))
          const seconds = file.modifiedMs / 1000
          yield* attempt(() => fs.utimesSync(path, seconds, seconds), writeFailure(path))
        }),
    )
    if (Option.isNone(got)) return yield* unreadable(name)(new Error("it is not there"))
  })

  /** Puts another folder, or an empty one, in the place of a folder. */
  const replaceFolder = (folder: string, fresh: string | undefined) => {
    const away = temporaryPath(root)
    return attempt(() => {
      fs.renameSync(folder, away)
      if (fresh === undefined) fs.mkdirSync(folder, { mode: root.modes.folder })
      else fs.renameSync(fresh, folder)
      fs.rmSync(away, { recursive: true, force: true })
    }, writeFailure(folder))
  }

  /** Uploads a file if its content is not there; what is saved of it then, undefined when it changed meanwhile. */
  const saveFile = (session: Session, path: string, uploaded: Set<string>) => {
    const at = join(session.folder, path)
    return Effect.gen(function* () {
      const status = yield* attempt(() => fs.statSync(at, { bigint: true }), readFailure(at))
      const stamp = stampOf(status)
      const known = session.known.get(path)
      const sha256 = known?.stamp === stamp ? known.sha256 : (yield* hashFile(at, readFailure(at))).sha256
      const unchanged = Effect.flatMap(
        attempt(() => stampOf(fs.statSync(at, { bigint: true })) === stamp, readFailure(at)),
        (same) => (same ? Effect.void : Effect.fail(new StoreUnreadable({ path: at, cause: "it changed" }))),
      )
      const bytes = Number(status.size)
      if (uploaded.has(sha256)) yield* unchanged
      else {
        const name = keyOf(session.key, `files/${sha256}`)
        yield* requests.putFile(name, { path: at, bytes, sha256 }, readFailure(at), unchanged)
        uploaded.add(sha256)
      }
      session.known.set(path, { stamp, sha256 })
      return Option.some<SavedFile>({ path, sha256, bytes, modifiedMs: Number(status.mtimeMs) })
    }).pipe(
      // It was removed or written to: the next save sees what came of it.
      Effect.catchTag("StoreUnreadable", () => Effect.succeed(Option.fromNullishOr(session.files.get(path)))),
    )
  }

  /** Uploads what has changed. `saved.json` is what makes it count. */
  const save = Effect.fn("Unfinished.save")(function* (session: Session) {
    if (session.over) return
    const { files, folder, key, owner } = session
    if (!(yield* isOwn(key, owner))) {
      session.over = true
      return yield* Effect.logWarning(`unfinished work ${key}: another has claimed it, it is saved no more`)
    }
    yield* writeClaim(key, owner)
    const paths = yield* attempt(() => filesBelow(folder), readFailure(folder))
    const uploaded = new Set([...files.values()].map(({ sha256 }) => sha256))
    const saved = yield* Effect.forEach(paths, (path) => saveFile(session, path, uploaded), {
      concurrency: filesAtOnce,
    })
    const now = new Map(saved.flatMap((file) => (Option.isSome(file) ? [[file.value.path, file.value]] : [])))
    if (session.over) return
    const isSame =
      now.size === files.size &&
      [...now.values()].every((file) => {
        const before = files.get(file.path)
        return before?.sha256 === file.sha256 && before.modifiedMs === file.modifiedMs
      })
    const copy = yield* readCopy(key)
    if (isSame && Option.isSome(copy)) return
    const text = Schema.encodeSync(Saved)({
      version: 1,
      savedMs: yield* Clock.currentTimeMillis,
      files: [...now.values()],
    })
    const bytes = textBytes(text)
    // The bucket first: dying in between costs what changed since, the other way round the whole of this save.
    yield* requests.put(keyOf(key, "saved.json"), bytes, digestOf(bytes))
    yield* writeCopy(key, text)
    session.files = now
    const wanted = new Set([...now.values()].map(({ sha256 }) => sha256))
    yield* Effect.forEach(
      [...uploaded].filter((sha256) => !wanted.has(sha256)),
      (sha256) => requests.remove(keyOf(key, `files/${sha256}`)),
      { discard: true },
    )
  })

  const trySave = (session: Session) =>
    save(session).pipe(
      Effect.catch((error) =>
        Effect.logWarning(`unfinished work ${session.key} could not be saved: ${error.message}`),
      ),
    )

  /** Removes all that is in the bucket; `saved.json` first, so that it is gone at once. */
  const removeSaved = Effect.fnUntraced(
    function* (key: string) {
      yield* requests.remove(keyOf(key, "saved.json"))
      const listed = yield* Stream.runCollect(requests.list(keyOf(key, "files/")))
      yield* Effect.forEach(listed, (object) => requests.remove(object.key), {
        concurrency: filesAtOnce,
        discard: true,
      })
    },
    (effect, key) => Effect.mapError(effect, unwritable(keyOf(key, "saved.json"))),
  )

  const begin = Effect.fnUntraced(function* (key: string, folder: string) {
    const owner = yield* Effect.acquireRelease(Effect.interruptible(claim(key)), (owner) =>
      release(key, owner),
    )
    const files = yield* restore(key, folder)
    const session: Session = {
      key,
      folder,
      owner,
      files: new Map(files.map((file) => [file.path, file])),
      known: new Map(),
      over: false,
    }
    yield* Effect.acquireRelease(
      Effect.sync(() => void sessions.set(key, session)),
      () =>
        Effect.andThen(
          trySave(session),
          Effect.sync(() => void sessions.delete(key)),
        ),
    )
    yield* trySave(session).pipe(Effect.delay(saveEveryMs), Effect.forever, Effect.forkScoped)
  })

  const infoOf = (key: string, { files, savedMs }: Saved): UnfinishedInfo => ({
    key,
    bytes: files.reduce((sum, file) => sum + file.bytes, 0),
    modified: files.length === 0 ? savedMs : Math.max(...files.map(({ modifiedMs }) => modifiedMs)),
  })

  return {
    use: Effect.fn("Unfinished.use")(function* (given) {
      const key = yield* checkKey(given)
      yield* CallBlobs.settled
      const folder = yield* local.use(key)
      yield* begin(key, folder)
      return folder
    }),
    share: (key) => Effect.andThen(CallBlobs.settled, local.share(key)),
    discard: Effect.fn("Unfinished.discard")(function* (given): Effect.fn.Return<
      void,
      DigestInvalid | UnfinishedInUse | PutError
    > {
      const key = yield* checkKey(given)
      const session = sessions.get(key)
      const remove = Effect.gen(function* () {
        if (session !== undefined) session.over = true
        yield* removeSaved(key)
        yield* local.discard(key)
        yield* removeCopy(key)
      })
      if (session !== undefined) return yield* remove
      yield* Effect.acquireUseRelease(
        Effect.interruptible(claim(key)),
        () => remove,
        (owner) => release(key, owner),
      )
    }),
    list: Effect.gen(function* () {
      const infos = new Map<string, UnfinishedInfo>()
      const here = new Map((yield* local.list).map((info) => [info.key, info]))
      const listed = yield* Stream.runCollect(requests.list(top))
      const keys = listed
        .map(({ key }) => key.slice(top.length).split("/"))
        .flatMap(([key, name, ...more]) =>
          key !== undefined && isSha256(key) && name === "saved.json" && more.length === 0 ? [key] : [],
        )
      for (const key of keys) {
        const text = yield* savedText(key)
        if (Option.isNone(text)) continue
        const copy = yield* readCopy(key)
        const mine = Option.isSome(copy) && copy.value === text.value ? here.get(key) : undefined
        infos.set(key, mine ?? infoOf(key, yield* decode(key, text.value)))
      }
      // Begun here and not saved yet.
      for (const info of here.values()) {
        if (!infos.has(info.key) && Option.isNone(yield* readCopy(info.key))) infos.set(info.key, info)
      }
      return [...infos.values()].sort((a, b) => (a.key < b.key ? -1 : 1))
    }).pipe(Effect.mapError((error) => (error._tag === "StoreUnreadable" ? error : unreadable(top)(error)))),
  }
}
