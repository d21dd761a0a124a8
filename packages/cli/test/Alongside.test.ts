/** Two runs of one graph on one store at once. */
import { existsSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"

import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"

import { folder, reel, slow, spawned } from "./reel.ts"

const until = (condition: () => boolean) =>
  Effect.gen(function* () {
    while (!condition()) yield* Effect.sleep(10)
  })

const warningsOf = (stdout: string) =>
  (JSON.parse(stdout) as { readonly warnings: ReadonlyArray<string> }).warnings

it.live(
  "a run that finds another of its graph at work on its store names it, in a line and in its warnings",
  () =>
    Effect.gen(function* () {
      const here = yield* folder
      const [hold, log, store] = ["hold", "log", "store"].map((name) => join(here, name)) as [
        string,
        string,
        string,
      ]
      writeFileSync(hold, "")
      const args = (n: number) => {
        const input = join(here, `${n}.ndjson`)
        writeFileSync(input, JSON.stringify({ n }))
        const set = ["slow.ms=0", `slow.hold=${JSON.stringify(hold)}`, `slow.log=${JSON.stringify(log)}`]
        const flags = ["--store", store, "--json", ...set.flatMap((param) => ["--set", param])]
        return ["run", slow, "--input", input, ...flags]
      }
      const first = yield* Effect.forkChild(spawned(here, args(8)))
      yield* until(() => existsSync(log))
      const second = yield* reel(...args(1))
      assert.strictEqual(second.code, 0, second.stderr)
      const [warning = ""] = warningsOf(second.stdout)
      assert.match(warning, /^another run of slow is at work on this store \(slow-[\w-]+\)/)
      assert.include(second.stderr, `warning: ${warning}\n`)
      rmSync(hold)
      const ended = yield* Fiber.join(first)
      assert.strictEqual(ended.code, 0, ended.stderr)
      const { run } = JSON.parse(ended.stdout) as { readonly run: string }
      assert.include(warning, run)
      // Nobody is at work any more.
      const third = yield* reel(...args(2))
      assert.deepStrictEqual(warningsOf(third.stdout), [])
      assert.notInclude(third.stderr, "another run")
      // It is recorded.
      const shown = yield* reel(
        "show",
        (JSON.parse(second.stdout) as { run: string }).run,
        "--store",
        store,
        "--json",
      )
      assert.include(shown.stdout, "another run of slow is at work")
    }).pipe(Effect.scoped),
  120_000,
)
