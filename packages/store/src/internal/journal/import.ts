/**
 * Brings the rows of a segment into a journal: all of them in one transaction, any number of times with the same
 * result.
 *
 * Of a call that two journals made, the first result in the file counts; a failure gives way to a result, and a
 * result that came with a segment, whose blobs are lost, to a later one. Rows that refer to what is not in the file are
 * left out and counted: such a segment is imported again once others have come.
 *
 * **What is trusted.** Whoever can write the store is trusted with what was made of what, and with nothing else. A record
 * is stored only when its digest is of it, a set when its digest is of its members; a record under the digest of another
 * would be given to every later call. Results and runs of this journal's own stay as they are, whatever a
 * segment has. A segment that breaks one of these rules is damaged: nothing of it is imported.
 */
import { createHash } from "node:crypto"
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite"

import { artifactsIn } from "../../blobs/Artifact.ts"
import { Status } from "../../journal/Journal.ts"
import * as Segment from "../../journal/JournalSegment.ts"
import * as Sets from "./sets.ts"
import { maxPlaceLength } from "./JournalWriter.ts"
import * as RunNotes from "./runNotes.ts"

type Row = Record<string, unknown>

/** A run as the rows of a segment refer to it. */
interface KnownRun {
  readonly id: number
  /** How many nodes it has: rows refer to them by position. */
  readonly nodes: number
  /** Whether this journal made it: then no segment may change it. */
  readonly own: boolean
  /** Whether an operator of its graph makes what it gives, and is no filter. */
  readonly makes: (name: string, version: string) => boolean
}

