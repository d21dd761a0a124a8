import { createHash } from "node:crypto"
import fs from "node:fs"
import os from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { gunzipSync } from "node:zlib"

import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import {
  type CallRow,
  Journal,
  type JournalError,
  JournalSqlite,
  type NewItem,
  Status,
} from "../src/index.ts"
import { lineageOfOld, rightOfOld } from "./sharing.ts"

const temporary = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(join(os.tmpdir(), "reelgraph-journal-"))),
  (path) => Effect.sync(() => fs.rmSync(path, { recursive: true, force: true })),
)

const digest = (n: number): string => n.toString(16).padStart(64, "0")
const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex")
const item = (n: number, artifacts: ReadonlyArray<string> = []): NewItem => ({
  digest: digest(n),
  record: `{"n":${n}}`,
  artifacts,
})

const operatorRow = (n: number, name = "op") => ({
  digest: digest(1_000_000 + n),
  name,
  version: "1.0.0",
  params: `{"n":${n}}`,
  source: digest(n),
  sides: {},
})

const begin = (journal: Journal["Service"], name: string, nodes = ["a", "b"]) =>
  journal.beginRun({
    name,
    graph: "g",
    version: "1.0.0",
    digest: digest(0),
    definition: "{}",
    startedMs: 1,
    nodes,
  })

const call = (input: number, operator: number, row: Partial<CallRow>): CallRow => ({
  input,
  operator,
  status: Status.done,
  outputs: [],
  attempts: 1,
  startedMs: 1,
  ms: 2,
  ...row,
})

/** A run with three items in and an operator. */
const ready = Effect.gen(function* () {
  const journal = yield* Journal
  const run = yield* begin(journal, "r1")
  const [a, b, c] = (yield* journal.items(run, "in", [item(1), item(2), item(3)])) as [number, number, number]
  const operator = yield* journal.operator(operatorRow(1))
  return { journal, run, a, b, c, operator }
})

