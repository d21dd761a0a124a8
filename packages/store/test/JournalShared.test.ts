import { createHash } from "node:crypto"
import fs from "node:fs"
import os from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { gunzipSync, gzipSync } from "node:zlib"

import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger } from "effect"
import { Journal, JournalShared, Status } from "../src/index.ts"
import { type Bucket, objectsIn, pictureOf } from "./sharing.ts"

const temporary = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(join(os.tmpdir(), "reelgraph-shared-"))),
  (path) => Effect.sync(() => fs.rmSync(path, { recursive: true, force: true })),
)

const digest = (n: number): string => n.toString(16).padStart(64, "0")
const item = (n: number) => {
  const record = `{"n":${n}}`
  return { digest: createHash("sha256").update(record).digest("hex"), record, artifacts: [] }
}

const open = (
  file: string,
  bucket: Bucket,
  options: JournalShared.Options = {},
  state: Parameters<typeof objectsIn>[1] = {},
) => Layer.provide(JournalShared.layer(file, { durability: "normal", ...options }), objectsIn(bucket, state))

/** A run that makes items 1000 and up of items 0 and up. */
const work = (name: string, count: number, from = 0) =>
  Effect.gen(function* () {
    const journal = yield* Journal
    const run = yield* journal.beginRun({
      name,
      graph: "g",
      version: "1",
      digest: "",
      definition: "{}",
      startedMs: 1,
      nodes: ["a"],
    })
    const operator = yield* journal.operator({
      digest: digest(99),
      name: "op",
      version: "1",
      params: "{}",
      source: "",
      sides: {},
    })
    const numbers = Array.from({ length: count }, (_, i) => from + i)
    const inputs = yield* journal.items(run, "in", numbers.map(item))
    const row = { operator, status: Status.done, attempts: 1, startedMs: 1, ms: 1 }
    const made = yield* journal.calls(
      run,
      0,
      inputs.map((input, i) => ({ ...row, input, outputs: [item(1_000_000 + from + i)] })),
    )
    return { run, adopted: made.filter(({ adopted }) => adopted !== undefined).length }
  })

const end = (run: number) =>
  Journal.use((journal) => journal.endRun(run, { endedMs: 2, status: "done", ledger: "{}" }))

const sync = JournalShared.JournalShared.use(({ sync }) => sync)

const pictureIn = (file: string) => {
  const db = new DatabaseSync(file, { readOnly: true })
  const picture = pictureOf(db)
  db.close()
  return picture
}

/** Counts warnings. */
const warnings = () => {
  const told: Array<string> = []
  const logger = Logger.make(({ logLevel, message }) => {
    if (logLevel === "Warn") told.push(String(message))
  })
  return { told, layer: Logger.layer([logger]) }
}

