/** The files that a path, a folder or a pattern stands for. */
import * as fs from "node:fs"
import { basename, extname, join } from "node:path"

import * as Effect from "effect/Effect"

import { InputNotFound, InputUnreadable } from "./UsageError.ts"

/**
 * Sorted paths. A file that is named is taken whatever it is; of a folder (read through, links to folders once
 * each, hidden names left out) and of patterns without an extension only files with one of the extensions.
 */
export const expand = Effect.fnUntraced(function* (
  input: string,
  given: string,
  extensions: ReadonlyArray<string>,
) {
  const status = statOf(given)
  const files =
    status === undefined
      ? yield* matching(input, given, extensions)
      : status.isDirectory()
        ? yield* inside(input, given, extensions)
        : [given]
  for (const file of files) {
    yield* Effect.try({
      try: () => fs.accessSync(file, fs.constants.R_OK),
      catch: (cause) => unreadable(input, file, cause),
    })
  }
  return files.sort()
})

const statOf = (path: string): fs.Stats | undefined =>
  fs.existsSync(path) ? fs.statSync(path, { throwIfNoEntry: false }) : undefined

export const unreadable = (input: string, path: string, cause: unknown): InputUnreadable =>
  new InputUnreadable({ input, path, problem: cause instanceof Error ? cause.message : String(cause) })

const accepts = (path: string, extensions: ReadonlyArray<string>): boolean =>
  extensions.includes(extname(path).toLowerCase())

/** The files that a glob pattern matches. */
const matching = Effect.fnUntraced(function* (
  input: string,
  pattern: string,
  extensions: ReadonlyArray<string>,
) {
  const notFound = (why: string) => new InputNotFound({ input, path: pattern, why })
  if (!/[*?[\]{}]/.test(pattern)) return yield* notFound("does not exist")
  const matches = yield* Effect.try({
    try: () => fs.globSync(pattern).filter((path) => statOf(path)?.isFile() === true),
    catch: (cause) => unreadable(input, pattern, cause),
  })
  if (matches.length === 0) return yield* notFound("matches no file")
  if (basename(pattern).includes(".")) return matches
  const files = matches.filter((path) => accepts(path, extensions))
  return files.length > 0 ? files : yield* notFound(`matches no file ending in ${extensions.join(", ")}`)
})

/** The files under a folder. Never through one folder twice, however links lead to it. */
const inside = Effect.fnUntraced(function* (
  input: string,
  folder: string,
  extensions: ReadonlyArray<string>,
) {
  const files: Array<string> = []
  const seen = new Set<string>()
  const pending = [folder]
  while (pending.length > 0) {
    const current = pending.pop()!
    const entries = yield* Effect.try({
      try: () => {
        const real = fs.realpathSync(current)
        if (seen.has(real)) return []
        seen.add(real)
        return fs.readdirSync(current, { withFileTypes: true })
      },
      catch: (cause) => unreadable(input, current, cause),
    })
    for (const entry of entries) {
      if (entry.name.startsWith(".")) continue
      const path = join(current, entry.name)
      const kind = entry.isSymbolicLink() ? statOf(path) : entry
      if (kind?.isDirectory() === true) pending.push(path)
      else if (kind?.isFile() === true && accepts(path, extensions)) files.push(path)
    }
  }
  return files.length > 0
    ? files
    : yield* new InputNotFound({ input, path: folder, why: `has no file ending in ${extensions.join(", ")}` })
})
