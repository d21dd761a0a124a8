import { assert, describe, it } from "@effect/vitest"
import { Graph, Operator, Port, keep, type Progress as CallProgress } from "@reelgraph/core"
import type { Engine } from "@reelgraph/engine"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"

import * as Format from "../src/Format.ts"
import * as ParamDoc from "../src/ParamDoc.ts"
import * as Progress from "../src/Progress.ts"
import { TerminalOutput } from "../src/TerminalOutput.ts"
import * as Suggest from "../src/Suggest.ts"
import * as Tree from "../src/Tree.ts"
import { memoryScreen } from "./reel.ts"

const N = Port.make("N", { record: Schema.Struct({ n: Schema.Int }) })
const Pick = Operator.filter("pick", {
  version: "1.0.0",
  input: N,
  params: Schema.Struct({
    mode: Schema.Literals(["near", "far"]),
    least: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 9 })),
    names: Schema.optionalKey(Schema.Array(Schema.String)),
    scale: Schema.Finite.check(Schema.isGreaterThan(0)).pipe(
      Schema.withDecodingDefaultKey(Effect.succeed(1.5)),
    ),
    inner: Schema.Struct({ on: Schema.Boolean }),
  }),
  run: () => Effect.succeed(keep),
})
const graph = Graph.make("g", { version: "1.0.0" }, (g) => ({
  out: g
    .input("in", N)
    .pipe(
      Pick({ mode: "near", least: 1, inner: { on: true } }),
      Pick({ mode: "far", least: 2, inner: { on: true } }).as("again"),
    ),
}))

const tally = (numbers: { in: number; kept: number; dropped?: number; cached?: number; ended?: boolean }) =>
  ({
    failed: 0,
    out: numbers.kept,
    cached: 0,
    executed: 0,
    retries: 0,
    busyMs: 0,
    ended: false,
    dropped: new Map(),
    droppedTotal: numbers.dropped ?? 0,
    ...numbers,
  }) as unknown as Engine.Live["nodes"][number]["tally"]

const live = (done: number): Engine.Live => ({
  name: "g-20260101-000000-aaaa",
  graph,
  startedMs: 0,
  nodes: [
    { id: "pick", tally: tally({ in: done, kept: done / 2, dropped: done / 2 }), underway: new Set() },
    { id: "again", tally: tally({ in: 0, kept: 0 }), underway: new Set() },
  ],
  inputs: { in: { count: done, ended: false } },
})

