import { join } from "node:path"

import { assert, describe, it } from "@effect/vitest"
import { Journal, JournalSqlite, Status } from "@reelgraph/store"
import * as Effect from "effect/Effect"

import { folder, reel } from "./reel.ts"

const item = (digit: string) => ({ digest: digit.repeat(64), record: `{"name":"${digit}"}`, artifacts: [] })

/** A journal in which one call was made here, and the next on another machine. */
const written = (place: string) =>
  Effect.gen(function* () {
    const journal = yield* Journal
    const run = yield* journal.beginRun({
      name: "two-places",
      graph: "g",
      version: "1.0.0",
      digest: "0".repeat(64),
      definition: "{}",
      startedMs: 0,
      nodes: ["here", "there"],
    })
    const operator = (name: string, digit: string) =>
      journal.operator({
        digest: digit.repeat(64),
        name,
        version: "1.0.0",
        params: "{}",
        source: "",
        sides: {},
      })
    const row = { status: Status.done, attempts: 1, startedMs: 0, ms: 1 }
    const [input] = yield* journal.items(run, "in", [item("a")])
    const here = { ...row, input: input!, operator: yield* operator("near", "8"), outputs: [item("b")] }
    const [first] = yield* journal.calls(run, 0, [here])
    const there = { ...row, input: first!.outputs[0]!, operator: yield* operator("far", "9") }
    yield* journal.calls(run, 1, [{ ...there, outputs: [item("c")], place }])
  })

describe("reel lineage", { timeout: 180_000 }, () => {
  it.live("says where a call was made that was not made here", () =>
    Effect.gen(function* () {
      const store = yield* folder
      const place = "h100-3 job 1234_5.0 gpu 2"
      yield* Effect.provide(written(place), JournalSqlite.layer(join(store, "journal.db")))
      const told = yield* reel("lineage", "cccccc", "--store", store)
      assert.strictEqual(told.code, 0, told.stderr)
      assert.match(told.stdout, /far@1\.0\.0 .*made on h100-3 job 1234_5\.0 gpu 2\)/)
      assert.notMatch(told.stdout, /near@.*made on/)
      const { stdout } = yield* reel("lineage", "cccccc", "--json", "--store", store)
      const { items } = JSON.parse(stdout) as {
        readonly items: ReadonlyArray<{ readonly madeBy: ReadonlyArray<{ readonly place?: string }> }>
      }
      assert.deepStrictEqual(
        items.map(({ madeBy }) => madeBy.map((step) => step.place)),
        [[place], [undefined], []],
      )
    }),
  )
})
