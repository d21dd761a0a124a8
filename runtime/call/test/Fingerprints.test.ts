/** What the code of an operator is known by: every edit that may change a result, and none that cannot. */
import { cpSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { pathToFileURL } from "node:url"

import { afterAll, assert, describe, it } from "@effect/vitest"
import { Operator, Port } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { Fingerprints, make } from "../src/Fingerprints.ts"

const Num = Port.make("Num", { record: Schema.Struct({ n: Schema.Int }) })

const temporary = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "reelgraph-fingerprint-"))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true })),
)

/** Modules as lists of tokens: how they are laid out is chosen anew each time. */
type Tokens = ReadonlyArray<string>
type Project = { readonly [file: string]: Tokens }

const words = (text: string): Tokens => text.split(" ").map((word) => word.replaceAll("~", " "))

const project: Project = {
  "main.ts": words(
    `import { twice } from "./lib/twice.ts" ; import { three } from "three" ; import type { Shape } from "./types.ts" ; import table from "./table.json"~with { type : "json" } ; export const run = ( n : number )~=> twice ( n ) + three + table [ 0 ]! + 100 ; export const later = async()~=> ( await import ( "./later.ts" ) ) . late ; export const thread = new URL ( "./thread.ts" , import.meta.url ) ; export const weights = new URL ( "./weights.bin" , import.meta.url ) ;`,
  ),
  "lib/twice.ts": words(
    `import { one } from "../one.ts" ; export const twice = ( n : number ) : number~=> n * 2 + one - 7 ;`,
  ),
  "one.ts": words(`import { twice } from "./lib/twice.ts" ; export const one = 11 ; export { twice } ;`),
  "later.ts": words(`export const late = 12 ;`),
  "thread.ts": words(`export const threaded = 13 ;`),
  "types.ts": words(`export interface Shape { readonly width : 14 }`),
  "unrelated.ts": words(`export const unrelated = 15 ;`),
}

/** Modules whose code `main.ts` leads to. */
const reached = ["main.ts", "lib/twice.ts", "one.ts", "later.ts", "thread.ts"]

const spaces = [" ", "  ", "\n", " /* why */ ", "\n  // because\n", "\t"]

const layOut = (tokens: Tokens, layout: ReadonlyArray<number>): string => {
  const between = (at: number) => spaces[layout[at % layout.length]! % spaces.length]!
  return tokens
    .map((token, at) => {
      // A formatter chooses quotes, and adds commas and semicolons where they change nothing.
      const quoted = layout[at % layout.length]! % 2 === 0 ? token.replaceAll('"', "'") : token
      return `${quoted === ";" && between(at) === "\n" ? ";;" : quoted}${between(at)}`
    })
    .join("")
}

const write = (folder: string, files: Project, layout: ReadonlyArray<number> = [0]): void => {
  for (const [file, tokens] of Object.entries(files)) {
    const path = join(folder, file)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, layOut(tokens, layout))
  }
}

const begin = (folder: string): void => {
  write(folder, project)
  writeFileSync(join(folder, "table.json"), "[1, 2]")
  writeFileSync(join(folder, "weights.bin"), "weights")
  for (const [name, version, needs] of [
    ["three", "3.0.0", { deep: "1" }],
    ["deep", "1.0.0", {}],
  ] as const) {
    const at = join(folder, "node_modules", name)
    mkdirSync(at, { recursive: true })
    writeFileSync(
      join(at, "package.json"),
      JSON.stringify({ name, version, main: "index.js", dependencies: needs }),
    )
    writeFileSync(join(at, "index.js"), "module.exports = { three: 3 }")
  }
}

const cache = mkdtempSync(join(tmpdir(), "reelgraph-syntax-"))
afterAll(() => rmSync(cache, { recursive: true, force: true }))

const fingerprint = (worker: string) =>
  Effect.gen(function* () {
    const operator = Operator.map("op", {
      version: "1.0.0",
      input: Num,
      output: Num,
      worker,
      run: Effect.succeed,
    })
    const { of } = make(join(cache, "syntax.json"))
    return (yield* of([operator])).get(operator)!
  })

const of = (folder: string) =>
  Effect.map(fingerprint(pathToFileURL(join(folder, "main.ts")).href), ({ digest }) => digest)

const Layout = Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 11 }))).check(
  Schema.isMinLength(1),
  Schema.isMaxLength(12),
)
const Pick = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1000 }))

