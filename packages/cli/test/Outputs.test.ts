/** What `--out` writes, and how it is called; and inputs without records. */
import {
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
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

/** The one blob with a text. */
const blobOf = (here: string, text: string): string => {
  const blobs = join(here, "store", "blobs")
  const paths = readdirSync(blobs, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
  return paths.find((path) => readFileSync(path, "utf8") === text)!
}

describe("files of --out", () => {
  it.live("share no storage with the store: what is edited there stays there", () =>
    Effect.gen(function* () {
      const here = yield* folder
      const { out } = yield* made(here, ["denoiser"])
      const weights = join(out, "made", "denoiser.safetensors")
      const blob = blobOf(here, "denoiser weights a")
      assert.strictEqual(statSync(blob).nlink, 1)
      assert.notStrictEqual(statSync(weights).ino, statSync(blob).ino)
      writeFileSync(weights, "mine", { flag: "r+" })
      assert.strictEqual(readFileSync(blob, "utf8"), "denoiser weights a")
    }).pipe(Effect.scoped),
  )

  it.live("that are links to the store, as earlier versions made them, become copies", () =>
    Effect.gen(function* () {
      const here = yield* folder
      const { out } = yield* made(here, ["one", "two"])
      const name = inFolder(out).find((file) => /^one-[0-9a-f]+\.safetensors$/.test(file))!
      const blob = blobOf(here, "one weights a")
      rmSync(join(out, "made", name))
      linkSync(blob, join(out, "made", name))
      const { code, stderr } = yield* made(here, ["one", "two"])
      assert.strictEqual(code, 0, stderr)
      assert.strictEqual(statSync(blob).nlink, 1)
      assert.strictEqual(readFileSync(join(out, "made", name), "utf8"), "one weights a")
    }).pipe(Effect.scoped),
  )

  it.live("a planted link is not followed, wherever it is: nothing outside is written", () =>
    Effect.gen(function* () {
      const here = yield* folder
      const victim = join(here, "victim")
      writeFileSync(victim, "untouched")
      const { out } = yield* made(here, ["one", "two"])
      const names = inFolder(out)
      const plant = (path: string) => {
        rmSync(path, { force: true, recursive: true })
        symlinkSync(victim, path)
      }
      // Where earlier versions wrote first.
      for (const name of names) {
        rmSync(join(out, "made", name))
        plant(join(out, "made", `${name}.part`))
      }
      const beside = yield* made(here, ["one", "two"])
      assert.strictEqual(beside.code, 0, beside.stderr)
      assert.strictEqual(readFileSync(victim, "utf8"), "untouched")
      // In the place of a file: also when what it leads to has the right content.
      const file = join(out, "made", names[0]!)
      writeFileSync(victim, readFileSync(file))
      const content = readFileSync(victim, "utf8")
      plant(file)
      const inPlace = yield* made(here, ["one", "two"])
      assert.strictEqual(inPlace.code, 1)
      assert.include(inPlace.stderr, "a link of this name is there")
      assert.strictEqual(readFileSync(victim, "utf8"), content)
      // In the place of the folder of an output.
      const elsewhere = join(here, "elsewhere")
      mkdirSync(elsewhere)
      rmSync(join(out, "made"), { recursive: true })
      symlinkSync(elsewhere, join(out, "made"))
      const onTheWay = yield* made(here, ["one", "two"])
      assert.strictEqual(onTheWay.code, 1)
      assert.deepStrictEqual(readdirSync(elsewhere), [])
      // And in the place of a manifest.
      rmSync(join(out, "made"))
      plant(join(out, "made.parquet"))
      const manifest = yield* made(here, ["one", "two"])
      assert.strictEqual(manifest.code, 2, manifest.stderr)
      assert.strictEqual(readFileSync(victim, "utf8"), content)
    }).pipe(Effect.scoped),
  )

  it.live("the manifest of equal rows has equal bytes, whichever run wrote it", () =>
    Effect.gen(function* () {
      const [one, two] = [yield* folder, yield* folder]
      const first = yield* made(one, ["one", "two"])
      const bytes = readFileSync(join(first.out, "made.parquet"))
      const second = yield* made(two, ["two", "one"])
      assert.isTrue(readFileSync(join(second.out, "made.parquet")).equals(bytes))
      yield* made(one, ["one", "two"])
      assert.isTrue(readFileSync(join(first.out, "made.parquet")).equals(bytes))
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
