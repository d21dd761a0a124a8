/** How simulated work is packed: by the rules of the driver. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"

import { Overheads, Simulation } from "../src/index.ts"
import { chain, nodeOf, profile, site } from "./simulating.ts"

describe("Shards of a simulated run", () => {
  it.effect("are even shares of what waits, each in a task of its own while there are places", () =>
    Effect.gen(function* () {
      const graph = chain("a")
      const simulated = yield* Simulation.run({
        graph,
        placement: site(graph, 8),
        profile: profile({ a: { seconds: 1 } }, 9, Overheads.make()),
      })
      // Two items to a shard: of the eight workers five have one.
      const { shards, tasks } = nodeOf(simulated, "a")
      assert.deepStrictEqual([shards, tasks], [5, 5])
      // Two looks of 0.3 s for more items, 0.15 until the driver submits, 1 for Slurm, 1 to start, 2.05, and one look.
      assert.isAtLeast(simulated.seconds, 4.8)
      assert.isAtMost(simulated.seconds, 4.8 + 0.31)
    }),
  )

  it.effect("are several in one task, when more wait than there are places", () =>
    Effect.gen(function* () {
      const graph = chain("a")
      const run = (shardsPerTask: number) =>
        Simulation.run({
          graph,
          placement: site(graph, 1),
          profile: profile(
            { a: { seconds: 10 } },
            { count: 30, perSecond: 1 },
            Overheads.make({ shardItems: 1, shardsPerTask }),
          ),
        })
      const [eight, one] = [nodeOf(yield* run(8), "a"), nodeOf(yield* run(1), "a")]
      assert.deepStrictEqual([eight.shards, one.shards, one.tasks], [30, 30, 30])
      // The driver packs three shards for one worker before it has results.
      assert.isAtMost(eight.tasks, 20)
      assert.isAtLeast(eight.tasks, 10)
    }),
  )

  it.effect("give results every few seconds, so that the next node begins before they are through", () =>
    Effect.gen(function* () {
      const graph = chain("a", "b")
      const run = (flushSeconds: number) =>
        Simulation.run({
          graph,
          placement: site(graph, 2, { nodes: { a: { workers: 1 }, b: { workers: 1 } } }),
          profile: profile({ a: { seconds: 4 }, b: { seconds: 1 } }, 10, Overheads.make({ flushSeconds })),
        })
      const [often, never] = [nodeOf(yield* run(5), "b"), nodeOf(yield* run(1000), "b")]
      assert.isAtMost(often.firstSeconds!, 10)
      assert.isAtLeast(never.firstSeconds!, 40)
    }),
  )
})
