/**
 * Segments: the rows that one journal shares with others, as immutable objects `journal/<time>-<journal>-<unique>.ndjson.gz`.
 *
 * A segment is gzipped text with one JSON value a line: the {@link Header}, rows, and `["end", rows]`, without which
 * it counts as cut off. Row ids are never shared. Items, operators and runs are known by digest or name and numbered
 * within the segment, each kind from 0 in the order of its rows; all other rows refer to them by these numbers, to
 * rows above only. A call comes with the records of what it was made from and what it gave, so that a segment alone
 * carries whole results. What is only named (members of a set, parents, what a run reused) is a `known` row: another
 * segment carries its record.
 *
 * The time in a name is a logical clock: milliseconds since the epoch, and later than that of every segment that the
 * journal had when it wrote this one. In the order of names nothing is referred to before it is carried.
 */
import { gunzipSync, gzipSync } from "node:zlib"

import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

import { maxNoteLength, maxNotes } from "../internal/journal/runNotes.ts"

/** Where segments are among the objects of a store. */
export const folder = "journal"

/**
 * Raised when rows change their meaning. New kinds of rows change it too: a reader must not skip what it cannot read.
 * Version 2 has `notes`. Version 3 has `passed`, in calls and as a row: of earlier ones, the graph of the run shows which
 * calls passed on what they took; and it repeats the members of a set that has them several times. All else means the
 * same.
 */
export const version = 3

/** The first version with what was passed on, and the first that repeats a member as often as a set has it. */
export const versionWithPassed = 3
export const versionWithTimes = 3

/** Bounds of what is read: of an object, and of its text. What is written stays far below, but for one giant call. */
export const maxBytes = 256 * 1024 * 1024
const maxTextBytes = 1024 * 1024 * 1024
const maxLineBytes = 256 * 1024 * 1024

/** Characters of a text for people (a reason, a detail, a problem); longer ones are cut when they are written. */
export const maxProse = 65_536

/** Entries of a list in one row; longer ones go on in the next row. */
export const maxList = 500

/** Characters of a name: of a run, a graph, an operator, a port. */
const maxName = 4096
/** Nodes of a run, side inputs of an operator, and blobs that one record names. */
const maxNodes = 100_000
const maxSides = 10_000
const maxArtifacts = 1_000_000

const inStore = (store: string | undefined): string => (store === undefined ? "" : ` of the store ${store}`)

/** A segment is cut off, damaged, forged, or no segment. Nothing of it was imported. */
export class SegmentDamaged extends Schema.TaggedError<SegmentDamaged>()("SegmentDamaged", {
  segment: Schema.String,
  problem: Schema.String,
  /** Where it is, when that is known. */
  store: Schema.optionalKey(Schema.String),
}) {
  override get message() {
    return `the journal segment ${this.segment}${inStore(this.store)} cannot be trusted: ${this.problem}; nothing of it is used, and results that only it has are made again. Remove it from the store if its origin is unknown`
  }
}

/** A segment was written by a later version of reelgraph. */
export class SegmentNewer extends Schema.TaggedError<SegmentNewer>()("SegmentNewer", {
  segment: Schema.String,
  found: Schema.Int,
  supported: Schema.Int,
  /** Where it is, when that is known. */
  store: Schema.optionalKey(Schema.String),
}) {
  override get message() {
    return `the journal segment ${this.segment}${inStore(this.store)} has format ${this.found}, and this reelgraph reads up to ${this.supported}; use the reelgraph that wrote it, or a later one`
  }
}

const namePattern = /^journal\/(\d{15})-[0-9a-f]{16}-[0-9a-f]{8}\.ndjson\.gz$/

/** `journal` is the id of the journal that writes it (16 hex digits), `unique` 8 random ones. */
export const nameOf = (time: number, journal: string, unique: string): string =>
  `${folder}/${String(time).padStart(15, "0")}-${journal}-${unique}.ndjson.gz`

/** The time in the name of a segment; undefined of other objects. */
export const timeOf = (name: string): number | undefined => {
  const time = namePattern.exec(name)?.[1]
  return time === undefined ? undefined : Number(time)
}

