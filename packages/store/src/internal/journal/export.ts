/**
 * Writes what a journal has of its own, and has not exported yet, as segments of some MiB, one at a time.
 *
 * Its progress is stored in the journal and moves only after a segment is in the store ({@link exported}): a
 * process that ends in between exports the same rows again, which changes nothing. New items and new calls are
 * ranges of row ids. A call whose result was replaced is in `changed_calls`. What a run used, took in and gave has no
 * order in time: it is exported whole at the end of the run, and while it lasts each time it is twice as old.
 */
import { randomBytes } from "node:crypto"
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite"

import { Status } from "../../journal/Journal.ts"
import * as Segment from "../../journal/JournalSegment.ts"
import * as Sets from "./sets.ts"
import { ownerIsAlive } from "../processIdentity.ts"
import * as RunNotes from "./runNotes.ts"

type Row = Record<string, unknown>

/** Where one segment ends: what the journal records once it is in the store. */
export interface Mark {
  readonly name: string
  readonly time: number
  /** Row ids up to which items and calls are exported, and the `seq` of changed calls. */
  readonly items: number
  readonly calls: number
  readonly changed: number
  /** Runs that are exported whole; `closed` when they had ended before. */
  readonly runs: ReadonlyArray<{ readonly id: number; readonly atMs: number; readonly closed: boolean }>
  readonly cursor: Cursor | undefined
}

/** Where the export of a run goes on. */
interface Cursor {
  readonly run: number
  /** Whether the run had ended when its export began. */
  readonly ended: boolean
  readonly part: number
  /** Key of the last row. */
  readonly after: ReadonlyArray<SQLInputValue>
}

/** Characters of text to a segment, about; a tenth to a fifth of it in bytes. */
export const defaultSize = 16 * 1024 * 1024

/** Of which items take at most this part: calls on them go into the same segment then. */
const itemShare = 0.5

/** More outputs of one call are not carried with it again. */
const maxCarried = 1000

const hex = (blob: unknown): string => Buffer.from(blob as Uint8Array).toString("hex")
const prose = (text: unknown): string | null => (text as string | null)?.slice(0, Segment.maxProse) ?? null

const reader = (db: DatabaseSync) => {
  const statements = new Map<string, StatementSync>()
  const prepare = (sql: string): StatementSync => {
    let statement = statements.get(sql)
    if (statement === undefined) statements.set(sql, (statement = db.prepare(sql)))
    return statement
  }
  return {
    each: (sql: string, ...values: Array<SQLInputValue>): Iterable<Row> => prepare(sql).iterate(...values),
    all: (sql: string, ...values: Array<SQLInputValue>): ReadonlyArray<Row> => prepare(sql).all(...values),
    get: (sql: string, ...values: Array<SQLInputValue>): Row | undefined => prepare(sql).get(...values),
    int: (sql: string, ...values: Array<SQLInputValue>): number =>
      Object.values(prepare(sql).get(...values)!)[0] as number,
  }
}
type Reader = ReturnType<typeof reader>

/** Lists of at most {@link Segment.maxList}. */
const lists = function* <A>(values: Iterable<A>): Generator<ReadonlyArray<A>> {
  let list: Array<A> = []
  for (const value of values) {
    list.push(value)
    if (list.length < Segment.maxList) continue
    yield list
    list = []
  }
  if (list.length > 0) yield list
}

/** Each row as often as it counts. */
const repeated = function* (rows: Iterable<Row>): Generator<Row> {
  for (const row of rows) for (let time = 0; time < (row["times"] as number); time++) yield row
}

