/**
 * The folder of a store: what may become one, its version, and its temporary files.
 *
 * ```
 * store.json                      {"format":"reelgraph-store","version":1,"requires":">=0.1.0"}
 * blobs/ab/<62 hex>               a blob, read-only
 * refs/ab/<62 hex>/<path>.json    an external file with this content
 * refs/by-path/<path>.json        what an external file had when it was last hashed
 * objects/<name>                  a named object
 * unfinished/<64 hex>/            work that outlives the process that does it; see unfinishedFs.ts
 * damaged/<64 hex>.<owner>        what was found in the place of a blob and does not have its digest
 * tmp/<owner>...                  half-written files and scratch folders
 * ```
 */
import fs from "node:fs"
import { basename, dirname, join, resolve } from "node:path"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { NotAStore, type OpenError, StoreVersionUnsupported } from "../../blobs/BlobStore.ts"
import { Notices } from "../../Notices.ts"
import { type Durability, type Durable, replaceFile } from "./durableWrite.ts"
import { attempt, fsyncFolder } from "./fileIo.ts"
import { readFailure, writeFailure } from "./ioError.ts"
import { exposedTo, modesIn, ownModes } from "./modes.ts"
import { ownerIsAlive, uniqueName } from "../processIdentity.ts"
import { isGone, unwritable } from "./vanished.ts"

/** Node's recursive mkdir never ends where a file system refuses children of a folder that is there (as /proc does). */
const makeFolder = (path: string): void => {
  if (fs.existsSync(path) && fs.statSync(path).isDirectory()) return
  fs.mkdirSync(path, { recursive: !fs.existsSync(dirname(path)), mode: ownModes.folder })
}

/** The newest layout this code reads and writes. */
const storeVersion = 1

const StoreFile = Schema.fromJsonString(
  Schema.Struct({
    format: Schema.Literal("reelgraph-store"),
    version: Schema.Int.check(Schema.isGreaterThanOrEqualTo(1)),
    requires: Schema.optionalKey(Schema.String),
  }),
)
/** The mark of a store of this version. */
export const storeFileText = `{"format":"reelgraph-store","version":${storeVersion},"requires":">=0.1.0"}\n`

/** Days after which another machine's temporary files count as left behind. */
const foreignDays = 7

/** Its path is absolute. */
export interface StoreRoot extends Durable {}

/** A path below `tmp/` that no other process uses. */
export const temporaryPath = (root: StoreRoot): string => join(root.path, "tmp", uniqueName())

// A killed first opening leaves some of these, and the cache of stores in buckets shares its folder with other caches
// of this user; file systems and desktops leave the rest.
const isOurs = (name: string): boolean =>
  /^(blobs|refs|tmp|objects|unfinished|damaged|stores|compiled|keys|syntax\.json.*|store\.json\..*|lost\+found|\.DS_Store)$/.test(
    name,
  )

/** Fails when a store's mark is not ours or of a version that is too new. */
export const checkVersion = (path: string, text: string) =>
  Effect.gen(function* () {
    const file = yield* Schema.decodeUnknownEffect(StoreFile)(text).pipe(
      Effect.mapError(
        () => new NotAStore({ path, reason: "its store.json is not one that reelgraph wrote" }),
      ),
    )
    if (file.version > storeVersion) {
      yield* new StoreVersionUnsupported({
        path,
        found: file.version,
        supported: storeVersion,
        requires: file.requires ?? "newer than this one",
      })
    }
  })

/** The text of store.json, or undefined when there is none. */
const readStoreFile = (path: string) =>
  attempt(() => {
    const file = join(path, "store.json")
    return fs.existsSync(file) ? fs.readFileSync(file, "utf8") : undefined
  }, readFailure(path))

const initialise = Effect.fn("StoreRoot.initialise")(function* (root: StoreRoot) {
  const { path } = root
  const names = yield* attempt(() => fs.readdirSync(path), readFailure(path))
  // Another process has made the store since its mark was looked for.
  if (names.includes("store.json")) return yield* checkVersion(path, (yield* readStoreFile(path)) ?? "")
  const strangers = names.filter((name) => !isOurs(name))
  if (strangers.length > 0 && !basename(path).endsWith(".reel")) {
    yield* new NotAStore({
      path,
      reason: `the folder holds other files (${strangers.slice(0, 3).join(", ")}) and no store.json`,
    })
  }
  // Two processes may do this at once: both write the same text under their own name, and the last rename stays.
  const file = join(path, "store.json")
  yield* replaceFile(`${file}.${uniqueName()}`, file, storeFileText, root)
})

/** Removes what processes that are gone left in `tmp/`; what cannot be removed stays. */
const sweep = Effect.fn("StoreRoot.sweep")(function* (path: string) {
  const oldest = (yield* Clock.currentTimeMillis) - foreignDays * 86_400_000
  const folder = join(path, "tmp")
  const isLeft = (name: string): boolean => {
    const alive = ownerIsAlive(name)
    if (alive !== undefined) return !alive
    const status = fs.lstatSync(join(folder, name), { throwIfNoEntry: false })
    return status !== undefined && status.mtimeMs < oldest
  }
  for (const name of yield* attempt(() => fs.readdirSync(folder), readFailure(folder))) {
    yield* Effect.ignore(
      attempt(
        () => {
          if (isLeft(name)) fs.rmSync(join(folder, name), { recursive: true, force: true })
        },
        writeFailure(join(folder, name)),
      ),
    )
  }
})

/**
 * Opens the store at a path, making it if the path does not exist, is an empty folder or a folder named `.reel`.
 *
 * With `existing` there has to be one: none is made where it has gone.
 *
 * Fails with {@link NotAStore} for a folder of other files, {@link StoreVersionUnsupported} for a newer store and
 * `StoreUnwritable` for a file or a folder that cannot be written.
 */
export const openStore = Effect.fn("StoreRoot.open")(function* (
  root: string,
  durability: Durability,
  existing = false,
): Effect.fn.Return<StoreRoot, OpenError> {
  const path = resolve(root)
  if (existing && isGone({ path })) return yield* unwritable({ path })
  yield* attempt(() => makeFolder(path), writeFailure(path))
  const { mode } = yield* attempt(() => fs.statSync(path), readFailure(path))
  const opened: StoreRoot = { path, durability, modes: modesIn(mode) }
  const text = yield* readStoreFile(path)
  if (text === undefined) yield* initialise(opened)
  else yield* checkVersion(path, text)
  const others = exposedTo(mode)
  if (others !== undefined) {
    const notify = yield* Notices
    yield* notify(
      `the store ${path} may be written to by ${others}: whoever writes to a store decides what its results are; close it with \`chmod go-w ${path}\``,
    )
  }
  for (const folder of ["blobs", "refs", "refs/by-path", "tmp"]) {
    const made = join(path, folder)
    yield* attempt(
      () => fs.mkdirSync(made, { recursive: true, mode: opened.modes.folder }),
      writeFailure(made),
    )
  }
  yield* attempt(() => fs.accessSync(join(path, "tmp"), fs.constants.W_OK), writeFailure(path))
  if (text === undefined && durability === "fsync") yield* fsyncFolder(path, writeFailure(path))
  yield* Effect.ignore(sweep(path))
  return opened
})
