/** What is made of simulations: bottlenecks, balanced pools, scores, and profiles of what has run. */
import { assert, describe, it } from "@effect/vitest"
import { drop, Graph, keep, Operator } from "@reelgraph/core"
import { layerInline } from "@reelgraph/call"
import { Engine } from "@reelgraph/engine"
import { BlobStoreMemory, Journal, JournalSqlite } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"

import {
  Balance,
  Bottleneck,
  MeasuredProfile,
  Overheads,
  type Placement,
  Pool,
  Pools,
  Profile,
  Score,
  Simulation,
} from "../src/index.ts"
import { chain, Num, profile, site } from "./simulating.ts"

const inline = layerInline({ name: "here", cores: 1, memoryGiB: 1, gpus: 0 })

/** Two stages, each in a pool of its own. */
const twoPools = (left: number, right: number) => {
  const graph = chain("a", "b")
  const pool = (nodes: number) =>
    Pool.slurm({ partition: "p", nodes, cores: 1, memoryGiB: 1, pricePerNodeHour: 1 })
  const placement: Placement.Placement = {
    pools: Pools.make({ pools: { left: pool(left), right: pool(right) } }),
    nodes: site(graph, 1).nodes.map((node) =>
      node.node === "a"
        ? { ...node, pool: "left", workers: left }
        : { ...node, pool: "right", workers: right },
    ),
  }
  return { graph, placement }
}

describe("Bottleneck", () => {
  it.effect("names the pool and the stage that a run waits for, by how much they move its end", () =>
    Effect.gen(function* () {
      // 20,000 s on 20 nodes, 8000 s on 40.
      const options = {
        ...twoPools(20, 40),
        profile: profile(
          { a: { seconds: 5 }, b: { seconds: 2 } },
          4000,
          Overheads.make({ shardMinSeconds: 5 }),
        ),
      }
      const [first, second, ...rest] = yield* Bottleneck.find(options)
      assert.deepStrictEqual(
        new Set([first!.lever._tag, second!.lever._tag]),
        new Set(["Pool", "Stage"] as const),
      )
      for (const { gain, lever } of [first!, second!]) {
        assert.include(
          ["left", "a"],
          lever._tag === "Pool" ? lever.pool : lever._tag === "Stage" ? lever.node : "",
        )
        assert.isAbove(gain, 0.06)
        assert.isAtMost(gain, 0.1)
      }
      for (const { gain } of rest) assert.isBelow(gain, 0.03)
    }),
  )
})

describe("Balance", () => {
  it.effect(
    "gives each pool the nodes that its work needs",
    () =>
      Effect.gen(function* () {
        const options = {
          ...twoPools(40, 160),
          profile: profile(
            { a: { seconds: 5 }, b: { seconds: 2 } },
            8000,
            Overheads.make({ shardMinSeconds: 5 }),
          ),
        }
        const { nodes, reached, simulated } = yield* Balance.find(options)
        assert.isTrue(reached)
        // Two fifths of the work are b's; what is done for each shard comes on top, and b's last comes after a's last.
        assert.isAtLeast(nodes["left"]!, 38)
        assert.isAtLeast(nodes["right"]!, 16)
        assert.isAtMost(nodes["right"]!, 32)
        const before = yield* Simulation.run(options)
        assert.isAtMost(simulated.seconds, before.seconds * 1.03)
        assert.isBelow(simulated.wholeCost, before.wholeCost / 2)

        const faster = yield* Balance.find(options, before.seconds / 3)
        assert.isTrue(faster.reached)
        assert.isAtLeast(faster.nodes["left"]!, 110)
        const never = yield* Balance.find(options, 1)
        assert.isFalse(never.reached)
      }),
    180_000,
  )
})

describe("Score", () => {
  it.effect("says what was as a ratio of what had been foretold", () =>
    Effect.gen(function* () {
      const graph = chain("a", "b")
      const simulated = yield* Simulation.run({
        graph,
        placement: site(graph, 10),
        profile: profile({ a: { seconds: 1, keep: 0.5 }, b: { seconds: 2 } }, 1000),
      })
      const node = { kept: 0, dropped: {}, failed: 0, cached: 0, retries: 0 }
      const score = Score.make(simulated, {
        startedMs: 5000,
        endedMs: 5000 + simulated.seconds * 1500,
        ledger: {
          a: { ...node, in: 1000, out: 400, busyMs: 2_000_000 },
          c: { ...node, in: 1, out: 1, busyMs: 1 },
        },
      })
      assert.approximately(score.seconds.ratio, 1.5, 1e-9)
      assert.deepStrictEqual(
        score.nodes.map(({ in: taken, node, work }) => [node, taken.ratio, work.ratio]),
        [["a", 1, 2]],
      )
      assert.deepStrictEqual(score.unmatched, ["b", "c"])
    }),
  )
})

describe("MeasuredProfile", () => {
  const given = { version: "1.0.0", input: Num } as const
  const graph = Graph.make("measured", { version: "1.0.0" }, (g) => {
    const odd = g.input("in", Num).pipe(
      Operator.filter("odd", {
        ...given,
        run: ({ n }) => Effect.as(Effect.sleep(4), n % 4 === 0 ? drop("four") : keep),
      })(),
    )
    const twice = odd.pipe(
      Operator.flatMap("twice", {
        ...given,
        output: Num,
        run: ({ n }) => Effect.succeed([{ n: 100 + n }, { n: 1000 + n }]),
      })(),
    )
    return {
      sum: twice.pipe(
        Operator.collect("sum", {
          ...given,
          output: Num,
          run: (all) =>
            Effect.succeed([
              Operator.emit(
                { n: all.length },
                all.map((_, i) => i),
              ),
            ]),
        })(),
      ),
      never: twice.pipe(Operator.map("never", { ...given, output: Num, run: () => Effect.die("no") })()),
    }
  })
  const ran = Graph.make("measured", { version: "1.0.0" }, (g) => {
    let edge: any = g.input("in", Num)
    for (const { operator } of graph.nodes.slice(0, 3)) edge = edge.pipe((operator as any)())
    return { sum: edge }
  })
  const services = Layer.mergeAll(JournalSqlite.layerMemory, BlobStoreMemory.layer, inline)

  it.live("reads seconds, shares and fan-out from what has run", () =>
    Effect.gen(function* () {
      const none = yield* MeasuredProfile.of(graph)
      assert.deepStrictEqual(none.unmeasured, ["odd", "twice", "sum", "never"])
      yield* Engine.run(ran, { in: Stream.fromIterable(Array.from({ length: 80 }, (_, n) => ({ n }))) })
      const { calls, profile, unmeasured } = yield* MeasuredProfile.of(graph)
      assert.deepStrictEqual(unmeasured, ["never"])
      assert.strictEqual(calls["odd"], 80)
      const { odd, sum, twice } = profile.operators
      assert.approximately(odd!.keep, 0.75, 1e-9)
      assert.isAtLeast(Profile.meanSeconds(odd!.seconds), 0.003)
      assert.strictEqual(twice!.out, 2)
      assert.strictEqual(sum!.emits, 1)
      const journal = yield* Journal
      assert.strictEqual(journal.runs().length, 1)
    }).pipe(Effect.provide(services)),
  )
})
