/** What keeps a run on a cluster from beginning, or from going on: one clear error each. And clocks, which do not. */
import { writeFileSync } from "node:fs"
import { join } from "node:path"

import { assert, layer } from "@effect/vitest"
import { Pool, Pools } from "@reelgraph/placement"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"

import * as Test from "../../../test/cluster/Cluster.ts"
import * as Harness from "./graphs.ts"
import { unlessSlurm } from "./skip.ts"

/** The message of what a run on the cluster ends with. */
const refusal = (
  nodes: Parameters<typeof Harness.remote>[1],
  options: Parameters<typeof Harness.remote>[2] = {},
) =>
  Effect.scoped(
    Effect.gen(function* () {
      const there = yield* Harness.folder
      const exit = yield* Effect.exit(Harness.remote({ ...there, count: 4 }, nodes, options))
      assert.isTrue(
        Exit.isFailure(exit),
        Exit.isSuccess(exit) ? `it ran: ${JSON.stringify(exit.value.report)}` : "",
      )
      return Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : ""
    }),
  )

const everywhere = Harness.everywhere()
const placement = (pools: Pools.Options["pools"]) => ({
  placement: { pools: Pools.make({ pools }), nodes: everywhere },
})
const gpus = { model: "h100", count: 8, memoryGiB: 80 }
const cpu = Pool.slurm({ partition: "cpu", nodes: 2, cores: 16, memoryGiB: 60 })

