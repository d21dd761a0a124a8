/** A driver to be killed: runs an operator that blocks its worker. Arguments: store, log. */
import { Graph } from "@reelgraph/core"
import { Engine } from "@reelgraph/engine"
import { StoreFs } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"

import { LocalWorkers } from "../src/index.ts"
import { Num, Spin } from "./operators.ts"

const [store, log] = process.argv.slice(2) as [string, string]

const graph = Graph.make("spinning", { version: "1.0.0" }, (g) => ({
  out: g.input("in", Num).pipe(Spin({ log })),
}))

void Effect.runPromise(
  Effect.provide(
    Engine.run(graph, { in: Stream.make({ n: 1 }, { n: 2 }) }),
    Layer.mergeAll(StoreFs.layer(store, { durability: "none" }), LocalWorkers.layer({ store, cores: 2 })),
  ),
)
