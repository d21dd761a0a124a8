import fs from "node:fs"
import os from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"
import { Artifact } from "../src/index.ts"
import * as Manifest from "../src/Manifest.ts"
import { Clip, rows } from "./clips.ts"

const temporary = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(join(os.tmpdir(), "reelgraph-test-"))),
  (path) => Effect.sync(() => fs.rmSync(path, { recursive: true, force: true })),
)
// UTF-8 has no halves of surrogate pairs; -0 is 0 in JSON, which records are.
const isText = (value: unknown): boolean => JSON.stringify(value).match(/\\ud[89a-f]/i) === null
const plain = <A>(value: A): A | 0 => (Object.is(value, -0) ? 0 : value)

const options = { durability: "none" } as const

/** Records of a schema through a file and back. */
const through = <A>(schema: Manifest.RecordSchema<A>, records: ReadonlyArray<A>, rowGroupRows = 3) =>
  Effect.gen(function* () {
    const path = join(yield* temporary, "some.parquet")
    const written = records.map((record, index) => ({ item: String(index), record }))
    yield* Manifest.write(path, written, schema, { ...options, rowGroupRows })
    const back = yield* Stream.runCollect(Manifest.read(path, schema))
    assert.deepEqual(
      back.map(({ item }) => item),
      written.map(({ item }) => item),
    )
    return back.map(({ record }) => record)
  })

describe("read after write", () => {
  it.effect("is identity for a record with every kind of field", () =>
    Effect.gen(function* () {
      const path = join(yield* temporary, "clips.parquet")
      const written = yield* Manifest.write(path, Stream.fromIterable(rows), Clip)
      assert.deepEqual(yield* Stream.runCollect(Manifest.read(path, Clip)), [...rows])
      assert.strictEqual(written.bytes, fs.statSync(path).size)
      assert.strictEqual(written.rows, rows.length)
    }),
  )

  const Any = Schema.Struct({
    text: Schema.String,
    int: Schema.Int,
    small: Schema.Number.check(Schema.isInt32()),
    flag: Schema.Boolean,
    inner: Schema.optionalKey(Schema.Struct({ at: Schema.Int, note: Schema.NullOr(Schema.String) })),
    nullable: Schema.NullOr(Schema.Struct({ name: Schema.String })),
    list: Schema.Array(Schema.NullOr(Schema.Int)),
    maybe: Schema.optionalKey(Schema.Array(Schema.String)),
    bytes: Schema.Uint8Array,
    either: Schema.Union([Schema.String, Schema.Int]),
  })
  it.effect.prop("is identity for any records, whatever the groups", [Schema.Array(Any)], ([records]) =>
    Effect.gen(function* () {
      const given = records.filter(isText).map((record) => ({
        ...record,
        int: plain(record.int),
        small: plain(record.small),
        either: plain(record.either),
        list: record.list.map(plain),
        ...(record.inner === undefined ? {} : { inner: { ...record.inner, at: plain(record.inner.at) } }),
      }))
      assert.deepEqual(yield* through(Any, given), given)
    }),
  )

  it.effect("a required struct of nulls, and records that are not structs", () =>
    Effect.gen(function* () {
      const Nulls = Schema.Struct({ inner: Schema.Struct({ a: Schema.NullOr(Schema.Int) }) })
      assert.deepEqual(yield* through(Nulls, [{ inner: { a: null } }]), [{ inner: { a: null } }])
      assert.deepEqual(yield* through(Schema.String, ["", "x"]), ["", "x"])
      const artifact = Artifact.make({ sha256: "0".repeat(64), bytes: 0, mediaType: "a/b" })
      assert.deepEqual(yield* through(Artifact, [artifact]), [artifact])
      const Optional = Schema.Struct({ a: Schema.optionalKey(Schema.Int) })
      assert.deepEqual(yield* through(Optional, [{}, { a: 1 }]), [{}, { a: 1 }])
      assert.deepEqual(yield* through(Schema.Unknown, [null, { a: [1, "x"] }]), [null, { a: [1, "x"] }])
    }),
  )
})

