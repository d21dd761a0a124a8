/**
 * Graphs in a folder of their own: what a person's file imports from `effect` and `@reelgraph/*` is this
 * installation, whatever else is installed around the file. A folder with nothing but a graph file runs, and
 * operators and engine share one copy of every class.
 */
import { registerHooks } from "node:module"

const ours = /^(effect|@reelgraph\/[a-z-]+)(\/|$)/

let allowed = false

/** From here on, imports of `effect` and `@reelgraph/*` succeed from everywhere. */
export const allow = (): void => {
  if (allowed) return
  allowed = true
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
