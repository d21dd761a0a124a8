/**
 * Dataset manifests: the records of an edge as a Parquet file that DuckDB, pandas, Polars and Arrow read.
 *
 * One row per record, in the order given: the column `item` (the item's digest) and then the record's fields,
 * structs flattened under dotted names, artifacts as `clip.sha256`, `clip.bytes`, `clip.media_type` (see
 * `internal/manifestColumns.ts` for the types). Rows are written in groups, so that memory is bounded by a group
 * and not by the set; the bytes depend on the rows alone, not on how they were chunked.
 *
 * ```sql
 * select "video.width", count(*) from 'clips.parquet' where "clip.bytes" > 1e6 group by 1
 * ```
 *
 * What a flat table cannot tell apart: an optional or nullable struct of which every field is null reads back as
 * absent or null, and an optional field that is null as absent.
 */
import fs from "node:fs"
import { basename, dirname, join, resolve } from "node:path"
import { zstdCompressSync, zstdDecompressSync } from "node:zlib"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { type AsyncBuffer, type FileMetaData, parquetMetadataAsync, parquetReadObjects } from "hyparquet"
import { ByteWriter, ParquetWriter } from "hyparquet-writer"
import { type PutError, SourceMissing } from "./blobs/BlobStore.ts"
import { type Durability, renameDurably, withTemporary } from "./internal/folder/durableWrite.ts"
import { attempt, fsync, writeAll } from "./internal/folder/fileIo.ts"
import { isAbsent, writeFailure } from "./internal/folder/ioError.ts"
import {
  type Column,
  columnsOf,
  elementsOf,
  flatten,
  fromParquet,
  type Node,
  nodeOf,
  toParquet,
  unflatten,
} from "./internal/manifestColumns.ts"
import { ownModes } from "./internal/folder/modes.ts"
import { ownerIsAlive, uniqueName } from "./internal/processIdentity.ts"

/** The record's schema cannot be laid out as columns. */
export class ManifestUnsupported extends Schema.TaggedError<ManifestUnsupported>()("ManifestUnsupported", {
  column: Schema.String,
  reason: Schema.String,
}) {
  override get message() {
    return `the record cannot be written as a table: column ${JSON.stringify(this.column)} ${this.reason}; rename the field`
  }
}

/** A row that does not fit the schema. */
export class ManifestRowInvalid extends Schema.TaggedError<ManifestRowInvalid>()("ManifestRowInvalid", {
  path: Schema.String,
  row: Schema.Int,
  item: Schema.String,
  issue: Schema.String,
}) {
  override get message() {
    return `row ${this.row} (item ${this.item}) of ${this.path} does not fit the schema: ${this.issue}; use the schema the manifest was written with, or write it again`
  }
}

/** A file that is there and is not a whole Parquet file. */
export class ManifestUnreadable extends Schema.TaggedError<ManifestUnreadable>()("ManifestUnreadable", {
  path: Schema.String,
  cause: Schema.Defect(),
}) {
  override get message() {
    const cause = this.cause instanceof Error ? this.cause.message : String(this.cause)
    return `cannot read ${this.path} as Parquet: ${cause}; write the manifest again`
  }
}

/** A manifest that lacks columns of the schema it is read with. */
export class ManifestMismatch extends Schema.TaggedError<ManifestMismatch>()("ManifestMismatch", {
  path: Schema.String,
  missing: Schema.Array(Schema.String),
  found: Schema.Array(Schema.String),
}) {
  override get message() {
    return `${this.path} has no column ${this.missing.join(", ")} (it has ${this.found.join(", ")}): it holds other records; read it with the schema it was written with`
  }
}

export type WriteError = PutError | ManifestUnsupported | ManifestRowInvalid
export type ReadError = SourceMissing | ManifestUnreadable | ManifestMismatch | ManifestRowInvalid

/** A record and the digest of its item, in hexadecimal digits. */
export interface Row<A> {
  readonly item: string
  readonly record: A
}

/** A schema that can be encoded and decoded without services. */
export type RecordSchema<A> = Schema.Codec<A, any>

export interface WriteOptions {
  /**
   * Rows per group: what is held in memory.
   * @default 8192
   */
  readonly rowGroupRows?: number
  /**
   * Text per group, in characters; a group ends at the row that reaches it, whatever its number of rows.
   * @default 33554432
   */
  readonly rowGroupCharacters?: number
  /** Written into the file's own metadata: graph, node, run. */
  readonly metadata?: { readonly [key: string]: string }
  /** @default "fsync" */
  readonly durability?: Durability
}