/** The statements that write the rows of a segment. */
const tablesOf = (db: DatabaseSync, damaged: (problem: string) => Segment.SegmentDamaged) => {
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

  const insertItem = (digest: string, record: string): { readonly id: number; readonly isNew: boolean } => {
    const { changes, lastInsertRowid } = run(
      "INSERT INTO items(digest, record) VALUES(?,?) ON CONFLICT DO NOTHING",
      Buffer.from(digest, "hex"),
      record,
    )
    return changes === 0 ? { id: known(digest)!, isNew: false } : { id: Number(lastInsertRowid), isNew: true }
  }

  /** A record that has its digest. */
  const item = ([, digest, record, artifacts]: Segment.RowOf<"item">): number => {
    const named = new Set(
      artifactsIn(json(record, `the record of item ${digest}`)).map(({ sha256 }) => sha256),
    )
    const other = artifacts.find((sha256) => !named.has(sha256))
    if (other !== undefined) throw damaged(`the record of item ${digest} does not name the blob ${other}`)
    const { id, isNew } = insertItem(digest, record)
    if (isNew)
      for (const sha256 of artifacts)
        run("INSERT OR IGNORE INTO artifacts VALUES(?,?)", Buffer.from(sha256, "hex"), id)
    return id
  }

  const set = (digest: string, size: number): number => insertItem(digest, Sets.recordOf(size)).id

  const json = (text: string, what: string): unknown => {
    try {
      return JSON.parse(text)
    } catch (cause) {
      throw damaged(`${what} is no JSON: ${(cause as Error).message.slice(0, 200)}`)
    }
  }

  const operator = (
    [, hex, name, version, params, seed, source]: Segment.RowOf<"operator">,
    sides: ReadonlyArray<readonly [string, number]>,
  ): number => {
    json(params, `what the operator ${hex} is bound to`)
    const digest = Buffer.from(hex, "hex")
    const { changes } = run(
      "INSERT INTO operators(digest, name, version, params, seed, source) VALUES(?,?,?,?,?,?) ON CONFLICT DO NOTHING",
      digest,
      name,
      version,
      params,
      seed,
      source,
    )
    const found = get("SELECT * FROM operators WHERE digest = ?", digest)!
    const id = idOf(found)!
    if (changes === 0) {
      // What it is bound to follows from its digest; the text of its `run` does not.
      const bound = prepare("SELECT side, item FROM operator_sides WHERE operator = ? ORDER BY side").all(id)
      const told = sides.toSorted(([a], [b]) => (a < b ? -1 : 1))
      const isSame =
        found["name"] === name &&
        found["version"] === version &&
        found["params"] === params &&
        found["seed"] === seed &&
        JSON.stringify(bound.map((row) => [row["side"], row["item"]])) === JSON.stringify(told)
      if (!isSame) throw damaged(`it gives the operator ${hex} another name or params than this journal has`)
      return id
    }
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

  const ownJournal = get("SELECT journal FROM exported")?.["journal"]

  /** A run of that name and process; where another process has the name, one named after both. */
  const runOf = (row: Segment.RowOf<"run">, journal: string): KnownRun => {
    const [, given, , , , definition, , owner, nodes, endedMs, status, ledger, problem] = row
    const find = (name: string) => get("SELECT id, owner, origin FROM runs WHERE name = ?", name)
    const makes = makersIn(json(definition, `the graph of run ${JSON.stringify(given)}`))
    const taken = find(given)
    const name =
      taken === undefined || taken["owner"] === owner
        ? given
        : `${given}-${createHash("sha256").update(owner).digest("hex").slice(0, 8)}`
    const found = find(name)
    if (found?.["origin"] === null) {
      if (journal !== ownJournal)
        throw damaged(`it has the run ${JSON.stringify(name)}, which this journal made itself`)
      const { count } = get("SELECT count(*) AS count FROM run_nodes WHERE run = ?", idOf(found)!)!
      return { id: idOf(found)!, nodes: count as number, own: true, makes }
    }
    const id = idOf(found) ?? newRun(name, row, journal)
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
    return { id, nodes: nodes.length, own: false, makes }
  }

  /** The row id of a call in the file, and whether it is the one that was given. */
  const call = (given: GivenCall): { readonly id: number; readonly isNew: boolean } => {
    const [, , , , , status, , reason, detail, attempts, startedMs, ms, place, replaced] = given.row
    const passed = given.passed ? 1 : 0
    const insert = (id: number | null) =>
      run(
        `INSERT INTO calls(id, input, operator, status, output, reason, detail, attempts, started_ms, ms, run, place, passed)
         VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING`,
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
        passed,
      )
    const { changes, lastInsertRowid } = insert(null)
    if (changes > 0) return { id: Number(lastInsertRowid), isNew: true }
    const existing = get(
      `SELECT calls.id, calls.status, calls.started_ms, runs.origin FROM calls LEFT JOIN runs ON runs.id = calls.run
       WHERE calls.input = ? AND calls.operator = ?`,
      given.input,
      given.operator,
    )!
    const id = idOf(existing)!
    const givesWay =
      existing["status"] === Status.failed
        ? status !== Status.failed
        : replaced === 1 && existing["origin"] !== null && (existing["started_ms"] as number) < startedMs
    if (!givesWay) return { id, isNew: false }
    for (const table of ["call_outputs", "output_parents", "call_drops"])
      run(`DELETE FROM ${table} WHERE call = ?`, id)
    run("DELETE FROM calls WHERE id = ?", id)
    insert(id)
    return { id, isNew: true }
  }

  return { run, get, idOf, known, item, set, operator, runOf, call }
}

/** The operators of a graph (its JSON) that make what they give. */
const makersIn = (definition: unknown): ((name: string, version: string) => boolean) => {
  const fieldsOf = (value: unknown): { readonly [field: string]: unknown } =>
    typeof value === "object" && value !== null ? (value as { readonly [field: string]: unknown }) : {}
  let makers: Set<string> | undefined
  return (name, version) => {
    makers ??= new Set(
      Object.values(fieldsOf(fieldsOf(definition)["nodes"]))
        .map(fieldsOf)
        .filter(({ cardinality }) => typeof cardinality === "string" && cardinality !== "filter")
        .map((node) => JSON.stringify([node["operator"], node["version"]])),
    )
    return makers.has(JSON.stringify([name, version]))
  }
}

/** A call whose rows are all there, by row ids. */
interface GivenCall {
  readonly row: Segment.RowOf<"call">
  readonly input: number
  readonly operator: number
  readonly run: number
  readonly output: number | null
  readonly passed: boolean
}

/** A call, and the rows that follow it. */
interface PendingCall {
  readonly row: Segment.RowOf<"call">
  readonly outputs: Array<number>
  readonly passed: Array<number>
  readonly parents: Array<readonly [position: number, items: ReadonlyArray<number>]>
  readonly drops: Array<readonly [item: number, reason: string, detail: string]>
}

/** An item as the rows of a segment refer to it. */
interface KnownItem {
  readonly digest: string
  /** Undefined where the journal has no such row. */
  id: number | undefined
}

/** A set whose members follow. */
interface PendingSet {
  readonly item: KnownItem
  readonly size: number
  readonly members: Array<number>
}

/** @returns how many references of the segment lead to rows that are not in the journal */
const importRows = (db: DatabaseSync, name: string, bytes: Uint8Array): number => {
  const damaged = (problem: string) => new Segment.SegmentDamaged({ segment: name, problem })
  const tables = tablesOf(db, damaged)
  const segment = Segment.read(name, bytes)
  // By number in the segment.
  const items: Array<KnownItem> = []
  const sets = new Map<number, PendingSet>()
  const operators: Array<{
    readonly id: number | undefined
    readonly name: string
    readonly version: string
  }> = []
  const runs: Array<KnownRun> = []
  let missing = 0
  let pending: PendingCall | undefined

  const numbered = <A>(all: ReadonlyArray<A>, number: number, what: string): A => {
    if (number >= all.length) throw damaged(`it refers to ${what} ${number} before it is there`)
    return all[number]!
  }
  const item = (number: number): number | undefined => {
    const set = sets.get(number)
    if (set !== undefined) finishSet(number, set)
    return numbered(items, number, "item").id
  }
  const operator = (number: number) => numbered(operators, number, "operator")
  const run = (number: number) => numbered(runs, number, "run")
  const nodeOf = ({ nodes }: KnownRun, node: number): number => {
    if (node >= nodes) throw damaged(`it refers to node ${node} of a run that has ${nodes}`)
    return node
  }
  const present = (numbers: ReadonlyArray<number>): ReadonlyArray<number> =>
    numbers.map(item).filter((id) => id !== undefined)
  const open = (): PendingCall => {
    if (pending === undefined) throw damaged("it goes on with a call before there is one")
    return pending
  }

  const newItem = (row: Segment.RowOf<"item">): void => {
    const [, digest, record, artifacts] = row
    if (Sets.isRecord(digest, record)) {
      items.push({ digest, id: tables.item(row) })
      return
    }
    const size = Sets.sizeOf(digest, record)
    if (size === undefined || artifacts.length > 0)
      throw damaged(`the digest ${digest} is not that of the record it comes with`)
    const set: KnownItem = { digest, id: undefined }
    sets.set(items.length, { item: set, size, members: [] })
    items.push(set)
  }

  /** Writes a set whose members are those of its digest. One that comes without them is known from elsewhere, or missing. */
  const finishSet = (number: number, { item: set, members, size }: PendingSet): void => {
    sets.delete(number)
    // Earlier versions do not have how often a set has a member.
    const isUntold = segment.version < Segment.versionWithTimes && members.length < size
    if ((members.length === 0 && size > 0) || isUntold) {
      set.id = tables.known(set.digest)
      return
    }
    const digests = members.map((member) => numbered(items, member, "item").digest)
    if (members.length !== size || Sets.digestOf(digests) !== set.digest)
      throw damaged(`the digest ${set.digest} is not that of the set it comes with`)
    set.id = tables.set(set.digest, size)
    const times = new Map<number, number>()
    for (const member of members) {
      const id = item(member)
      if (id === undefined) missing++
      else times.set(id, (times.get(id) ?? 0) + 1)
    }
    for (const [member, count] of times) tables.run(Sets.insertMember, set.id, member, count)
  }

  /** Writes the call above, whole or not at all. */
  const finishCall = (): void => {
    if (pending === undefined) return
    const { drops, outputs, parents, passed, row } = pending
    pending = undefined
    const [, inputNumber, operatorNumber, runNumber, nodes, status, outputNumber] = row
    const input = item(inputNumber)
    const by = operator(operatorNumber)
    const madeIn = run(runNumber)
    for (const node of nodes) nodeOf(madeIn, node)
    if (status !== Status.done && (outputNumber !== null || outputs.length > 0))
      throw damaged("a call that is not done gives something")
    if (outputNumber !== null && outputs.length > 0) throw damaged("a call gives one output and several")
    for (const position of [...passed, ...parents.map(([at]) => at)])
      if (position >= outputs.length) throw damaged(`it refers to output ${position} of ${outputs.length}`)
    const output = outputNumber === null ? null : item(outputNumber)
    const named = [...outputs, ...parents.flatMap(([, all]) => all), ...drops.map(([dropped]) => dropped)]
    const absent = named.length - present(named).length
    if (input === undefined || by.id === undefined || output === undefined || absent > 0) {
      missing += Math.max(1, absent)
      return
    }
    // Only the input itself, or a member of it, can be passed on.
    const parentsAt = new Map<number, Set<number | undefined>>()
    for (const [position, all] of parents) {
      const there = parentsAt.get(position) ?? new Set()
      parentsAt.set(position, there)
      for (const parent of all) there.add(item(parent))
    }
    const isParentAlone = (position: number): boolean => {
      const there = parentsAt.get(position)
      return there?.size === 1 && there.has(item(outputs[position]!))
    }
    const positions = new Set(passed)
    const isForged = [...positions].some((position) => !isParentAlone(position))
    if (isForged || (row[14] === 1 && output !== input))
      throw damaged("a call passes on what it did not take")
    const tells = segment.version >= Segment.versionWithPassed
    const passesOn = tells
      ? row[14] === 1
      : output !== null && output === input && !madeIn.makes(by.name, by.version)
    const { id, isNew } = tables.call({
      row,
      input,
      operator: by.id,
      run: madeIn.id,
      output,
      passed: passesOn,
    })
    if (!madeIn.own)
      for (const node of nodes)
        tables.run("INSERT OR IGNORE INTO run_calls VALUES(?,?,?,0)", madeIn.id, node, id)
    if (!isNew) return
    outputs.forEach((out, position) => {
      const isPassed = tells ? positions.has(position) : isParentAlone(position)
      tables.run("INSERT INTO call_outputs VALUES(?,?,?,?)", id, position, item(out)!, isPassed ? 1 : 0)
    })
    for (const [position, all] of parents)
      for (const parent of all)
        tables.run("INSERT OR IGNORE INTO output_parents VALUES(?,?,?)", id, position, item(parent)!)
    for (const [dropped, reason, detail] of drops)
      tables.run("INSERT OR IGNORE INTO call_drops VALUES(?,?,?,?)", id, item(dropped)!, reason, detail)
  }

  const used = ([, runNumber, node, cached, operatorNumber, inputs]: Segment.RowOf<"used">): void => {
    const by = operator(operatorNumber).id
    const inRun = run(runNumber)
    nodeOf(inRun, node)
    for (const number of inputs) {
      const input = item(number)
      const call =
        input === undefined || by === undefined
          ? undefined
          : tables.idOf(tables.get("SELECT id FROM calls WHERE input = ? AND operator = ?", input, by))
      if (call === undefined) missing++
      else if (!inRun.own)
        tables.run("INSERT OR IGNORE INTO run_calls VALUES(?,?,?,?)", inRun.id, node, call, cached)
    }
  }

  const apply = (row: Segment.Row): void => {
    switch (row[0]) {
      case "item":
        return newItem(row)
      case "known": {
        items.push({ digest: row[1], id: tables.known(row[1]) })
        return
      }
      case "members": {
        const set = sets.get(row[1])
        if (set === undefined)
          throw damaged(`it gives members to item ${row[1]}, which is no set that it carries`)
        for (const member of row[2]) set.members.push(member)
        return
      }
      case "operator": {
        const [, , operatorName, operatorVersion] = row
        const sides = row[7].map(([side, number]) => [side, item(number)] as const)
        const all = sides.filter((side): side is readonly [string, number] => side[1] !== undefined)
        // Without one of its sides it would be another operator to lineage.
        const id = all.length === sides.length ? tables.operator(row, all) : undefined
        operators.push({ id, name: operatorName, version: operatorVersion })
        return
      }
      case "run":
        runs.push(tables.runOf(row, segment.journal))
        return
      case "call":
        pending = { row, outputs: [], passed: [], parents: [], drops: [] }
        return
      case "outputs": {
        const { outputs } = open()
        for (const number of row[1]) outputs.push(number)
        return
      }
      case "passed": {
        const { passed } = open()
        for (const position of row[1]) passed.push(position)
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
      case "failures": {
        const inRun = run(row[1])
        nodeOf(inRun, row[2])
        for (const [number, reason, detail, startedMs] of row[3]) {
          const failed = item(number)
          if (failed === undefined) missing++
          else if (!inRun.own)
            tables.run(
              `INSERT INTO failures VALUES(?,?,?,?,?,?) ON CONFLICT DO UPDATE
               SET reason = excluded.reason, detail = excluded.detail, started_ms = excluded.started_ms
               WHERE excluded.started_ms > failures.started_ms`,
              inRun.id,
              row[2],
              failed,
              reason,
              detail,
              startedMs,
            )
        }
        return
      }
      case "notes": {
        const inRun = run(row[1])
        if (!inRun.own)
          tables.run("UPDATE runs SET notes = ? WHERE id = ?", RunNotes.encode(row[2]), inRun.id)
        return
      }
      case "ports": {
        const inRun = run(row[1])
        const found = present(row[3])
        missing += row[3].length - found.length
        if (!inRun.own)
          for (const id of found)
            tables.run("INSERT OR IGNORE INTO run_items VALUES(?,?,?)", inRun.id, row[2], id)
        return
      }
      case "end":
        return
    }
  }

  for (const row of segment.rows) {
    if (!continuesCall.has(row[0])) finishCall()
    apply(row)
  }
  finishCall()
  for (const [number, set] of sets) finishSet(number, set)
  return missing
}

/** Rows that belong to the call above them. */
const continuesCall: ReadonlySet<string> = new Set(["outputs", "passed", "parents", "drops"])

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
    throw isOfContent(cause) ? new Segment.SegmentDamaged({ segment: name, problem: cause.message }) : cause
  }
}

/** SQLITE_TOOBIG, CONSTRAINT, MISMATCH, RANGE, and what is too long or too large for this process: of what was read. */
const isOfContent = (cause: unknown): cause is Error => {
  if (cause instanceof RangeError) return true
  const code = (cause as { readonly errcode?: unknown } | null)?.errcode
  return cause instanceof Error && typeof code === "number" && [18, 19, 20, 25].includes(code & 0xff)
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
