/** What went wrong with a journal's file, and what to do about it, in one sentence. */

/** SQLite's primary result codes that a person can do something about. */
const advice = new Map<number, (file: string) => string>([
  [3, (file) => `ask the owner of ${file} for permission to read it`],
  [5, () => "another process has held it for half a minute: end that one, then run again"],
  [6, () => "another process has held it for half a minute: end that one, then run again"],
  [8, () => "it may only be read; write to a store of this user's own"],
  [10, () => "the disk failed, or the file system of the store does not do what SQLite needs: check both"],
  [11, damaged],
  [13, () => "the disk is full: make room, then run again; finished results are stored"],
  [14, (file) => `check that ${file} is there, and that this user may read it`],
  [26, damaged],
])

function damaged(file: string): string {
  return `the file is damaged, or was written by something else. Keep a copy, then remove ${file} together with the files of that name that end in -wal and -shm. For a store in a bucket it is made again of what the store has. For a folder, blobs stay, and results and lineage that only this file had are lost, unless \`sqlite3 ${file} .recover\` can save them`
}

/** The problem of an error of node:sqlite, or of the file system, with the advice that there is. */
export const of = (cause: unknown, file: string): string => {
  const message = cause instanceof Error ? cause.message : String(cause)
  const { code, errcode } = (cause ?? {}) as { readonly code?: unknown; readonly errcode?: unknown }
  const primary = code === "EACCES" || code === "EPERM" ? 3 : typeof errcode === "number" ? errcode & 0xff : 0
  const told = file === ":memory:" ? undefined : advice.get(primary)
  return told === undefined ? message : `${message}; ${told(file)}`
}

/** Whether SQLite could not open a file because it may not write beside it. */
export const isReadOnly = (cause: unknown): boolean => {
  const errcode = (cause as { readonly errcode?: unknown } | null)?.errcode
  return typeof errcode === "number" && [8, 14].includes(errcode & 0xff)
}