describe("display", () => {
  it("shows rates, what is left, and never more than the terminal holds", () => {
    const pace = new Progress.Pace()
    pace.note(live(0), 0)
    pace.note(live(20), 2000)
    const wide = Progress.frame(live(20), pace, { in: 100 }, 2000, 120, 24)
    assert.match(wide[0]!, /^g@1\.0\.0 {2}00:02 {2}in 20 of 100/)
    assert.match(wide[2]!, /^pick +20 of 100 +0 +10 +0 +10\/s +00:08$/)
    assert.match(wide[3]!, /^again +0 of 50/)
    for (const line of Progress.frame(live(20), pace, { in: 100 }, 2000, 30, 24))
      assert.isBelow(line.length, 30)
    assert.isAtMost(Progress.frame(live(20), pace, {}, 2000, 80, 5).length, 5)
  })

  it("shows below a node how far its calls are, where there is room", () => {
    const one = live(20)
    const told = (done: number, total: number, detail: string, left?: number) => {
      const report: CallProgress.Progress = {
        done,
        total,
        detail,
        ...(left === undefined ? {} : { remainingMillis: left }),
      }
      const first = { atMs: 0, report: { done: 0, total, detail: "" } }
      return { first, latest: { atMs: 1000, report } } as any
    }
    const calls = one.nodes[0]!.underway as Set<any>
    calls.add(told(1999, 2000, "loss 0.312, 412 ms a step\u001B[31m\n", 664_000))
    calls.add(told(1, 4, "", undefined))
    calls.add(told(5, 0, "listening"))
    const shown = (rows: number) => Progress.frame(one, new Progress.Pace(), {}, 2000, 120, rows)
    assert.deepStrictEqual(shown(24).slice(3, 6), [
      "  99%  loss 0.312, 412 ms a step?[31m  11:03 left",
      // 1 of 4 took 1 s, another has gone by since: 2 s.
      "  25%  00:02 left",
      "  listening",
    ])
    assert.match(shown(24)[6]!, /^again /)
    // Two nodes and one line more.
    assert.strictEqual(shown(7).length, 5)
    assert.match(shown(7)[4]!, /^again /)
    assert.isTrue(shown(6).every((line) => !line.startsWith("  ")))
    for (let n = 0; n < 9; n++) calls.add(told(n, 10, "many"))
    assert.strictEqual(
      shown(24)
        .filter((line) => line.startsWith("  "))
        .at(-1),
      "  and 8 more",
    )
  })

  it.effect(
    "tells a line for a node with calls underway every 10 seconds, elsewhere than on a terminal",
    () =>
      Effect.gen(function* () {
        const { screen, written } = memoryScreen()
        const { observe } = yield* Effect.provideService(Progress.show({}), TerminalOutput, screen)
        const one = live(20)
        observe(one)
        const call = { first: undefined as any, latest: undefined as any }
        ;(one.nodes[0]!.underway as Set<any>).add(call)
        for (let second = 1; second <= 30; second++) {
          const report = { done: second, total: 100, detail: `step ${second}` }
          call.latest = { atMs: second * 1000, report }
          call.first ??= call.latest
          yield* TestClock.adjust("1 second")
        }
        const lines = written.stderr.split("\n").filter((line) => line.startsWith("pick: "))
        assert.strictEqual(lines.length, 3)
        assert.strictEqual(lines[0], "pick: 1%  step 1")
        assert.match(lines[1]!, /^pick: 1[01]% {2}step 1[01] {2}01:2\d left$/)
        assert.strictEqual(written.stdout, "")
      }),
  )

  it("keeps told lines above the pinned ones, and gives the cursor back", () => {
    const { screen, written } = memoryScreen({ isTTY: true })
    screen.pin(["one", "two"])
    screen.tell("said")
    screen.pin([])
    assert.isTrue(written.stderr.startsWith("\u001B[?25l"))
    assert.include(written.stderr, "said\n\u001B[2Kone\n\u001B[2Ktwo\n")
    assert.isTrue(written.stderr.endsWith("\u001B[?25h"))
    assert.notInclude(written.stderr, "\u001B[J")
  })

  it("describes params by their JSON schema, defaults included", () => {
    assert.deepStrictEqual(ParamDoc.describe(Pick), [
      { name: "mode", type: 'one of "near", "far"', required: true },
      { name: "least", type: "whole number, 1 to 9", required: true },
      { name: "names", type: "list of text", required: false },
      { name: "scale", type: "number, above 0", required: false, default: 1.5 },
      { name: "inner", type: "{ on: true or false }", required: true },
    ])
    assert.strictEqual(ParamDoc.typeAt(Pick, ["inner", "on"]), "true or false")
    assert.isUndefined(ParamDoc.typeAt(Pick, ["inner", "off"]))
  })

  it("prints numbers and times as people read them, and no control characters", () => {
    assert.strictEqual(Format.count(1_234_567), "1,234,567")
    assert.deepStrictEqual([3, 4200, 59_990, 184_000, 7_500_000].map(Format.duration), [
      "3 ms",
      "4.2 s",
      "1m 00s",
      "3m 04s",
      "2h 05m",
    ])
    assert.deepStrictEqual([812, 3_565_158].map(Format.bytes), ["812 B", "3.4 MiB"])
    assert.strictEqual(Format.line("a\u001B[31m\nb"), "a?[31m b")
    assert.deepStrictEqual(Format.wrapped("node  one two three", 10, "      "), [
      "node  one",
      "      two",
      "      three",
    ])
    assert.deepStrictEqual(Format.wrapped("longer-than-that x", 5, "  "), ["longer-than-that", "  x"])
    assert.strictEqual(Suggest.nearest("curat", ["train", "curate"]), "curate")
    assert.isUndefined(Suggest.nearest("xyz", ["train", "curate"]))
  })

  it("draws deep trees without recursion, up to a bound", () => {
    const chain = (depth: number): Tree.Branch => ({
      lines: [String(depth)],
      below: () => (depth < 5000 ? [chain(depth + 1)] : []),
    })
    const lines = Tree.render(chain(0), 50)
    assert.strictEqual(lines.length, 51)
    assert.strictEqual(lines[2], "   └─ 2")
  })
})