/** What was written. */
export interface Written {
  /** Absolute. */
  readonly path: string
  readonly rows: number
  readonly bytes: number
  readonly columns: ReadonlyArray<string>
}

/** The metadata of a manifest. */
export interface Description {
  readonly rows: number
  readonly rowGroups: number
  readonly columns: ReadonlyArray<string>
  readonly metadata: { readonly [key: string]: string }
}

const itemColumn: Column = { name: "item", type: "string", list: "no", nullable: false }
const formatKey = "reelgraph.manifest"
const compressors = {
  ZSTD: (input: Uint8Array): Uint8Array => zstdCompressSync(input),
}
const decompressors = {
  ZSTD: (input: Uint8Array): Uint8Array => zstdDecompressSync(input),
}

const layoutOf = (schema: Schema.Constraint): Node =>
  nodeOf(Schema.toEncoded(Schema.toCodecJson(schema)).ast, "", false)

/** The columns of a manifest, `item` first. Fails when a name would stand for two of them. */
const tableColumns = Effect.fnUntraced(function* (node: Node) {
  const columns = [itemColumn, ...columnsOf(node)]
  const seen = new Set<string>()
  for (const { name } of columns) {
    if (seen.has(name)) {
      const reason = name === "item" ? "is taken by the item's digest" : "stands for two fields"
      return yield* new ManifestUnsupported({ column: name, reason })
    }
    seen.add(name)
  }
  return columns
})

const pad = (data: Array<unknown>, length: number): void => {
  while (data.length < length) data.push(null)
}

/** Rows turned into columns, until there are enough for a group. */
class RowGroup {
  readonly #columns: ReadonlyArray<Column>
  readonly #byName: ReadonlyMap<string, Column>
  #data = new Map<string, Array<unknown>>()
  rows = 0
  characters = 0
  readonly #maxRows: number
  readonly #maxCharacters: number

  constructor(columns: ReadonlyArray<Column>, maxRows: number, maxCharacters: number) {
    this.#columns = columns
    this.#maxRows = maxRows
    this.#maxCharacters = maxCharacters
    this.#byName = new Map(columns.map((column) => [column.name, column]))
    this.clear()
  }

  clear(): void {
    this.#data = new Map(this.#columns.map(({ name }) => [name, []]))
    this.rows = 0
    this.characters = 0
  }

  get isFull(): boolean {
    return this.rows >= this.#maxRows || this.characters >= this.#maxCharacters
  }

  /** Adds a row; throws for one that lacks a required column or has another type in it. */
  push(item: string, node: Node, encoded: unknown): void {
    const row = this.rows
    this.#put(row, "item", item)
    flatten(node, encoded, (column, value) => this.#put(row, column, value))
    for (const { name, nullable } of this.#columns) {
      if (!nullable && this.#data.get(name)?.length !== row + 1) throw new TypeError(`${name} is missing`)
    }
    this.rows = row + 1
  }

  #put(row: number, name: string, value: unknown): void {
    const column = this.#byName.get(name)
    const data = this.#data.get(name)
    if (column === undefined || data === undefined) return
    pad(data, row)
    data.push(toParquet(column, value))
    if (typeof value === "string") this.characters += value.length
    else if (column.type === "json") this.characters += JSON.stringify(value).length
    else if (Array.isArray(value)) this.characters += 8 * value.length
  }

  /** The columns as the Parquet writer takes them, each padded with nulls to the number of rows. */
  sources() {
    return this.#columns.map(({ name, type }) => {
      const data = this.#data.get(name) ?? []
      pad(data, this.rows)
      // The bounds of JSON text are of no use to a reader, and are written whole.
      return { name, data, statistics: type !== "json" }
    })
  }
}

/** Removes the half-written files that killed writers of the same manifest left beside it. */
const sweepBeside = (path: string): void => {
  const prefix = `.${basename(path)}.`
  for (const name of fs.readdirSync(dirname(path))) {
    if (!name.startsWith(prefix) || !name.endsWith(".tmp")) continue
    if (ownerIsAlive(name.slice(prefix.length)) === false)
      fs.rmSync(join(dirname(path), name), { force: true })
  }
}

interface EncodedRow {
  readonly item: string
  readonly encoded: unknown
}

