/** What is written to a terminal, of whatever comes from outside. */
import { writeFileSync } from "node:fs"
import { join } from "node:path"

import { assert, describe, it } from "@effect/vitest"
import { Graph, keep, Operator, Port, type Progress as CallProgress } from "@reelgraph/core"
import type { Engine } from "@reelgraph/engine"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import * as Format from "../src/Format.ts"
import * as ItemLabel from "../src/ItemLabel.ts"
import * as Progress from "../src/Progress.ts"
import * as RunReport from "../src/RunReport.ts"
import * as TerminalText from "../src/TerminalText.ts"
import * as WorkerLogs from "../src/WorkerLogs.ts"
import { folder, memoryScreen, reel, slow, spawned } from "./reel.ts"

/** A link, a title, a colour, a cleared screen; C1; turned, hidden and joined text; line ends; halves of pairs. */
const hostile = [
  "\u001B]8;;https://evil\u0007here\u001B]8;;\u0007",
  "\u001B]0;title\u0007",
  "\u001B[31m",
  "\u001B[2J",
  "\u001Bc",
  "\u009B31m",
  "\u0090q\u009C",
  "\r",
  "\n",
  "\u0085",
  "\u2028",
  "\u2029",
  "\u0000",
  "\u0008",
  "\u007F",
  "\u202E",
  "\u2066",
  "\u2069",
  "\u200B",
  "\u200D",
  "\uFEFF",
  "\u{E0041}",
  "\uD800",
  "\uDC00",
  "a",
  " ",
  "é",
  "😀",
  "reel: ",
] as const
const Text = Schema.Array(Schema.Literals(hostile)).check(Schema.isMaxLength(12))

const unsafe = /[^\P{C}\n]|[\u2028\u2029]/u

/** Fails when a terminal would see anything but text, tabs and line feeds. */
const assertSafe = (text: string) => assert.notMatch(text.replaceAll("\t", ""), unsafe, JSON.stringify(text))

const reportOf = (text: string): RunReport.RunReport => ({
  run: text,
  graph: text,
  version: text,
  status: "failed",
  problem: text,
  startedMs: 0,
  endedMs: 1,
  inputs: { [text]: 1 },
  outputs: { [text]: 1 },
  ledger: {
    [text]: { in: 1, kept: 1, dropped: { [text]: 0 }, failed: 0, out: 1, cached: 0, busyMs: 1 } as any,
  },
  dropped: [{ node: text, reason: text, count: 1, example: { item: text, name: text, detail: text } }],
  failed: [{ node: text, item: text, name: text, error: text, detail: text }],
  skipped: [{ input: text, source: text, problem: text }],
  warnings: [text],
  store: text,
  written: [{ output: text, files: 1, folder: text, items: 1, manifest: text }],
})

const N = Port.make("N", { record: Schema.Struct({ n: Schema.Int }) })
const Pick = Operator.filter("pick", { version: "1.0.0", input: N, run: () => Effect.succeed(keep) })
const graph = Graph.make("g", { version: "1.0.0" }, (g) => ({ out: g.input("in", N).pipe(Pick()) }))

const liveOf = (text: string): Engine.Live => {
  const report: CallProgress.Progress = { done: 1, total: 2, detail: text }
  return {
    name: text,
    graph,
    startedMs: 0,
    nodes: [
      {
        id: text,
        away: () => text,
        underway: new Set([{ first: { atMs: 0, report }, latest: { atMs: 1, report } }]),
        tally: { in: 2, kept: 1, out: 1, failed: 0, cached: 0, droppedTotal: 0, ended: false } as any,
      } as any,
    ],
    inputs: { [text]: { count: 1, ended: false } },
  }
}

