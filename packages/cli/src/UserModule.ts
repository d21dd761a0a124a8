/** A person's own module, such as a graph or pools: loaded from wherever it lies, and what goes wrong told in one line. */
import { statSync } from "node:fs"
import { basename } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"

import * as Effect from "effect/Effect"

import * as OwnModules from "./OwnModules.ts"

/** Why a file does not load. */
export interface Broken {
  /** Line of the file, when it is known. */
  readonly line?: number
  readonly problem: string
}

export const isThere = (file: string): boolean => statSync(file, { throwIfNoEntry: false })?.isFile() === true

/** What the file of an absolute path exports. */
export const load = (file: string): Effect.Effect<Record<string, unknown>, Broken> =>
  Effect.suspend(() => {
    OwnModules.allow()
    return Effect.tryPromise({
      try: (): Promise<Record<string, unknown>> => import(pathToFileURL(file).href),
      catch: (cause) => broken(file, cause),
    })
  })

/** What went wrong while a file was imported, in one line, with the line of the file that it came from. */
const broken = (file: string, cause: unknown): Broken => {
  if (!(cause instanceof Error)) return { problem: `it threw ${String(cause)}` }
  const line = lineOf(file, cause)
  return { ...(line === undefined ? {} : { line }), problem: problemOf(file, cause) }
}

const problemOf = (file: string, cause: Error): string => {
  const code = "code" in cause ? cause.code : undefined
  if (code === "ERR_MODULE_NOT_FOUND" || code === "MODULE_NOT_FOUND") return missingModule(file, cause)
  if (code === "ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX")
    return `${firstLine(cause.message)}; only types that can be erased are understood`
  if (cause instanceof SyntaxError) return `syntax error: ${firstLine(cause.message)}`
  return cause.message === "" ? cause.name : cause.message
}

const firstLine = (text: string): string => text.split("\n", 1)[0] ?? ""

/** The first place in the file that a stack or a syntax error names. */
const lineOf = (file: string, error: Error): number | undefined => {
  for (const place of [pathToFileURL(file).href, file]) {
    const start = error.stack?.indexOf(`${place}:`) ?? -1
    if (start < 0) continue
    const line = Number.parseInt(error.stack!.slice(start + place.length + 1), 10)
    if (Number.isInteger(line)) return line
  }
  return undefined
}

/** `Cannot find package 'x' imported from /here/graph.ts` */
const missingModule = (file: string, cause: Error): string => {
  const [, kind, name] = /^Cannot find (package|module) '([^']*)'/.exec(cause.message) ?? []
  if (name === undefined) return firstLine(cause.message)
  if (kind === "package")
    return `it imports ${name}, which is not installed; run npm install ${name} in its folder`
  const path = name.startsWith("file:") ? fileURLToPath(name) : name
  return path === file
    ? `it cannot be found`
    : `it imports ${basename(path)}, and there is no file ${path}; check the name and its ending`
}
