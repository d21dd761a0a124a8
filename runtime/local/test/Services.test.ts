/** Services that operators bring into worker processes. */
import fs from "node:fs"
import os from "node:os"
import { join } from "node:path"

import { assert, describe, it } from "@effect/vitest"
import { Graph, type Node } from "@reelgraph/core"
import { Engine } from "@reelgraph/engine"
import { Journal, StoreFs } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"

import { LocalWorkers } from "../src/index.ts"
import * as Ops from "./operators.ts"

const temporary = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(join(os.tmpdir(), "reelgraph-local-"))),
  (path) => Effect.sync(() => fs.rmSync(path, { recursive: true, force: true })),
)

/** What lamps did, in the order of their processes. */
const lampsOf = (log: string) =>
  fs
    .readFileSync(log, "utf8")
    .trim()
    .split("\n")
    .map((line) => line.split(" ") as [what: string, pid: string])

/** Runs nodes in a row over some numbers, and gives what came of it once the workers have ended. */
const runOf = (folder: string, count: number, build: (g: Graph.Builder) => { readonly out: any }) => {
  const store = join(folder, "store")
  const graph: Graph.Graph = Graph.make("services", { version: "1.0.0" }, build)
  return Effect.gen(function* () {
    const report = yield* Engine.run(graph, { in: Stream.range(1, count).pipe(Stream.map((n) => ({ n }))) })
    const journal = yield* Journal
    return { report, failures: journal.failures(journal.run(report.run)!.id) }
  }).pipe(
    Effect.provide(
      Layer.merge(
        StoreFs.layer(store, { durability: "none" }),
        LocalWorkers.layer({ store, cores: 2, environment: { [Ops.lampLog]: join(folder, "lamps") } }),
      ),
    ),
  )
}

const oneNode =
  (node: Node.Any) =>
  (g: Graph.Builder): { readonly out: any } => ({ out: (g.input("in", Ops.Num) as any).pipe(node) })

describe("layers in workers", { timeout: 60_000 }, () => {
  it.live("are built once in each process for all operators that name them, and closed when it ends", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const { failures, report } = yield* runOf(folder, 20, (g) => ({
        out: g.input("in", Ops.Num).pipe(Ops.Shine(), Ops.Glow()),
      }))
      assert.deepStrictEqual([failures, report.ledger["glow"]!.kept], [[], 20])
      const lamps = lampsOf(join(folder, "lamps"))
      const pids = [...new Set(lamps.map(([, pid]) => pid))]
      assert.isAtMost(pids.length, 2)
      for (const pid of pids)
        assert.deepStrictEqual(
          lamps.filter((lamp) => lamp[1] === pid).map(([what]) => what),
          ["lit", "out"],
        )
    }),
  )

  it.live("that do not close are ended with their process", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const { failures } = yield* runOf(folder, 1, oneNode(Ops.Stuck()))
      assert.deepStrictEqual(failures, [])
      const [[, pid], ...more] = lampsOf(join(folder, "lamps")) as [[string, string]]
      assert.deepStrictEqual(more, [["stuck", pid]])
      assert.throws(() => process.kill(Number(pid), 0))
    }),
  )

  it.live("that cannot be built fail each call with the reason", () =>
    Effect.gen(function* () {
      const { failures } = yield* runOf(yield* temporary, 3, oneNode(Ops.Broken()))
      assert.deepStrictEqual(
        failures.map(({ reason }) => reason),
        ["LayerFailed", "LayerFailed", "LayerFailed"],
      )
      assert.include(
        failures[0]!.detail,
        "broken cannot begin, as the layer of broken@1.0.0 could not be built: no bulb (Error)",
      )
    }),
  )

  it.live("are what workers need: what the driver has they do not, and such a graph is refused", () =>
    Effect.gen(function* () {
      const run = runOf(yield* temporary, 1, oneNode(Ops.Dark()))
      const refused = yield* Effect.flip(Effect.provideService(run, Ops.Lamp, { lit: true }))
      assert.strictEqual(
        refused.message,
        "graph services has 1 problem:\n  dark needs the service test/Lamp, which nothing gives where the calls of its operator dark@1.0.0 are made; let the operator bring a layer that gives it",
      )
    }),
  )
})
