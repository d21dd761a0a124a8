/**
 * Brings the rows of a segment into a journal: all of them in one transaction, any number of times with the same
 * result.
 *
 * Of a call that two journals made, the first result in the file counts; a failure gives way to a result, and a
 * result whose blobs are lost to a later one. Rows that refer to what is not in the file are left out and counted:
 * such a segment is imported again once others have come.
 */
import { createHash } from "node:crypto"
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite"

import { Status } from "../Journal.ts"
import * as Segment from "../JournalSegment.ts"
import { maxPlaceLength } from "./JournalWriter.ts"
import * as RunNotes from "./runNotes.ts"

type Row = Record<string, unknown>

/** The statements that write what a segment tells. */
const tablesOf = (db: DatabaseSync) => {
  const statements = new Map<string, StatementSync>()
  const prepare = (sql: string): StatementSync => {
    let statement = statements.get(sql)
    if (statement === undefined) statements.set(sql, (statement = db.prepare(sql)))
    return statement
  }
  const run = (sql: string, ...values: Array<SQLInputValue>) => prepare(sql).run(...values)
  const get = (sql: string, ...values: Array<SQLInputValue>): Row | undefined => prepare(sql).get(...values)
  const idOf = (row: Row | undefined): number | undefined => row?.["id"] as number | undefined

  const known = (digest: string): number | undefined =>
    idOf(get("SELECT id FROM items WHERE digest = ?", Buffer.from(digest, "hex")))

  const item = ([, digest, record, artifacts]: Segment.RowOf<"item">): number => {
    const { changes, lastInsertRowid } = run(
      "INSERT INTO items(digest, record) VALUES(?,?) ON CONFLICT DO NOTHING",
      Buffer.from(digest, "hex"),
      record,
    )
    if (changes === 0) return known(digest)!
    const id = Number(lastInsertRowid)
    for (const sha256 of artifacts)
      run("INSERT OR IGNORE INTO artifacts VALUES(?,?)", Buffer.from(sha256, "hex"), id)
    return id
  }

  const operator = (
    [, hex, name, version, params, seed, source]: Segment.RowOf<"operator">,
    sides: ReadonlyArray<readonly [string, number]>,
  ): number => {
    const digest = Buffer.from(hex, "hex")
    run(
      "INSERT INTO operators(digest, name, version, params, seed, source) VALUES(?,?,?,?,?,?) ON CONFLICT DO NOTHING",
      digest,
      name,
      version,
      params,
      seed,
      source,
    )
    const id = idOf(get("SELECT id FROM operators WHERE digest = ?", digest))!
    for (const [side, item] of sides)
      run("INSERT OR IGNORE INTO operator_sides VALUES(?,?,?)", id, side, item)
    return id
  }

  const newRun = (name: string, row: Segment.RowOf<"run">, journal: string): number => {
    const [, , graph, version, digest, definition, startedMs, owner, nodes] = row
    const { lastInsertRowid } = run(
      `INSERT INTO runs(name, graph, version, digest, definition, started_ms, owner, status, ledger, origin, closed)
       VALUES(?,?,?,?,?,?,?,'running','{}',?,1)`,
      name,
      graph,
      version,
      digest,
      definition,
      startedMs,
      owner,
      journal,
    )
    const id = Number(lastInsertRowid)
    nodes.forEach((node, at) => run("INSERT INTO run_nodes VALUES(?,?,?)", id, at, node))
    return id
  }

  /** A run of that name and process; where another process has the name, one named after both. */
  const runOf = (row: Segment.RowOf<"run">, journal: string): number => {
    const [, given, , , , , , owner, , endedMs, status, ledger, problem] = row
    const find = (name: string) => get("SELECT id, owner FROM runs WHERE name = ?", name)
    const taken = find(given)
    const name =
      taken === undefined || taken["owner"] === owner
        ? given
        : `${given}-${createHash("sha256").update(owner).digest("hex").slice(0, 8)}`
    const id = idOf(find(name)) ?? newRun(name, row, journal)
    if (status !== "running")
      run(
        `UPDATE runs SET ended_ms = ?, status = ?, ledger = ?, problem = ?
         WHERE id = ? AND (status = 'running' OR status = 'killed' AND ? <> 'killed')`,
        endedMs,
        status,
        ledger,
        problem,
        id,
        status,
      )
    return id
  }

  /** The row id of a call in the file, and whether it is the one that was given. */
  const call = (given: GivenCall): { readonly id: number; readonly isNew: boolean } => {
    const [, , , , , status, , reason, detail, attempts, startedMs, ms, place, replaced] = given.row
    const insert = (id: number | null) =>
      run(
        `INSERT INTO calls(id, input, operator, status, output, reason, detail, attempts, started_ms, ms, run, place)
         VALUES(?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING`,
        id,
        given.input,
        given.operator,
        status,
        given.output,
        reason,
        detail,
        attempts,
        startedMs,
        ms,
        given.run,
        place?.slice(0, maxPlaceLength) ?? null,
      )
    const { changes, lastInsertRowid } = insert(null)
    if (changes > 0) return { id: Number(lastInsertRowid), isNew: true }
    const existing = get(
      "SELECT id, status, started_ms FROM calls WHERE input = ? AND operator = ?",
      given.input,
      given.operator,
    )!
    const id = idOf(existing)!
    const givesWay =
      existing["status"] === Status.failed
        ? status !== Status.failed
        : replaced === 1 && (existing["started_ms"] as number) < startedMs
    if (!givesWay) return { id, isNew: false }
    for (const table of ["call_outputs", "output_parents", "call_drops"])
      run(`DELETE FROM ${table} WHERE call = ?`, id)
    run("DELETE FROM calls WHERE id = ?", id)
    insert(id)
    return { id, isNew: true }
  }

  return { run, get, idOf, known, item, operator, runOf, call }
}

