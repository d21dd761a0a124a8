/** The command on a real Slurm of our own, with a person's files in a folder that has nothing else in it. */
import { copyFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

import { assert, layer } from "@effect/vitest"
import { Digest } from "@reelgraph/core"
import * as Manifest from "@reelgraph/store/Manifest"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"

import { unlessSlurm } from "../../../runtime/slurm/test/skip.ts"
import * as Test from "../../../test/cluster/Cluster.ts"
import { folder, spawned } from "./reel.ts"

const graph = fileURLToPath(new URL("graphs/squares.graph.ts", import.meta.url))

const pools = `import { Pool, Pools } from "@reelgraph/placement"
export default Pools.make({
  pools: { cpu: Pool.slurm({ partition: "cpu", nodes: 2, cores: 16, memoryGiB: 60, task: "node" }) },
})
`

const numbers = Array.from({ length: 40 }, (_, n) => `{"n":${n + 1}}\n`).join("")

unlessSlurm("reel --pools", () => {
  layer(Test.layer({ gpuNodes: 1, cpuNodes: 2 }) as Layer.Layer<Test.Cluster>, {
    timeout: 60_000,
    excludeTestServices: true,
  })((it) => {
    it.effect(
      "runs a graph as here, and tells of it afterwards",
      () =>
        Effect.scoped(
          Effect.gen(function* () {
            const { environment } = yield* Test.Cluster
            const at = yield* folder
            copyFileSync(graph, join(at, "squares.graph.ts"))
            writeFileSync(join(at, "site.pools.ts"), pools)
            const reel = (...args: ReadonlyArray<string>) =>
              Effect.tap(spawned(at, args, { stdin: numbers, environment }), (ended) =>
                Effect.sync(() => assert.strictEqual(ended.code, 0, ended.stderr)),
              )
            const run = ["run", "./squares.graph.ts", "--input", "-"]
            yield* reel(...run, "--store", "here", "--out", "here-out")
            const there = yield* reel(
              ...run,
              "--store",
              "there",
              "--out",
              "there-out",
              "--pools",
              "site.pools.ts",
              "--json",
            )
            const read = (out: string) =>
              Effect.map(Stream.runCollect(Manifest.rows(join(at, out, "out.parquet"))), (rows) =>
                rows.map((row) => `${String(row["n"])} ${String(row["item"])}`).toSorted(),
              )
            assert.lengthOf(yield* read("here-out"), 40)
            assert.deepStrictEqual(yield* read("there-out"), yield* read("here-out"))
            const { run: name } = JSON.parse(there.stdout) as { readonly run: string }
            const lineage = yield* reel("lineage", Digest.ofJson({ n: 1600 }), "--store", "there")
            assert.match(lineage.stdout, /square@1\.0\.0[^]*cpu-\d, job \d+_\d+/u)
            const logs = yield* reel("logs", name, "--store", "there")
            assert.match(logs.stdout, /cpu-\d, job \d+_\d+[^]*is through/u)
            const shown = yield* reel("show", name, "--store", "there")
            assert.include(shown.stdout, name)
            // Again, nothing is left to do.
            const again = yield* reel(...run, "--store", "there", "--pools", "site.pools.ts", "--json")
            const { ledger } = JSON.parse(again.stdout) as {
              readonly ledger: { readonly square: { readonly cached: number } }
            }
            assert.strictEqual(ledger.square.cached, 40)
          }),
        ),
      180_000,
    )
  })
})
