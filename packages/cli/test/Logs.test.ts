/** What is kept of a run for the next morning: what happened on its way, and what its workers wrote. */
import { mkdirSync, utimesSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"

import { assert, describe, it } from "@effect/vitest"
import { Journal, JournalSqlite, Status } from "@reelgraph/store"
import * as Effect from "effect/Effect"

import { folder, reel } from "./reel.ts"

const item = (digit: string) => ({ digest: digit.repeat(64), record: `{"name":"${digit}"}`, artifacts: [] })

const beganMs = Date.UTC(2026, 0, 14, 9, 30, 43)
/** Of the driver of the run, a second before it began. */
const own = "curate-20260114-093042-3fa9c1"
/** Of a driver whose jobs it took over. */
const earlier = "curate-20260114-080000-0b0b0b"

interface Made {
  readonly name: string
  readonly startedMs: number
  /** Of its calls, one each: undefined is here. */
  readonly places: ReadonlyArray<string | undefined>
  readonly notes?: ReadonlyArray<string>
}

/** Runs that have ended, each with calls of an operator of its own: on item a, b, ... in the order of their places. */
const written = (store: string, ...runs: ReadonlyArray<Made>) =>
  Effect.gen(function* () {
    const journal = yield* Journal
    for (const [at, { name, notes = [], places, startedMs }] of runs.entries()) {
      const run = yield* journal.beginRun({
        name,
        graph: "curate",
        version: "1.0.0",
        digest: "0".repeat(64),
        definition: "{}",
        startedMs,
        nodes: ["work"],
      })
      const operator = yield* journal.operator({
        digest: String(at).repeat(64),
        name: "work",
        version: "1.0.0",
        params: "{}",
        source: "",
        sides: {},
      })
      const inputs = yield* journal.items(
        run,
        "in",
        places.map((_, n) => item("abcdef"[n]!)),
      )
      const rows = places.map((place, n) => ({
        input: inputs[n]!,
        operator,
        status: Status.done,
        outputs: [inputs[n]!],
        attempts: 1,
        startedMs,
        ms: 1,
        ...(place === undefined ? {} : { place }),
      }))
      yield* journal.calls(run, 0, rows)
      const end = { endedMs: startedMs + 1000, status: "done", ledger: "{}", notes } as const
      yield* journal.endRun(run, end)
    }
  }).pipe(Effect.provide(JournalSqlite.layer(join(store, "journal.db"), { durability: "normal" })))

/** A log that was written to last so many seconds after the run began. */
const log = (store: string, name: string, text: string, seconds: number): void => {
  const file = join(store, "logs", name)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, text)
  utimesSync(file, beganMs / 1000 + seconds, beganMs / 1000 + seconds)
}

const done = Effect.fnUntraced(function* (...args: ReadonlyArray<string>) {
  const ended = yield* reel(...args)
  assert.strictEqual(ended.code, 0, ended.stderr)
  return ended.stdout
})

const counting = (from: number, to: number): string =>
  Array.from({ length: to - from + 1 }, (_, n) => `line ${from + n}\n`).join("")