/** A segment in the making: numbers items, operators and runs as rows refer to them. */
const draft = (db: Reader, journal: string, itemsTold: () => number) => {
  const segment = Segment.writer(journal)
  const carried = new Map<number, number>()
  const known = new Map<number, number>()
  const operators = new Map<number, number>()
  const runs = new Map<number, number>()
  let numbered = 0

  /** The blobs that a record names: there is no index by item, so what looks like a digest is looked up. */
  const artifactsOf = (id: number, record: string): ReadonlyArray<string> =>
    [...new Set(record.match(/(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])/g))].filter(
      (sha256) =>
        db.get("SELECT 1 FROM artifacts WHERE sha256 = ? AND item = ?", Buffer.from(sha256, "hex"), id) !==
        undefined,
    )

  const carry = (id: number, digest: unknown, record: string): number => {
    segment.add(["item", hex(digest), record, artifactsOf(id, record)])
    carried.set(id, numbered)
    return numbered++
  }
  /** The number of an item, with its record when it is to be carried, or when no segment has carried it. */
  const item = (id: number, whole: boolean): number => {
    const at = carried.get(id) ?? (whole ? undefined : known.get(id))
    if (at !== undefined) return at
    const row = db.get("SELECT digest, record FROM items WHERE id = ?", id)!
    if (whole || id > itemsTold()) return carry(id, row["digest"], row["record"] as string)
    segment.add(["known", hex(row["digest"])])
    known.set(id, numbered)
    return numbered++
  }
  const named = function* (rows: Iterable<Row>): Generator<number> {
    for (const row of rows) yield item(row["item"] as number, false)
  }

  const operator = (id: number): number => {
    const at = operators.get(id)
    if (at !== undefined) return at
    const row = db.get("SELECT * FROM operators WHERE id = ?", id)!
    const sides = db
      .all("SELECT side, item FROM operator_sides WHERE operator = ? ORDER BY side", id)
      .map((side) => [side["side"] as string, item(side["item"] as number, true)] as const)
    segment.add([
      "operator",
      hex(row["digest"]),
      row["name"] as string,
      row["version"] as string,
      row["params"] as string,
      row["seed"] as number | null,
      row["source"] as string,
      sides,
    ])
    operators.set(id, operators.size)
    return operators.size - 1
  }

  const run = (id: number): number => {
    const at = runs.get(id)
    if (at !== undefined) return at
    const row = db.get("SELECT * FROM runs WHERE id = ?", id)!
    const nodes = db.all("SELECT name FROM run_nodes WHERE run = ? ORDER BY node", id)
    segment.add([
      "run",
      row["name"] as string,
      row["graph"] as string,
      row["version"] as string,
      row["digest"] as string,
      row["definition"] as string,
      row["started_ms"] as number,
      row["owner"] as string,
      nodes.map((node) => node["name"] as string),
      row["ended_ms"] as number | null,
      isKilled(row) ? "killed" : (row["status"] as Segment.RowOf<"run">[10]),
      row["ledger"] as string,
      prose(row["problem"]),
    ])
    runs.set(id, runs.size)
    return runs.size - 1
  }

  return {
    item,
    run,
    operator,
    size: segment.size,
    rows: segment.rows,
    finish: segment.finish,

    /** An item of this journal's own; a set with its members. */
    newItem: (row: Row): void => {
      const id = row["id"] as number
      const set = carried.get(id) ?? carry(id, row["digest"], row["record"] as string)
      if (!(row["record"] as string).startsWith(`{"_tag":"Set"`)) return
      // Where it is not known how often a set has its members, its digest cannot be computed from them.
      const size = Sets.sizeOf(hex(row["digest"]), row["record"] as string)
      if (size !== db.int("SELECT coalesce(sum(times), 0) FROM set_members WHERE set_id = ?", id)) return
      const members = db.each("SELECT item, times FROM set_members WHERE set_id = ? ORDER BY item", id)
      for (const list of lists(named(repeated(members)))) segment.add(["members", set, list])
    },

    /** A call with all that came of it, and the nodes that made it. */
    call: (row: Row, replaced: 0 | 1): void => {
      const id = row["id"] as number
      const rows = db.all("SELECT item, passed FROM call_outputs WHERE call = ? ORDER BY position", id)
      const outputs = rows.map((output) => output["item"] as number)
      const passed = rows.flatMap((output, position) => (output["passed"] === 1 ? [position] : []))
      // CROSS JOIN keeps the order: by node is a few probes, the other way is all calls of the run.
      const nodes = db.all(
        `SELECT run_calls.node FROM run_nodes CROSS JOIN run_calls ON run_calls.run = run_nodes.run AND run_calls.node = run_nodes.node
         WHERE run_nodes.run = ? AND run_calls.call = ? AND run_calls.cached = 0`,
        row["run"] as number,
        id,
      )
      const input = item(row["input"] as number, true)
      const by = operator(row["operator"] as number)
      const madeIn = run(row["run"] as number)
      const single = row["output"] === null ? null : item(row["output"] as number, true)
      const several = outputs.map((output) => item(output, outputs.length <= maxCarried))
      const parents = outputs.map((_, position) => [
        ...named(db.each("SELECT item FROM output_parents WHERE call = ? AND position = ?", id, position)),
      ])
      const drops = db
        .all("SELECT item, reason, detail FROM call_drops WHERE call = ?", id)
        .map(
          (drop) =>
            [item(drop["item"] as number, false), prose(drop["reason"])!, prose(drop["detail"])!] as const,
        )
      segment.add([
        "call",
        input,
        by,
        madeIn,
        nodes.map((node) => node["node"] as number),
        row["status"] as Status,
        single,
        prose(row["reason"]),
        prose(row["detail"]),
        row["attempts"] as number,
        row["started_ms"] as number,
        row["ms"] as number,
        prose(row["place"]),
        replaced,
        row["passed"] as 0 | 1,
      ])
      for (const list of lists(several)) segment.add(["outputs", list])
      for (const list of lists(passed)) segment.add(["passed", list])
      parents.forEach((all, position) => {
        for (const list of lists(all)) segment.add(["parents", position, list])
      })
      for (const list of lists(drops)) segment.add(["drops", list])
    },

    add: segment.add,
  }
}
type Draft = ReturnType<typeof draft>

