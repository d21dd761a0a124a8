/** What is checked of a graph before it runs, and said of it afterwards. */
import { Canonical, Digest, type Graph, GraphJson, type Resources, Verify } from "@reelgraph/core"
import { type Journal, JournalError } from "@reelgraph/store"
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"

import * as Failure from "../Failure.ts"

/** Fails when a graph cannot run on a machine with this capacity, but for the nodes that are checked elsewhere. */
export const check = (
  graph: Graph.Graph,
  capacity: Resources.Capacity,
  elsewhere: (node: string) => boolean,
): Effect.Effect<void, Verify.GraphInvalid> =>
  Effect.suspend(() => {
    const problems = Verify.problems(graph, [capacity]).filter(
      ({ at, kind }) => kind !== "resources" || !elsewhere(at),
    )
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

/** A warning for each operator whose `run` is not the one that some stored results were made with. */
export const changedOperators = (
  graph: Graph.Graph,
  journal: typeof Journal.Service,
): ReadonlyArray<string> => {
  const operators = new Map(
    graph.nodes.map(({ operator }) => [`${operator.name}@${operator.version}`, operator]),
  )
  return [...operators].flatMap(([label, operator]) => {
    const sources = journal.sources(operator.name, operator.version)
    return sources.length === 0 || (sources.length === 1 && sources[0] === operator.source)
      ? []
      : [
          `operator ${label} has stored results that were made with other code under the same version; give it a new version if results may differ`,
        ]
  })
}
