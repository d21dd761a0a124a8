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
  /** Digest of what `run` captured where a function made it, such as arguments of a factory; empty: nothing. */
  readonly captured: string
  /** What the digest does not cover, such as modules that could not be read: a few words each. */
  readonly unreadable: ReadonlyArray<string>
  /** Whether files that are no modules are part of the code: they are read when it runs. */
  readonly hasData: boolean
  /** Whether these files are still what they were. */
  readonly isIntact: () => boolean
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
  const { data, digest, released, unreadable } = ModuleGraph.of(
    operator.worker === undefined ? operator.modules : [operator.worker],
    modules,
  )
  const changed = modules.changed(operator.modules)
  const captured = Closure.of(operator.run, {
    bodyOf: (body) => cache.body(body),
    isSettled: (functionName, variable) => !changed.has(`${functionName}.${variable}`),
  })
  // One module may make several values of a name. In a worker, and of a package, the module alone is the code.
  const isModule = operator.worker !== undefined || released
  const known: Fingerprint = {
    digest: isModule ? digest : Digest.ofBytes(`${digest}\n${cache.body(String(operator.run)).digest}`),
    captured: captured.digest ?? "",
    released,
    unreadable: captured.whole
      ? unreadable
      : [...unreadable, "its run captures more than can be told apart: let params say what differs"],
    hasData: data.size > 0,
    isIntact: () => [...data].every(([file, content]) => modules.contentOf(file) === content),
  }
  if (!operator.relayered) return known
  // The code of a layer that was put in the place of another is not known: nobody else is to find its results.
  return { ...known, released: false, digest: Digest.ofBytes(`${known.digest}\n${randomUUID()}`) }
}
