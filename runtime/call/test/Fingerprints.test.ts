/** What the code of an operator is known by: every edit that may change a result, and none that cannot. */
import { cpSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { pathToFileURL } from "node:url"

import { afterAll, assert, describe, it } from "@effect/vitest"
import { Operator, Port } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { make as fingerprints } from "../src/Fingerprints.ts"

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
    const { of } = fingerprints(join(cache, "syntax.json"))
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

  it.effect("changes with what is loaded in other ways, and with what looks alike", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const folder = yield* temporary
        /** Whether an edit of a file changes what a module is known by. */
        const changes = (module: string, file: string, before: string, after: string) =>
          Effect.gen(function* () {
            writeFileSync(join(folder, "main.ts"), module)
            writeFileSync(join(folder, file), before)
            const first = yield* of(folder)
            writeFileSync(join(folder, file), after)
            const second = yield* of(folder)
            rmSync(join(folder, file))
            return first !== second
          })
        const requiring = `import { createRequire } from "node:module"; const load = createRequire(import.meta.url)`
        for (const module of [
          `${requiring}; export const k = load("./lib.cjs")`,
          `${requiring}; export const k = load("./lib")`,
          `${requiring}; export const k = load(load.resolve("./lib.cjs"))`,
          `const here = import.meta.url; export const k = new URL("./lib.cjs", here)`,
          `export const k = () => import(import.meta.resolve("./lib.cjs"))`,
        ])
          assert.isTrue(yield* changes(module, "lib.cjs", "module.exports = 1", "module.exports = 2"), module)
        const table = `import t from "./t.json" with { type: "json" }; export const k = Object.values(t)[0]`
        assert.isTrue(yield* changes(table, "t.json", `{"a":1,"b":2}`, `{"b":2,"a":1}`))
        assert.isTrue(yield* changes(table, "t.json", `{"a":1e999}`, `{"a":null}`))
        const raw = (text: string) => "export const k = String.raw`" + text + "`"
        assert.isTrue(yield* changes(`import "./r.ts"`, "r.ts", raw("\\u0061"), raw("a")))
        // A text that looks like a file of data is none that is loaded.
        assert.isFalse(yield* changes(`export const log = "./log.txt"`, "log.txt", "1", "2"))
      }),
    ),
  )

  it.effect("reports what it does not cover", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const folder = yield* temporary
        const unreadable = (module: string) => {
          writeFileSync(join(folder, "main.ts"), module)
          return Effect.map(fingerprint(pathToFileURL(join(folder, "main.ts")).href), (found) =>
            found.unreadable.map((text) => text.replace(/^.*main\.ts: /, "")),
          )
        }
        assert.deepStrictEqual(yield* unreadable(`export const k = (n: string) => import("./" + n)`), [
          "it imports a module whose name it computes",
        ])
        assert.deepStrictEqual(yield* unreadable(`@decorated export class K {}`), [
          "it cannot be parsed, and packages that it imports are not known",
        ])
        assert.deepStrictEqual(yield* unreadable(`export const k = 1`), [])
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
  /** Captures whatever it is given, and counts its calls. */
  const make = (captured: unknown, each = (n: number) => n) => {
    counter++
    let calls = 0
    return Operator.map("make", {
      version: "1.0.0",
      input: Num,
      output: Num,
      run: ({ n }) => {
        calls++
        return Effect.succeed({ n: each(n) + (captured === undefined ? 0 : 1) + (counter > calls ? 0 : 0) })
      },
    })
  }
  /** Its factor has settled when it returns, whatever it was on the way. */
  const settling = (k: number | undefined, weights: ReadonlyArray<number>) => {
    k = k ?? 5
    let total = 0
    for (const weight of weights) total += weight
    const all: Array<number> = []
    for (let i = 0; i < total; i++) all.push(i)
    return Operator.map("make", {
      version: "1.0.0",
      input: Num,
      output: Num,
      run: ({ n }) => Effect.succeed({ n: n + k + total + all.length }),
    })
  }
  class Scale {
    readonly #by: number
    constructor(by: number) {
      this.#by = by
    }
    run = ({ n }: { readonly n: number }) => Effect.succeed({ n: n * this.#by })
    bound({ n }: { readonly n: number }) {
      return Effect.succeed({ n: n * this.#by })
    }
  }
  const running = (run: (record: { readonly n: number }) => Effect.Effect<{ readonly n: number }>) =>
    Operator.map("make", { version: "1.0.0", input: Num, output: Num, run })
  /** A chain of functions, each around the one before. */
  const chain = (depth: number, last: number): ((n: number) => number) => {
    if (depth === 0) return (n) => n + last
    const inner = chain(depth - 1, last)
    return (n) => inner(n)
  }

  const { of } = fingerprints(join(cache, "values.json"))
  const known = (operator: Operator.Any) =>
    Effect.map(of([operator]), (all) => {
      const { captured, digest } = all.get(operator)!
      return `${digest} ${captured}`
    })

  it.effect("is the same for equal arguments, however often it was called", () =>
    Effect.gen(function* () {
      const pairs: ReadonlyArray<() => Operator.Any> = [
        () => make(1),
        () => make({ a: [1, { b: "text" }] }),
        () => make(new Map([["a", 1]])),
        () => make(1, (n) => n + 1),
        () => settling(undefined, [1, 2]),
        () => running(new Scale(3).run),
      ]
      for (const pair of pairs) assert.strictEqual(yield* known(pair()), yield* known(pair()))
    }),
  )

  it.effect("what cannot be told apart is no part of it, and that is reported", () =>
    Effect.gen(function* () {
      const operator = running(new Scale(1).run)
      const { unreadable } = (yield* of([operator])).get(operator)!
      assert.deepStrictEqual(unreadable, [
        "its run captures more than can be told apart: let params say what differs",
      ])
    }),
  )

  it.effect("tells different arguments apart", () =>
    Effect.gen(function* () {
      const shared = { s: 1 }
      const other = { s: 2 }
      const operators: ReadonlyArray<Operator.Any> = [
        ...[1, 100, "1", null, -0, 1n, true].map((value) => make(value)),
        ...[{ a: 1 }, { a: 2 }, [1], [2], [shared, other, shared], [shared, other, other]].map((value) =>
          make(value),
        ),
        ...[/cat/, /dog/, /cat/i, new Date(1), new Date(2)].map((value) => make(value)),
        ...[new Map([["a", 1]]), new Map([["a", 2]]), new Set([1]), new Set([2])].map((value) => make(value)),
        ...[new Float32Array([1]), new Float32Array([2]), new Scale(1), new Scale(2)].map((value) =>
          make(value),
        ),
        ...[Effect.succeed(1), Effect.succeed(2)].map((value) => make(value)),
        make(0, (n) => n + 1),
        make(0, (n) => n + 2),
        make(0, chain(8, 1)),
        make(0, chain(8, 2)),
        make(Array.from({ length: 9000 }, (_, i) => i)),
        make(Array.from({ length: 9000 }, (_, i) => (i === 8999 ? 0 : i))),
        settling(undefined, [1]),
        settling(6, [1]),
        settling(6, [2]),
        ...[1, 2].map((by) => {
          const scale = new Scale(by)
          return running(scale.bound.bind(scale))
        }),
      ]
      const all = yield* Effect.forEach(operators, known)
      const twice = all.flatMap((one, at) =>
        all.indexOf(one) === at ? [] : [`${all.indexOf(one)} and ${at}`],
      )
      assert.deepStrictEqual(twice, [])
    }),
  )
})
