import { hash } from "node:crypto"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

import { assert, describe, it } from "@effect/vitest"
import { Journal, JournalSqlite, Status } from "@reelgraph/store"
import * as Effect from "effect/Effect"

import { folder, reel } from "./reel.ts"

const item = (digit: string) => ({ digest: digit.repeat(64), record: `{"name":"${digit}"}`, artifacts: [] })

/** A journal in which one call was made here, and the next on another machine. */
const written = (place: string) =>
  Effect.gen(function* () {
    const journal = yield* Journal
    const run = yield* journal.beginRun({
      name: "two-places",
      graph: "g",
      version: "1.0.0",
      digest: "0".repeat(64),
      definition: "{}",
      startedMs: 0,
      nodes: ["here", "there"],
    })
    const operator = (name: string, digit: string) =>
      journal.operator({
        digest: digit.repeat(64),
        name,
        version: "1.0.0",
        params: "{}",
        source: "",
        sides: {},
      })
    const row = { status: Status.done, attempts: 1, startedMs: 0, ms: 1 }
    const [input] = yield* journal.items(run, "in", [item("a")])
    const here = { ...row, input: input!, operator: yield* operator("near", "8"), outputs: [item("b")] }
    const [first] = yield* journal.calls(run, 0, [here])
    const there = { ...row, input: first!.outputs[0]!, operator: yield* operator("far", "9") }
    yield* journal.calls(run, 1, [{ ...there, outputs: [item("c")], place }])
  })

describe("reel lineage", { timeout: 180_000 }, () => {
  it.live("says where a call was made that was not made here", () =>
    Effect.gen(function* () {
      const store = yield* folder
      const place = "h100-3 job 1234_5.0 gpu 2"
      yield* Effect.provide(written(place), JournalSqlite.layer(join(store, "journal.db")))
      const told = yield* reel("lineage", "cccccc", "--store", store)
      assert.strictEqual(told.code, 0, told.stderr)
      assert.match(told.stdout, /far@1\.0\.0 .*made on h100-3 job 1234_5\.0 gpu 2\)/)
      assert.notMatch(told.stdout, /near@.*made on/)
      const { stdout } = yield* reel("lineage", "cccccc", "--json", "--store", store)
      const { items } = JSON.parse(stdout) as {
        readonly items: ReadonlyArray<{ readonly madeBy: ReadonlyArray<{ readonly place?: string }> }>
      }
      assert.deepStrictEqual(
        items.map(({ madeBy }) => madeBy.map((step) => step.place)),
        [[place], [undefined], []],
      )
    }),
  )
})

const captions = fileURLToPath(new URL("graphs/captions.graph.ts", import.meta.url))
const digestOf = (caption: string): string => hash("sha256", JSON.stringify({ caption }))

/** A store in which the graph has run on these captions. */
const made = (...given: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const store = yield* folder
    const input = join(store, "captions.ndjson")
    writeFileSync(input, given.map((caption) => JSON.stringify({ caption })).join("\n"))
    const at = join(store, ".reel")
    const ran = yield* reel("run", captions, "--input", input, "--store", at)
    assert.strictEqual(ran.code, 0, ran.stderr)
    const json = Effect.fnUntraced(function* (...args: ReadonlyArray<string>) {
      const told = yield* reel(...args, "--store", at, "--json")
      assert.strictEqual(told.code, 0, told.stderr)
      return JSON.parse(told.stdout)
    })
    return { at, json }
  })

describe("an operator that gives again what it took", { timeout: 60_000 }, () => {
  it.live("is no filter: impact of a caption lists its variants", () =>
    Effect.gen(function* () {
      const { at, json } = yield* made("a red ball")
      const impact = yield* json("impact", digestOf("a red ball"))
      const [augmented] = impact.groups.filter(({ operator }: { operator: string }) => operator === "augment")
      assert.sameMembers(
        augmented.items.map(({ item }: { item: string }) => item),
        [digestOf("A RED BALL"), digestOf("a red ball!")],
      )
      assert.strictEqual(impact.sources.length, 1)
      // The side input took in nothing, and no call lost what was beside it.
      assert.deepStrictEqual(
        impact.lost.map(({ operator }: { operator: string }) => operator),
        ["none"],
      )
      const told = yield* reel("impact", digestOf("a red ball"), "--store", at)
      assert.include(told.stdout, "3 items made from it")
      const up = yield* reel("lineage", digestOf("a red ball"), "--store", at)
      assert.include(up.stdout, "taken in from outside")
      assert.include(up.stdout, "source: a red ball")
      assert.notInclude(up.stdout, "kept by")
    }),
  )

  it.live("has all the parents that it names: lineage of a record equal to a member lists every member", () =>
    Effect.gen(function* () {
      const { json } = yield* made("one", "three", "seventeen")
      const lineage = yield* json("lineage", digestOf("seventeen"))
      const [{ madeBy }] = lineage.items
      const by = Object.fromEntries(
        madeBy.map(({ from, operator }: { from: Array<string>; operator: string }) => [operator, from]),
      )
      assert.sameMembers(by.longest, ["one", "three", "seventeen"].map(digestOf))
      assert.sameMembers(lineage.sources, ["one", "three", "seventeen"].map(digestOf))
      const impact = yield* json("impact", digestOf("one"))
      assert.include(
        impact.groups.flatMap(({ items }: { items: Array<{ item: string }> }) =>
          items.map(({ item }) => item),
        ),
        digestOf("seventeen"),
      )
    }),
  )
})

describe("a damaged journal", { timeout: 60_000 }, () => {
  it.live("ends a command with one line that says what to do", () =>
    Effect.gen(function* () {
      const { at } = yield* made("one", "three")
      const file = join(at, "journal.db")
      const bytes = readFileSync(file)
      bytes.fill(0xa5, 4096)
      writeFileSync(file, bytes)
      const { code, stderr } = yield* reel("runs", "--store", at)
      assert.strictEqual(code, 1)
      assert.match(
        stderr,
        /^reel: the journal .* could not be (?:read|opened): .*Keep a copy, then remove .*\n$/,
      )
    }),
  )
})

describe("a set of items", { timeout: 60_000 }, () => {
  it.live("is told by its members, not by its own record", () =>
    Effect.gen(function* () {
      const { at, json } = yield* made("one", "three")
      const members = ["one", "three"].map(digestOf)
      const set = hash("sha256", `reelgraph/set\n${members.toSorted().join("\n")}`)
      assert.sameMembers((yield* json("lineage", set)).targets, members)
      const impact = yield* json("impact", set.slice(0, 12))
      assert.sameMembers(
        impact.sources.map(({ item }: { item: string }) => item),
        members,
      )
      // A side input with nothing in it is no parent.
      const { items } = yield* json("lineage", digestOf("one, avoiding"))
      assert.sameMembers(
        items.map(({ item }: { item: string }) => item),
        [digestOf("one, avoiding"), digestOf("one")],
      )
      const empty = yield* reel("lineage", hash("sha256", "reelgraph/set\n"), "--store", at)
      assert.strictEqual(empty.code, 2)
      assert.include(empty.stderr, "a set of items")
    }),
  )
})
