/** What is checked of a graph before it runs, and said of it afterwards. */
import { Environment, type Executor, Failure, type Fingerprints } from "@reelgraph/call"
import { Canonical, Digest, type Graph, GraphJson, Verify } from "@reelgraph/core"
import { JournalError } from "@reelgraph/store"
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

/**
 * Whether calls of a node are given a service. Those that this process makes are given what it has; those of workers,
 * what a store gives. A plan is made where there may be no store: it counts as there.
 */
const gives =
  (context: Context.Context<never>, executor: typeof Executor.Service | undefined): Verify.Gives =>
  (key, node) => {
    const here =
      executor === undefined ? node.operator.worker === undefined : executor.lane(node) === undefined
    if (here && Option.isSome(Context.getOption(context, key))) return true
    return (!here || executor === undefined) && Environment.isOfStore(key)
  }

/** Fails when a graph cannot run, its executor lacks what a node asks for, or nobody gives a service that one needs. */
export const check = (
  graph: Graph.Graph,
  executor?: typeof Executor.Service,
): Effect.Effect<void, Verify.GraphInvalid> =>
  Effect.contextWith((context: Context.Context<never>) => {
    const lacking =
      executor === undefined
        ? []
        : graph.nodes.flatMap((node): ReadonlyArray<Verify.Problem> => {
            const lacks = executor.lacks(node)
            if (lacks.length === 0) return []
            const message = `${node.id} asks for more than any pool has; the nearest is ${executor.capacity.name}, short of ${lacks.join(", ")}`
            return [{ kind: "resources", at: node.id, message }]
          })
    const problems = [...Verify.problems(graph, [], gives(context, executor)), ...lacking]
    return problems.length === 0
      ? Effect.void
      : Effect.fail(new Verify.GraphInvalid({ graph: graph.name, problems }))
  })

export const definition = (graph: Graph.Graph): { readonly json: string; readonly digest: string } => {
  const json = Canonical.stringify(GraphJson.fromGraph(graph))
  return { json, digest: Digest.ofBytes(json) }
}

/** Makes what reading the journal throws, for it is read in hot loops, a failure again. */
export const journalErrors = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
): Effect.Effect<A, E | JournalError, R> =>
  Effect.catchDefect(effect, (defect) =>
    defect instanceof JournalError ? Effect.fail(defect) : Effect.die(defect),
  )

/** One line on what ended a run early. */
export const problemOf = (cause: Cause.Cause<unknown>): string => Failure.fromCause(cause).message

/** A warning for each operator whose code is not known whole: changes of the rest go unnoticed. */
export const unreadableCode = (
  code: ReadonlyMap<Graph.Placed["operator"], Fingerprints.Fingerprint>,
): ReadonlyArray<string> =>
  [...code].flatMap(([{ name, version }, { unreadable }]) =>
    unreadable.length === 0
      ? []
      : [
          `not all that results of ${name}@${version} depend on is known (${unreadable.join("; ")}): results are reused even when that changes`,
        ],
  )
