import { createHash } from "node:crypto"

import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"

import { type CallRow, Journal, JournalSqlite, Lineage, type NewItem, Status } from "../src/index.ts"

const digest = (text: string): string => createHash("sha256").update(text).digest("hex")
const item = (name: string): NewItem => ({
  digest: digest(name),
  record: JSON.stringify({ name }),
  artifacts: [],
})

/** A run with one node for each operator name. */
const begin = (names: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const journal = yield* Journal
    const run = yield* journal.beginRun({
      name: "test-run",
      graph: "test",
      version: "1.0.0",
      digest: "",
      definition: "{}",
      startedMs: 0,
      nodes: names,
    })
    const operator = (name: string, sides: { readonly [side: string]: number } = {}) =>
      journal.operator({
        digest: digest(`operator ${name}`),
        name,
        version: "1.0.0",
        params: "{}",
        source: "",
        sides,
      })
    const call = (node: number, row: Partial<CallRow> & Pick<CallRow, "input" | "operator">) =>
      Effect.map(
        journal.calls(run, node, [
          { status: Status.done, outputs: [], attempts: 1, startedMs: 0, ms: 1, ...row },
        ]),
        ([committed]) => committed!.outputs,
      )
    return { journal, run, operator, call }
  })

const namesOf = (journal: typeof Journal.Service, ids: Iterable<number>): ReadonlyArray<string> =>
  [...ids].map((id) => (JSON.parse(journal.item(id)!.record) as { name: string }).name).sort()

