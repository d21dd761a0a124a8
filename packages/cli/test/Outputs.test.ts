/** What `--out` writes, and how it is called; and inputs without records. */
import { readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs"
import { join } from "node:path"

import { assert, describe, it, vi } from "@effect/vitest"
import * as Effect from "effect/Effect"

import { example, folder, models, reel } from "./reel.ts"

// Nothing waits for it, and others work here too.
vi.setConfig({ testTimeout: 60_000 })

/** Runs the graph of models on some names, in a folder. */
const made = Effect.fnUntraced(function* (
  here: string,
  names: ReadonlyArray<string>,
  ...args: ReadonlyArray<string>
) {
  const input = join(here, "names.ndjson")
  writeFileSync(input, names.map((name) => JSON.stringify({ name })).join("\n"))
  const out = join(here, "out")
  const ended = yield* reel(
    "run",
    models,
    "--input",
    input,
    "--store",
    join(here, "store"),
    "--out",
    out,
    ...args,
  )
  return { ...ended, out }
})

const inFolder = (out: string): ReadonlyArray<string> => readdirSync(join(out, "made")).toSorted()

describe("--out", () => {
  it.live("names the files of the only record after it and their fields, and replaces them", () =>
    Effect.gen(function* () {
      const here = yield* folder
      const { code, out, stderr } = yield* made(here, ["denoiser-20"])
      assert.strictEqual(code, 0, stderr)
      const names = inFolder(out)
      assert.deepStrictEqual(
        names.map((name) => name.replace(/[0-9a-f]{8}(?=\.)/, "DIGITS")),
        [
          "denoiser-20-curve.csv",
          "denoiser-20-curve.svg",
          "denoiser-20-parts-DIGITS.txt",
          "denoiser-20-parts-DIGITS.txt",
          "denoiser-20.safetensors",
        ],
      )
      const weights = join(out, "made", "denoiser-20.safetensors")
      assert.strictEqual(readFileSync(weights, "utf8"), "denoiser-20 weights a")
      const other = yield* made(here, ["denoiser-20"], "--set", "make.text=b")
      assert.strictEqual(other.code, 0, other.stderr)
      assert.strictEqual(readFileSync(weights, "utf8"), "denoiser-20 weights b")
    }).pipe(Effect.scoped),
  )

  it.live("does not replace what somebody else wrote", () =>
    Effect.gen(function* () {
      const here = yield* folder
      const { out } = yield* made(here, ["denoiser"])
      const drawing = join(out, "made", "denoiser-curve.svg")
      writeFileSync(`${drawing}.new`, "mine")
      renameSync(`${drawing}.new`, drawing)
      const { code, stderr } = yield* made(here, ["denoiser"])
      assert.strictEqual(code, 1, stderr)
      assert.include(stderr, "denoiser-curve.svg: it was not made by reel in this store")
      assert.strictEqual(readFileSync(drawing, "utf8"), "mine")
    }).pipe(Effect.scoped),
  )

  it.live("tells the files of several records apart by digits", () =>
    Effect.gen(function* () {
      const { out } = yield* made(yield* folder, ["one", "two"])
      const names = inFolder(out)
      assert.lengthOf(names, 10)
      for (const name of names)
        assert.match(name, /^(one|two)(-[a-z]+)?-[0-9a-f]{8}\.(csv|svg|txt|safetensors)$/)
    }).pipe(Effect.scoped),
  )
})

describe("--input NAME=", () => {
  for (const command of ["run", "plan"])
    it.live(`is an input without records: reel ${command}`, () =>
      Effect.gen(function* () {
        const store = ["--store", join(yield* folder, "store")]
        const none = yield* reel(command, example, "--input", "scenes=", ...store, "--json")
        assert.strictEqual(none.code, 0, none.stderr)
        const { inputs } = JSON.parse(none.stdout) as { readonly inputs: object }
        assert.deepStrictEqual(inputs, command === "run" ? {} : { scenes: 0 })
        const missing = yield* reel(command, example, ...store)
        assert.strictEqual(missing.code, 2)
        assert.include(missing.stderr, "needs the input scenes")
      }).pipe(Effect.scoped),
    )
})