describe("reel logs RUN", { timeout: 180_000 }, () => {
  it.live("prints what all workers of a run wrote that are there, the last one last", () =>
    Effect.gen(function* () {
      const store = yield* folder
      const run = { name: "curate-20260114-093043-k3f9", startedMs: beganMs }
      const places = [
        `cpu-0, job 20_0, session ${own}`,
        `cpu-1, job 20_0 (restart 1), session ${own}`,
        `cpu-9, job 7_1, session ${earlier}`,
        `cpu-3, job 20_5, session ${own}`,
        undefined,
      ]
      yield* written(store, { ...run, places }, { name: "other", startedMs: beganMs + 60_000, places: [] })
      log(store, `${own}/20_0.log`, "first\tline\n\u001B[31mred\n\n", 30)
      log(store, `${own}/20_1.log`, "slurmstepd: CANCELLED\n", 10)
      log(store, `${earlier}/7_1.log`, "", 20)
      log(store, `${own}/notes.txt`, "no log", 1)
      log(store, "curate-20260114-093122-ffffff/99_0.log", "of another run\n", 1)
      log(store, "curate-20260114-093041-eeeeee/98_0.log", "of a driver beside it\n", 1)
      const expected = [
        `cpu-3, job 20_5, session ${own}`,
        "  its log is not here, or cannot be read",
        `job 20_1, session ${own} (no result of the run is from it)`,
        "  slurmstepd: CANCELLED",
        `cpu-9, job 7_1, session ${earlier}`,
        "  its log is empty",
        `cpu-0, job 20_0, session ${own}; cpu-1, job 20_0 (restart 1), session ${own}`,
        "  first  line",
        "  ?[31mred",
        "",
      ]
      // By its name, and by the beginning of one.
      assert.deepStrictEqual((yield* done("logs", run.name, "--store", store)).split("\n"), expected)
      assert.deepStrictEqual((yield* done("logs", "curate-2026", "--store", store)).split("\n"), expected)
      const entries = JSON.parse(yield* done("logs", run.name, "--json", "--store", store)) as ReadonlyArray<
        Record<string, unknown>
      >
      assert.deepStrictEqual(
        entries.map(({ log, places, session, task }) => [session, task, (places as []).length, log]),
        [
          [own, "20_5", 1, undefined],
          [own, "20_1", 0, "slurmstepd: CANCELLED"],
          [earlier, "7_1", 1, ""],
          [own, "20_0", 2, "first\tline\n\u001B[31mred"],
        ],
      )
      // An item of it has the log of its worker alone.
      const ofItem = yield* done("logs", "cccccc", "--store", store)
      assert.deepStrictEqual(ofItem.split("\n"), [
        `work@1.0.0 ran on cpu-9, job 7_1, session ${earlier} (run ${run.name})`,
        "  its log is empty",
        "",
      ])
    }),
  )

  it.live("prints the last 200 lines of each log, or as many as are asked for", () =>
    Effect.gen(function* () {
      const store = yield* folder
      const places = [`cpu-0, job 1_0, session ${own}`, `cpu-0, job 1_1, session ${own}`]
      yield* written(store, { name: "long", startedMs: beganMs, places })
      // Longer than what is read of it at once.
      log(store, `${own}/1_0.log`, `${"x".repeat(5_000_000)}\n${counting(1, 300)}`, 1)
      log(store, `${own}/1_1.log`, counting(1, 200), 2)
      const head = (task: number, part = "") => `cpu-0, job 1_${task}, session ${own}${part}\n`
      const indented = (from: number, to: number) => counting(from, to).replaceAll("line", "  line")
      assert.strictEqual(
        yield* done("logs", "last", "--store", store),
        `${head(0, ": the last 200 lines of its log")}${indented(101, 300)}${head(1)}${indented(1, 200)}`,
      )
      const two = `${head(0, ": the last 2 lines of its log")}${indented(299, 300)}${head(1, ": the last 2 lines of its log")}${indented(199, 200)}`
      assert.strictEqual(yield* done("logs", "last", "--lines", "2", "--store", store), two)
      assert.include(
        yield* done("logs", "aaaaaa", "--lines", "1", "--store", store),
        "the last 1 line of its log\n  line 300\n",
      )
      const wide = yield* done("logs", "last", "--lines", "301", "--store", store)
      // What is left of a line that was not read whole is not shown.
      assert.isTrue(wide.startsWith(`${head(0, ": the last 300 lines of its log")}  line 1\n`))
      const cut = yield* done("logs", "last", "--lines", "2000", "--store", store)
      assert.include(cut, `\n  ${"x".repeat(399)}…\n  line 1\n`)
      const none = yield* reel("logs", "last", "--lines", "0", "--store", store)
      assert.strictEqual(none.code, 2)
      assert.include(none.stderr, "Expected 1 or more, got 0")
    }),
  )

  it.live("finds those of a run of which nothing came by the time of its driver", () =>
    Effect.gen(function* () {
      const store = yield* folder
      const before = { name: "before", startedMs: beganMs - 3_600_000, places: [] }
      const after = { name: "after", startedMs: beganMs + 3_600_000, places: [] }
      yield* written(store, before, { name: "lost", startedMs: beganMs, places: [] }, after)
      log(store, `${own}/5_0.log`, "cannot open the store\n", 1)
      // Of the run before it, of another graph, and of none.
      for (const other of ["curate-20260114-083042-000000", "curate-more-20260114-093042-000000", "curate-x"])
        log(store, `${other}/6_0.log`, "of others\n", 1)
      assert.strictEqual(
        yield* done("logs", "lost", "--store", store),
        `job 5_0, session ${own} (no result of the run is from it)\n  cannot open the store\n`,
      )
      assert.include(yield* done("logs", "after", "--store", store), "run after has no logs of workers")
    }),
  )

  it.live("says in one sentence that there are none, and what is no run, file or item", () =>
    Effect.gen(function* () {
      const store = yield* folder
      yield* written(
        store,
        { name: "gone", startedMs: beganMs, places: [`cpu-0, job 1_0, session ${own}`] },
        { name: "here", startedMs: beganMs + 1_000_000, places: [undefined] },
      )
      assert.strictEqual(
        yield* done("logs", "here", "--store", store),
        "run here has no logs of workers: none of its calls was made on a cluster\n",
      )
      assert.deepStrictEqual(JSON.parse(yield* done("logs", "here", "--json", "--store", store)), [])
      assert.match(
        yield* done("logs", "gone", "--store", store),
        /^run gone was made on a cluster, but its logs are not here: [^\n]+\/logs\)\n$/,
      )
      const refused = (target: string, says: string) =>
        Effect.map(reel("logs", target, "--store", store), ({ code, stderr }) => {
          assert.strictEqual(code, 2)
          assert.include(stderr, says)
        })
      yield* refused("heer", "heer: is neither a run, nor a file, nor a digest. Did you mean here?")
      yield* refused("badbadbad", "no item and no artifact has a digest that begins so")
    }),
  )
})

