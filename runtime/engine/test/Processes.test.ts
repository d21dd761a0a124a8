/** Runs in real processes: killed at any instant, two at once on one store, and on a disk that is full. */
import { spawn } from "node:child_process"
import fs from "node:fs"
import os from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

import { assert, describe, it } from "@effect/vitest"
import { Ledger } from "@reelgraph/core"
import { Journal, JournalSqlite } from "@reelgraph/store"
import * as Effect from "effect/Effect"

import * as Flow from "../src/internal/Flow.ts"
import type { Result, Task } from "./driver.ts"

const main = fileURLToPath(new URL("driver.ts", import.meta.url))
const nodes = 3

const temporary = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(join(os.tmpdir(), "reelgraph-engine-"))),
  (path) => Effect.sync(() => fs.rmSync(path, { recursive: true, force: true })),
)

const linesOf = (file: string): ReadonlyArray<string> =>
  fs.existsSync(file) ? fs.readFileSync(file, "utf8").split("\n").filter(Boolean) : []

/** Runs a driver to its end: nothing when it was killed. */
const drive = (task: Task, options: { readonly blocks?: number } = {}): Effect.Effect<Result | undefined> =>
  Effect.callback((resume) => {
    const args = [main, JSON.stringify(task)]
    const child =
      options.blocks === undefined
        ? spawn(process.execPath, args, { stdio: ["ignore", "pipe", "ignore"] })
        : // A file may not grow beyond so many blocks of 512 bytes (1024 in some shells): what a full disk does.
          spawn("sh", ["-c", `ulimit -f ${options.blocks}; exec "$0" "$@"`, process.execPath, ...args], {
            stdio: ["ignore", "pipe", "ignore"],
          })
    let text = ""
    child.stdout.on("data", (data: Buffer) => void (text += data.toString()))
    child.on("close", () => resume(Effect.succeed(text === "" ? undefined : (JSON.parse(text) as Result))))
    return Effect.sync(() => child.kill("SIGKILL"))
  })

const statuses = (store: string) =>
  Effect.map(Journal, (journal) => journal.runs().map(({ status }) => status)).pipe(
    Effect.provide(JournalSqlite.layer(join(store, "journal.db"))),
  )

describe("a run", { timeout: 180_000 }, () => {
  it.live("killed at three instants, calls again for no more than was in flight, and ends the same", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const items = 3000
      const whole = yield* drive({ store: join(folder, "whole"), log: join(folder, "whole.log"), items })
      const task = { store: join(folder, "store"), log: join(folder, "log"), items }
      for (const killAt of [700, 2500, 3100]) assert.isUndefined(yield* drive({ ...task, killAt }))
      const last = yield* drive(task)
      assert.deepStrictEqual(last!.outputs, whole!.outputs)
      assert.strictEqual(last!.outputs!.length, items)
      assert.deepStrictEqual(Ledger.imbalances(last!.report!.ledger), [])
      const calls = linesOf(task.log)
      assert.strictEqual(new Set(calls).size, nodes * items)
      assert.isAtMost(calls.length, nodes * items + 3 * nodes * Flow.chunk)
      assert.deepStrictEqual(yield* statuses(task.store), ["killed", "killed", "killed", "done"])
    }),
  )

  it.live("beside another on the same store: what both make counts once, and both end the same", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const items = 2000
      const store = join(folder, "store")
      const both = yield* Effect.all(
        [1, 2].map((i) => drive({ store, log: join(folder, `log-${i}`), items })),
        { concurrency: "unbounded" },
      )
      for (const result of both) {
        assert.isUndefined(result!.failure)
        assert.deepStrictEqual(Ledger.imbalances(result!.report!.ledger), [])
        assert.strictEqual(result!.outputs!.length, items)
      }
      assert.deepStrictEqual(both[0]!.outputs, both[1]!.outputs)
      yield* Effect.gen(function* () {
        const journal = yield* Journal
        const [first, second] = journal.runs()
        assert.deepStrictEqual([first!.status, second!.status], ["done", "done"])
        // One call for each item of each node, made by one run and reused by the other.
        for (const item of journal.runItems(first!.id, "in:in")) {
          const steps = journal.consumers(item)
          assert.strictEqual(steps.length, 1)
          assert.strictEqual(journal.runsOfCall(steps[0]!.call).length, 2)
        }
      }).pipe(Effect.provide(JournalSqlite.layer(join(store, "journal.db"))))
      const after = yield* drive({ store, log: join(folder, "log-3"), items })
      assert.deepStrictEqual(after!.outputs, both[0]!.outputs)
      assert.deepStrictEqual(linesOf(join(folder, "log-3")), [])
    }),
  )

  it.live.skipIf(process.platform === "win32")(
    "on a disk that is full ends with one typed error; with room again it goes on",
    () =>
      Effect.gen(function* () {
        const folder = yield* temporary
        const task = { store: join(folder, "store"), log: join(folder, "log"), items: 3000 }
        const full = yield* drive(task, { blocks: 600 })
        assert.strictEqual(full!.failure!.tag, "JournalError")
        assert.match(full!.failure!.message, /^the journal .*journal\.db could not be written: /u)
        const before = linesOf(task.log).length
        assert.isBelow(before, nodes * task.items)
        const rest = yield* drive(task)
        assert.strictEqual(rest!.outputs!.length, task.items)
        assert.isAtMost(linesOf(task.log).length, nodes * task.items + nodes * Flow.chunk)
      }),
  )
})
