/** A person's own modules are edited between runs, and while one goes on: no result is ever of other code than it tells. */
import { spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"

const bin = fileURLToPath(new URL("../packages/cli/src/bin.ts", import.meta.url))

const temporary = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "reelgraph-edits-"))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true })),
)

const lib = (by: number) => `export const step = (n: number) => n + ${by}\n`

/** A graph of one operator in workers; the call of 2 edits a module that it has loaded and ends its worker. */
const graph = `
import { writeFileSync } from "node:fs"
import { Graph, Operator, Port } from "@reelgraph/core"
import { Effect, Schema } from "effect"
import { step } from "./lib.ts"

const Num = Port.make("Num", { record: Schema.Struct({ n: Schema.Int }) })
export const Step = Operator.map("step", {
  version: "1.0.0",
  input: Num,
  output: Num,
  worker: import.meta.url,
  concurrency: 1,
  retries: 0,
  run: ({ n }) =>
    Effect.sync(() => {
      if (n === 2 && process.env.REELGRAPH_TEST_EDIT !== undefined) {
        writeFileSync(new URL("./lib.ts", import.meta.url), process.env.REELGRAPH_TEST_EDIT)
        process.kill(process.pid, "SIGKILL")
      }
      return { n: step(n) }
    }),
})
export default Graph.make("steps", { version: "1.0.0" }, (g) => ({ out: g.input("nums", Num).pipe(Step()) }))
`

interface Report {
  readonly ledger: {
    readonly step: { readonly kept: number; readonly failed: number; readonly cached: number }
  }
  readonly failed: ReadonlyArray<{ readonly error: string; readonly detail: string }>
}

const run = (folder: string, environment: Readonly<Record<string, string>> = {}) =>
  Effect.sync(() => {
    const { status, stderr, stdout } = spawnSync(
      process.execPath,
      [bin, "run", "steps.graph.ts", "--input", "nums.ndjson", "--json"],
      // oxlint-disable-next-line node/no-process-env -- a process boundary
      { cwd: folder, env: { ...process.env, ...environment }, encoding: "utf8" },
    )
    assert.notStrictEqual(stdout, "", stderr)
    return { status, report: JSON.parse(stdout) as Report }
  })

const begin = (folder: string, nums: ReadonlyArray<number>) => {
  writeFileSync(join(folder, "steps.graph.ts"), graph)
  writeFileSync(join(folder, "lib.ts"), lib(100))
  writeFileSync(join(folder, "nums.ndjson"), nums.map((n) => `{"n":${n}}\n`).join(""))
}

/** Two operators of one name, made by one factory: the graph has the second. */
const twice = `
import { Graph, Operator, Port } from "@reelgraph/core"
import { Effect, Schema } from "effect"

const Num = Port.make("Num", { record: Schema.Struct({ n: Schema.Int }) })
const addK = (k: number) =>
  Operator.map("step", {
    version: "1.0.0",
    input: Num,
    output: Num,
    worker: import.meta.url,
    run: ({ n }) => Effect.succeed({ n: n + k }),
  })
export const Add1 = addK(1)
EXPORT const Add100 = addK(100)
export default Graph.make("steps", { version: "1.0.0" }, (g) => ({ out: g.input("nums", Num).pipe(Add100()) }))
`

describe("a person's own code", () => {
  it.live(
    "edited while a run goes on: what a worker loads then is not taken for what the run began with",
    () =>
      Effect.gen(function* () {
        const folder = yield* temporary
        begin(folder, [1, 2, 3, 4])
        const edited = yield* run(folder, { REELGRAPH_TEST_EDIT: lib(200) })
        assert.strictEqual(edited.status, 3)
        // Of the items after the edit none is made by the new code under the old one's key.
        const { failed, ledger } = edited.report
        assert.strictEqual(ledger.step.kept + ledger.step.failed, 4)
        const changed = failed.filter(({ error }) => error === "CodeChanged")
        assert.isAbove(changed.length, 0)
        assert.match(changed[0]!.detail, /it was edited since.*run again/)
        assert.strictEqual(failed.length, changed.length + 1)

        // Taken back: what was made before the edit is there, and the rest is made by the old code.
        writeFileSync(join(folder, "lib.ts"), lib(100))
        const back = yield* run(folder)
        assert.deepInclude(back.report.ledger.step, { kept: 4, failed: 0, cached: ledger.step.kept })
        const again = yield* run(folder)
        assert.strictEqual(again.report.ledger.step.cached, 4)
        assert.strictEqual(again.status, 0)
      }),
  )

  it.live("of two operators of one name in a module is not taken for one another by workers", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      begin(folder, [1])
      for (const [keyword, error] of [
        ["export", "OperatorAmbiguous"],
        ["", "OperatorNotExported"],
      ] as const) {
        writeFileSync(join(folder, "steps.graph.ts"), twice.replace("EXPORT", keyword))
        const { report, status } = yield* run(folder)
        assert.strictEqual(status, 3)
        assert.deepStrictEqual(
          report.failed.map((failed) => failed.error),
          [error],
        )
      }
    }),
  )

  it.live("is made again after an edit of what it imports, and not for a comment", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      begin(folder, [1, 3])
      assert.strictEqual((yield* run(folder)).report.ledger.step.cached, 0)
      writeFileSync(join(folder, "lib.ts"), `// why\n${lib(100).replace("=>", "=>\n\n")}`)
      assert.strictEqual((yield* run(folder)).report.ledger.step.cached, 2)
      writeFileSync(join(folder, "lib.ts"), lib(101))
      assert.strictEqual((yield* run(folder)).report.ledger.step.cached, 0)
      assert.include(readFileSync(join(folder, "lib.ts"), "utf8"), "101")
    }),
  )
})
