import { assert, describe, it } from "@effect/vitest"
import * as Gang from "@reelgraph/training/Gang"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"

import * as Rank from "../src/Rank.ts"

const within = <A, E>(environment: Readonly<Record<string, string>>, effect: Effect.Effect<A, E>) =>
  Effect.provide(effect, ConfigProvider.layer(ConfigProvider.fromEnv({ env: environment })))

const rank = (environment: Readonly<Record<string, string>>) =>
  within(
    environment,
    Effect.gen(function* () {
      return yield* Rank.current
    }),
  )

/** As srun of 22.05 was seen to set them, for the second rank of the second node. */
const last = {
  SLURM_JOB_ID: "60007",
  SLURM_JOB_NODELIST: "h100-[0-3,7]",
  SLURM_STEP_NODELIST: "h100-[3,7]",
  SLURM_NTASKS: "4",
  SLURM_PROCID: "3",
  SLURM_LOCALID: "1",
  SLURM_NODEID: "1",
  CUDA_VISIBLE_DEVICES: "4,5,6,7",
}

describe("Rank", () => {
  it.effect("is what Slurm says, and what its calls are told", () =>
    Effect.gen(function* () {
      const found = yield* rank(last)
      assert.deepStrictEqual(found, {
        rank: 3,
        ranks: 4,
        localRank: 1,
        ranksPerNode: 2,
        nodes: ["h100-3", "h100-7"],
        address: "h100-3",
        port: 10_007,
        gpus: ["6", "7"],
      })
      const environment = Rank.environment(found)
      assert.strictEqual(environment["CUDA_VISIBLE_DEVICES"], "6,7")
      const { gpus: _, ...told } = found
      assert.deepStrictEqual(yield* within(environment, Gang.current), told)
    }),
  )

  it.effect("meets the others where its job says", () =>
    Effect.gen(function* () {
      const elsewhere = { REELGRAPH_GANG_ADDRESS: "10.1.2.3", REELGRAPH_GANG_PORT: "4567" }
      assert.deepInclude(yield* rank({ ...last, ...elsewhere }), { address: "10.1.2.3", port: 4567 })
    }),
  )

  it.effect("of an array's task is the only one, and has all that the task has", () =>
    Effect.gen(function* () {
      const task = {
        SLURM_JOB_ID: "5",
        SLURM_JOB_NODELIST: "cpu-1",
        SLURM_NTASKS: "1",
        SLURM_PROCID: "0",
        CUDA_VISIBLE_DEVICES: "2,3",
      }
      const found = yield* rank(task)
      assert.deepInclude(found, { rank: 0, ranks: 1, ranksPerNode: 1, gpus: ["2", "3"], port: 10_005 })
      const alone = yield* within(Rank.environment(yield* rank({})), Gang.current)
      assert.deepInclude(alone, { rank: 0, ranks: 1, localRank: 0, ranksPerNode: 1 })
      assert.notProperty(Rank.environment(yield* rank({})), "CUDA_VISIBLE_DEVICES")
    }),
  )
})
