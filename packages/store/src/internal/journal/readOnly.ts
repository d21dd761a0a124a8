/**
 * Opening a journal's file for reading alone, where this user may not write it: on a mount that is read-only, in the
 * folder of another user.
 *
 * A journal is in WAL mode. To read one, SQLite needs the files `-wal` and `-shm` beside it, or permission to make them:
 *
 * - They are there while a process has the journal open, and after one that was killed. Then SQLite reads it in place,
 *   with all that is committed, while others write.
 * - They are not there once the last process has closed it, and cannot be made. SQLite could be told that no process
 *   will write (`immutable=1`), but one may begin at any time, and half of what it writes would be read. So what is there is copied, and
 *   the copy is taken only when nothing of it has changed meanwhile.
 *
 * A journal of an earlier format is copied as well, since it is brought to this one when it is opened.
 */
import fs from "node:fs"
import os from "node:os"
import { dirname, join } from "node:path"
import { backup, DatabaseSync } from "node:sqlite"

import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"

import { JournalError } from "../../journal/Journal.ts"
import * as Problem from "./problem.ts"

const { R_OK, W_OK, X_OK } = fs.constants

const may = (path: string, mode: number): boolean => {
  try {
    fs.accessSync(path, mode)
    return true
  } catch {
    return false
  }
}

export const isFolderWritable = (folder: string): boolean => may(folder, W_OK | X_OK)

/** Whether this user may see what is in a folder. */
export const isEntered = (folder: string): boolean => may(folder, X_OK)

/** Whether this user may write a journal: the file, and others beside it. */
export const isWritable = (file: string): boolean => may(file, R_OK | W_OK) && isFolderWritable(dirname(file))

const failed = (file: string) => (cause: unknown) =>
  cause instanceof JournalError
    ? cause
    : new JournalError({ file, action: "opened", problem: Problem.of(cause, file) })

/** A folder for a copy, which nobody else may read, gone when the scope ends. */
const privateFolder = (file: string): Effect.Effect<string, JournalError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.try({ try: () => fs.mkdtempSync(join(os.tmpdir(), "reelgraph-journal-")), catch: failed(file) }),
    (path) => Effect.sync(() => fs.rmSync(path, { recursive: true, force: true })),
  )

/** What changes when a file is written to. Nothing, of a file that is not there. */
const stateOf = (file: string): string => {
  const status = fs.statSync(file, { bigint: true, throwIfNoEntry: false })
  return status === undefined ? "" : [status.ino, status.size, status.mtimeNs, status.ctimeNs].join(" ")
}

const parts = ["", "-wal"]

/** Copies the files of a journal, and fails when they change meanwhile. */
const copy = (file: string, to: string): Effect.Effect<void, JournalError> =>
  Effect.try({
    try: () => {
      const before = parts.map((part) => stateOf(`${file}${part}`))
      parts.forEach((part, at) => {
        fs.rmSync(`${to}${part}`, { force: true })
        if (before[at] === "") return
        fs.copyFileSync(`${file}${part}`, `${to}${part}`, fs.constants.COPYFILE_FICLONE)
        fs.chmodSync(`${to}${part}`, 0o600)
      })
      return parts.every((part, at) => stateOf(`${file}${part}`) === before[at])
    },
    catch: failed(file),
  }).pipe(
    Effect.repeat({ schedule: Schedule.spaced("200 millis"), until: (same) => same, times: 20 }),
    Effect.flatMap((same) =>
      same
        ? Effect.void
        : Effect.fail(
            new JournalError({
              file,
              action: "opened",
              problem: `it is written to while it is copied (this user may not write beside it, so it cannot be read in place); run again when the run that writes it has ended`,
            }),
          ),
    ),
  )

/** Reads the version of the format, which is the first that has to be read of a file. */
export const versionOf = (db: DatabaseSync): number =>
  db.prepare("PRAGMA user_version").get()!["user_version"] as number

/**
 * The file to open in the place of a journal that may not be written, and how: in place when that can be read as it is,
 * else a copy in a private folder, which may be written.
 */
export const open = (
  file: string,
  version: number,
): Effect.Effect<
  { readonly path: string; readonly readOnly: boolean; readonly db: DatabaseSync | undefined },
  JournalError,
  Scope.Scope
> =>
  Effect.gen(function* () {
    const inPlace = yield* Effect.try({
      try: () => {
        fs.accessSync(file, R_OK)
        const db = new DatabaseSync(file, { readOnly: true })
        try {
          db.exec("PRAGMA busy_timeout=30000")
          return { db, found: versionOf(db) }
        } catch (cause) {
          db.close()
          if (Problem.isReadOnly(cause)) return undefined
          throw cause
        }
      },
      catch: failed(file),
    })
    if (inPlace !== undefined && inPlace.found >= version)
      return { path: file, readOnly: true, db: inPlace.db }
    const path = join(yield* privateFolder(file), "journal.db")
    if (inPlace === undefined) yield* copy(file, path)
    else
      yield* Effect.tryPromise({ try: () => backup(inPlace.db, path), catch: failed(file) }).pipe(
        Effect.ensuring(Effect.sync(() => inPlace.db.close())),
      )
    return { path, readOnly: false, db: undefined }
  })