const isKilled = (run: Row): boolean =>
  run["status"] === "running" && ownerIsAlive(run["owner"] as string) === false

/** Row ids of (after, last] but for those that came with segments. */
const ownItems = (db: Reader, after: number, last: number): ReadonlyArray<readonly [number, number]> => {
  const own: Array<readonly [number, number]> = []
  let from = after + 1
  for (const row of db.each(
    "SELECT first_item, last_item FROM segments WHERE last_item > ? ORDER BY first_item",
    after,
  )) {
    const first = row["first_item"] as number
    if (first > from) own.push([from, Math.min(first - 1, last)])
    from = Math.max(from, (row["last_item"] as number) + 1)
  }
  if (from <= last) own.push([from, last])
  return own
}

/**
 * What a run used, took in and gave, and what happened on its way, by table, in the order of its key. The position of a
 * part is in stored cursors: new ones come last.
 */
const parts: ReadonlyArray<{
  readonly sql: string
  readonly first: ReadonlyArray<SQLInputValue>
  readonly key: (row: Row) => ReadonlyArray<SQLInputValue>
  /** What rows of the segment have in common. */
  readonly group: (row: Row) => string
  readonly add: (draft: Draft, run: number, rows: ReadonlyArray<Row>) => void
}> = [
  {
    // What its nodes made comes with the calls, unless another run has made them again since.
    sql: `SELECT run_calls.node, run_calls.call, run_calls.cached, calls.input, calls.operator FROM run_calls JOIN calls ON calls.id = run_calls.call
          WHERE run_calls.run = ? AND (run_calls.node, run_calls.call) > (?,?) AND (run_calls.cached = 1 OR calls.run <> run_calls.run)
          ORDER BY run_calls.node, run_calls.call`,
    first: [-1, 0],
    key: (row) => [row["node"] as number, row["call"] as number],
    group: (row) => [row["node"], row["cached"], row["operator"]].join(" "),
    add: (draft, run, rows) => {
      const [first] = rows
      const operator = draft.operator(first!["operator"] as number)
      const inputs = rows.map((row) => draft.item(row["input"] as number, false))
      draft.add([
        "used",
        draft.run(run),
        first!["node"] as number,
        first!["cached"] as 0 | 1,
        operator,
        inputs,
      ])
    },
  },
  {
    sql: "SELECT port, item FROM run_items WHERE run = ? AND (port, item) > (?,?) ORDER BY port, item",
    first: ["", 0],
    key: (row) => [row["port"] as string, row["item"] as number],
    group: (row) => row["port"] as string,
    add: (draft, run, rows) => {
      const items = rows.map((row) => draft.item(row["item"] as number, false))
      draft.add(["ports", draft.run(run), rows[0]!["port"] as string, items])
    },
  },
  {
    sql: "SELECT * FROM failures WHERE run = ? AND (node, item) > (?,?) ORDER BY node, item",
    first: [-1, 0],
    key: (row) => [row["node"] as number, row["item"] as number],
    group: (row) => String(row["node"]),
    add: (draft, run, rows) => {
      const failures = rows.map(
        (row) =>
          [
            draft.item(row["item"] as number, false),
            prose(row["reason"])!,
            prose(row["detail"])!,
            row["started_ms"] as number,
          ] as const,
      )
      draft.add(["failures", draft.run(run), rows[0]!["node"] as number, failures])
    },
  },
  {
    sql: "SELECT id, notes FROM runs WHERE id = ? AND id > ? AND notes <> '[]'",
    first: [0],
    key: (row) => [row["id"] as number],
    group: (row) => String(row["id"]),
    add: (draft, run, rows) =>
      draft.add(["notes", draft.run(run), RunNotes.decode(rows[0]!["notes"] as string)]),
  },
]

