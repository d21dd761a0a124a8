/** The files that a path, a folder or a pattern stands for. */
import * as fs from "node:fs"
import { basename, extname, join } from "node:path"

import * as Effect from "effect/Effect"

import { InputNotFound, InputUnreadable } from "./UsageError.ts"

/** What a path, a folder or a pattern stands for. */
export interface Expanded {
  readonly files: ReadonlyArray<string>
  /** What is there and cannot be opened by the name that it is shown under. */
  readonly unnamed: ReadonlyArray<string>
}

export const unnamedProblem = "its name is not UTF-8, so that it cannot be opened; rename it"

/** Whether a name was decoded with losses: what it stands for is not there. */
const isUnnamed = (path: string): boolean => {
  if (!path.includes("\uFFFD")) return false
  try {
    return fs.lstatSync(path, { throwIfNoEntry: false }) === undefined
  } catch {
    // It may not be looked at, which whoever opens it is told.
    return false
  }
}

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
  const { files, unnamed }: Expanded =
    status === undefined
      ? yield* matching(input, given, extensions)
      : status.isDirectory()
        ? yield* inside(input, given, extensions)
        : { files: [given], unnamed: [] }
  const [first] = unnamed
  if (files.length === 0 && first !== undefined)
    return yield* new InputUnreadable({ input, path: first, problem: unnamedProblem })
  for (const file of files) {
    yield* Effect.try({
      try: () => fs.accessSync(file, fs.constants.R_OK),
      catch: (cause) => unreadable(input, file, cause),
    })
  }
  return { files: files.toSorted(), unnamed: unnamed.toSorted() } satisfies Expanded
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
  const { matches, all } = yield* Effect.try({
    try: () => {
      const found = fs.globSync(pattern)
      return {
        matches: found.filter((path) => statOf(path)?.isFile() === true),
        all: found.filter(isUnnamed),
      }
    },
    catch: (cause) => unreadable(input, pattern, cause),
  })
  if (matches.length + all.length === 0) return yield* notFound("matches no file")
  if (basename(pattern).includes(".")) return { files: matches, unnamed: all }
  const [files, unnamed] = [matches, all].map((paths) => paths.filter((path) => accepts(path, extensions)))
  return files!.length + unnamed!.length > 0
    ? { files: files!, unnamed: unnamed! }
    : yield* notFound(`matches no file ending in ${extensions.join(", ")}`)
})

/** The files under a folder. Never through one folder twice, however links lead to it. */
const inside = Effect.fnUntraced(function* (
  input: string,
  folder: string,
  extensions: ReadonlyArray<string>,
) {
  const files: Array<string> = []
  const unnamed: Array<string> = []
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
      if (isUnnamed(path)) {
        if (!entry.isFile() || accepts(path, extensions)) unnamed.push(path)
        continue
      }
      const kind = entry.isSymbolicLink() ? statOf(path) : entry
      if (kind?.isDirectory() === true) pending.push(path)
      else if (kind?.isFile() === true && accepts(path, extensions)) files.push(path)
    }
  }
  return files.length + unnamed.length > 0
    ? { files, unnamed }
    : yield* new InputNotFound({ input, path: folder, why: `has no file ending in ${extensions.join(", ")}` })
})