/** A call whose rows are all there, by row ids. */
interface GivenCall {
  readonly row: Segment.RowOf<"call">
  readonly input: number
  readonly operator: number
  readonly run: number
  readonly output: number | null
}

/** A call, and the rows that follow it. */
interface PendingCall {
  readonly row: Segment.RowOf<"call">
  readonly outputs: Array<number>
  readonly parents: Array<readonly [position: number, items: ReadonlyArray<number>]>
  readonly drops: Array<readonly [item: number, reason: string, detail: string]>
}

/** @returns how many references of the segment lead to rows that are not in the journal */
const importRows = (db: DatabaseSync, name: string, bytes: Uint8Array): number => {
  const tables = tablesOf(db)
  const segment = Segment.read(name, bytes)
  // Row ids by number in the segment; undefined where the journal has no such row.
  const items: Array<number | undefined> = []
  const operators: Array<number | undefined> = []
  const runs: Array<number> = []
  let missing = 0
  let pending: PendingCall | undefined

  const damaged = (problem: string) => new Segment.SegmentDamaged({ segment: name, problem })
  const numbered = <A>(all: ReadonlyArray<A>, number: number, what: string): A => {
    if (number >= all.length) throw damaged(`it refers to ${what} ${number} before it is there`)
    return all[number]!
  }
  const item = (number: number) => numbered(items, number, "item")
  const operator = (number: number) => numbered(operators, number, "operator")
  const run = (number: number) => numbered(runs, number, "run")
  const present = (numbers: ReadonlyArray<number>): ReadonlyArray<number> =>
    numbers.map(item).filter((id) => id !== undefined)
  const open = (): PendingCall => {
    if (pending === undefined) throw damaged("it goes on with a call before there is one")
    return pending
  }

  /** Writes the call above, whole or not at all. */
  const finishCall = (): void => {
    if (pending === undefined) return
    const { drops, outputs, parents, row } = pending
    pending = undefined
    const [, inputNumber, operatorNumber, runNumber, nodes, , outputNumber] = row
    const input = item(inputNumber)
    const by = operator(operatorNumber)
    const madeIn = run(runNumber)
    const output = outputNumber === null ? null : item(outputNumber)
    const named = [...outputs, ...parents.flatMap(([, all]) => all), ...drops.map(([dropped]) => dropped)]
    const absent = named.length - present(named).length
    if (input === undefined || by === undefined || output === undefined || absent > 0) {
      missing += Math.max(1, absent)
      return
    }
    const { id, isNew } = tables.call({ row, input, operator: by, run: madeIn, output })
    for (const node of nodes) tables.run("INSERT OR IGNORE INTO run_calls VALUES(?,?,?,0)", madeIn, node, id)
    if (!isNew) return
    outputs.forEach((out, position) =>
      tables.run("INSERT INTO call_outputs VALUES(?,?,?)", id, position, item(out)!),
    )
    for (const [position, all] of parents)
      for (const parent of all)
        tables.run("INSERT OR IGNORE INTO output_parents VALUES(?,?,?)", id, position, item(parent)!)
    for (const [dropped, reason, detail] of drops)
      tables.run("INSERT OR IGNORE INTO call_drops VALUES(?,?,?,?)", id, item(dropped)!, reason, detail)
  }

  const used = ([, inRun, node, cached, operatorNumber, inputs]: Segment.RowOf<"used">): void => {
    const by = operator(operatorNumber)
    for (const number of inputs) {
      const input = item(number)
      const call =
        input === undefined || by === undefined
          ? undefined
          : tables.idOf(tables.get("SELECT id FROM calls WHERE input = ? AND operator = ?", input, by))
      if (call === undefined) missing++
      else tables.run("INSERT OR IGNORE INTO run_calls VALUES(?,?,?,?)", run(inRun), node, call, cached)
    }
  }

  const apply = (row: Segment.Row): void => {
    switch (row[0]) {
      case "item":
        items.push(tables.item(row))
        return
      case "known": {
        items.push(tables.known(row[1]))
        return
      }
      case "members": {
        const set = item(row[1])
        const members = present(row[2])
        missing += row[2].length - members.length
        if (set === undefined) missing++
        else
          for (const member of members)
            tables.run("INSERT OR IGNORE INTO set_members VALUES(?,?)", set, member)
        return
      }
      case "operator": {
        const sides = row[7].map(([side, number]) => [side, item(number)] as const)
        const all = sides.filter((side): side is readonly [string, number] => side[1] !== undefined)
        // Without one of its sides it would be another operator to lineage.
        operators.push(all.length === sides.length ? tables.operator(row, all) : undefined)
        return
      }
      case "run":
        runs.push(tables.runOf(row, segment.journal))
        return
      case "call":
        pending = { row, outputs: [], parents: [], drops: [] }
        return
      case "outputs": {
        const { outputs } = open()
        for (const number of row[1]) outputs.push(number)
        return
      }
      case "parents":
        open().parents.push([row[1], row[2]])
        return
      case "drops": {
        const { drops } = open()
        for (const drop of row[1]) drops.push(drop)
        return
      }
      case "used":
        return used(row)
      case "failures":
        for (const [number, reason, detail, startedMs] of row[3]) {
          const failed = item(number)
          if (failed === undefined) missing++
          else
            tables.run(
              `INSERT INTO failures VALUES(?,?,?,?,?,?) ON CONFLICT DO UPDATE
               SET reason = excluded.reason, detail = excluded.detail, started_ms = excluded.started_ms
               WHERE excluded.started_ms > failures.started_ms`,
              run(row[1]),
              row[2],
              failed,
              reason,
              detail,
              startedMs,
            )
        }
        return
      case "notes":
        tables.run("UPDATE runs SET notes = ? WHERE id = ?", RunNotes.encode(row[2]), run(row[1]))
        return
      case "ports": {
        const found = present(row[3])
        missing += row[3].length - found.length
        for (const id of found)
          tables.run("INSERT OR IGNORE INTO run_items VALUES(?,?,?)", run(row[1]), row[2], id)
        return
      }
      case "end":
        return
    }
  }

  for (const row of segment.rows) {
    if (row[0] !== "outputs" && row[0] !== "parents" && row[0] !== "drops") finishCall()
    apply(row)
  }
  finishCall()
  return missing
}