unlessSlurm("A cluster that is not as the pools file says", () => {
  layer(Test.layer({ gpuNodes: 1, cpuNodes: 2 }) as Layer.Layer<Test.Cluster>, {
    timeout: 60_000,
    excludeTestServices: true,
  })((it) => {
    it.effect(
      "is refused before anything is submitted",
      () =>
        Effect.gen(function* () {
          const { run } = yield* Test.Cluster
          assert.match(
            yield* refusal(
              everywhere,
              placement({
                cpu,
                h100: Pool.slurm({ partition: "h200", nodes: 1, cores: 8, memoryGiB: 60, gpus }),
              }),
            ),
            /pool h100: there is no partition h200; there are .*h100/,
          )
          assert.match(
            yield* refusal(
              everywhere,
              placement({
                cpu,
                h100: Pool.slurm({
                  partition: "h100",
                  nodes: 1,
                  cores: 8,
                  memoryGiB: 60,
                  gpus: { ...gpus, model: "b200" },
                }),
              }),
            ),
            /partition h100 has nodes of 32 cores.*8 h100, and the pool asks for 8 cores, 60 GiB, 8 b200/,
          )
          assert.match(
            yield* refusal(
              everywhere,
              placement({
                cpu,
                h100: Pool.slurm({ partition: "h100", nodes: 9, cores: 8, memoryGiB: 60, gpus }),
              }),
            ),
            /partition h100 has 1 such nodes, and the pool asks for 9/,
          )
          yield* run("scontrol", "update", "PartitionName=h100", "State=DOWN")
          const closed = placement({
            cpu,
            h100: Pool.slurm({ partition: "h100", nodes: 1, cores: 8, memoryGiB: 60, gpus }),
          })
          const reported = yield* Effect.ensuring(
            refusal(everywhere, closed),
            Effect.orDie(run("scontrol", "update", "PartitionName=h100", "State=UP")),
          )
          assert.match(reported, /partition h100 is closed/)
          assert.strictEqual((yield* run("squeue", "-h", "-t", "all")).trim(), "")
        }),
      180_000,
    )

    it.effect(
      "a job that Slurm refuses ends the run, and says why",
      () =>
        Effect.gen(function* () {
          const { run } = yield* Test.Cluster
          // More than a node of the partition has: found by Slurm, when it is asked.
          const greedy = [
            Harness.placed("double", "cpu", 1, { resources: { cores: 17 } }),
            ...everywhere.slice(1),
          ]
          const reported = yield* refusal(greedy, {
            placement: { pools: Pools.make({ pools: { cpu, h100: cpu } }), nodes: greedy },
          })
          assert.match(
            reported,
            /double cannot run in pool cpu: job .* no node of partition cpu has what is asked for/,
          )
          assert.strictEqual((yield* run("squeue", "-h", "-t", "pending,running")).trim(), "")
        }),
      180_000,
    )

    it.effect(
      "a worker of another version refuses its work",
      () =>
        Effect.gen(function* () {
          const reported = yield* refusal(everywhere, {
            version: "9.9.9",
            ...placement({
              cpu,
              h100: Pool.slurm({ partition: "h100", nodes: 1, cores: 8, memoryGiB: 60, gpus }),
            }),
          })
          assert.match(
            reported,
            /the driver is reelgraph 9\.9\.9 .* the worker on cpu-\d is .*: install the same on both/,
          )
        }),
      120_000,
    )

    it.effect(
      "workers that cannot begin anywhere end the run, with what their logs say",
      () =>
        Effect.gen(function* () {
          const { run } = yield* Test.Cluster
          const reported = yield* refusal(everywhere, {
            environment: { NODE_OPTIONS: "--require=/nowhere/at-all.cjs" },
            ...placement({
              cpu,
              h100: Pool.slurm({ partition: "h100", nodes: 1, cores: 8, memoryGiB: 60, gpus }),
            }),
          })
          assert.match(
            reported,
            /double cannot run in pool cpu: \d workers in pool cpu ended before they began, on cpu-0, cpu-1: exit code 1; the log of one ends with: .*Cannot find module '\/nowhere\/at-all\.cjs'/u,
          )
          assert.strictEqual((yield* run("squeue", "-h", "-t", "pending,running")).trim(), "")
        }),
      120_000,
    )

    it.effect(
      "a node on which no worker can begin is excluded",
      () =>
        Effect.scoped(
          Effect.gen(function* () {
            const here = yield* Harness.folder
            const there = yield* Harness.folder
            const broken = join(there.witness, "broken.cjs")
            writeFileSync(broken, 'if (process.env.SLURMD_NODENAME === "cpu-0") process.exit(3)\n')
            const nodes = everywhere.map((node) =>
              node.node === "paint" ? { ...node, pool: "cpu", resources: { cores: 1 } } : node,
            )
            const expected = yield* Harness.local({ store: here.store, count: 12 })
            const found = yield* Harness.remote({ ...there, count: 12 }, nodes, {
              placement: { pools: Pools.make({ pools: { cpu } }), nodes },
              environment: { NODE_OPTIONS: `--require=${broken}` },
            })
            assert.deepStrictEqual(found.outputs, expected.outputs)
            assert.strictEqual(found.ledger, expected.ledger)
            assert.isTrue(
              found.report.warnings.some((warning) =>
                /ended before their workers began \(exit code 3\), and were made elsewhere/u.test(warning),
              ),
              found.report.warnings.join("; "),
            )
            for (const place of found.places.filter((where) => where !== "here"))
              assert.match(place, /^cpu-1,/u)
          }),
        ),
      180_000,
    )

    it.effect(
      "a clock that is off is told of, and harms nothing",
      () =>
        Effect.scoped(
          Effect.gen(function* () {
            const here = yield* Harness.folder
            const there = yield* Harness.folder
            const nodes = everywhere.map((node) =>
              node.node === "paint" ? { ...node, pool: "cpu", resources: { cores: 1 } } : node,
            )
            const expected = yield* Harness.local({ store: here.store, count: 10 })
            const clock = yield* Clock.Clock
            const ahead = (ms: number) => ms + 600_000
            const found = yield* Harness.remote({ ...there, count: 10 }, nodes, {
              placement: { pools: Pools.make({ pools: { cpu } }), nodes },
            }).pipe(
              Effect.provideService(
                Clock.Clock,
                Object.assign(Object.create(clock) as Clock.Clock, {
                  currentTimeMillisUnsafe: () => ahead(clock.currentTimeMillisUnsafe()),
                  currentTimeMillis: Effect.map(clock.currentTimeMillis, ahead),
                }),
              ),
            )
            assert.deepStrictEqual(found.outputs, expected.outputs)
            assert.strictEqual(found.ledger, expected.ledger)
            assert.isTrue(
              found.report.warnings.some((warning) =>
                /the clock of cpu-\d is -?(59\d|60\d) s off/.test(warning),
              ),
              found.report.warnings.join("; "),
            )
          }),
        ),
      180_000,
    )
  })
})
