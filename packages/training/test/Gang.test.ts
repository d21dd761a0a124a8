import { assert, describe, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"

import * as Gang from "../src/Gang.ts"

const within = <A, E>(environment: Readonly<Record<string, string>>, effect: Effect.Effect<A, E>) =>
  Effect.provide(effect, ConfigProvider.layer(ConfigProvider.fromEnv({ env: environment })))

const second = {
  REELGRAPH_GANG_RANK: "5",
  REELGRAPH_GANG_RANKS: "8",
  REELGRAPH_GANG_LOCAL_RANK: "1",
  REELGRAPH_GANG_RANKS_PER_NODE: "4",
  REELGRAPH_GANG_NODES: "h100-3,h100-7",
  REELGRAPH_GANG_ADDRESS: "h100-3",
  REELGRAPH_GANG_PORT: "12345",
}

describe("Gang", () => {
  it.effect("is one process where nothing else is said", () =>
    Effect.gen(function* () {
      const gang = yield* within({ PATH: "/bin" }, Gang.current)
      assert.deepInclude(gang, { rank: 0, ranks: 1, localRank: 0, ranksPerNode: 1, nodes: ["localhost"] })
      assert.deepInclude(Gang.environment(gang), { RANK: "0", WORLD_SIZE: "1", MASTER_ADDR: "127.0.0.1" })
      yield* within({}, Gang.requireOneRank)
    }),
  )

  it.effect("is what its variables say, also to torch.distributed", () =>
    Effect.gen(function* () {
      const gang = yield* within(second, Gang.current)
      assert.deepStrictEqual(gang, {
        rank: 5,
        ranks: 8,
        localRank: 1,
        ranksPerNode: 4,
        nodes: ["h100-3", "h100-7"],
        address: "h100-3",
        port: 12_345,
      })
      assert.deepStrictEqual(Gang.environment(gang), {
        RANK: "5",
        WORLD_SIZE: "8",
        LOCAL_RANK: "1",
        LOCAL_WORLD_SIZE: "4",
        MASTER_ADDR: "h100-3",
        MASTER_PORT: "12345",
      })
    }),
  )

  for (const [name, wrong] of Object.entries({
    "a rank beyond the last": { REELGRAPH_GANG_RANK: "8" },
    "a rank beyond the last of its node": { REELGRAPH_GANG_LOCAL_RANK: "4" },
    "more ranks than its nodes have": { REELGRAPH_GANG_NODES: "h100-3" },
    "several that cannot meet": { REELGRAPH_GANG_ADDRESS: "" },
  }))
    it.effect(`refuses ${name}`, () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(within({ ...second, ...wrong }, Gang.current))
        assert.strictEqual(error._tag, "GangInvalid")
      }),
    )

  it.effect("refuses what is no number, and no port", () =>
    Effect.gen(function* () {
      for (const wrong of [{ REELGRAPH_GANG_RANKS: "many" }, { REELGRAPH_GANG_PORT: "70000" }]) {
        const error = yield* Effect.flip(within({ ...second, ...wrong }, Gang.current))
        assert.strictEqual(error._tag, "ConfigError")
      }
    }),
  )

  it.effect("of more than one rank is refused by what trains in one process", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(within(second, Gang.requireOneRank))
      assert.strictEqual(error._tag, "RanksUnsupported")
      assert.match(error.message, /trains on one rank, got 8: the PyTorch backend is not there yet/)
    }),
  )
})
