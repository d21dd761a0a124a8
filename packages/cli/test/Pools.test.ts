/** `--pools`: files that say where graphs run, in folders away from the repository. */
import { copyFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

import { assert, describe, it } from "@effect/vitest"
import type { Placement } from "@reelgraph/placement"
import * as Effect from "effect/Effect"

import { example, folder, reel, scenes, spawned } from "./reel.ts"

const cluster = fileURLToPath(new URL("../../../examples/cluster/cluster.pools.ts", import.meta.url))

const head = `import { Pool, Pools } from "@reelgraph/placement"\n`
const make = (pools: string): string => `${head}export default Pools.make({ pools: { ${pools} } })\n`
const here = "here: Pool.local({ cores: 2, memoryGiB: 8 })"
const gpus = `h100: Pool.slurm({ partition: "gpu", nodes: 2, cores: 8, memoryGiB: 64, gpus: { model: "h100", count: 4, memoryGiB: 80 } })`

/** A graph whose operator runs in a worker. */
const graph = `import { Graph, keep, Operator, Port } from "@reelgraph/core"
import { Effect, Schema } from "effect"
const Numbered = Port.make("Numbered", { record: Schema.Struct({ n: Schema.Int }) })
export const Work = Operator.filter("work", {
  version: "1.0.0",
  input: Numbered,
  worker: import.meta.url,
  run: () => Effect.succeed(keep),
})
export const work = Graph.make("work", { version: "1.0.0" }, (g) => ({
  out: g.input("in", Numbered).pipe(Work()),
}))
`

/** Pools files that cannot be used: what is said, and the exit code. */
const wrong: ReadonlyArray<readonly [name: string, text: string, code: number, says: string]> = [
  ["plain.ts", `export default { pools: {} }`, 2, "it exports default, not made by Pools.make"],
  ["named.ts", `${head}export const pools = Pools.make({ pools: {} })`, 2, "it exports pools"],
  ["throws.ts", `throw new Error("no such site")`, 1, "throws.ts:1 does not load: no such site"],
  [
    "zero.ts",
    make("a: Pool.local({ cores: 0, memoryGiB: 1 })"),
    1,
    "pools.a.cores: Expected a value greater than 0",
  ],
  [
    "typo.ts",
    make(`a: Pool.slurm({ partition: "a", cores: 1, memoryGiB: 1, preemptable: true })`),
    1,
    "typo.ts:2 does not load: these are no pools: pools.a.preemptable: Expected no excess property; pools.a.nodes: Missing key",
  ],
  [
    "small.ts",
    `${head}export default Pools.make({ pools: { ${here} }, operators: { work: { resources: { cores: 9 } } } })`,
    1,
    "work asks for 9 cores: here (this machine), which falls short: 9 cores of 2",
  ],
]

describe("--pools", () => {
  it.live(
    "plans and runs with a pools file alone in its folder",
    () =>
      Effect.gen(function* () {
        const at = yield* folder
        copyFileSync(example, join(at, "mine.graph.ts"))
        writeFileSync(join(at, "pools.ts"), make(`${here}, ${gpus}`))
        const mine = ["./mine.graph.ts", "--input", scenes, "--pools", "pools.ts"]
        writeFileSync(join(at, "work.graph.ts"), graph)
        const [plan, run, ran] = yield* Effect.all(
          [
            spawned(at, ["plan", ...mine, "--json"]),
            spawned(at, ["run", ...mine, "--store", "one"]),
            spawned(at, ["run", "./work.graph.ts", "--input", "-", "--pools", "pools.ts"], {
              stdin: `{"n":1}\n`,
            }),
          ],
          { concurrency: 2 },
        )
        assert.strictEqual(plan.code, 0, plan.stderr)
        const { placement } = JSON.parse(plan.stdout) as {
          readonly placement: Placement.Placement & { readonly warnings: ReadonlyArray<string> }
        }
        assert.deepStrictEqual(
          placement.nodes.map(({ how, node, pool }) => [node, pool, how]),
          [
            ["brightness", "here", "driver"],
            ["title-card", "here", "driver"],
          ],
        )
        assert.strictEqual(placement.warnings.length, 1)
        assert.strictEqual(placement.pools.pools["h100"]!._tag, "Slurm")
        assert.strictEqual(run.code, 0, run.stderr)
        assert.match(run.stderr, /^placement on pools\.ts\n[^]*\nrun brightness-\S+ begins/)
        assert.strictEqual(ran.code, 0, ran.stderr)
        assert.match(ran.stderr, /^work +here +local +2 x 1 +1 core$/m)
      }).pipe(Effect.scoped),
    180_000,
  )

  it.live(
    "says why each node of a graph is where it is",
    () =>
      Effect.gen(function* () {
        const at = yield* folder
        const { code, stderr, stdout } = yield* spawned(at, [
          "plan",
          "curate",
          "--input",
          "videos=",
          "--pools",
          cluster,
        ])
        assert.strictEqual(code, 0, stderr)
        assert.match(stdout, /^probe +cpu +array +500 x 4 +1 core, 2 GiB$/m)
        assert.match(stdout, /^why there\nprobe +asks for 0\.25 cores: 4 calls share 1 core; needs no GPU/m)
        assert.match(stdout, /^standardize +needs no GPU:[^]*cpu costs 0\.13 per call-hour,\s+here 0\.5/m)
        assert.isAtMost(Math.max(...stdout.split("\n").map((line) => line.length)), 100)
      }).pipe(Effect.scoped),
    180_000,
  )

  it.live(
    "refuses files that say no pools, and graphs that do not fit, before anything runs",
    () =>
      Effect.gen(function* () {
        const at = yield* folder
        for (const [name, text] of wrong) writeFileSync(join(at, name), text)
        writeFileSync(join(at, "away.ts"), make(gpus))
        const work = join(at, "work.graph.ts")
        writeFileSync(work, graph)
        const tried = [
          ...wrong.map(([name, , code, says]) => ({ name, code, says })),
          { name: "nowhere.ts", code: 2, says: "nowhere.ts; check the path" },
          // Without Slurm, and without a controller of it.
          { name: "away.ts", code: 1, says: "Slurm's" },
        ]
        yield* Effect.forEach(
          tried,
          ({ code, name, says }) =>
            Effect.map(
              reel("run", work, "--input", "in=", "--pools", join(at, name), "--store", join(at, "store")),
              (ended) => {
                assert.include(ended.stderr, says)
                assert.strictEqual(ended.code, code, ended.stderr)
                assert.notMatch(ended.stderr, /\n\s+at /)
                assert.strictEqual(ended.stdout, "")
              },
            ),
          { discard: true },
        )
      }).pipe(Effect.scoped),
    180_000,
  )

  it.live(
    "has GPUs of this machine only as far as this process may see them",
    () =>
      Effect.gen(function* () {
        const at = yield* folder
        writeFileSync(join(at, "work.graph.ts"), graph)
        writeFileSync(
          join(at, "gpus.ts"),
          `${head}export default Pools.make({
            pools: { here: Pool.local({ cores: 2, memoryGiB: 8, gpus: { model: "rtx", count: 2, memoryGiB: 24 } }) },
            operators: { work: { resources: { cores: 1, gpu: { count: 1, memoryGiB: 10 } } } },
          })\n`,
        )
        const run = (visible: string) =>
          spawned(at, ["run", "./work.graph.ts", "--input", "-", "--pools", "gpus.ts"], {
            stdin: `{"n":1}\n`,
            environment: { CUDA_VISIBLE_DEVICES: visible },
          })
        const hidden = yield* run("1")
        assert.strictEqual(hidden.code, 2)
        assert.include(hidden.stderr, 'gives this machine 2 GPUs, and CUDA_VISIBLE_DEVICES is "1"')
        const ran = yield* run("3,5")
        assert.strictEqual(ran.code, 0, ran.stderr)
        assert.match(ran.stderr, /^work +here +local +2 x 1 +1 core, 1 GPU of 10 GiB/m)
      }).pipe(Effect.scoped),
    180_000,
  )
})
