/** The command as a person uses it: processes of their own, in folders away from the repository. */
import { hash } from "node:crypto"
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"

import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"

import type { RunReport } from "../src/index.ts"
import { type Ended, example, folder, scenes, slow, spawned, told } from "./reel.ts"

// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- what the document holds is the test's to say
const parsed = <A>({ stdout }: Ended): A => JSON.parse(stdout) as A

const numbers = (count: number): string => Array.from({ length: count }, (_, n) => `{"n":${n}}`).join("\n")

describe("reel", () => {
  it.live(
    "runs a graph of one's own, again from the cache, and traces what it made",
    () =>
      Effect.gen(function* () {
        const here = yield* folder
        // A folder with nothing but the graph: no package.json, nothing installed.
        copyFileSync(example, join(here, "mine.graph.ts"))
        const reel = (...args: ReadonlyArray<string>) => spawned(here, args)

        const first = yield* reel("run", "./mine.graph.ts", "--input", scenes, "--out", "out")
        assert.strictEqual(first.code, 0, first.stderr)
        assert.match(first.stdout, /^brightness@1\.0\.0: done/)
        assert.match(first.stdout, /brightness +6 +3 +3 +0 +3 +0 /)
        assert.match(first.stdout, /too-dark +1 +cellar stairs: mean luma 10\.5 below 40/)
        assert.include(first.stderr, "brightness: 6 in, 3 dropped, 3 out")
        assert.deepStrictEqual(readdirSync(join(here, "out")), ["cards.parquet"])

        const again = yield* reel("run", "./mine.graph.ts", "--input", `scenes=${scenes}`, "--json")
        const report = parsed<RunReport.RunReport>(again)
        assert.strictEqual(report.ledger["brightness"]!.cached, 6)
        assert.strictEqual(report.ledger["title-card"]!.cached, 3)

        const plan = yield* reel(
          "plan",
          "./mine.graph.ts",
          "--input",
          scenes,
          "--set",
          "title-card.prefix=7",
          "--json",
        )
        const nodes = parsed<{
          readonly nodes: ReadonlyArray<{ readonly hits: number; readonly misses: object }>
        }>(plan).nodes
        assert.deepStrictEqual(
          nodes.map(({ hits, misses }) => [hits, misses]),
          [
            [6, {}],
            [0, { 'params changed: prefix: "Next: " -> "7"': 3 }],
          ],
        )

        const show = yield* reel("show", "last", "--json")
        assert.strictEqual(parsed<RunReport.RunReport>(show).run, report.run)
        const dropped = parsed<{
          readonly droppedItems: ReadonlyArray<{ readonly item: string; readonly name: string }>
        }>(show).droppedItems
        // An item is named by the SHA-256 of its record as canonical JSON.
        const kept = { item: hash("sha256", `{"luma":[61,66,72,80],"name":"harbour at dawn"}`) }
        const dark = dropped.find(({ name }) => name === "cellar stairs")!

        const made = yield* reel("impact", kept.item.slice(0, 10), "--json")
        const { groups, outputs } = parsed<{
          readonly groups: ReadonlyArray<{
            readonly operator: string
            readonly items: ReadonlyArray<{ readonly item: string }>
          }>
          readonly outputs: ReadonlyArray<object>
        }>(made)
        assert.deepStrictEqual(
          groups.map(({ items, operator }) => [operator, items.length]),
          [["title-card", 1]],
        )
        assert.strictEqual(outputs.length, 2)
        const up = yield* reel("lineage", groups[0]!.items[0]!.item.slice(0, 8))
        assert.match(up.stdout, /└─ title-card@1\.0\.0 prefix=Next: +\(run brightness-/)
        assert.match(up.stdout, /kept by brightness@1\.0\.0/)
        assert.include(up.stdout, "source: harbour at dawn")
        const down = yield* reel("lineage", kept.item.slice(0, 8), "--down")
        assert.include(down.stdout, "1 item made from it")

        const impact = yield* reel("impact", dark.item.slice(0, 10))
        assert.match(impact.stdout, /^cellar stairs \(item [0-9a-f]{12}\): nothing was made from it/)
        assert.include(impact.stdout, "too-dark: mean luma 10.5 below 40")
      }).pipe(Effect.scoped),
    180_000,
  )

  it.live(
    "ends by Ctrl-C while calls go on without end, keeps what is done, and goes on from there",
    () =>
      Effect.gen(function* () {
        const here = yield* folder
        writeFileSync(join(here, "n.ndjson"), numbers(16))
        const [log, hold] = [join(here, "log"), join(here, "hold")]
        writeFileSync(hold, "")
        const settings = { ms: 50, log, hold }
        const sets = Object.entries(settings).flatMap(([param, value]) => [
          "--set",
          `slow.${param}=${JSON.stringify(value)}`,
        ])
        const args = ["run", slow, "--input", "n.ndjson", ...sets]
        // The call of 8 has begun: one at a time, those before it have ended.
        const begun = () => existsSync(log) && readFileSync(log, "utf8").includes("8\n")
        const ended = yield* spawned(here, args, { killWhen: begun, signal: "SIGINT" })
        assert.strictEqual(ended.code, 130, ended.stderr)
        assert.match(
          ended.stderr,
          /interrupted; \d+ results? kept in \.reel: the same command goes on from there/,
        )

        const runs = parsed<ReadonlyArray<{ readonly status: string }>>(
          yield* spawned(here, ["runs", "--json"]),
        )
        assert.strictEqual(runs[0]!.status, "interrupted")

        rmSync(hold)
        const { ledger } = parsed<RunReport.RunReport>(yield* spawned(here, [...args, "--json"]))
        assert.isAtLeast(ledger["slow"]!.cached, 1)
        assert.isBelow(ledger["slow"]!.cached, 16)
        assert.strictEqual(ledger["slow"]!.kept, 16)
      }).pipe(Effect.scoped),
    180_000,
  )

  it.live(
    "tells failed items and unreadable lines with exit code 3, and ends at --max-failures",
    () =>
      Effect.gen(function* () {
        const here = yield* folder
        const flags = ["--set", "slow.ms=0", "--set", "slow.unlucky=2"]
        const stdin = `${numbers(4)}\n{"n":"five"}\n`
        const ended = yield* spawned(here, ["run", slow, "--input", "-", "--json", ...flags], { stdin })
        assert.strictEqual(ended.code, 3, ended.stderr)
        const report = parsed<RunReport.RunReport>(ended)
        assert.deepStrictEqual(
          report.failed.map(({ detail, error, node }) => [node, error, detail]),
          [["slow", "Unlucky", "2 has no luck"]],
        )
        assert.deepStrictEqual(
          report.skipped.map(({ source }) => source),
          ["-:5"],
        )
        const bounded = yield* spawned(
          here,
          ["run", slow, "--input", "-", "--max-failures", "0", "--json", ...flags],
          {
            stdin: numbers(4),
          },
        )
        assert.strictEqual(bounded.code, 1)
        assert.include(bounded.stderr, "2 has no luck")
        assert.strictEqual(parsed<RunReport.RunReport>(bounded).status, "failed")
      }).pipe(Effect.scoped),
    180_000,
  )

  it.live(
    "tells what is wrong with a graph file, and where",
    () =>
      Effect.gen(function* () {
        const here = yield* folder
        const head = `import { Graph, Port } from "@reelgraph/core"\nimport * as Schema from "effect/Schema"\nconst P = Port.make("P", { record: Schema.Struct({}) })\n`
        const make = `Graph.make("g", { version: "1.0.0" }, (g) => ({ out: g.input("in", P) }))`
        const files: ReadonlyArray<readonly [name: string, text: string, code: number, says: string]> = [
          ["none.ts", "export const a = 1, b = 2", 2, "./none.ts exports no graph (it exports a, b)"],
          ["two.ts", `${head}export const a = ${make}, b = ${make}`, 2, "exports several graphs (a, b)"],
          ["broken.ts", "const a = 1\nconst = 2", 1, "./broken.ts:2 does not load: syntax error"],
          [
            "import.ts",
            `import "nowhere-to-be-found"`,
            1,
            "imports nowhere-to-be-found, which is not installed",
          ],
          ["relative.ts", `import "./other.ts"`, 1, "it imports other.ts, and there is no file"],
          ["enum.ts", "enum A { b }", 1, "only types that can be erased"],
          [
            "version.ts",
            `${head}export default ${make.replace("1.0.0", "1")}`,
            1,
            `./version.ts:4 does not load: graph g has version "1"`,
          ],
        ]
        for (const [name, text] of files) writeFileSync(join(here, name), text)
        yield* Effect.forEach(
          files,
          ([name, , code, says]) =>
            Effect.map(spawned(here, ["plan", `./${name}`]), (ended) => {
              assert.include(ended.stderr, says)
              assert.strictEqual(ended.code, code, ended.stderr)
              assert.notMatch(ended.stderr, /\n\s+at /)
            }),
          { concurrency: 2, discard: true },
        )
        assert.isFalse(existsSync(join(here, ".reel")))
      }).pipe(Effect.scoped),
    180_000,
  )

  it.live(
    "takes folders, links and patterns, sorted, each file once",
    () =>
      Effect.gen(function* () {
        const here = yield* folder
        mkdirSync(join(here, "in", "deep"), { recursive: true })
        writeFileSync(join(here, "in", "b.ndjson"), `{"n":2}\n`)
        writeFileSync(join(here, "in", "deep", "a.json"), `[{"n":1},{"n":3}]`)
        writeFileSync(join(here, "in", "notes.txt"), "not a record")
        symlinkSync(join(here, "in"), join(here, "in", "deep", "loop"))
        symlinkSync(join(here, "nowhere"), join(here, "in", "dangling.json"))
        const flags = ["--set", "slow.ms=0", "--json"]
        const ended = yield* spawned(here, ["run", slow, "--input", "in", "--input", "in/*.ndjson", ...flags])
        assert.strictEqual(ended.code, 0, ended.stderr)
        assert.strictEqual(parsed<RunReport.RunReport>(ended).inputs["numbers"], 3)
      }).pipe(Effect.scoped),
    180_000,
  )

  it.live(
    "tells how far long calls are on stderr, and nowhere else",
    () =>
      Effect.gen(function* () {
        const here = yield* folder
        const ended = yield* spawned(here, ["run", told, "--input", "-", "--json"], { stdin: numbers(1) })
        assert.strictEqual(ended.code, 0, ended.stderr)
        assert.match(ended.stderr, /^train: \d+% {2}loss 0\.\d+\?\[31m/m)
        assert.strictEqual(parsed<RunReport.RunReport>(ended).ledger["train"]!.kept, 1)
        assert.notInclude(ended.stdout, "loss")
      }),
    180_000,
  )
})