/** Exports the rest of a run. @returns where it goes on, when the segment is full */
const exportRun = (db: Reader, draft: Draft, from: Cursor, isFull: () => boolean): Cursor | undefined => {
  draft.run(from.run)
  for (let part = from.part; part < parts.length; part++) {
    const { add, first, group, key, sql } = parts[part]!
    let after = part === from.part ? from.after : first
    let rows: Array<Row> = []
    const flush = () => {
      if (rows.length === 0) return
      add(draft, from.run, rows)
      after = key(rows.at(-1)!)
      rows = []
    }
    for (const row of db.each(sql, from.run, ...after)) {
      if (rows.length === Segment.maxList || (rows.length > 0 && group(rows[0]!) !== group(row))) {
        flush()
        if (isFull()) return { ...from, part, after }
      }
      rows.push(row)
    }
    flush()
    if (isFull() && part + 1 < parts.length) return { ...from, part: part + 1, after: parts[part + 1]!.first }
  }
  return undefined
}

/** The row with how far this journal is exported, made when it is not there. */
export const begin = (db: DatabaseSync): Row => {
  const find = db.prepare("SELECT * FROM exported")
  if (find.get() === undefined)
    db.prepare("INSERT INTO exported SELECT ?, 0, 0, 0, NULL WHERE NOT EXISTS (SELECT 1 FROM exported)").run(
      randomBytes(8).toString("hex"),
    )
  return find.get()!
}

/** The next segment, if there is anything to export. `more` when it does not hold everything. */
export interface Next {
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly mark: Mark
  readonly more: boolean
}

export const next = (
  connection: DatabaseSync,
  options: { readonly nowMs: number; readonly size?: number },
): Next | undefined => {
  const state = begin(connection)
  const { bytes, mark, more } = atOnce(connection, () =>
    compose(connection, state, options.nowMs, options.size ?? defaultSize),
  )
  if (bytes !== undefined) return { bytes, mark, more }
  // What is new has come from others: from here on it is not looked at again.
  if (mark.items > (state["items"] as number) || mark.calls > (state["calls"] as number) || mark.changed > 0)
    move(connection, mark)
  return undefined
}

/** All that is read is of one instant. */
const atOnce = <A>(connection: DatabaseSync, read: () => A): A => {
  connection.exec("BEGIN")
  try {
    return read()
  } finally {
    connection.exec("COMMIT")
  }
}