/** The rows of a column layout into a file that appears whole. */
const writeTable = Effect.fnUntraced(function* <E, R>(
  target: string,
  node: Node,
  rows: Stream.Stream<EncodedRow, E, R>,
  options: WriteOptions | undefined,
) {
  const path = resolve(target)
  const columns = yield* tableColumns(node)
  const fail = writeFailure(path)
  const durability = options?.durability ?? "fsync"
  yield* attempt(() => {
    fs.mkdirSync(dirname(path), { recursive: true })
    sweepBeside(path)
  }, fail)
  const temporary = join(dirname(path), `.${basename(path)}.${uniqueName()}.tmp`)
  const group = new RowGroup(
    columns,
    options?.rowGroupRows ?? 8192,
    options?.rowGroupCharacters ?? 33_554_432,
  )
  const bytes = new ByteWriter(1024 * 1024)
  const parquet = new ParquetWriter({
    writer: bytes,
    schema: [{ name: "root", num_children: columns.length }, ...columns.flatMap(elementsOf)],
    codec: "ZSTD",
    compressors,
    createdBy: "reelgraph",
    kvMetadata: Object.entries({ ...options?.metadata, [formatKey]: "1" }).map(([key, value]) => ({
      key,
      value,
    })),
  })
  let total = 0

  // An output is the user's: what others may do with it is for the umask to decide.
  return yield* withTemporary(temporary, 0o666, (fd) => {
    // `offset` of the byte writer goes on counting, `index` is where its buffer is filled to.
    const drain = Effect.suspend(() =>
      Effect.map(writeAll(fd, bytes.getBytes(), fail), () => {
        bytes.index = 0
      }),
    )
    const flush = Effect.suspend(() => {
      void parquet.write({ columnData: group.sources(), rowGroupSize: group.rows })
      total += group.rows
      group.clear()
      return drain
    })
    return Effect.gen(function* () {
      yield* Stream.runForEachArray(
        rows,
        Effect.fnUntraced(function* (chunk) {
          for (let next = 0; next < chunk.length;) {
            yield* Effect.try({
              try: () => {
                for (; next < chunk.length && !group.isFull; next++) {
                  const row = chunk[next]
                  if (row !== undefined) group.push(row.item, node, row.encoded)
                }
              },
              catch: (cause) =>
                new ManifestRowInvalid({
                  path,
                  row: total + group.rows,
                  item: String(chunk[next]?.item),
                  issue: cause instanceof Error ? cause.message : String(cause),
                }),
            })
            if (group.isFull) yield* flush
          }
        }),
      )
      if (group.rows > 0) yield* flush
      void parquet.finish()
      yield* drain
      if (durability === "fsync") yield* fsync(fd, fail)
      yield* renameDurably(temporary, path, { path: dirname(path), durability, modes: ownModes })
      return {
        path,
        rows: total,
        bytes: bytes.offset,
        columns: columns.map(({ name }) => name),
      } satisfies Written
    })
  })
})

const asStream = <A, E, R>(rows: Stream.Stream<A, E, R> | Iterable<A>): Stream.Stream<A, E, R> =>
  Stream.isStream(rows) ? rows : Stream.fromIterable(rows)

/**
 * Writes records as a manifest in place of what is at `path`, atomically.
 *
 * Fails with {@link ManifestRowInvalid} at a record that does not fit the schema, {@link ManifestUnsupported} for a
 * schema with a field named `item` or two fields of one dotted name; then nothing is changed at `path`.
 */
export const write = Effect.fn("Manifest.write")(function* <A, E = never, R = never>(
  path: string,
  rows: Stream.Stream<Row<A>, E, R> | Iterable<Row<A>>,
  schema: RecordSchema<A>,
  options?: WriteOptions,
) {
  const encode = Schema.encodeUnknownResult(Schema.toCodecJson(schema))
  let row = -1
  const encoded = Stream.mapEffect(asStream(rows), ({ item, record }) => {
    row++
    const result = encode(record)
    return Result.isSuccess(result)
      ? Effect.succeed<EncodedRow>({ item, encoded: result.success })
      : Effect.fail(new ManifestRowInvalid({ path, row, item, issue: result.failure.message }))
  })
  return yield* writeTable(path, layoutOf(schema), encoded, options)
})

/**
 * {@link write} for records that are encoded already (rows of the journal). Only what a column needs is
 * checked: that its value is there and has its type.
 */
export const writeEncoded = Effect.fn("Manifest.writeEncoded")(function* <E = never, R = never>(
  path: string,
  rows: Stream.Stream<Row<unknown>, E, R> | Iterable<Row<unknown>>,
  schema: Schema.Constraint,
  options?: WriteOptions,
) {
  const encoded = Stream.map(asStream(rows), ({ item, record }): EncodedRow => ({ item, encoded: record }))
  return yield* writeTable(path, layoutOf(schema), encoded, options)
})

interface Opened {
  readonly path: string
  readonly file: AsyncBuffer
  readonly metadata: FileMetaData
}