describe("Lineage", () => {
  it.effect("walks a diamond once, in both directions, and tells filters apart", () =>
    Effect.gen(function* () {
      const { call, journal, operator, run } = yield* begin(["keep", "left", "right", "join"])
      const [video] = (yield* journal.items(run, "videos", [item("video")])) as [number]
      yield* call(0, { input: video, operator: yield* operator("keep"), outputs: [video] })
      const [left] = (yield* call(1, {
        input: video,
        operator: yield* operator("left"),
        outputs: [item("left")],
      })) as [number]
      const [right] = (yield* call(2, {
        input: video,
        operator: yield* operator("right"),
        outputs: [item("right")],
      })) as [number]
      const set = yield* journal.set(digest("set"), [left, right])
      const [joined] = (yield* call(3, {
        input: set.id,
        operator: yield* operator("join"),
        outputs: [item("joined")],
        parents: [[left, right]],
      })) as [number]

      const up = Lineage.up(journal, [joined])
      assert.deepStrictEqual(namesOf(journal, up.keys()), ["joined", "left", "right", "video"])
      assert.deepStrictEqual(Lineage.sources(up), [video])
      assert.deepStrictEqual(
        up.get(video)!.keptBy.map((step) => step.operator.name),
        ["keep"],
      )
      const down = Lineage.down(journal, [video])
      assert.deepStrictEqual(namesOf(journal, down.keys()), ["joined", "left", "right", "video"])
      assert.strictEqual(down.get(video)!.links.length, 2)
      assert.strictEqual(down.get(video)!.keptBy.length, 1)
    }).pipe(Effect.provide(JournalSqlite.layerMemory)),
  )

  it.effect("tells what was dropped and why, by filters and by collect", () =>
    Effect.gen(function* () {
      const { call, journal, operator, run } = yield* begin(["dark", "dedup"])
      const [a, b] = (yield* journal.items(run, "videos", [item("a"), item("b")])) as [number, number]
      const dark = yield* operator("dark")
      yield* call(0, {
        input: a,
        operator: dark,
        status: Status.dropped,
        reason: "too-dark",
        detail: "luma 3",
      })
      yield* call(0, { input: b, operator: dark, outputs: [b] })
      const set = yield* journal.set(digest("set"), [b])
      yield* call(1, {
        input: set.id,
        operator: yield* operator("dedup"),
        drops: [{ item: b, reason: "duplicate", detail: "of c" }],
      })
      const lost = (start: number) =>
        Lineage.down(journal, [start])
          .get(start)!
          .lostBy.map(({ detail, reason }) => [reason, detail])
      assert.deepStrictEqual(lost(a), [["too-dark", "luma 3"]])
      assert.deepStrictEqual(lost(b), [["duplicate", "of c"]])
    }).pipe(Effect.provide(JournalSqlite.layerMemory)),
  )

  it.effect("leads from a checkpoint to what was sampled with it, not to what a filter kept beside it", () =>
    Effect.gen(function* () {
      const { call, journal, operator, run } = yield* begin(["sample", "judge"])
      const [checkpoint, prompt] = (yield* journal.items(run, "in", [
        item("checkpoint"),
        item("prompt"),
      ])) as [number, number]
      const sample = yield* operator("sample", { checkpoint })
      yield* call(0, { input: prompt, operator: sample, outputs: [item("clip")] })
      yield* call(1, { input: prompt, operator: yield* operator("judge", { checkpoint }), outputs: [prompt] })
      const made = Lineage.down(journal, [checkpoint])
      assert.deepStrictEqual(namesOf(journal, made.keys()), ["checkpoint", "clip"])
      const clip = [...made.keys()].find((id) => id !== checkpoint)!
      assert.deepStrictEqual(namesOf(journal, Lineage.up(journal, [clip]).keys()), [
        "checkpoint",
        "clip",
        "prompt",
      ])
    }).pipe(Effect.provide(JournalSqlite.layerMemory)),
  )

  it.effect(
    "follows 100 000 items below one source",
    () =>
      Effect.gen(function* () {
        const { call, journal, operator, run } = yield* begin(["split", "encode"])
        const [video] = (yield* journal.items(run, "videos", [item("video")])) as [number]
        const clips = yield* call(0, {
          input: video,
          operator: yield* operator("split"),
          outputs: Array.from({ length: 50_000 }, (_, i) => item(`clip ${i}`)),
        })
        const encode = yield* operator("encode")
        yield* journal.calls(
          run,
          1,
          clips.map((input, i) => ({
            input,
            operator: encode,
            status: Status.done,
            outputs: [item(`latent ${i}`)],
            attempts: 1,
            startedMs: 0,
            ms: 1,
          })),
        )
        assert.strictEqual(Lineage.down(journal, [video]).size, 100_001)
      }).pipe(Effect.provide(JournalSqlite.layerMemory)),
    // What grew with the square of its items would take hours.
    120_000,
  )

  it.effect("links an item that a call gave again to itself, beside all else that the call gave", () =>
    Effect.gen(function* () {
      const { call, journal, operator, run } = yield* begin(["augment", "again"])
      const [a] = (yield* journal.items(run, "in", [item("a")])) as [number]
      const outputs = [item("a"), item("A"), item("A")]
      const [, upper] = (yield* call(0, { input: a, operator: yield* operator("augment"), outputs })) as [
        number,
        number,
      ]
      yield* call(1, { input: a, operator: yield* operator("again"), outputs: [item("a")] })
      const down = Lineage.down(journal, [a])
      assert.deepStrictEqual(
        down.get(a)!.links.map(({ items }) => items),
        [[a, upper], [a]],
      )
      assert.lengthOf(down.get(a)!.keptBy, 0)
      const up = Lineage.up(journal, [upper])
      assert.deepStrictEqual([...up.keys()], [upper, a])
      assert.deepStrictEqual(Lineage.sources(up), [a])
      assert.deepStrictEqual(Lineage.firsts(down, [a]), [a])
      assert.deepStrictEqual(Lineage.firsts(Lineage.down(journal, [a, upper]), [a, upper]), [a])
      assert.deepStrictEqual(Lineage.firstsAmong(journal, [upper, a]), [a])
    }).pipe(Effect.provide(JournalSqlite.layerMemory)),
  )

  it.effect("that goes round has its sources where runs took something in", () =>
    Effect.gen(function* () {
      const { call, journal, operator, run } = yield* begin(["step"])
      const [a] = (yield* journal.items(run, "in", [item("a")])) as [number]
      const step = yield* operator("step")
      const [b] = (yield* call(0, { input: a, operator: step, outputs: [item("b")] })) as [number]
      const [c] = (yield* call(0, { input: b, operator: step, outputs: [item("c")] })) as [number]
      yield* call(0, { input: c, operator: step, outputs: [item("a")] })
      const up = Lineage.up(journal, [c])
      assert.sameMembers([...up.keys()], [a, b, c])
      assert.deepStrictEqual(Lineage.sources(up), [a])
      // All descend from one another: none of them is left out, or all would be.
      for (const starts of [[a], [b, c], [a, b, c]]) {
        assert.deepStrictEqual(Lineage.firsts(Lineage.down(journal, starts), starts), starts)
      }
      assert.deepStrictEqual(Lineage.firstsAmong(journal, [a, b, c]), [a, b, c])
    }).pipe(Effect.provide(JournalSqlite.layerMemory)),
  )

  it.effect("of a collect leads on from a member that it dropped and made something of", () =>
    Effect.gen(function* () {
      const { call, journal, operator, run } = yield* begin(["sum"])
      const [a, b] = (yield* journal.items(run, "in", [item("a"), item("b")])) as [number, number]
      const set = yield* journal.set(digest("set"), [a, b])
      const [sum, again] = (yield* call(0, {
        input: set.id,
        operator: yield* operator("sum"),
        outputs: [item("sum"), item("b"), b, item("nothing")],
        parents: [[a, b], [a], [b], []],
        drops: [{ item: a, reason: "odd", detail: "" }],
      })) as [number, number]
      assert.strictEqual(again, b)
      const down = Lineage.down(journal, [a])
      assert.deepStrictEqual(down.get(a)!.links[0]!.items, [sum, b])
      assert.deepStrictEqual(
        down.get(a)!.lostBy.map(({ reason }) => reason),
        ["odd"],
      )
      // Passed on, and made from another as well.
      const up = Lineage.up(journal, [b])
      assert.lengthOf(up.get(b)!.keptBy, 1)
      assert.deepStrictEqual(up.get(b)!.links[0]!.items, [a])
      const nothing = journal.itemByDigest(digest("nothing"))!.id
      assert.deepStrictEqual(Lineage.up(journal, [nothing]).get(nothing)!.links[0]!.items, [])
      assert.deepStrictEqual(Lineage.sources(Lineage.up(journal, [nothing])), [nothing])
    }).pipe(Effect.provide(JournalSqlite.layerMemory)),
  )

  it.effect("does not count a side input as lost when a call drops the item beside it", () =>
    Effect.gen(function* () {
      const { call, journal, operator, run } = yield* begin(["judge"])
      const [model, clip] = (yield* journal.items(run, "in", [item("model"), item("clip")])) as [
        number,
        number,
      ]
      const judge = yield* operator("judge", { model })
      yield* call(0, { input: clip, operator: judge, status: Status.dropped, reason: "poor" })
      assert.lengthOf(Lineage.down(journal, [model]).get(model)!.lostBy, 0)
      assert.lengthOf(Lineage.down(journal, [clip]).get(clip)!.lostBy, 1)
    }).pipe(Effect.provide(JournalSqlite.layerMemory)),
  )

  it.effect("finds items and artifacts by the beginning of their digests", () =>
    Effect.gen(function* () {
      const { journal, run } = yield* begin([])
      const blob = digest("blob")
      const [id] = (yield* journal.items(run, "in", [{ ...item("a"), artifacts: [blob] }])) as [number]
      assert.deepStrictEqual(journal.startingWith(digest("a").slice(0, 7)), { items: [id], artifacts: [] })
      assert.deepStrictEqual(journal.startingWith(blob.slice(0, 9)), { items: [], artifacts: [blob] })
      assert.deepStrictEqual(journal.startingWith(blob), { items: [], artifacts: [blob] })
    }).pipe(Effect.provide(JournalSqlite.layerMemory)),
  )
})
