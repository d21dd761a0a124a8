/**
 * What the code of an operator is known by: a digest of the modules that make it and of everything of the same project
 * that they import, with the versions of packages. It is indifferent to comments, formatting and types, and to where
 * the project lies, so that machines agree on it.
 *
 * An operator that calls run in workers is known by the module that they load. Any other is known by the modules whose
 * functions made its value: where a factory makes it, that of the factory and those of its callers, and the constants
 * that it captured there. Not seen: variables of modules that come from outside, and what code reads while it runs
 * (files, variables of the environment, a network). Such things are for params.
 */
import { randomUUID } from "node:crypto"
import { join } from "node:path"

import { Digest, type Operator } from "@reelgraph/core"
import { StoreLocation } from "@reelgraph/store"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"

import * as Closure from "./internal/closure.ts"
import * as ModuleGraph from "./internal/moduleGraph.ts"
import { SyntaxCache } from "./internal/syntaxCache.ts"

export interface Fingerprint {
  readonly digest: string
  /** Whether the code is a package in `node_modules`, whose changes are announced by versions. */
  readonly released: boolean
  /** Modules that could not be read: the code that they hold is not part of the digest. */
  readonly unreadable: ReadonlyArray<string>
}

/**
 * Gives fingerprints of operators. What a process has loaded stays: an operator keeps its first one. Parsed modules are
 * cached in a file of this user.
 */
export const Fingerprints = Context.Reference<Service>("reelgraph/call/Fingerprints", {
  defaultValue: () => make(join(Effect.runSync(StoreLocation.userCache), "syntax.json")),
})

export interface Service {
  readonly of: (operators: Iterable<Operator.Any>) => Effect.Effect<ReadonlyMap<Operator.Any, Fingerprint>>
}

/** Fingerprints whose parsed modules are cached in a file: where others may write to it, it is not used. */
export const make = (file: string): Service => {
  const cache = new SyntaxCache(file)
  const modules = new ModuleGraph.Modules((path, source) => cache.module(path, source))
  const known = new WeakMap<Operator.Any, Fingerprint>()
  return {
    of: (operators) =>
      Effect.sync(() => {
        const found = new Map<Operator.Any, Fingerprint>()
        for (const operator of operators) {
          const fingerprint = known.get(operator) ?? fingerprintOf(operator, modules, cache)
          known.set(operator, fingerprint)
          found.set(operator, fingerprint)
        }
        cache.save()
        return found
      }),
  }
}

const fingerprintOf = (
  operator: Operator.Any,
  modules: ModuleGraph.Modules,
  cache: SyntaxCache,
): Fingerprint => {
  const known = codeOf(operator, modules, cache)
  if (!operator.relayered) return known
  // The code of a layer that was put in the place of another is not known: nobody else is to find its results.
  return { ...known, released: false, digest: Digest.ofBytes(`${known.digest}\n${randomUUID()}`) }
}

const codeOf = (operator: Operator.Any, modules: ModuleGraph.Modules, cache: SyntaxCache): Fingerprint => {
  if (operator.worker !== undefined) return ModuleGraph.of([operator.worker], modules)
  const graph = ModuleGraph.of(operator.modules, modules)
  if (graph.released) return graph
  // One module may make several values of a name, with bodies of their own, or by a factory with other arguments.
  const body = cache.body(String(operator.run))
  const assigned = modules.assigned(operator.modules)
  const captured = Closure.of(operator.run, {
    bodyOf: (text) => cache.body(text),
    isConstant: (name) => !assigned.has(name),
  })
  const parts = [graph.digest, body.digest, ...(captured === undefined ? [] : [captured])]
  return { ...graph, digest: Digest.ofBytes(parts.join("\n")) }
}
