/**
 * Files in a folder of a person, who may share it with others. Nothing there is trusted: no link is followed, only
 * plain files are opened, and what is written appears whole, under names that nobody can foresee.
 *
 * What comes from the store is copied, as a clone where the file system can (Btrfs, XFS, APFS). It is never a link: an
 * edit of the file would be an edit of the store.
 */
import { createHash } from "node:crypto"
import * as fs from "node:fs"
import { basename, dirname, join } from "node:path"

import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

/** A file of an output could not be written. */
export class OutputUnwritable extends Schema.TaggedError<OutputUnwritable>()("OutputUnwritable", {
  file: Schema.String,
  problem: Schema.String,
}) {
  override get message() {
    return `--out: cannot write ${this.file}: ${this.problem}; the run itself is done, and running it again writes the rest`
  }
}

const codeOf = (cause: unknown): string =>
  typeof cause === "object" && cause !== null && "code" in cause ? String(cause.code) : ""

const attempt = <A>(file: string, body: () => A): Effect.Effect<A, OutputUnwritable> =>
  Effect.try({
    try: body,
    catch: (cause) =>
      new OutputUnwritable({ file, problem: cause instanceof Error ? cause.message : String(cause) }),
  })

/** What is at a path itself, not at the end of a link. */
export const kindOf = (
  path: string,
): Effect.Effect<"none" | "file" | "folder" | "link" | "other", OutputUnwritable> =>
  attempt(path, () => {
    const status = fs.lstatSync(path, { throwIfNoEntry: false })
    if (status === undefined) return "none"
    if (status.isFile()) return "file"
    if (status.isDirectory()) return "folder"
    return status.isSymbolicLink() ? "link" : "other"
  })

/** The words for what is in the way. */
export const inTheWay = (kind: "file" | "folder" | "link" | "other"): string =>
  kind === "file"
    ? "another file of this name is there; move it away"
    : `${kind === "other" ? "something that is no plain file" : `a ${kind}`} of this name is there; move it away`

/** The SHA-256 of a plain file. A link, a device or a pipe that has taken its place is not opened. */
export const digestOf = (file: string): Effect.Effect<string, OutputUnwritable> =>
  Effect.gen(function* () {
    // Opening a pipe would wait for somebody to write into it.
    const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = fs.constants
    const fd = yield* attempt(file, () => {
      const opened = fs.openSync(file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
      if (fs.fstatSync(opened).isFile()) return opened
      fs.closeSync(opened)
      throw new Error(inTheWay("other"))
    })
    const hash = createHash("sha256")
    const failed = (cause: unknown) =>
      new OutputUnwritable({ file, problem: cause instanceof Error ? cause.message : String(cause) })
    yield* Stream.runForEach(
      Stream.fromAsyncIterable<Buffer, OutputUnwritable>(fs.createReadStream("", { fd }), failed),
      (bytes) => Effect.sync(() => hash.update(bytes)),
    )
    return hash.digest("hex")
  })

/** Whether a file is another name of the same bytes on the disk, as files of earlier versions are links to the store. */
export const sharesStorage = (file: string, other: string): Effect.Effect<boolean, OutputUnwritable> =>
  attempt(file, () => {
    const [one, two] = [fs.lstatSync(file), fs.statSync(other)]
    return one.ino === two.ino && one.dev === two.dev
  })

const temporary = ".reel-"
/** What a killed process has left behind is removed after a day. */
const leftoverMs = 86_400_000

/** Removes what killed processes of this user left in a folder. */
const sweep = Effect.fnUntraced(function* (folder: string) {
  const now = yield* Clock.currentTimeMillis
  yield* Effect.ignore(
    attempt(folder, () => {
      for (const name of fs.readdirSync(folder)) {
        if (!name.startsWith(temporary)) continue
        const path = join(folder, name)
        const status = fs.lstatSync(path)
        if (status.isDirectory() && status.uid === process.getuid?.() && now - status.mtimeMs > leftoverMs)
          fs.rmSync(path, { recursive: true, force: true })
      }
    }),
  )
})

/** Makes a folder of an output, in a folder that its owner has named: that one may be a link, this one not. */
export const makeFolder = Effect.fnUntraced(function* (folder: string) {
  const kind = yield* kindOf(folder)
  if (kind === "folder") return yield* sweep(folder)
  if (kind !== "none") return yield* new OutputUnwritable({ file: folder, problem: inTheWay(kind) })
  yield* attempt(folder, () => {
    fs.mkdirSync(dirname(folder), { recursive: true })
    fs.mkdirSync(folder)
  })
})

/** Another name of a file, unless that name is taken; a rename where the file system has no links. */
const putThere = (path: string, file: string): void => {
  try {
    fs.linkSync(path, file)
  } catch (cause) {
    if (codeOf(cause) === "EEXIST") throw new Error(inTheWay("file"), { cause })
    if (fs.lstatSync(file, { throwIfNoEntry: false }) !== undefined)
      throw new Error(inTheWay("file"), { cause })
    fs.renameSync(path, file)
  }
}

/**
 * Copies a file, whole or not at all. Without `replaces` nothing may be there; with it, what is there goes away, itself
 * and not what it leads to. The copy is its owner's to edit.
 */
export const copy = Effect.fnUntraced(function* (
  from: string,
  file: string,
  { replaces = false }: { readonly replaces?: boolean } = {},
) {
  const folder = dirname(file)
  yield* attempt(file, () => fs.mkdirSync(folder, { recursive: true }))
  yield* Effect.acquireUseRelease(
    // Nobody else may look into it, whatever the umask.
    attempt(file, () => fs.mkdtempSync(join(folder, temporary))),
    (own) =>
      Effect.gen(function* () {
        const path = join(own, basename(file))
        const mode = yield* attempt(file, () => {
          const fd = fs.openSync(path, "wx", 0o666)
          const { mode } = fs.fstatSync(fd)
          fs.closeSync(fd)
          return mode & 0o777
        })
        yield* Effect.tryPromise({
          try: () => fs.promises.copyFile(from, path, fs.constants.COPYFILE_FICLONE),
          catch: (cause) => new OutputUnwritable({ file, problem: (cause as Error).message }),
        })
        yield* attempt(file, () => {
          // The store's own may only be read.
          fs.chmodSync(path, mode)
          if (replaces) fs.renameSync(path, file)
          else putThere(path, file)
        })
      }),
    (own) => Effect.sync(() => fs.rmSync(own, { recursive: true, force: true })),
  )
})
