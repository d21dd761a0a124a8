/** Files of an input whose names are not text. */
import * as fs from "node:fs"
import { join } from "node:path"

import { assert, describe, it, vi } from "@effect/vitest"
import * as Effect from "effect/Effect"

import { folder, reel, slow } from "./reel.ts"

vi.setConfig({ testTimeout: 60_000 })

/** A path whose last part is bytes, as Latin-1 has them. */
const raw = (at: string, name: string): Buffer =>
  Buffer.concat([Buffer.from(`${at}/`), Buffer.from(name, "latin1")])

interface Report {
  readonly skipped: ReadonlyArray<{ readonly source: string; readonly problem: string }>
  readonly inputs: { readonly numbers: number }
}

// Other systems refuse such names.
describe.skipIf(process.platform !== "linux")("an input whose name is not UTF-8", () => {
  const run = (here: string, input: string, ...more: ReadonlyArray<string>) =>
    reel(
      "run",
      slow,
      "--input",
      input,
      "--set",
      "slow.ms=0",
      "--store",
      join(here, "store"),
      "--json",
      ...more,
    )

  for (const [what, pattern] of [
    ["a folder", ""],
    ["a pattern", "/*.ndjson"],
    ["a pattern without an extension", "/*"],
  ] as const)
    it.live(`in ${what} is skipped and reported, and the others are taken`, () =>
      Effect.gen(function* () {
        const here = yield* folder
        const inputs = join(here, "in")
        fs.mkdirSync(inputs)
        fs.writeFileSync(join(inputs, "a.ndjson"), '{"n":1}\n')
        // A name of UTF-8 with the sign for what could not be decoded is one like others.
        fs.writeFileSync(join(inputs, "\uFFFD.ndjson"), '{"n":2}\n')
        fs.writeFileSync(raw(inputs, "caf\u00E9.ndjson"), '{"n":3}\n')
        fs.writeFileSync(raw(inputs, "caf\u00E9.txt"), "not asked for")
        const { code, stderr, stdout } = yield* run(here, `${inputs}${pattern}`)
        assert.strictEqual(code, 3, stderr)
        const { inputs: taken, skipped } = JSON.parse(stdout) as Report
        assert.strictEqual(taken.numbers, 2)
        assert.strictEqual(skipped.length, 1)
        assert.strictEqual(skipped[0]!.source, join(inputs, "caf\uFFFD.ndjson"))
        assert.include(skipped[0]!.problem, "not UTF-8")
        const bounded = yield* run(here, `${inputs}${pattern}`, "--max-failures", "0")
        assert.strictEqual(bounded.code, 1, bounded.stdout)
        assert.include(bounded.stderr, "not UTF-8")
      }).pipe(Effect.scoped),
    )

  it.live("and is a folder is skipped as well; alone it is refused by its reason", () =>
    Effect.gen(function* () {
      const here = yield* folder
      const inputs = join(here, "in")
      fs.mkdirSync(inputs)
      fs.mkdirSync(raw(inputs, "\u00E9"))
      const alone = yield* run(here, inputs)
      assert.notStrictEqual(alone.code, 0)
      assert.include(alone.stderr, "not UTF-8")
      fs.writeFileSync(join(inputs, "a.ndjson"), '{"n":1}\n')
      const { code, stdout } = yield* run(here, inputs)
      assert.strictEqual(code, 3)
      assert.strictEqual((JSON.parse(stdout) as Report).skipped.length, 1)
    }).pipe(Effect.scoped),
  )
})
