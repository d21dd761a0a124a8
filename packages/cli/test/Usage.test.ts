import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"

import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"

import { example, folder, needing, reel, scenes, slow } from "./reel.ts"

/** Expects one message without a stack, a code, and nothing on stdout. */
const refused = (code: number, says: ReadonlyArray<string>, ...args: ReadonlyArray<string>) =>
  Effect.map(reel(...args), (ended) => {
    assert.strictEqual(ended.code, code, `${args.join(" ")}\n${ended.stderr}`)
    for (const text of says) assert.include(ended.stderr, text)
    assert.match(ended.stderr, /^reel: /)
    assert.notMatch(ended.stderr, /\n\s+at /)
    assert.strictEqual(ended.stdout, "")
    return ended
  })

/** Wrong uses of `run` with the example. */
const wrongRuns: ReadonlyArray<
  readonly [name: string, says: ReadonlyArray<string>, args: ReadonlyArray<string>]
> = [
  ["input missing", ["needs the input scenes", "--input scenes="], []],
  ["input unknown", ["no input scene", "Did you mean scenes?"], ["--input", `scene=${scenes}`]],
  ["file missing", ["nowhere.ndjson does not exist"], ["--input", "nowhere.ndjson"]],
  ["pattern without a match", ["matches no file"], ["--input", "/nowhere/*.ndjson"]],
  [
    "node unknown",
    ["no node brightnes", "Did you mean brightness?"],
    ["--input", scenes, "--set", "brightnes.min=3"],
  ],
  [
    "param unknown",
    ["no param mni", "it has min, max", "Did you mean min?"],
    ["--input", scenes, "--set", "brightness.mni=3"],
  ],
  [
    "param of a wrong type",
    ['--set brightness.min: wants number, 0 to 255, got the text "bright"'],
    ["--input", scenes, "--set", "brightness.min=bright"],
  ],
  [
    "param out of bounds",
    ["brightness.min", "0 to 255", "got 999"],
    ["--input", scenes, "--set", "brightness.min=999"],
  ],
  ["set malformed", ["NODE.PARAM=VALUE"], ["--input", scenes, "--set", "min"]],
  ["store elsewhere", ["a folder, such as .reel"], ["--input", scenes, "--store", "gs://bucket/prefix"]],
  [
    "secret in a URL",
    ["--store s3://***@bucket/prefix: credentials do not belong in a URL"],
    ["--input", scenes, "--store", "s3://key:secret@bucket/prefix"],
  ],
  ["flag unknown", ["no flag --inptu", "Did you mean --input?"], ["--inptu", "x"]],
  ["number malformed", ["--seed"], ["--input", scenes, "--seed", "x"]],
  ["negative bound", ["--max-failures"], ["--input", scenes, "--max-failures=-1"]],
  ["pattern that the shell expanded", ["Patterns need quotes"], ["--input", "a.json", "b.json"]],
]

