/**
 * A driver whose operator leaves processes behind, which ends as processes do: when nothing keeps it. Arguments: store,
 * log, how. SIGINT interrupts it.
 */
import { Graph } from "@reelgraph/core"
import { Engine } from "@reelgraph/engine"
import { StoreFs } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"

import { LocalWorkers } from "../src/index.ts"
import { Leave, Num } from "./operators.ts"

const [store, log, how] = process.argv.slice(2) as [string, string, "end" | "hang" | "exit"]

const graph = Graph.make("leaving", { version: "1.0.0" }, (g) => ({
  out: g.input("in", Num).pipe(Leave({ log, how })),
}))

const running = Effect.runFork(
  Effect.provide(
    Engine.run(graph, { in: Stream.make({ n: 1 }) }),
    Layer.mergeAll(StoreFs.layer(store, { durability: "none" }), LocalWorkers.layer({ store, cores: 1 })),
  ),
)
process.once("SIGINT", () => running.interruptUnsafe())