/** An open file as the Parquet reader asks for it: any range, at any time. */
const bufferOf = (fd: number, byteLength: number): AsyncBuffer => ({
  byteLength,
  slice: (start, end = byteLength) =>
    new Promise((done, failed) => {
      const bytes = new Uint8Array(end - start)
      fs.read(fd, bytes, 0, bytes.length, start, (error, length) => {
        if (error === null && length === bytes.length) done(bytes.buffer)
        else failed(error ?? new Error(`the file ends at byte ${start + length}`))
      })
    }),
})

const open = Effect.fnUntraced(function* (target: string) {
  const path = resolve(target)
  const fail = (cause: unknown) =>
    isAbsent(cause) ? new SourceMissing({ path }) : new ManifestUnreadable({ path, cause })
  const fd = yield* Effect.acquireRelease(
    attempt(() => fs.openSync(path, "r"), fail),
    (fd) => Effect.sync(() => fs.closeSync(fd)),
  )
  const size = yield* attempt(() => fs.fstatSync(fd).size, fail)
  const file = bufferOf(fd, size)
  const metadata = yield* Effect.uninterruptible(
    Effect.tryPromise({
      try: () => parquetMetadataAsync(file),
      catch: (cause) => new ManifestUnreadable({ path, cause }),
    }),
  )
  return { path, file, metadata } satisfies Opened
})

const columnNamesOf = (metadata: FileMetaData): ReadonlyArray<string> => {
  const names: Array<string> = []
  // The schema is a tree written depth first: the children of the root are the columns.
  for (let index = 1; index < metadata.schema.length;) {
    names.push(metadata.schema[index]?.name ?? "")
    for (let open = 1; open > 0; index++) open += (metadata.schema[index]?.num_children ?? 0) - 1
  }
  return names
}

type FlatRow = Record<string, unknown>

/** The rows of an open manifest, one group in memory at a time. */
const groupsOf = ({ path, file, metadata }: Opened): Stream.Stream<FlatRow, ManifestUnreadable> => {
  let next = 0
  const ranges = metadata.row_groups.map((group) => {
    const rowStart = next
    next += Number(group.num_rows)
    return { rowStart, rowEnd: next }
  })
  return Stream.fromIterable(ranges).pipe(
    Stream.flatMap((range) =>
      Stream.fromIterableEffect(
        Effect.uninterruptible(
          Effect.tryPromise({
            try: () => parquetReadObjects({ file, metadata, compressors: decompressors, ...range }),
            catch: (cause) => new ManifestUnreadable({ path, cause }),
          }),
        ),
      ),
    ),
    Stream.map((row) => {
      const plain: FlatRow = {}
      for (const name in row) plain[name] = fromParquet(row[name])
      return plain
    }),
  )
}

/**
 * The rows of any Parquet file as flat objects, keys as the columns are named, nulls as null. 64-bit integers are
 * numbers, or bigint beyond what a number holds.
 */
export const rows = (path: string): Stream.Stream<FlatRow, SourceMissing | ManifestUnreadable> =>
  Stream.unwrap(Effect.map(open(path), groupsOf))

/** The records of a manifest, in the order written. Fails at the first that does not fit the schema. */
export const read = <A>(path: string, schema: RecordSchema<A>): Stream.Stream<Row<A>, ReadError> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const opened = yield* open(path)
      const node = layoutOf(schema)
      const found = columnNamesOf(opened.metadata)
      const missing = [itemColumn, ...columnsOf(node)]
        .filter(({ name, nullable }) => !nullable && !found.includes(name))
        .map(({ name }) => name)
      if (missing.length > 0) return yield* new ManifestMismatch({ path: opened.path, missing, found })
      const decode = Schema.decodeUnknownResult(Schema.toCodecJson(schema))
      let row = -1
      return Stream.mapEffect(groupsOf(opened), (flat) => {
        row++
        const item = String(flat["item"])
        const result = decode(unflatten(node, flat, true) ?? null)
        return Result.isSuccess(result)
          ? Effect.succeed<Row<A>>({ item, record: result.success })
          : Effect.fail(
              new ManifestRowInvalid({ path: opened.path, row, item, issue: result.failure.message }),
            )
      })
    }),
  )

/** The metadata of a Parquet file. Only its footer is read. */
export const describe = Effect.fn("Manifest.describe")(function* (path: string) {
  const { metadata } = yield* open(path)
  return {
    rows: Number(metadata.num_rows),
    rowGroups: metadata.row_groups.length,
    columns: columnNamesOf(metadata),
    metadata: Object.fromEntries(
      (metadata.key_value_metadata ?? []).map(({ key, value }) => [key, value ?? ""]),
    ),
  } satisfies Description
}, Effect.scoped)
