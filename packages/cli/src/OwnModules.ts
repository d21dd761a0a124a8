/**
 * Graphs in a folder of their own: what a person's file imports from `effect` and `@reelgraph/*` is this
 * installation, whatever else is installed around the file. A folder with nothing but a graph file runs, and
 * operators and engine share one copy of every class.
 */
import { registerHooks } from "node:module"

const ours = /^(effect|@reelgraph\/[a-z-]+)(\/|$)/

const hook = (): void => {
  registerHooks({
    resolve: (specifier, context, next) => {
      if (!ours.test(specifier)) return next(specifier, context)
      try {
        return next(specifier, { ...context, parentURL: import.meta.url })
      } catch {
        // A package of theirs that is not part of this installation.
        return next(specifier, context)
      }
    },
  })
}

/** For processes on other machines that import the same files. */
const flag = `--import=${import.meta.url}?allow`

let allowed = false

/** Variables of processes elsewhere that are to import what this one does. */
export const variables = (): Readonly<Record<string, string>> => (allowed ? { NODE_OPTIONS: flag } : {})

/** From here on, imports of `effect` and `@reelgraph/*` succeed from everywhere. */
export const allow = (): void => {
  if (allowed) return
  allowed = true
  // oxlint-disable-next-line node/no-process-env -- a process boundary: worker processes import the same files
  const { env } = process
  env["NODE_OPTIONS"] = `${env["NODE_OPTIONS"] ?? ""} ${flag}`.trim()
  hook()
}

// Loaded before anything else in a worker process.
if (import.meta.url.endsWith("?allow")) hook()
