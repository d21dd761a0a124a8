/**
 * How well runs on pools are foretold: what calls took in earlier runs of the store, simulated on the pools of this
 * one, against what it took.
 */
import type { Graph } from "@reelgraph/core"
import { MeasuredProfile, type Placement, type Profile, Score, Simulation } from "@reelgraph/placement"
import { Journal } from "@reelgraph/store"
import * as Effect from "effect/Effect"

import type * as RunReport from "./RunReport.ts"

/** What is known of the work before a run; nothing when some node was never run in this store. */
export const profile = (graph: Graph.Graph): Effect.Effect<Profile.Profile | undefined, never, Journal> =>
  MeasuredProfile.of(graph).pipe(
    Effect.map(({ profile: measured, unmeasured }) => (unmeasured.length === 0 ? measured : undefined)),
    Effect.orElseSucceed(() => undefined),
  )

/** The score of a run that has ended; nothing when it cannot be simulated, or was answered by the cache alone. */
export const score = Effect.fn("PredictionScore.score")(function* (
  graph: Graph.Graph,
  placement: Placement.Placement,
  known: Profile.Profile,
  report: RunReport.RunReport,
) {
  const journal = yield* Journal
  const run = journal.run(report.run)
  if (run?.endedMs === undefined) return undefined
  const made = Object.values(report.ledger).some((node) => node.in > node.cached)
  if (!made) return undefined
  const items = Object.fromEntries(
    Object.keys(graph.inputs).map((input) => [input, journal.runItems(run.id, `in:${input}`).length]),
  )
  const simulated = yield* Effect.option(
    Simulation.run({ graph, placement, profile: { ...known, items }, seed: 0 }),
  )
  return simulated._tag === "None"
    ? undefined
    : Score.make(simulated.value, { startedMs: run.startedMs, endedMs: run.endedMs, ledger: report.ledger })
})