describe("the file", () => {
  it.effect("an empty set has its columns", () =>
    Effect.gen(function* () {
      const path = join(yield* temporary, "empty.parquet")
      yield* Manifest.write(path, [], Clip, { ...options, metadata: { run: "r1" } })
      assert.deepEqual(yield* Stream.runCollect(Manifest.read(path, Clip)), [])
      const described = yield* Manifest.describe(path)
      assert.deepInclude(described, { rows: 0, rowGroups: 0 })
      assert.strictEqual(described.metadata["run"], "r1")
      assert.includeMembers(
        [...described.columns],
        ["item", "clip.sha256", "clip.bytes", "clip.media_type", "video.width", "tags", "verdict.reason"],
      )
    }),
  )

  it.effect("its bytes depend on the rows, not on how they came", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const many = Array.from({ length: 100 }, (_, index) =>
        rows.map((row) => ({ ...row, item: `${index}` })),
      )
      const write = (name: string, given: Stream.Stream<Manifest.Row<Clip>>) =>
        Effect.map(
          Manifest.write(join(folder, name), given, Clip, { ...options, rowGroupRows: 37 }),
          ({ path }) => fs.readFileSync(path),
        )
      const whole = yield* write("whole", Stream.fromIterable(many.flat()))
      const single = yield* write("single", Stream.rechunk(Stream.fromIterable(many.flat()), 1))
      assert.isTrue(whole.equals(single))
      assert.strictEqual((yield* Manifest.describe(join(folder, "whole"))).rowGroups, Math.ceil(400 / 37))
    }),
  )

  it.effect("encoded rows make the same file", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const encode = Schema.encodeSync(Schema.toCodecJson(Clip))
      const encoded = rows.map(({ item, record }) => ({ item, record: encode(record) }))
      const one = yield* Manifest.write(join(folder, "one"), rows, Clip, options)
      const two = yield* Manifest.writeEncoded(join(folder, "two"), encoded, Clip, options)
      assert.isTrue(fs.readFileSync(one.path).equals(fs.readFileSync(two.path)))
    }),
  )

  it.effect("long text ends a group before its number of rows does", () =>
    Effect.gen(function* () {
      const path = join(yield* temporary, "long.parquet")
      const long = Array.from({ length: 10 }, (_, index) => ({ item: `${index}`, record: "x".repeat(1000) }))
      yield* Manifest.write(path, long, Schema.String, { ...options, rowGroupCharacters: 2500 })
      assert.strictEqual((yield* Manifest.describe(path)).rowGroups, 4)
    }),
  )

  it.effect("reads like what DuckDB, pandas and Arrow read of it", () =>
    Effect.gen(function* () {
      const path = join(yield* temporary, "clips.parquet")
      yield* Manifest.write(path, rows, Clip, options)
      const oracle = fileURLToPath(new URL("../../../test/oracle/manifest/", import.meta.url))
      const expected = JSON.parse(fs.readFileSync(join(oracle, "clips.json"), "utf8"))
      // JSON has no NaN; the oracle writes it as text.
      const found = (yield* Stream.runCollect(Manifest.rows(path))).map((row) => ({
        ...row,
        luma: Number.isFinite(row["luma"]) ? row["luma"] : String(row["luma"]),
      }))
      assert.deepEqual(found, expected.rows)
      const committed = yield* Stream.runCollect(Manifest.rows(join(oracle, "clips.parquet")))
      assert.deepEqual(committed, yield* Stream.runCollect(Manifest.rows(path)))
      assert.deepEqual(
        [...(yield* Manifest.describe(path)).columns],
        Object.keys(expected.types.duckdb),
        "the oracle has to be run again",
      )
    }),
  )
})

describe("failures", () => {
  it.effect("a failing stream leaves the old manifest and nothing beside it", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const path = join(folder, "clips.parquet")
      yield* Manifest.write(path, rows, Clip, options)
      const before = fs.readFileSync(path)
      const failing = Stream.concat(Stream.fromIterable(rows), Stream.fail("no more" as const))
      const error = yield* Effect.flip(Manifest.write(path, failing, Clip, { ...options, rowGroupRows: 1 }))
      assert.strictEqual(error, "no more")
      assert.isTrue(fs.readFileSync(path).equals(before))
      assert.deepEqual(fs.readdirSync(folder), ["clips.parquet"])
    }),
  )

  it.effect("a row that does not fit is named", () =>
    Effect.gen(function* () {
      const path = join(yield* temporary, "clips.parquet")
      const [first] = rows
      assert(first !== undefined)
      const bad = { item: "bad", record: { ...first.record, pts: 0.5 } }
      const error = yield* Effect.flip(Manifest.write(path, [first, bad], Clip, options))
      assert.strictEqual(error._tag, "ManifestRowInvalid")
      assert.include(error.message, "row 1 (item bad)")
      for (const record of [{}, { text: 1 }, null]) {
        const Text = Schema.Struct({ text: Schema.String })
        const given = [
          { item: "good", record: { text: "" } },
          { item: "bad", record },
        ]
        const failure = yield* Effect.flip(Manifest.writeEncoded(path, given, Text, options))
        assert.strictEqual(failure._tag, "ManifestRowInvalid")
        assert.include(failure.message, "row 1 (item bad)")
      }
      assert.isFalse(fs.existsSync(path))
    }),
  )

  it.effect("names that would stand for two columns are refused", () =>
    Effect.gen(function* () {
      const path = join(yield* temporary, "clips.parquet")
      const fail = (schema: Schema.Constraint) =>
        Effect.map(Effect.flip(Manifest.writeEncoded(path, [], schema, options)), (error) => error.message)
      assert.include(yield* fail(Schema.Struct({ item: Schema.String })), '"item"')
      const dotted = Schema.Struct({ "a.b": Schema.Int, a: Schema.Struct({ b: Schema.Int }) })
      assert.include(yield* fail(dotted), '"a.b"')
    }),
  )

  it.effect("not there, cut off, not Parquet, other records: each its own error", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const path = join(folder, "clips.parquet")
      const tag = <A>(schema: Manifest.RecordSchema<A>) =>
        Effect.map(Effect.flip(Stream.runDrain(Manifest.read(path, schema))), (error) => error._tag)
      assert.strictEqual(yield* tag(Clip), "SourceMissing")
      yield* Manifest.write(path, rows, Clip, options)
      assert.strictEqual(yield* tag(Schema.Struct({ other: Schema.Int })), "ManifestMismatch")
      assert.strictEqual(yield* tag(Schema.Struct({ id: Schema.Literal("z") })), "ManifestRowInvalid")
      const whole = fs.readFileSync(path)
      for (const length of [0, 4, 11, whole.length >> 1, whole.length - 1]) {
        fs.writeFileSync(path, whole.subarray(0, length))
        assert.strictEqual(yield* tag(Clip), "ManifestUnreadable", `cut to ${length} bytes`)
      }
      fs.writeFileSync(path, "id,caption\na,b\n")
      assert.strictEqual(yield* tag(Clip), "ManifestUnreadable")
    }),
  )
})