const laws = (name: string, file: (folder: string) => ReturnType<typeof JournalSqlite.layer>) =>
  describe(name, () => {
    const test = (title: string, body: Effect.Effect<void, unknown, Journal>) =>
      it.live(title, () =>
        Effect.flatMap(temporary, (folder) => Effect.provide(body, file(join(folder, "journal.db")))),
      )

    test(
      "stores an item once, whoever gives it",
      Effect.gen(function* () {
        const { a, c, journal, run } = yield* ready
        assert.deepStrictEqual(yield* journal.items(run, "in", [item(3), item(1), item(1)]), [c, a, a])
        assert.deepStrictEqual(journal.item(a), { id: a, digest: digest(1), record: '{"n":1}' })
        assert.strictEqual(journal.itemByDigest(digest(3))!.id, c)
        assert.isUndefined(journal.itemByDigest(digest(99)))
        assert.sameMembers([...journal.runItems(run, "in:in")], [a, a + 1, c])
      }),
    )

    test(
      "the first result of a call counts; a failure gives way to what comes after it",
      Effect.gen(function* () {
        const { a, journal, operator, run } = yield* ready
        const failed = call(a, operator, { status: Status.failed, reason: "Busy", detail: "later" })
        yield* journal.calls(run, 0, [failed])
        assert.deepInclude(journal.find(a, operator), { status: Status.failed, reason: "Busy" })
        const [first] = yield* journal.calls(run, 0, [call(a, operator, { outputs: [item(10)] })])
        assert.isUndefined(first!.adopted)
        const other = yield* begin(journal, "r2")
        const [second] = yield* journal.calls(other, 0, [call(a, operator, { outputs: [item(11)] })])
        assert.strictEqual(second!.adopted, Status.done)
        assert.deepStrictEqual(second!.outputs, first!.outputs)
        // Neither does a failure take the place of a result, nor is it counted as one.
        const [third] = yield* journal.calls(other, 0, [failed])
        assert.strictEqual(third!.adopted, Status.done)
        assert.strictEqual(journal.failures(run).length, 1)
        assert.deepStrictEqual(journal.failures(other), [])
        assert.deepStrictEqual(journal.runsOfCall(first!.call), ["r1", "r2"])
      }),
    )

    test(
      "a result whose blobs are lost gives way to the one that says so, under the same call",
      Effect.gen(function* () {
        const { a, journal, operator, run } = yield* ready
        const [first] = yield* journal.calls(run, 0, [call(a, operator, { outputs: [item(10), item(11)] })])
        const [again] = yield* journal.calls(run, 0, [
          call(a, operator, { outputs: [item(12)], replaces: first!.call }),
        ])
        assert.strictEqual(again!.call, first!.call)
        assert.deepStrictEqual(journal.find(a, operator)!.outputs, again!.outputs)
        assert.deepStrictEqual(journal.producers(first!.outputs[0]!), [])
      }),
    )

    test(
      "keeps sets, parents, drops and artifacts, for lineage in both directions",
      Effect.gen(function* () {
        const { a, b, c, journal, operator, run } = yield* ready
        const set = yield* journal.set(digest(50), [a, b, c])
        assert.deepStrictEqual(yield* journal.set(digest(50), [a, b, c]), set)
        const [made] = yield* journal.calls(run, 1, [
          call(set.id, operator, {
            outputs: [item(20, [digest(77)]), b],
            parents: [[a, b], [b]],
            drops: [{ item: c, reason: "odd", detail: "3" }],
          }),
        ])
        const [sum] = made!.outputs as [number]
        assert.deepStrictEqual(journal.itemsOfArtifact(digest(77)), [sum])
        assert.sameMembers([...journal.producers(sum)[0]!.inputs], [a, b])
        assert.deepStrictEqual(journal.consumers(a)[0]!.outputs, [sum])
        assert.deepStrictEqual(journal.consumers(b)[0]!.outputs, [sum, b])
        assert.deepInclude(journal.consumers(c)[0], { status: Status.dropped, reason: "odd" })
        assert.deepStrictEqual(journal.dropped(run), [{ node: "b", item: c, reason: "odd", detail: "3" }])
        assert.deepStrictEqual(journal.drops(made!.call), [{ item: c, reason: "odd", detail: "3" }])
      }),
    )

    test(
      "keeps where a call was made, when it was not here",
      Effect.gen(function* () {
        const { a, b, journal, operator, run } = yield* ready
        const place = "h100-3 job 1234_5.0 gpu 2"
        yield* journal.calls(run, 0, [
          call(a, operator, { outputs: [item(10)], place }),
          call(b, operator, { outputs: [item(11)] }),
        ])
        assert.strictEqual(journal.consumers(a)[0]!.place, place)
        assert.isUndefined(journal.consumers(b)[0]!.place)
        const failed = call(a, yield* journal.operator(operatorRow(2)), { status: Status.failed })
        yield* journal.calls(run, 1, [{ ...failed, place: "x".repeat(1000) }])
        assert.strictEqual(journal.consumers(a)[1]!.place, "x".repeat(400))
        // What takes the place of a call is made elsewhere.
        yield* journal.calls(run, 1, [{ ...failed, status: Status.done }])
        assert.isUndefined(journal.consumers(a)[1]!.place)
      }),
    )

    test(
      "tells the places of the calls that a run made itself",
      Effect.gen(function* () {
        const { a, b, c, journal, operator, run } = yield* ready
        const at = (input: number, place?: string) =>
          call(input, operator, { outputs: [input], ...(place === undefined ? {} : { place }) })
        yield* journal.calls(run, 0, [at(a, "cpu-0"), at(b, "cpu-1"), at(c)])
        yield* journal.calls(run, 1, [
          call(a, yield* journal.operator(operatorRow(2)), { status: Status.failed, place: "cpu-0" }),
        ])
        assert.sameMembers([...journal.places(run)], ["cpu-0", "cpu-1"])
        // What was there before, and what it came to second with, was made for another run.
        const other = yield* begin(journal, "r2")
        yield* journal.hits(other, 0, [journal.find(a, operator)!.call])
        yield* journal.calls(other, 0, [at(b, "cpu-2")])
        assert.deepStrictEqual(journal.places(other), [])
      }),
    )

    test(
      "keeps what happened on the way of a run, however it ended: 200 sentences of 2,000 characters",
      Effect.gen(function* () {
        const { journal, run } = yield* ready
        assert.deepStrictEqual(journal.run("r1")!.notes, [])
        const notes = ['a node failed (cpu-0, "h100-3")', "two\nlines \u{1f3a5}"]
        yield* journal.endRun(run, { endedMs: 5, status: "interrupted", ledger: "{}", notes })
        assert.deepStrictEqual(journal.run("r1")!.notes, notes)
        const many = Array.from({ length: 250 }, (_, n) => `${n} ${"\u{1f3a5}".repeat(2000)}`)
        const other = yield* begin(journal, "r2")
        yield* journal.endRun(other, { endedMs: 5, status: "failed", ledger: "{}", notes: many })
        const kept = journal.run("r2")!.notes
        assert.lengthOf(kept, 200)
        assert.strictEqual(kept[199], "and 51 more, which are not stored")
        assert.isTrue(kept[198]!.startsWith("198 "))
        assert.deepStrictEqual(new Set(kept.slice(0, 199).map(({ length }) => length)), new Set([2000]))
        assert.isTrue(kept.every((note) => note.isWellFormed()))
        const exact = yield* begin(journal, "r3")
        const whole = many.slice(0, 200).map((note) => note.slice(0, 2000).toWellFormed())
        yield* journal.endRun(exact, { endedMs: 5, status: "done", ledger: "{}", notes: whole })
        assert.deepStrictEqual(journal.runs()[2]!.notes, whole)
      }),
    )

    test(
      "tells what a run dropped by node and reason, of few calls and of many, as it tells each",
      Effect.gen(function* () {
        const { a, b, c, journal, operator, run } = yield* ready
        const many = 12_000
        const ids = yield* journal.items(
          run,
          "many",
          Array.from({ length: many }, (_, n) => item(1000 + n)),
        )
        const drop = (input: number, n: number) =>
          call(input, operator, { status: Status.dropped, reason: `reason ${n % 7}`, detail: `of ${n}` })
        yield* journal.calls(
          run,
          0,
          ids.map((input, n) =>
            n % 10 === 3 ? drop(input, n) : call(input, operator, { outputs: [input] }),
          ),
        )
        const set = yield* journal.set(digest(77), [a, b, c])
        const drops = [c, a].map((one) => ({ item: one, reason: "same", detail: `of ${one}` }))
        const collect = yield* journal.operator(operatorRow(2, "collect"))
        const [collected] = yield* journal.calls(run, 1, [
          call(set.id, collect, { outputs: [b], parents: [[b]], drops }),
        ])
        // Another run uses some of these, and drops one of its own.
        const other = yield* begin(journal, "r2")
        const some = ids.slice(0, 100).map((input) => journal.find(input, operator)!.call)
        yield* journal.hits(other, 0, some)
        yield* journal.hits(other, 1, [collected!.call])
        yield* journal.calls(other, 0, [drop(a, 0)])
        for (const [id, count] of [
          [run, 1202],
          [other, 13],
        ] as const) {
          const each = journal.dropped(id)
          assert.lengthOf(each, count)
          const by = Map.groupBy(each, ({ node, reason }) => `${node} ${reason}`)
          assert.deepStrictEqual(
            journal.droppedBy(id),
            [...by.values()].map((group) => ({
              node: group[0]!.node,
              reason: group[0]!.reason,
              count: group.length,
              example: group[0]!,
            })),
          )
        }
        assert.deepStrictEqual(journal.droppedBy(run).at(-1), {
          node: "b",
          reason: "same",
          count: 2,
          example: { node: "b", item: a, reason: "same", detail: `of ${a}` },
        })
      }),
    )

    test(
      "tells the ports of a run, how many items they have, and which runs gave an item",
      Effect.gen(function* () {
        const { a, b, c, journal, run } = yield* ready
        assert.deepStrictEqual(journal.runPorts(run), ["in:in"])
        yield* journal.outputs(run, "x", [a, b])
        yield* journal.outputs(run, "y", [a, a])
        const other = yield* begin(journal, "r2")
        assert.deepStrictEqual(journal.runPorts(other), [])
        yield* journal.outputs(other, "x", [a])
        assert.deepStrictEqual(journal.runPorts(run), ["in:in", "out:x", "out:y"])
        assert.deepStrictEqual(
          ["in:in", "out:x", "out:y", "out:z"].map((port) => journal.runItemCount(run, port)),
          [3, 2, 1, 0],
        )
        // Of few items, and of more than are looked up one by one.
        for (const others of [0, 400_000]) {
          const wanted = [a, c, 9999, ...Array.from({ length: others }, (_, n) => 10_000 + n)]
          assert.deepStrictEqual(
            [...journal.givenBy(wanted)],
            [
              [
                a,
                [
                  { run: "r1", port: "out:x" },
                  { run: "r1", port: "out:y" },
                  { run: "r2", port: "out:x" },
                ],
              ],
            ],
          )
          assert.deepStrictEqual([...journal.takenIn(wanted)], [a, c])
        }
        assert.strictEqual(journal.givenBy([]).size, 0)
      }),
    )

    test(
      "tells the latest earlier call, history, sources and runs",
      Effect.gen(function* () {
        const { a, b, journal, operator, run } = yield* ready
        const other = yield* journal.operator({ ...operatorRow(2), version: "2.0.0", seed: 7 })
        assert.isUndefined(journal.earlier(a, "op"))
        yield* journal.calls(run, 0, [
          call(a, operator, { ms: 10 }),
          call(b, operator, { ms: 30 }),
          call(a, other, { status: Status.failed, reason: "Busy" }),
        ])
        assert.deepInclude(journal.earlier(a, "op"), { version: "2.0.0", seed: 7, reason: "Busy" })
        assert.deepStrictEqual(journal.history("op", "1.0.0"), { calls: 2, meanMs: 20 })
        assert.deepStrictEqual(journal.history("op", "3.0.0"), { calls: 0, meanMs: 0 })
        assert.deepStrictEqual(journal.sources("op", "1.0.0"), [digest(1)])
        assert.strictEqual(journal.run("r1")!.status, "running")
        yield* journal.endRun(run, { endedMs: 5, status: "done", ledger: '{"x":1}' })
        assert.deepInclude(journal.run("r1"), { endedMs: 5, status: "done", ledger: '{"x":1}' })
        assert.isUndefined(journal.run("r9"))
      }),
    )

    test(
      "a request that fails takes no other with it",
      Effect.gen(function* () {
        const { journal } = yield* ready
        const results = yield* Effect.all(
          [begin(journal, "r2"), Effect.flip(begin(journal, "r1")), begin(journal, "r3")],
          { concurrency: "unbounded" },
        )
        assert.include((results[1] as Error).message, "UNIQUE")
        assert.deepStrictEqual(
          journal.runs().map(({ name }) => name),
          ["r1", "r2", "r3"],
        )
      }),
    )
  })

