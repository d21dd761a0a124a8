/**
 * The one place that writes the journal: synchronous statements on one connection, several requests to a
 * transaction. It runs in a thread of its own for files, and inline in memory.
 */
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite"

import type {
  CallRow,
  Committed,
  NewItem,
  OperatorRow,
  RunEnd,
  RunRow,
  StoredItem,
} from "../../journal/Journal.ts"
import * as Sets from "./sets.ts"
import { uniqueName } from "../processIdentity.ts"
import * as RunNotes from "./runNotes.ts"

/** What the journal is asked to write. Results are in the order of the requests. */
export type Request =
  | {
      readonly _tag: "Calls"
      readonly run: number
      readonly node: number
      readonly rows: ReadonlyArray<CallRow>
    }
  | {
      readonly _tag: "Hits"
      readonly run: number
      readonly node: number
      readonly calls: ReadonlyArray<number>
    }
  | {
      readonly _tag: "Items"
      readonly run: number
      readonly port: string
      readonly items: ReadonlyArray<NewItem>
    }
  | {
      readonly _tag: "Outputs"
      readonly run: number
      readonly port: string
      readonly items: ReadonlyArray<number>
    }
  | { readonly _tag: "Set"; readonly digest: string; readonly members: ReadonlyArray<number> }
  | { readonly _tag: "Operator"; readonly row: OperatorRow }
  | { readonly _tag: "BeginRun"; readonly row: RunRow }
  | { readonly _tag: "EndRun"; readonly run: number; readonly end: RunEnd }

export interface Response {
  readonly Calls: ReadonlyArray<Committed>
  readonly Hits: null
  readonly Items: ReadonlyArray<number>
  readonly Outputs: null
  readonly Set: StoredItem
  readonly Operator: number
  readonly BeginRun: number
  readonly EndRun: null
}

const failed = 2

/** Characters of a call's `place` that are stored. */
export const maxPlaceLength = 400

export class JournalWriter {
  readonly #db: DatabaseSync
  readonly #statements = new Map<string, StatementSync>()

  constructor(db: DatabaseSync) {
    this.#db = db
  }

  /** Runs requests in one transaction. When it throws, nothing is written. */
  transact(requests: ReadonlyArray<Request>): ReadonlyArray<Response[Request["_tag"]]> {
    this.#db.exec("BEGIN IMMEDIATE")
    try {
      const responses = requests.map((request) => this.#apply(request))
      this.#db.exec("COMMIT")
      return responses
    } catch (cause) {
      if (this.#db.isTransaction) this.#db.exec("ROLLBACK")
      throw cause
    }
  }

  #apply(request: Request): Response[Request["_tag"]] {
    switch (request._tag) {
      case "Calls":
        return request.rows.map((row) => this.#call(request.run, request.node, row))
      case "Hits":
        for (const call of request.calls) this.#runCall(request.run, request.node, call, 1)
        return null
      case "Items":
        return request.items.map((item) => {
          const id = this.#item(item)
          this.#run("INSERT OR IGNORE INTO run_items VALUES(?,?,?)", request.run, `in:${request.port}`, id)
          return id
        })
      case "Outputs":
        for (const item of request.items) {
          this.#run("INSERT OR IGNORE INTO run_items VALUES(?,?,?)", request.run, `out:${request.port}`, item)
        }
        return null
      case "Set":
        return this.#set(request.digest, request.members)
      case "Operator":
        return this.#operator(request.row)
      case "BeginRun":
        return this.#beginRun(request.row)
      case "EndRun": {
        const { end } = request
        this.#run(
          "UPDATE runs SET ended_ms = ?, status = ?, ledger = ?, problem = ?, notes = ? WHERE id = ?",
          end.endedMs,
          end.status,
          end.ledger,
          end.problem ?? null,
          RunNotes.encode(end.notes ?? []),
          request.run,
        )
        return null
      }
    }
  }

  #prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql)
    if (statement === undefined) this.#statements.set(sql, (statement = this.#db.prepare(sql)))
    return statement
  }