const lastItem = (db: DatabaseSync): number =>
  db.prepare("SELECT coalesce(max(id), 0) AS id FROM items").get()!["id"] as number

/**
 * Imports a segment, and remembers it: its time for the clock, the row ids of the items that came with it, and what
 * was missing, so that neither is exported again and the rest is looked for later.
 *
 * @returns how many references lead to rows that are not in the journal
 * @throws SegmentDamaged, SegmentNewer: then nothing has changed
 */
export const importSegment = (db: DatabaseSync, name: string, bytes: Uint8Array): number => {
  db.exec("BEGIN IMMEDIATE")
  try {
    const before = lastItem(db)
    const missing = importRows(db, name, bytes)
    db.prepare(
      "INSERT INTO segments VALUES(?,?,?,?) ON CONFLICT DO UPDATE SET missing = excluded.missing",
    ).run(name, before + 1, lastItem(db), missing)
    db.prepare("UPDATE exported SET clock = max(clock, ?)").run(Segment.timeOf(name) ?? 0)
    db.exec("COMMIT")
    return missing
  } catch (cause) {
    if (db.isTransaction) db.exec("ROLLBACK")
    throw cause
  }
}

/** Of these segments, those that the journal does not have. */
export const unseen = (db: DatabaseSync, names: ReadonlyArray<string>): ReadonlyArray<string> => {
  const find = db.prepare("SELECT 1 FROM segments WHERE name = ?")
  return names.filter((name) => find.get(name) === undefined)
}

/** Segments that referred to rows that were not there, in order. */
export const incomplete = (db: DatabaseSync): ReadonlyArray<string> =>
  db
    .prepare("SELECT name FROM segments WHERE missing > 0 ORDER BY name")
    .all()
    .map((row) => row["name"] as string)