const graph = (run: string) => `import { Graph, Operator, Port } from "@reelgraph/core"
import { Effect, Schema } from "effect"
const Num = Port.make("Num", { record: Schema.Struct({ n: Schema.Int }) })
const Work = Operator.map("work", { version: "1.0.0", input: Num, output: Num, run: ${run} })
export const work = Graph.make("work", { version: "1.0.0" }, (g) => ({ out: g.input("in", Num).pipe(Work()) }))
`

describe("reel show", { timeout: 180_000 }, () => {
  it.live("tells what the report of a run told", () =>
    Effect.gen(function* () {
      const here = yield* folder
      const store = join(here, "store")
      const write = (name: string, text: string) => {
        writeFileSync(join(here, name), text)
        return join(here, name)
      }
      const first = write("first.graph.ts", graph("(record) => Effect.succeed(record)"))
      const other = write("other.graph.ts", graph("({ n }) => Effect.succeed({ n: n + 1 })"))
      const fails = write("fails.graph.ts", graph(`() => Effect.fail("no")`))
      const one = ["--input", write("one.ndjson", '{"n":1}\n'), "--store", store]
      const two = ["--input", write("two.ndjson", '{"n":1}\n{"n":2}\n'), "--store", store]
      const reusing = ["--changed-code", "reuse"]
      const warned =
        "\nwarning: 1 cached result of work@1.0.0 came from other code under the same version and is reused"
      const shown = done("show", "last", "--store", store)

      assert.notInclude(yield* done("run", first, ...one), "warning:")
      assert.notInclude(yield* shown, "warning:")
      assert.include(yield* done("run", other, ...one, ...reusing), warned)
      assert.include(yield* shown, warned)
      // Of one that ended early as well.
      const early = yield* reel("run", fails, ...two, ...reusing, "--max-failures", "0")
      assert.strictEqual(early.code, 1, early.stderr)
      assert.include(early.stdout, warned)
      assert.include(yield* shown, warned)
      const { status, warnings } = JSON.parse(yield* done("show", "last", "--json", "--store", store)) as {
        readonly status: string
        readonly warnings: ReadonlyArray<string>
      }
      assert.strictEqual(status, "failed")
      assert.lengthOf(warnings, 1)

      const listed = (yield* done("runs", "--store", store)).trimEnd().split("\n")
      assert.match(listed[1]!, /failed \(1 warning\)$/)
      assert.match(listed[2]!, /done \(1 warning\)$/)
      assert.match(listed[3]!, /done$/)
      const counts = JSON.parse(yield* done("runs", "--json", "--store", store)) as ReadonlyArray<{
        readonly warnings: number
      }>
      assert.deepStrictEqual(
        counts.map((run) => run.warnings),
        [1, 1, 0],
      )
    }),
  )

  it.live("tells each thing that happened on the way of a run, in one line", () =>
    Effect.gen(function* () {
      const store = yield* folder
      const notes = ["tasks were lost\nand made elsewhere (cpu-0)", "a clock is off"]
      yield* written(store, { name: "noted", startedMs: beganMs, places: [], notes })
      const text = yield* done("show", "noted", "--store", store)
      assert.include(
        text,
        "\n\nwarning: tasks were lost and made elsewhere (cpu-0)\n\nwarning: a clock is off\n",
      )
      const json = JSON.parse(yield* done("show", "noted", "--json", "--store", store)) as {
        readonly warnings: ReadonlyArray<string>
      }
      assert.deepStrictEqual(json.warnings, notes)
      assert.match(yield* done("runs", "--store", store), /^noted .* done \(2 warnings\)$/m)
    }),
  )
})