describe("the fingerprint of a module", () => {
  it.effect.prop(
    "changes with every number, text and name of what it leads to, and with no layout",
    [Layout, Pick, Pick],
    ([layout, file, token]) =>
      Effect.scoped(
        Effect.gen(function* () {
          const folder = yield* temporary
          begin(folder)
          const first = yield* of(folder)
          write(folder, project, layout)
          assert.strictEqual(yield* of(folder), first)

          const name = reached[file % reached.length]!
          const numbers = project[name]!.flatMap((each, at) => (/^\d+$/.test(each) ? [at] : []))
          const at = numbers[token % numbers.length]!
          const edited = project[name]!.map((each, i) => (i === at ? String(Number(each) + 1) : each))
          write(folder, { [name]: edited }, layout)
          assert.notStrictEqual(yield* of(folder), first)
          write(folder, { [name]: project[name]! })
          assert.strictEqual(yield* of(folder), first)
        }),
      ),
  )

  it.effect("changes with data, files and versions of packages, and with nothing else", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const folder = yield* temporary
        begin(folder)
        const first = yield* of(folder)
        const changing = (path: string, text: string) =>
          Effect.gen(function* () {
            begin(folder)
            writeFileSync(join(folder, path), text)
            const changed = (yield* of(folder)) !== first
            begin(folder)
            return changed
          })
        assert.isTrue(yield* changing("table.json", "[1, 3]"))
        assert.isFalse(yield* changing("table.json", "[\n1,\n2 ]"))
        assert.isTrue(yield* changing("weights.bin", "weightz"))
        const packageJson = (name: string, version: string) =>
          JSON.stringify({ name, version, main: "index.js", dependencies: { deep: "1" } })
        assert.isTrue(yield* changing("node_modules/three/package.json", packageJson("three", "3.0.1")))
        // What a package depends on is part of it.
        assert.isTrue(yield* changing("node_modules/deep/package.json", packageJson("deep", "1.0.1")))
        assert.isFalse(yield* changing("unrelated.ts", "export const unrelated = 16"))
        assert.isFalse(yield* changing("types.ts", "export interface Shape { readonly height: string }"))
        assert.isFalse(yield* changing("main.test.ts", "export {}"))
        // An import that stops to exist is an edit as well.
        rmSync(join(folder, "one.ts"))
        assert.notStrictEqual(yield* of(folder), first)
      }),
    ),
  )

  it.effect("is the same wherever the project lies", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const [here, there] = [yield* temporary, yield* temporary]
        begin(join(here, "a"))
        cpSync(join(here, "a"), join(there, "deep", "b"), { recursive: true })
        assert.strictEqual(yield* of(join(here, "a")), yield* of(join(there, "deep", "b")))
        renameSync(join(here, "a"), join(here, "c"))
        assert.strictEqual(yield* of(join(here, "c")), yield* of(join(there, "deep", "b")))
      }),
    ),
  )

  it.effect("of a package is its version; of code that is in no file, it tells so", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const folder = yield* temporary
        begin(folder)
        const released = pathToFileURL(join(folder, "node_modules", "three", "index.js")).href
        const first = yield* fingerprint(released)
        assert.isTrue(first.released)
        writeFileSync(join(folder, "node_modules", "three", "index.js"), "module.exports = { three: 4 }")
        assert.strictEqual((yield* fingerprint(released)).digest, first.digest)
        const data = yield* fingerprint("data:text/javascript,export{}")
        assert.deepStrictEqual([data.released, data.unreadable], [false, ["data:text/javascript,export{}"]])
        assert.isFalse((yield* fingerprint(pathToFileURL(join(folder, "main.ts")).href)).released)
      }),
    ),
  )
})

describe("the fingerprint of a value that a function made", () => {
  let counter = 0
  const addK = (k: number, table: { readonly [name: string]: number } = {}, each = (n: number) => n) => {
    counter++
    let calls = 0
    return Operator.map("add", {
      version: "1.0.0",
      input: Num,
      output: Num,
      run: ({ n }) => {
        calls++
        return Effect.succeed({ n: each(n) + k + (table["a"] ?? 0) + (counter > calls ? 0 : 0) })
      },
    })
  }

  it.effect("tells arguments apart: numbers, data, functions; and not how often it was called", () =>
    Effect.gen(function* () {
      const { of } = yield* Fingerprints
      const digestOf = (operator: Operator.Any) =>
        Effect.map(of([operator]), (all) => all.get(operator)!.digest)
      const one = yield* digestOf(addK(1))
      assert.strictEqual(yield* digestOf(addK(1)), one)
      const different = yield* Effect.forEach(
        [
          addK(100),
          addK(1, { a: 1 }),
          addK(1, { a: 2 }),
          addK(1, {}, (n) => n + 1),
          addK(1, {}, (n) => n + 2),
        ],
        digestOf,
      )
      assert.strictEqual(new Set([one, ...different]).size, 6)
    }),
  )
})
