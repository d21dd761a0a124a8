/** Runs that the disk or the store ends: with a sentence, and with what is true of what was done. */
import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { fileURLToPath } from "node:url"

import { assert, describe, it, vi } from "@effect/vitest"
import * as Effect from "effect/Effect"

import { counts, folder, reel } from "./reel.ts"

// Nothing waits for it, and others work here too.
vi.setConfig({ testTimeout: 120_000 })

const bin = fileURLToPath(new URL("../src/bin.ts", import.meta.url))

const numbers = (here: string, count: number): string => {
  const file = join(here, "nums.ndjson")
  fs.writeFileSync(file, Array.from({ length: count }, (_, n) => JSON.stringify({ n })).join("\n"))
  return file
}

describe("a run that ends early", () => {
  it.live("because its journal can grow no more says how many results are there", () =>
    Effect.gen(function* () {
      const here = yield* folder
      const store = join(here, "store")
      const args = ["run", counts, "--input", numbers(here, 20_000), "--store", store]
      // No file of it may be larger than so many blocks, as on a disk that is full.
      const limited = ["-c", 'ulimit -f 4000; exec "$@"', "sh", process.execPath, bin, ...args]
      const options = {
        encoding: "utf8",
        // oxlint-disable-next-line node/no-process-env -- a process boundary
        env: { ...process.env, XDG_CACHE_HOME: join(here, "caches") },
      } as const
      const { status, stderr } = spawnSync("sh", limited, options)
      assert.strictEqual(status, 1, stderr)
      const [, told] = /ended early: .*; ([\d,]+) results? kept in/.exec(stderr) ?? []
      assert.isDefined(told, stderr)
      const db = new DatabaseSync(join(store, "journal.db"))
      const { committed } = db.prepare("SELECT count(*) AS committed FROM calls").get() as {
        readonly committed: number
      }
      db.close()
      assert.isAbove(committed, 0)
      assert.strictEqual(Number(told.replaceAll(",", "")), committed, stderr)
      // And the run that follows goes on from there: a process as well, for here modules are loaded as others.
      const next = spawnSync(process.execPath, [bin, ...args, "--json"], options)
      assert.strictEqual(next.status, 0, next.stderr)
      assert.strictEqual(JSON.parse(next.stdout).ledger.spell.cached, committed)
    }).pipe(Effect.scoped),
  )

  it.live("because its store was removed says so, and leaves none in its place", () =>
    Effect.gen(function* () {
      const here = yield* folder
      const store = join(here, "store")
      const set = ["--set", `spell.remove=${store}`]
      const { code, stderr } = yield* reel(
        "run",
        counts,
        "--input",
        numbers(here, 5000),
        "--store",
        store,
        ...set,
      )
      assert.strictEqual(code, 1, stderr)
      assert.match(stderr, /ended early: .* is gone/)
      assert.notInclude(stderr, "kept in")
      assert.isFalse(fs.existsSync(store))
    }).pipe(Effect.scoped),
  )
})