describe("usage", () => {
  for (const [name, says, args] of wrongRuns) {
    it.live(`refuses to run: ${name}`, () => refused(2, says, "run", example, ...args))
  }

  it.live("refuses graphs that are not there", () =>
    Effect.gen(function* () {
      yield* refused(2, ["no graph curat", "Did you mean curate"], "run", "curat")
      yield* refused(2, ["./nowhere.graph.ts does not exist"], "run", "./nowhere.graph.ts")
      yield* refused(2, ["GRAPH is missing"], "run")
      yield* refused(2, ["no command rnu", "Did you mean run"], "rnu")
    }),
  )

  it.live("tells of stores that cannot be used, with exit code 1", () =>
    Effect.gen(function* () {
      const here = yield* folder
      const store = join(here, "store")
      writeFileSync(join(here, "file"), "")
      yield* refused(
        1,
        [join(here, "file")],
        "run",
        example,
        "--input",
        scenes,
        "--store",
        join(here, "file"),
      )
      yield* refused(
        1,
        ["file/below"],
        "run",
        example,
        "--input",
        scenes,
        "--store",
        join(here, "file", "below"),
      )
      assert.strictEqual((yield* reel("run", example, "--input", scenes, "--store", store)).code, 0)
      const journal = new DatabaseSync(join(store, "journal.db"))
      journal.exec("PRAGMA user_version = 99")
      journal.close()
      yield* refused(1, ["format 99", "a later one"], "run", example, "--input", scenes, "--store", store)
      yield* refused(1, ["format 99"], "runs", "--store", store)
      yield* refused(2, ["there is no store"], "runs", "--store", join(here, "nowhere"))
    }).pipe(Effect.scoped),
  )

  it.live("refuses runs, items and outputs that are not there or in the way", () =>
    Effect.gen(function* () {
      const here = yield* folder
      const store = ["--store", join(here, "store")]
      assert.strictEqual((yield* reel("run", example, "--input", scenes, ...store)).code, 0)
      yield* refused(2, ["no run curate"], "show", "curate", ...store)
      yield* refused(2, ["neither a file nor a digest"], "lineage", "nowhere.mp4", ...store)
      yield* refused(2, ["at least 6 digits"], "lineage", "abc", ...store)
      yield* refused(2, ["no item and no artifact"], "impact", "00000000000000000000", ...store)
      yield* refused(2, ["no run of this store"], "lineage", scenes, ...store)
      yield* refused(2, ["exclude each other"], "lineage", "abcdef", "--up", "--down", ...store)
      mkdirSync(join(here, "out"))
      writeFileSync(join(here, "out", "cards.parquet"), "precious")
      yield* refused(
        2,
        ["cards.parquet was not written by reel"],
        "run",
        example,
        "--input",
        scenes,
        ...store,
        "--out",
        join(here, "out"),
      )
    }).pipe(Effect.scoped),
  )

  it.live("keeps snapshots, and shows what changed under a version", () =>
    Effect.gen(function* () {
      const here = yield* folder
      const file = join(here, "mine.graph.ts")
      copyFileSync(example, file)
      const check = (...flags: ReadonlyArray<string>) =>
        reel("check", file, "--store", join(here, "store"), ...flags)
      assert.include((yield* check()).stdout, "no snapshots kept")
      assert.include((yield* check("--update")).stdout, "snapshot written")
      const snapshot = join(here, "snapshots", "brightness@1.0.0.json")
      const committed = readFileSync(snapshot, "utf8")
      assert.deepStrictEqual([(yield* check()).code, committed.includes('"min": 40')], [0, true])
      writeFileSync(snapshot, committed.replace('"min": 40', '"min": 50'))
      const changed = yield* check("--update")
      assert.strictEqual(changed.code, 1)
      assert.include(changed.stdout, "nodes.brightness.params.min: 50 -> 40")
      assert.include(readFileSync(snapshot, "utf8"), '"min": 50')
      writeFileSync(snapshot, "{")
      assert.include((yield* check()).stderr, "brightness@1.0.0.json")
    }).pipe(Effect.scoped),
  )

  it.live("refuses a graph that needs a service which nothing gives, in check, plan and run", () =>
    Effect.gen(function* () {
      const here = yield* folder
      const nums = join(here, "nums.ndjson")
      writeFileSync(nums, '{"n":1}\n')
      const given = ["--input", nums, "--store", join(here, "store")]
      for (const args of [
        ["check", needing],
        ["plan", needing, ...given],
        ["run", needing, ...given],
      ]) {
        const { code, stderr, stdout } = yield* reel(...args)
        assert.notStrictEqual(code, 0, args[0])
        assert.include(
          stdout + stderr,
          "ask needs the service test/Captioner, which nothing gives where the calls of its operator ask@1.0.0 are made; let the operator bring a layer that gives it",
          args[0],
        )
        assert.notMatch(stderr, /\n\s+at /)
      }
    }).pipe(Effect.scoped),
  )

  it.live("gives errors as JSON where JSON was asked for", () =>
    Effect.gen(function* () {
      const { code, stdout } = yield* reel("plan", slow, "--json", "--input", "nowhere.json")
      assert.strictEqual(code, 2)
      const document = JSON.parse(stdout) as { readonly error: { readonly tag: string } }
      assert.strictEqual(document.error.tag, "InputNotFound")
    }),
  )

  it.live("helps with every command", () =>
    Effect.gen(function* () {
      const top = yield* reel("--help")
      const commands = [...top.stdout.matchAll(/^ {2}([a-z]+) {2,}\S/gm)].map(([, name]) => name!)
      assert.includeMembers(commands, [
        "graphs",
        "operators",
        "check",
        "plan",
        "run",
        "runs",
        "show",
        "diff",
        "lineage",
        "impact",
      ])
      for (const command of commands) {
        const { code, stdout } = yield* reel(command, "--help")
        assert.strictEqual(code, 0)
        assert.include(stdout, "EXAMPLES", command)
        assert.include(stdout, `reel ${command}`)
      }
    }),
  )
})

describe("files of people", () => {
  it.effect("may begin with a byte order mark: JSON and NDJSON", () =>
    Effect.gen(function* () {
      const here = yield* folder
      const records = ['{"n":1}', '{"n":2}']
      const contents = { "a.ndjson": records.join("\r\n"), "b.json": `[${records.join(",")}]` }
      for (const [name, text] of Object.entries(contents)) {
        const file = join(here, name)
        writeFileSync(file, `\uFEFF${text}`)
        const ended = yield* reel(
          "run",
          slow,
          "--input",
          file,
          "--set",
          "slow.ms=0",
          "--store",
          join(here, name, "..", `${name}.reel`),
          "--json",
        )
        assert.strictEqual(ended.code, 0, ended.stderr)
        const { ledger } = JSON.parse(ended.stdout) as {
          readonly ledger: { readonly slow: { readonly kept: number } }
        }
        assert.strictEqual(ledger.slow.kept, 2)
      }
      const wide = join(here, "wide.json")
      writeFileSync(wide, Buffer.from(`\uFEFF[]`, "utf16le"))
      const refused = yield* reel("run", slow, "--input", wide)
      assert.include(refused.stderr, "it is UTF-16; save it as UTF-8")
      assert.strictEqual(refused.code, 2)
    }).pipe(Effect.scoped),
  )

  it.effect("records of an edge that are equal are told of in the report of a run", () =>
    Effect.gen(function* () {
      const here = yield* folder
      const graph = join(here, "sum.graph.ts")
      writeFileSync(graph, summing)
      writeFileSync(join(here, "n.ndjson"), '{"n":1}\n{"n":1}\n{"n":2}\n')
      const args = ["run", graph, "--input", join(here, "n.ndjson"), "--store", join(here, "s")]
      const { code, stderr, stdout } = yield* reel(...args)
      assert.strictEqual(code, 0, stderr)
      assert.match(stdout, /sum +repeated +1 +equal to a record that was taken before; each is taken once/)
    }).pipe(Effect.scoped),
  )
})

const summing = `
import { Graph, Operator, Port } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
const N = Port.make("N", { record: Schema.Struct({ n: Schema.Int }) })
const Sum = Operator.collect("sum", {
  version: "1.0.0",
  input: N,
  output: N,
  run: (all) => Effect.succeed([Operator.emit({ n: all.length }, all.map((_, i) => i))]),
})
export default Graph.make("sum", { version: "1.0.0" }, (g) => ({ out: g.input("in", N).pipe(Sum()) }))
`
