/** What a run is told of this process, so that it ends however its operators behave. */
import type { Graph } from "@reelgraph/core"
import type { Engine } from "@reelgraph/engine"
import * as Effect from "effect/Effect"

import { Strays } from "./Strays.ts"
import { Watchdog } from "./Watchdog.ts"

/** Options of a run: the watchdog hears of its calls, and it fails with what its operators leave behind. */
export const watched = (
  graph: Graph.Graph,
): Effect.Effect<Required<Pick<Engine.Options, "begins" | "failing">>> =>
  Effect.gen(function* () {
    const watchdog = yield* Watchdog
    const strays = yield* Strays
    const begun = new Set<number>()
    let last: number | undefined
    const tell = watchdog.watch(graph.nodes.map(({ id }) => id))
    return {
      begins: (node) => {
        if (node === last) return
        last = node
        begun.add(node)
        tell(node)
      },
      failing: strays.of(() => [...begun].sort((a, b) => a - b).map((node) => graph.nodes[node]!.id)),
    }
  })