  #run(sql: string, ...values: Array<SQLInputValue>) {
    return this.#prepare(sql).run(...values)
  }

  #item(item: NewItem): number {
    const digest = Buffer.from(item.digest, "hex")
    const { changes, lastInsertRowid } = this.#run(
      "INSERT INTO items(digest, record) VALUES(?,?) ON CONFLICT DO NOTHING",
      digest,
      item.record,
    )
    if (changes === 0)
      return this.#prepare("SELECT id FROM items WHERE digest = ?").get(digest)!["id"] as number
    const id = Number(lastInsertRowid)
    for (const sha256 of item.artifacts) {
      this.#run("INSERT OR IGNORE INTO artifacts VALUES(?,?)", Buffer.from(sha256, "hex"), id)
    }
    return id
  }

  #set(digest: string, members: ReadonlyArray<number>): StoredItem {
    const record = Sets.recordOf(members.length)
    const id = this.#item({ digest, record, artifacts: [] })
    const times = new Map<number, number>()
    for (const member of members) times.set(member, (times.get(member) ?? 0) + 1)
    for (const [member, count] of times) this.#run(Sets.insertMember, id, member, count)
    return { id, digest, record }
  }

  /** The digest is of what is bound here: it replaces what came with a segment before. */
  #operator(row: OperatorRow): number {
    const digest = Buffer.from(row.digest, "hex")
    const seed = row.seed ?? null
    this.#run(
      `INSERT INTO operators(digest, name, version, params, seed, source) VALUES(?,?,?,?,?,?) ON CONFLICT DO UPDATE
       SET name = excluded.name, version = excluded.version, params = excluded.params, seed = excluded.seed
       WHERE (name, version, params) <> (excluded.name, excluded.version, excluded.params) OR seed IS NOT excluded.seed`,
      digest,
      row.name,
      row.version,
      row.params,
      seed,
      row.source,
    )
    const id = this.#prepare("SELECT id FROM operators WHERE digest = ?").get(digest)!["id"] as number
    const sides = Object.entries(row.sides)
    for (const [side, item] of sides)
      this.#run("INSERT OR REPLACE INTO operator_sides VALUES(?,?,?)", id, side, item)
    const { count } = this.#prepare("SELECT count(*) AS count FROM operator_sides WHERE operator = ?").get(
      id,
    )!
    if (count === sides.length) return id
    for (const { side } of this.#prepare("SELECT side FROM operator_sides WHERE operator = ?").all(id))
      if (!Object.hasOwn(row.sides, side as string))
        this.#run("DELETE FROM operator_sides WHERE operator = ? AND side = ?", id, side as string)
    return id
  }

  #beginRun(row: RunRow): number {
    const { lastInsertRowid } = this.#run(
      "INSERT INTO runs(name, graph, version, digest, definition, started_ms, owner, status, ledger) VALUES(?,?,?,?,?,?,?,'running','{}')",
      row.name,
      row.graph,
      row.version,
      row.digest,
      row.definition,
      row.startedMs,
      uniqueName(),
    )
    const run = Number(lastInsertRowid)
    row.nodes.forEach((name, node) => this.#run("INSERT INTO run_nodes VALUES(?,?,?)", run, node, name))
    return run
  }

  #runCall(run: number, node: number, call: number, cached: 0 | 1): void {
    this.#run("INSERT OR IGNORE INTO run_calls VALUES(?,?,?,?)", run, node, call, cached)
  }

  /**
   * Writes a call, unless its result is already there: then the result that was first is the one that counts,
   * so that two runs at once agree. A failure, and a result whose blobs are lost, gives way to what comes after it.
   */
  #call(run: number, node: number, row: CallRow): Committed {
    const outputs = row.outputs.map((output): number =>
      typeof output === "number" ? output : this.#item(output),
    )
    const single = outputs.length === 1 && row.parents === undefined ? outputs[0]! : null
    // What is given by its row id was there before: it is passed on. A record that the call made may equal one.
    const passed = (position: number): 0 | 1 => (typeof row.outputs[position] === "number" ? 1 : 0)
    const insert = (id: number | null) =>
      this.#run(
        `INSERT INTO calls(id, input, operator, status, output, reason, detail, attempts, started_ms, ms, run, place, passed)
         VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING`,
        id,
        row.input,
        row.operator,
        row.status,
        single,
        row.reason ?? null,
        row.detail ?? null,
        row.attempts,
        row.startedMs,
        row.ms,
        run,
        row.place?.slice(0, maxPlaceLength) ?? null,
        single === null ? 0 : passed(0),
      )
    let { changes, lastInsertRowid } = insert(null)
    if (changes === 0) {
      const existing = this.#prepare(
        "SELECT id, status, output FROM calls WHERE input = ? AND operator = ?",
      ).get(row.input, row.operator)!
      const call = existing["id"] as number
      if (existing["status"] !== failed && call !== row.replaces) {
        this.#runCall(run, node, call, 1)
        return this.#adopted(call, existing["status"] as number, existing["output"] as number | null)
      }
      for (const table of ["call_outputs", "output_parents", "call_drops"])
        this.#run(`DELETE FROM ${table} WHERE call = ?`, call)
      this.#run("DELETE FROM calls WHERE id = ?", call)
      lastInsertRowid = insert(call).lastInsertRowid
      const replaced = existing["status"] === failed ? 0 : 1
      this.#run("INSERT INTO changed_calls(call, replaced) VALUES(?,?)", call, replaced)
    }
    const call = Number(lastInsertRowid)
    if (row.status === failed) {
      this.#run(
        "INSERT OR REPLACE INTO failures VALUES(?,?,?,?,?,?)",
        run,
        node,
        row.input,
        row.reason ?? "",
        row.detail ?? "",
        row.startedMs,
      )
    }
    if (single === null) {
      outputs.forEach((item, position) => {
        this.#run("INSERT INTO call_outputs VALUES(?,?,?,?)", call, position, item, passed(position))
        for (const parent of row.parents?.[position] ?? [])
          this.#run("INSERT OR IGNORE INTO output_parents VALUES(?,?,?)", call, position, parent)
      })
    }
    for (const drop of row.drops ?? [])
      this.#run("INSERT OR IGNORE INTO call_drops VALUES(?,?,?,?)", call, drop.item, drop.reason, drop.detail)
    this.#runCall(run, node, call, 0)
    return { call, outputs, adopted: undefined }
  }

  #adopted(call: number, status: number, output: number | null): Committed {
    const outputs =
      output === null
        ? this.#prepare("SELECT item FROM call_outputs WHERE call = ? ORDER BY position")
            .all(call)
            .map((row) => row["item"] as number)
        : [output]
    return { call, outputs, adopted: status }
  }
}