describe("text from outside on a terminal", () => {
  it.prop(
    "shows no control, no turned and no hidden text, and no line that it has made itself",
    [Text],
    ([parts]) => {
      const text = parts.join("")
      const { screen, written } = memoryScreen()
      const lines = [
        ...RunReport.lines(reportOf(text)),
        ...Progress.frame(liveOf(text), new Progress.Pace(), {}, 1000, 80, 24),
        Progress.summary(liveOf(text), 1000),
        Progress.underway(liveOf(text).nodes[0]!, 1000) ?? "",
        Progress.ending(liveOf(text).nodes[0]!),
        ItemLabel.nameIn({ name: text }) ?? "",
        ...WorkerLogs.lines({ lines: [text], whole: true }),
        ...Format.table([text], [[text]]),
        ...Format.wrapped(text, 10, "  "),
      ]
      screen.show(lines)
      assertSafe(written.stdout)
      assert.lengthOf(written.stdout.split("\n"), lines.length + 1)
      screen.tell(`reel: ${text}`)
      screen.pass(text)
      assertSafe(written.stderr)
      const [first, ...rest] = written.stderr.slice(0, -1).split("\n")
      assert.match(first!, /^reel: /)
      for (const line of rest.slice(0, TerminalText.message(text).split("\n").length - 1))
        assert.match(line, /^ {6}/)
    },
  )

  it.prop("the lines at the bottom of a terminal hold its own escapes alone", [Text], ([parts]) => {
    const { screen, written } = memoryScreen({ isTTY: true })
    screen.pin([parts.join(""), "two"])
    screen.tell(parts.join(""))
    screen.pin([])
    // oxlint-disable-next-line no-control-regex -- the screen's own
    assertSafe(written.stderr.replaceAll(/\u001B\[(?:2K|\d+A|\?25[lh])|\r(?=\u001B\[\d)/g, ""))
    assert.strictEqual(written.stderr.split("\u001B[2Ktwo\n").length, 3)
  })

  it.prop("a JSON document is the same document, in safe characters", [Text], ([parts]) => {
    const { screen, written } = memoryScreen()
    const document = { [parts.join("")]: [parts.join("")] }
    screen.print(JSON.stringify(document, null, 2))
    assertSafe(written.stdout)
    assert.deepStrictEqual(JSON.parse(written.stdout), document)
  })

  it.effect("names on the command line, in files and in records cannot speak to the terminal", () =>
    Effect.gen(function* () {
      const here = yield* folder
      const name = "\u001B]8;;x:evil\u0007\u202Ex"
      const file = join(here, `${name}.ndjson`)
      writeFileSync(file, `{"n":"\\u001b[31m"}\nno json \u001B[2J\n`)
      const store = join(here, name)
      const commands: ReadonlyArray<ReadonlyArray<string>> = [
        ["run", slow, "--input", file, "--store", store],
        ["run", slow, "--input", `${file}?`, "--store", store],
        ["run", name],
        ["run", `./${name}.graph.ts`],
        ["run", slow, "--set", name],
        ["run", slow, "--set", `${name}.a=1`],
        ["run", slow, "--set", `slow.${name}=1`],
        ["show", name, "--store", store],
        ["lineage", name, "--store", store],
        ["impact", name, "--store", store],
        ["logs", name, "--store", store],
        ["runs", "--store", `${store}2`],
        [name],
        [`--${name}`],
        ["operators", name],
      ]
      for (const command of commands)
        for (const more of [[], ["--json"]]) {
          const { stderr, stdout } = yield* reel(...command, ...more)
          assertSafe(stdout)
          assertSafe(stderr)
          assert.notStrictEqual(`${stdout}${stderr}`, "")
        }
    }).pipe(Effect.scoped),
  )

  it.live(
    "what an operator writes by itself goes to stderr, without its escapes, and never between results",
    () =>
      Effect.gen(function* () {
        const here = yield* folder
        writeFileSync(join(here, "loud.graph.ts"), loud)
        const args = ["run", "./loud.graph.ts", "--input", "-", "--json"]
        const { code, stderr, stdout } = yield* spawned(here, args, { stdin: '{"n":1}' })
        assert.strictEqual(code, 0, stderr)
        assert.strictEqual((JSON.parse(stdout) as { readonly graph: string }).graph, "loud")
        assertSafe(stdout)
        assertSafe(stderr)
        for (const text of ["console", "stdout", "stderr", "logged"]) assert.include(stderr, `by ${text}`)
        // A secret of a URL is masked wherever it goes.
        assert.include(stderr, "X-Amz-Signature=***")
        assert.notInclude(stdout + stderr, "5ecret")
      }).pipe(Effect.scoped),
    180_000,
  )
})

const loud = `
import { drop, Graph, Operator, Port } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
const N = Port.make("N", { record: Schema.Struct({ n: Schema.Int }) })
const url = "https://b.example/k?X-Amz-Signature=5ecret5ecret"
const Loud = Operator.filter("loud", {
  version: "1.0.0",
  input: N,
  run: () =>
    Effect.gen(function* () {
      console.log("\\u001b[31mby console " + url)
      process.stdout.write("\\u001b]0;x\\u0007by stdout\\n")
      process.stderr.write("\\u009b31mby stderr\\n")
      yield* Effect.logInfo("\\u001b[2Jby logged")
      return drop("fetched", url)
    }),
})
export default Graph.make("loud", { version: "1.0.0" }, (g) => ({ out: g.input("in", N).pipe(Loud()) }))
`