laws("a journal in a file", (file) => JournalSqlite.layer(file, { durability: "normal" }))
laws("a journal in memory", () => JournalSqlite.layerMemory)

describe("the journal's file", () => {
  it.live("keeps what was written when it is opened again, and serves two at once", () =>
    Effect.gen(function* () {
      const file = join(yield* temporary, "deep/er/journal.db")
      yield* Effect.provide(ready, JournalSqlite.layer(file))
      const one = Effect.gen(function* () {
        const journal = yield* Journal
        const run = yield* begin(journal, `run-${Math.trunc(performance.now() * 1e6)}`)
        const ids = yield* Effect.forEach(
          Array.from({ length: 50 }, (_, i) => i),
          (i) => journal.items(run, "in", [item(1000 + i)]),
        )
        return ids.flat()
      }).pipe(Effect.provide(JournalSqlite.layer(file)))
      const [a, b] = yield* Effect.all([one, one], { concurrency: "unbounded" })
      assert.deepStrictEqual(a, b)
    }),
  )

  it.live("of a later format is refused and left alone", () =>
    Effect.gen(function* () {
      const file = join(yield* temporary, "journal.db")
      const db = new DatabaseSync(file)
      db.exec("PRAGMA user_version=99")
      db.close()
      const error = yield* Effect.flip(Effect.provide(Effect.void, JournalSqlite.layer(file)))
      assert.strictEqual(error._tag, "JournalNewer")
      assert.include(
        error.message,
        "has format 99, and this reelgraph reads up to 4; use the reelgraph that wrote it",
      )
    }),
  )

  it.live("of format 1 is brought to this one with all that it has", () =>
    Effect.gen(function* () {
      const file = join(yield* temporary, "journal.db")
      const old = new URL("journals/version-1.db.gz", import.meta.url)
      fs.writeFileSync(file, gunzipSync(fs.readFileSync(old)))
      const read = Effect.gen(function* () {
        const journal = yield* Journal
        const named = (name: string) => journal.itemByDigest(sha256(name))!.id
        const [made] = journal.producers(named("latent"))
        assert.deepInclude(made, { run: "old-run", place: undefined })
        assert.sameMembers([...made!.inputs], [named("a"), named("video")])
        assert.deepInclude(journal.consumers(named("c"))[0], { reason: "duplicate" })
        const run = journal.run("old-run")!
        assert.deepInclude(run, { status: "finished-with-failures", endedMs: 9 })
        assert.deepInclude(journal.failures(run.id)[0], { node: "encode", reason: "Busy" })
        return yield* journal.calls(run.id, 2, [
          call(named("b"), made!.operator.id, { outputs: [item(1)], place: "elsewhere" }),
        ])
      })
      const [made] = yield* Effect.provide(read, JournalSqlite.layer(file))
      assert.isUndefined(made!.adopted)
      const again = yield* Effect.provide(
        Journal.use((journal) => Effect.succeed(journal.producers(journal.itemByDigest(digest(1))!.id))),
        JournalSqlite.layer(file),
      )
      assert.deepInclude(again[0], { call: made!.call, place: "elsewhere" })
    }),
  )

  it.live("of format 2 is brought to this one, and keeps what happens from then on", () =>
    Effect.gen(function* () {
      const file = join(yield* temporary, "journal.db")
      const old = new URL("journals/version-2.db.gz", import.meta.url)
      fs.writeFileSync(file, gunzipSync(fs.readFileSync(old)))
      const note = "tasks were lost, and their calls made elsewhere"
      yield* Effect.gen(function* () {
        const journal = yield* Journal
        const run = journal.run("old-run")!
        assert.deepInclude(run, { status: "finished-with-failures", endedMs: 9, notes: [] })
        assert.deepStrictEqual(journal.places(run.id), ["cpu-0, job 12_3, session g-20260114-093042-3fa9c1"])
        assert.deepInclude(journal.failures(run.id)[0], { node: "a", reason: "Busy" })
        const next = yield* begin(journal, "new-run")
        yield* journal.endRun(next, { endedMs: 20, status: "done", ledger: "{}", notes: [note] })
      }).pipe(Effect.provide(JournalSqlite.layer(file)))
      const runs = yield* Effect.provide(
        Journal.use((journal) => Effect.succeed(journal.runs().map(({ name, notes }) => [name, notes]))),
        JournalSqlite.layer(file),
      )
      assert.deepStrictEqual(runs, [
        ["old-run", []],
        ["new-run", [note]],
      ])
      const db = new DatabaseSync(file, { readOnly: true })
      assert.strictEqual(db.prepare("PRAGMA user_version").get()!["user_version"], 4)
      db.close()
    }),
  )

  it.live("of format 3 is brought to this one, and told what was passed on from what was made", () =>
    Effect.gen(function* () {
      const file = join(yield* temporary, "journal.db")
      const old = new URL("journals/version-3.db.gz", import.meta.url)
      fs.writeFileSync(file, gunzipSync(fs.readFileSync(old)))
      const read = Journal.use((journal) => Effect.sync(() => lineageOfOld(journal)))
      assert.deepStrictEqual(yield* Effect.provide(read, JournalSqlite.layer(file)), rightOfOld)
    }),
  )

  it.live("of format 3 whose run's graph cannot be read takes what equals its input for passed on", () =>
    Effect.gen(function* () {
      const file = join(yield* temporary, "journal.db")
      const old = new URL("journals/version-3.db.gz", import.meta.url)
      fs.writeFileSync(file, gunzipSync(fs.readFileSync(old)))
      const db = new DatabaseSync(file)
      db.exec(`UPDATE runs SET definition = '{"nodes":["x",{"operator":1,"cardinality":"map"},'`)
      db.close()
      const read = Journal.use((journal) => Effect.sync(() => lineageOfOld(journal)))
      const [one] = yield* Effect.provide(read, JournalSqlite.layer(file))
      assert.strictEqual(one![3], "again dedup judge same small")
    }),
  )

  it.live(
    "with a malformed page is one error that says what to do, when it is read and when it is written",
    () =>
      Effect.gen(function* () {
        const file = join(yield* temporary, "journal.db")
        const fill = Effect.gen(function* () {
          const journal = yield* Journal
          const run = yield* begin(journal, "r1")
          yield* journal.items(
            run,
            "in",
            Array.from({ length: 2000 }, (_, n) => item(n)),
          )
        })
        yield* Effect.provide(fill, JournalSqlite.layer(file))
        const db = new DatabaseSync(file)
        const page = db.prepare("SELECT rootpage FROM sqlite_schema WHERE name = 'runs'").get()!["rootpage"]
        db.close()
        const bytes = fs.readFileSync(file)
        bytes.fill(0xa5, 4096 * ((page as number) - 1), 4096 * (page as number))
        fs.writeFileSync(file, bytes)
        const error = yield* Journal.use((journal) =>
          Effect.gen(function* () {
            const read = yield* Effect.flip(
              Effect.try({ try: () => journal.runs(), catch: (cause) => cause as JournalError }),
            )
            const written = yield* Effect.flip(begin(journal, "r2"))
            return [read, written]
          }),
        ).pipe(Effect.provide(JournalSqlite.layer(file)))
        for (const one of error) {
          assert.strictEqual(one._tag, "JournalError")
          assert.include(one.message, "database disk image is malformed; the file is damaged")
          assert.include(one.message, `Keep a copy, then remove ${file} together with the files of that name`)
          assert.include(one.message, "For a store in a bucket it is made again")
        }
        assert.include(error[0]!.message, "could not be read")
      }),
  )

  it.live("that is no database, or in a place that cannot be, is one typed error", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const file = join(folder, "journal.db")
      fs.writeFileSync(
        file,
        "something else entirely, and long enough not to be taken for an empty file".repeat(20),
      )
      const other = yield* Effect.flip(Effect.provide(Effect.void, JournalSqlite.layer(file)))
      assert.strictEqual(other._tag, "JournalError")
      assert.include(other.message, "could not be opened: file is not a database")
      const inside = yield* Effect.flip(
        Effect.provide(Effect.void, JournalSqlite.layer(join(file, "journal.db"))),
      )
      assert.strictEqual(inside._tag, "JournalError")
    }),
  )
})
