/** A driver to be killed: runs an operator that keeps its unfinished work. Arguments: store, log, gates. */
import { Graph } from "@reelgraph/core"
import { Engine } from "@reelgraph/engine"
import { StoreFs } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"

import { LocalWorkers } from "../src/index.ts"
import { Accumulate, Num } from "./operators.ts"

/** Steps of the work. */
export const count = 40

export const graphOf = (log: string, gates: string) =>
  Graph.make("accumulating", { version: "1.0.0" }, (g) => ({
    out: g.input("in", Num).pipe(Accumulate({ count, log, gates })),
  }))

if (import.meta.main) {
  const [store, log, gates] = process.argv.slice(2) as [string, string, string]
  void Effect.runPromise(
    Effect.provide(
      Engine.run(graphOf(log, gates), { in: Stream.make({ n: 3 }) }),
      Layer.mergeAll(StoreFs.layer(store, { durability: "none" }), LocalWorkers.layer({ store, cores: 2 })),
    ),
  )
}