describe("a shared journal", { timeout: 180_000 }, () => {
  it.live("is told when a run ends and when it is closed, and read when it is opened", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const bucket: Bucket = new Map()
      const [a, b] = [join(folder, "a.db"), join(folder, "b.db")]
      yield* Effect.gen(function* () {
        const { run } = yield* work("first", 20)
        assert.strictEqual(bucket.size, 0)
        yield* end(run)
        assert.strictEqual(bucket.size, 1)
        yield* work("second", 5, 15)
      }).pipe(Effect.provide(open(a, bucket)))
      assert.strictEqual(bucket.size, 2)
      yield* Effect.gen(function* () {
        const journal = yield* Journal
        assert.deepInclude(journal.run("first"), { status: "done", endedMs: 2 })
        const { adopted, run } = yield* work("third", 30)
        assert.strictEqual(adopted, 20)
        yield* end(run)
      }).pipe(Effect.provide(open(b, bucket)))
      // Reading alone writes nothing.
      const size = bucket.size
      yield* Effect.provide(Effect.void, open(a, bucket))
      yield* Effect.provide(Effect.void, open(b, bucket))
      assert.strictEqual(bucket.size, size)
      assert.deepStrictEqual(pictureIn(a), pictureIn(b))
      // A file that was lost is made again of what the store has.
      fs.rmSync(a)
      yield* Effect.provide(Effect.void, open(a, bucket))
      assert.deepStrictEqual(pictureIn(a), pictureIn(b))
    }),
  )

  it.live("tells while a run goes on, and hears when it is asked to", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const bucket: Bucket = new Map()
      const [a, b] = yield* Effect.all([
        Layer.build(open(join(folder, "a.db"), bucket, { every: "20 millis" })),
        Layer.build(open(join(folder, "b.db"), bucket)),
      ])
      yield* Effect.provide(work("goes on", 3), a)
      while (bucket.size === 0) yield* Effect.sleep("10 millis")
      const heard = yield* Effect.provide(sync, b)
      assert.isAbove(heard.imported, 0)
      const { adopted } = yield* Effect.provide(work("beside", 3), b)
      assert.strictEqual(adopted, 3)
      assert.isAbove((yield* Effect.provide(sync, b)).exported, 0)
      assert.isAbove((yield* Effect.provide(sync, a)).imported, 0)
    }),
  )

  it.live("whose store is down warns once, fails no run, and tells later", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const bucket: Bucket = new Map()
      const file = join(folder, "a.db")
      const state = { down: true, stuck: false }
      const { layer, told } = warnings()
      yield* Effect.gen(function* () {
        yield* end((yield* work("first", 3)).run)
        yield* end((yield* work("second", 3, 3)).run)
        assert.strictEqual((yield* Effect.flip(sync))._tag, "StoreUnwritable")
      }).pipe(Effect.provide(open(file, bucket, { every: "10 millis" }, state)), Effect.provide(layer))
      assert.strictEqual(bucket.size, 0)
      assert.lengthOf(told, 1)
      assert.include(told[0], "its rows are safe in the file")

      // Nor does one that does not answer keep it open.
      state.down = false
      state.stuck = true
      yield* Effect.provide(
        Effect.void,
        open(file, bucket, { every: "5 millis", closeWithin: "50 millis" }, state),
      ).pipe(Effect.provide(layer))
      assert.lengthOf(told, 2)
      assert.include(told[1], "has not answered within 50ms")

      state.stuck = false
      yield* Effect.provide(Effect.void, open(file, bucket, {}, state))
      const other = join(folder, "b.db")
      yield* Effect.provide(Effect.void, open(other, bucket))
      assert.deepStrictEqual(pictureIn(other), pictureIn(file))
    }),
  )

  it.live("leaves out what is damaged, says so once, and takes the rest", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const bucket: Bucket = new Map()
      yield* Effect.gen(function* () {
        yield* end((yield* work("first", 3)).run)
        yield* end((yield* work("second", 3, 3)).run)
      }).pipe(Effect.provide(open(join(folder, "a.db"), bucket)))
      const [first, second] = [...bucket.keys()].sort() as [string, string]
      bucket.set(first, bucket.get(first)!.slice(0, -20))
      bucket.set("journal/notes.txt", new Uint8Array([1]))
      const { layer, told } = warnings()
      yield* Effect.gen(function* () {
        const journal = yield* Journal
        assert.isUndefined(journal.run("first"))
        assert.isDefined(journal.run("second"))
        const again = yield* sync
        assert.deepStrictEqual(again, { exported: 0, imported: 0, refused: [] })
      }).pipe(Effect.provide(open(join(folder, "b.db"), bucket)), Effect.provide(layer))
      assert.lengthOf(told, 1)
      assert.include(told[0], first)
      assert.isTrue(bucket.has(second))
    }),
  )

  it.live("does not trust a forged segment: one sentence names it and its store, and the rest is taken", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const bucket: Bucket = new Map()
      yield* Effect.gen(function* () {
        yield* end((yield* work("first", 3)).run)
        yield* end((yield* work("second", 3, 3)).run)
      }).pipe(Effect.provide(open(join(folder, "a.db"), bucket)))
      const [first] = [...bucket.keys()].sort() as [string]
      // Another result for the call on item 0, under the digest of the right one.
      const text = gunzipSync(bucket.get(first)!).toString().replace(`{\\"n\\":1000000}`, `{\\"n\\":666}`)
      bucket.set(first, new Uint8Array(gzipSync(text)))
      const { layer, told } = warnings()
      yield* Effect.gen(function* () {
        const journal = yield* Journal
        assert.isUndefined(journal.run("first"))
        assert.isDefined(journal.run("second"))
        assert.isUndefined(journal.itemByDigest(item(1_000_000).digest))
        const { adopted } = yield* work("own", 3)
        assert.strictEqual(adopted, 0)
        assert.strictEqual(journal.itemByDigest(item(1_000_000).digest)!.record, item(1_000_000).record)
      }).pipe(
        Effect.provide(open(join(folder, "b.db"), bucket, { store: "s3://bucket/prefix" })),
        Effect.provide(layer),
      )
      assert.lengthOf(told, 1)
      assert.include(
        told[0],
        `the journal segment ${first} of the store s3://bucket/prefix cannot be trusted`,
      )
    }),
  )

  it.live("of a million characters and more is told in small parts", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const bucket: Bucket = new Map()
      const [a, b] = [join(folder, "a.db"), join(folder, "b.db")]
      yield* Effect.gen(function* () {
        for (let from = 0; from < 8000; from += 2000) yield* work(`run ${from}`, 2000, from)
      }).pipe(Effect.provide(open(a, bucket, { segmentSize: 300_000 })))
      assert.isAbove(bucket.size, 6)
      for (const bytes of bucket.values()) assert.isBelow(bytes.length, 200_000)
      yield* Effect.provide(Effect.void, open(b, bucket))
      assert.deepStrictEqual(pictureIn(b), pictureIn(a))
    }),
  )
})
