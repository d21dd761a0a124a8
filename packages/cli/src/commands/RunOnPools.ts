/** `reel run --pools`: a graph placed on the pools of a file, and how well its end was foretold. */
import type { Graph } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

import * as PredictionScore from "../PredictionScore.ts"
import * as Placed from "../Placed.ts"
import * as PlacementReport from "../PlacementReport.ts"
import { TerminalOutput } from "../TerminalOutput.ts"
import * as SimulationReport from "../SimulationReport.ts"
import * as StoreFolder from "../StoreFolder.ts"
import type { Task } from "../Task.ts"
import * as Run from "./Run.ts"

export const runOnPools: (graph: Graph.Graph, options: Run.Options, pools: string) => Task = Effect.fn(
  "reel.run.pools",
)(function* (graph: Graph.Graph, options: Run.Options, pools: string) {
  const screen = yield* TerminalOutput
  const placed = yield* Placed.of(graph, pools)
  const prepared = yield* Run.prepare(graph, options)
  for (const line of [...PlacementReport.table(placed), ...PlacementReport.warnings(placed)])
    screen.tell(line)
  const away = { graph: graph.name, store: options.store, detach: options.detach }
  const services = Placed.executor(placed, away).pipe(Layer.provideMerge(StoreFolder.layer(options.store)))
  const executed = Effect.gen(function* () {
    const known = yield* PredictionScore.profile(graph)
    const told = yield* Run.execute(graph, prepared, options)
    if (known !== undefined && !options.json) {
      const { RunNotes } = yield* Effect.promise(() => import("@reelgraph/slurm"))
      // What it took in all is in no run: a part of it was done before this one began.
      if (RunNotes.reportTakeOver(told.warnings))
        screen.show(["", "not compared with its simulation: an earlier driver's jobs made a part of it"])
      else {
        const score = yield* PredictionScore.score(graph, placed.placement, known, told)
        if (score !== undefined) screen.show(["", ...SimulationReport.scoreLines(score)])
      }
    }
    yield* Run.ended(told)
  })
  yield* Effect.provide(executed, services)
})