const Count = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))
const Name = Schema.String.check(Schema.isMaxLength(maxName))
const Digest = Schema.String.check(Schema.isPattern(/^[0-9a-f]{64}$/))
const Prose = Schema.String.check(Schema.isMaxLength(maxProse))
const list = <S extends Schema.Top>(of: S) => Schema.Array(of).check(Schema.isMaxLength(maxList))
const row = <const K extends string, const F extends ReadonlyArray<Schema.Top>>(kind: K, fields: F) =>
  Schema.Tuple([Schema.Literal(kind), ...fields] as readonly [Schema.Literal<K>, ...F])

/** Number of an item, an operator or a run within the segment. */
const Item = Count
const Operator = Count
const Run = Count

const Header = Schema.Struct({
  format: Schema.Literal("reelgraph/journal-segment"),
  version: Schema.Int,
  /** Id of the journal that wrote it. */
  journal: Schema.String.check(Schema.isPattern(/^[0-9a-f]{16}$/)),
})

const rows = {
  /** A record: its digest, its canonical JSON, the blobs that it names. Numbered. */
  item: row("item", [Digest, Schema.String, Schema.Array(Digest).check(Schema.isMaxLength(maxArtifacts))]),
  /** An item whose record another segment carries. Numbered with the items. */
  known: row("known", [Digest]),
  /** Members of a set that this segment carries, some of many; a member as often as the set has it. */
  members: row("members", [Item, list(Item)]),
  /** Digest, name, version, params (JSON), seed, digest of its source, side inputs. Numbered. */
  operator: row("operator", [
    Digest,
    Name,
    Name,
    Schema.String,
    Schema.NullOr(Schema.Int),
    Name,
    Schema.Array(Schema.Tuple([Name, Item])).check(Schema.isMaxLength(maxSides)),
  ]),
  /**
   * Name, graph, version, digest, definition (JSON), began (ms), process, names of nodes; ended (ms), status, ledger
   * (JSON), problem. Numbered.
   */
  run: row("run", [
    Name,
    Name,
    Name,
    Name,
    Schema.String,
    Schema.Int,
    Name,
    Schema.Array(Name).check(Schema.isMaxLength(maxNodes)),
    Schema.NullOr(Schema.Int),
    Schema.Literals(["running", "killed", "done", "failed", "finished-with-failures", "interrupted"]),
    Schema.String,
    Schema.NullOr(Prose),
  ]),
  /**
   * Input, operator, run and nodes that made it (two, when one made good what another failed at), status, output when it is one, reason, detail, attempts, began (ms),
   * took (ms), place, 1 when it takes the place of a result whose blobs are lost, and 1 when it passed its output on as
   * it came (from version 3 on). Its outputs, parents and drops follow at once.
   */
  call: row("call", [
    Item,
    Operator,
    Run,
    Schema.Array(Count).check(Schema.isMaxLength(maxNodes)),
    Schema.Literals([0, 1, 2]),
    Schema.NullOr(Item),
    Schema.NullOr(Prose),
    Schema.NullOr(Prose),
    Count,
    Schema.Int,
    Schema.Finite,
    Schema.NullOr(Prose),
    Schema.Literals([0, 1]),
    Schema.optionalKey(Schema.Literals([0, 1])),
  ]),
  /** More outputs of the call above, in order. */
  outputs: row("outputs", [list(Item)]),
  /** Which outputs of the call above it passed on as they came, by position. */
  passed: row("passed", [list(Count)]),
  /** More parents of one output of the call above, by position. */
  parents: row("parents", [Count, list(Item)]),
  /** More items that the call above took out: item, reason, detail. */
  drops: row("drops", [list(Schema.Tuple([Item, Prose, Prose]))]),
  /** Calls of an operator that a node of a run used, by their inputs; 1 when they were there before. */
  used: row("used", [Run, Count, Schema.Literals([0, 1]), Operator, list(Item)]),
  /** What failed in a node of a run: item, reason, detail, began (ms). */
  failures: row("failures", [Run, Count, list(Schema.Tuple([Item, Prose, Prose, Schema.Int]))]),
  /** What happened on the way of a run that has ended: all of it. */
  notes: row("notes", [
    Run,
    Schema.Array(Schema.String.check(Schema.isMaxLength(maxNoteLength))).check(Schema.isMaxLength(maxNotes)),
  ]),
  /** Items that a run took in (`in:NAME`) or gave (`out:NAME`). */
  ports: row("ports", [Run, Name, list(Item)]),
  /** The last row: how many there are above, without the header. */
  end: row("end", [Count]),
} as const