const compose = (
  connection: DatabaseSync,
  state: Row,
  nowMs: number,
  size: number,
): { readonly bytes: Next["bytes"] | undefined; readonly mark: Mark; readonly more: boolean } => {
  const db = reader(connection)
  const journal = state["journal"] as string
  let items = state["items"] as number
  let calls = state["calls"] as number
  const callsBefore = calls
  const segment = draft(db, journal, () => items)
  const isFull = () => segment.size() >= size

  const lastItem = db.int("SELECT coalesce(max(id), 0) FROM items")
  let full = false
  itemRanges: for (const [first, last] of ownItems(db, items, lastItem)) {
    for (const row of db.each(
      "SELECT id, digest, record FROM items WHERE id BETWEEN ? AND ? ORDER BY id",
      first,
      last,
    )) {
      segment.newItem(row)
      items = row["id"] as number
      full = segment.size() >= size * itemShare
      if (full) break itemRanges
    }
  }
  const allItems = !full
  if (allItems) items = lastItem

  const replacements = new Set(
    db.all("SELECT call FROM changed_calls WHERE replaced = 1").map((row) => row["call"] as number),
  )
  const tell = (row: Row) => segment.call(row, replacements.has(row["id"] as number) ? 1 : 0)
  const lastCall = db.int("SELECT coalesce(max(id), 0) FROM calls")
  let allCalls = true
  for (const row of db.each(
    "SELECT calls.* FROM calls CROSS JOIN runs ON runs.id = calls.run WHERE calls.id > ? AND runs.origin IS NULL ORDER BY calls.id",
    calls,
  )) {
    const newest = Math.max(row["input"] as number, (row["output"] as number | null) ?? 0)
    allCalls = !isFull() && (allItems || newest <= items)
    if (!allCalls) break
    tell(row)
    calls = row["id"] as number
  }
  if (allCalls) calls = lastCall

  let changed = 0
  let more = !allItems || !allCalls
  if (!more) {
    for (const { call, seq } of db.each("SELECT seq, call FROM changed_calls ORDER BY seq")) {
      more = isFull()
      if (more) break
      changed = seq as number
      const row = db.get(
        "SELECT calls.* FROM calls JOIN runs ON runs.id = calls.run WHERE calls.id = ? AND runs.origin IS NULL",
        call as number,
      )
      // What is newer has come with the new calls, as it is now.
      if (row !== undefined && (call as number) <= callsBefore) tell(row)
    }
  }

  const runs: Array<Mark["runs"][number]> = []
  let cursor = state["cursor"] === null ? undefined : (JSON.parse(state["cursor"] as string) as Cursor)
  if (!more) {
    const open = db.all("SELECT * FROM runs WHERE origin IS NULL AND closed = 0 ORDER BY id")
    const under = open.find((row) => row["id"] === cursor?.run)
    const due = open.filter((row) => row !== under && isDue(row, nowMs))
    if (under === undefined) cursor = undefined
    for (const row of under === undefined ? due : [under, ...due]) {
      more = isFull()
      if (more) break
      const ended = row["status"] !== "running" || isKilled(row)
      const from = cursor ?? { run: row["id"] as number, ended, part: 0, after: parts[0]!.first }
      cursor = exportRun(db, segment, from, isFull)
      more = cursor !== undefined
      if (more) break
      runs.push({ id: from.run, atMs: nowMs, closed: from.ended })
    }
  }

  const time = Math.max(nowMs, (state["clock"] as number) + 1)
  const name = Segment.nameOf(time, journal, randomBytes(4).toString("hex"))
  const mark: Mark = { name, time, items, calls, changed, runs, cursor }
  return { bytes: segment.rows() > 0 ? segment.finish() : undefined, mark, more }
}

/** Whether a run is to be exported whole: it is new, has ended, or is twice as old as last time. */
const isDue = (run: Row, nowMs: number): boolean => {
  const at = run["exported_ms"] as number | null
  const began = run["started_ms"] as number
  if (at === null || run["status"] !== "running" || isKilled(run)) return true
  return nowMs > at && nowMs - began >= 2 * (at - began)
}

/** Notes that a segment is in the store. */
export const exported = (db: DatabaseSync, mark: Mark): void => move(db, mark, mark.name)

const move = (db: DatabaseSync, mark: Mark, name?: string): void => {
  const cursor = mark.cursor === undefined ? null : JSON.stringify(mark.cursor)
  db.exec("BEGIN IMMEDIATE")
  try {
    db.prepare("UPDATE exported SET items = max(items, ?), calls = max(calls, ?), cursor = ?").run(
      mark.items,
      mark.calls,
      cursor,
    )
    db.prepare("DELETE FROM changed_calls WHERE seq <= ?").run(mark.changed)
    const told = db.prepare("UPDATE runs SET exported_ms = ?, closed = max(closed, ?) WHERE id = ?")
    for (const { atMs, closed, id } of mark.runs) told.run(atMs, closed ? 1 : 0, id)
    if (name !== undefined) {
      db.prepare("UPDATE exported SET clock = max(clock, ?)").run(mark.time)
      db.prepare("INSERT OR IGNORE INTO segments VALUES(?, 0, 0, 0)").run(name)
    }
    db.exec("COMMIT")
  } catch (cause) {
    if (db.isTransaction) db.exec("ROLLBACK")
    throw cause
  }
}