/** A row of a segment. */
export type Row = { readonly [K in keyof typeof rows]: (typeof rows)[K]["Type"] }[keyof typeof rows]
/** A row of one kind. */
export type RowOf<K extends keyof typeof rows> = (typeof rows)[K]["Type"]

const decodeHeader = Schema.decodeUnknownResult(Header)
const decoders = new Map<unknown, (input: unknown) => Result.Result<Row, Schema.SchemaError>>(
  Object.entries(rows).map(([kind, schema]) => [
    kind,
    Schema.decodeUnknownResult(schema as unknown as Schema.Codec<Row>),
  ]),
)

/** Bytes of text that are compressed at a time: a segment is a chain of gzip members, read as one. */
const memberBytes = 1024 * 1024

/** Gathers the rows of a segment; what it holds meanwhile is compressed but for the last MiB. */
export const writer = (journal: string) => {
  const members: Array<Uint8Array> = []
  let lines: Array<string> = []
  let waiting = 0
  let written = 0
  let count = 0
  const line = (value: unknown): void => {
    const text = JSON.stringify(value)
    lines.push(text)
    waiting += text.length + 1
    written += text.length + 1
    if (waiting >= memberBytes) compress()
  }
  const compress = (): void => {
    members.push(gzipSync(`${lines.join("\n")}\n`, { level: 3 }))
    lines = []
    waiting = 0
  }
  line({ format: "reelgraph/journal-segment", version, journal } satisfies typeof Header.Type)
  return {
    add: (row: Row): void => {
      line(row)
      count++
    },
    /** Characters so far. */
    size: (): number => written,
    /** Rows so far. */
    rows: (): number => count,
    finish: (): Uint8Array<ArrayBuffer> => {
      line(["end", count])
      compress()
      return new Uint8Array(Buffer.concat(members))
    },
  }
}

const unpack = (segment: string, bytes: Uint8Array): Buffer => {
  try {
    return gunzipSync(bytes, { maxOutputLength: maxTextBytes })
  } catch (cause) {
    throw new SegmentDamaged({ segment, problem: (cause as Error).message })
  }
}

/** The header of a segment, and its rows, checked one by one. @throws SegmentDamaged, SegmentNewer */
export const read = (
  segment: string,
  bytes: Uint8Array,
): { readonly journal: string; readonly version: number; readonly rows: Iterable<Row> } => {
  const text = unpack(segment, bytes)
  const damaged = (line: number, problem: string) =>
    new SegmentDamaged({ segment, problem: `line ${line}: ${problem}` })
  let at = 0
  let number = 0
  const next = (): unknown => {
    const end = text.indexOf(10, at)
    if (end === -1) throw new SegmentDamaged({ segment, problem: `it is cut off after line ${number}` })
    number++
    if (end - at > maxLineBytes) throw damaged(number, `it has ${end - at} bytes, more than ${maxLineBytes}`)
    const line = text.toString("utf8", at, end)
    at = end + 1
    try {
      return JSON.parse(line) as unknown
    } catch (cause) {
      throw damaged(number, (cause as Error).message)
    }
  }
  const header = decodeHeader(next())
  if (Result.isFailure(header)) throw damaged(1, header.failure.message)
  if (header.success.version > version)
    throw new SegmentNewer({ segment, found: header.success.version, supported: version })

  const each = function* (): Generator<Row> {
    for (;;) {
      const value = next()
      const kind: unknown = Array.isArray(value) ? value[0] : undefined
      const decode = decoders.get(kind)
      if (decode === undefined)
        throw damaged(number, `no row begins with ${JSON.stringify(kind)?.slice(0, 80)}`)
      const decoded = decode(value)
      if (Result.isFailure(decoded)) throw damaged(number, decoded.failure.message.slice(0, 500))
      const row = decoded.success
      if (row[0] !== "end") {
        yield row
        continue
      }
      if (row[1] !== number - 2 || at !== text.length)
        throw damaged(
          number,
          `it ends after ${number - 2} rows and ${text.length - at} more bytes, not ${row[1]}`,
        )
      return
    }
  }
  return { journal: header.success.journal, version: header.success.version, rows: each() }
}
