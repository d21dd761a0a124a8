/** What is read from the journal: prepared statements on a connection of its own. */
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite"

import { type BoundOperator, type Hit, JournalError, type Refusal, type Run, type Step } from "../Journal.ts"
import { ownerIsAlive } from "./processIdentity.ts"
import * as RunNotes from "./runNotes.ts"

type Row = Record<string, unknown>

const hex = (blob: unknown): string => Buffer.from(blob as Uint8Array).toString("hex")
const text = (value: unknown): string | undefined => (value === null ? undefined : (value as string))

/** @throws JournalError from every function, when the file cannot be read */
export const make = (db: DatabaseSync, file: string) => {
  const statements = new Map<string, StatementSync>()
  const prepare = (sql: string): StatementSync => {
    let statement = statements.get(sql)
    if (statement === undefined) statements.set(sql, (statement = db.prepare(sql)))
    return statement
  }
  const attempt = <A>(read: () => A): A => {
    try {
      return read()
    } catch (cause) {
      throw new JournalError({ file, action: "read", problem: (cause as Error).message })
    }
  }
  const all = (sql: string, ...values: Array<SQLInputValue>): Array<Row> =>
    attempt(() => prepare(sql).all(...values))
  const get = (sql: string, ...values: Array<SQLInputValue>): Row | undefined =>
    attempt(() => prepare(sql).get(...values))

  const outputsOf = (call: number, single: unknown): ReadonlyArray<number> =>
    single === null
      ? all("SELECT item FROM call_outputs WHERE call = ? ORDER BY position", call).map(
          (row) => row["item"] as number,
        )
      : [single as number]

  const find = (input: number, operator: number): Hit | undefined => {
    const row = get(
      "SELECT id, status, output, reason, detail FROM calls WHERE input = ? AND operator = ?",
      input,
      operator,
    )
    if (row === undefined) return undefined
    const call = row["id"] as number
    return {
      call,
      status: row["status"] as Hit["status"],
      outputs: outputsOf(call, row["output"]),
      reason: text(row["reason"]),
      detail: text(row["detail"]),
    }
  }

  const operatorOf = (row: Row): BoundOperator => ({
    id: row["operator"] as number,
    digest: hex(row["operator_digest"]),
    name: row["operator_name"] as string,
    version: row["operator_version"] as string,
    params: row["operator_params"] as string,
    seed: row["operator_seed"] === null ? undefined : (row["operator_seed"] as number),
    source: row["operator_source"] as string,
  })
  const stepColumns = `calls.id AS call, calls.input, calls.output, calls.status, calls.reason, calls.detail, calls.started_ms, calls.ms, calls.place,
    runs.name AS run, operators.id AS operator, operators.digest AS operator_digest, operators.name AS operator_name,
    operators.version AS operator_version, operators.params AS operator_params, operators.seed AS operator_seed, operators.source AS operator_source`
  const stepJoins = "JOIN operators ON operators.id = calls.operator LEFT JOIN runs ON runs.id = calls.run"
  const step = (row: Row, inputs: ReadonlyArray<number>, outputs: ReadonlyArray<number>): Step => ({
    call: row["call"] as number,
    operator: operatorOf(row),
    status: row["status"] as Step["status"],
    reason: text(row["reason"]),
    detail: text(row["detail"]),
    startedMs: row["started_ms"] as number,
    ms: row["ms"] as number,
    place: text(row["place"]),
    run: (row["run"] as string | null) ?? "?",
    inputs,
    outputs,
  })
  const sidesOf = (operator: number): ReadonlyArray<number> =>
    all("SELECT item FROM operator_sides WHERE operator = ?", operator).flatMap((row) =>
      members(row["item"] as number),
    )
  /** The members of a set, or the item itself. */
  const members = (item: number): ReadonlyArray<number> => {
    const found = all("SELECT item FROM set_members WHERE set_id = ? ORDER BY item", item).map(
      (row) => row["item"] as number,
    )
    return found.length === 0 ? [item] : found
  }

  const producers = (item: number): ReadonlyArray<Step> => {
    const direct = all(
      `SELECT ${stepColumns} FROM calls ${stepJoins} WHERE calls.output = ? ORDER BY calls.id`,
      item,
    ).map((row) => step(row, [row["input"] as number, ...sidesOf(row["operator"] as number)], [item]))
    const several = all(
      `SELECT ${stepColumns}, call_outputs.position FROM call_outputs JOIN calls ON calls.id = call_outputs.call ${stepJoins} WHERE call_outputs.item = ? ORDER BY calls.id`,
      item,
    ).map((row) => {
      const parents = all(
        "SELECT item FROM output_parents WHERE call = ? AND position = ?",
        row["call"] as number,
        row["position"] as number,
      ).map((parent) => parent["item"] as number)
      return step(
        row,
        [
          ...(parents.length > 0 ? parents : members(row["input"] as number)),
          ...sidesOf(row["operator"] as number),
        ],
        [item],
      )
    })
    return [...direct, ...several]
  }

  const consumers = (item: number): ReadonlyArray<Step> => {
    const direct = all(
      `SELECT ${stepColumns} FROM calls ${stepJoins} WHERE calls.input = ? ORDER BY calls.id`,
      item,
    ).map((row) => step(row, [item], outputsOf(row["call"] as number, row["output"])))
    const collected = all(
      `SELECT ${stepColumns} FROM set_members JOIN calls ON calls.input = set_members.set_id ${stepJoins} WHERE set_members.item = ? ORDER BY calls.id`,
      item,
    ).map((row) => {
      const call = row["call"] as number
      const made = all(
        "SELECT call_outputs.item FROM output_parents JOIN call_outputs ON call_outputs.call = output_parents.call AND call_outputs.position = output_parents.position WHERE output_parents.call = ? AND output_parents.item = ? ORDER BY call_outputs.position",
        call,
        item,
      ).map((output) => output["item"] as number)
      const dropped = get("SELECT reason, detail FROM call_drops WHERE call = ? AND item = ?", call, item)
      const result = step(row, [item], made)
      return dropped === undefined
        ? result
        : {
            ...result,
            status: 1 as const,
            reason: dropped["reason"] as string,
            detail: dropped["detail"] as string,
          }
    })
    // CROSS JOIN keeps the order: most items are nobody's side input, and calls have no index by operator.
    const asSide = all(
      `SELECT ${stepColumns} FROM operator_sides CROSS JOIN calls ON calls.operator = operator_sides.operator ${stepJoins}
       WHERE operator_sides.item IN (SELECT ? UNION ALL SELECT set_id FROM set_members WHERE item = ?) ORDER BY calls.id`,
      item,
      item,
    ).map((row) => step(row, [item], outputsOf(row["call"] as number, row["output"])))
    return [...direct, ...collected, ...asSide]
  }

  const runOf = (row: Row): Run => ({
    id: row["id"] as number,
    name: row["name"] as string,
    graph: row["graph"] as string,
    version: row["version"] as string,
    digest: row["digest"] as string,
    definition: row["definition"] as string,
    startedMs: row["started_ms"] as number,
    endedMs: row["ended_ms"] === null ? undefined : (row["ended_ms"] as number),
    status:
      row["status"] === "running" && ownerIsAlive(row["owner"] as string) === false
        ? "killed"
        : (row["status"] as Run["status"]),
    ledger: row["ledger"] as string,
    problem: text(row["problem"]),
    notes: attempt(() => RunNotes.decode(row["notes"] as string)),
  })
  const refusalOf = (row: Row): Refusal => ({
    node: row["node"] as string,
    item: row["item"] as number,
    reason: text(row["reason"]) ?? "",
    detail: text(row["detail"]) ?? "",
  })
  const itemOf = (row: Row | undefined) =>
    row === undefined
      ? undefined
      : { id: row["id"] as number, digest: hex(row["digest"]), record: row["record"] as string }

  return {
    find,
    drops: (call: number) =>
      all("SELECT item, reason, detail FROM call_drops WHERE call = ? ORDER BY item", call).map((row) => ({
        item: row["item"] as number,
        reason: row["reason"] as string,
        detail: row["detail"] as string,
      })),
    item: (id: number) => itemOf(get("SELECT id, digest, record FROM items WHERE id = ?", id)),
    itemByDigest: (digest: string) =>
      itemOf(get("SELECT id, digest, record FROM items WHERE digest = ?", Buffer.from(digest, "hex"))),
    startingWith: (prefix: string) => {
      const range = ["0", "f"].map((digit) => Buffer.from(prefix.padEnd(64, digit), "hex")) as [
        Buffer,
        Buffer,
      ]
      return {
        items: all("SELECT id FROM items WHERE digest BETWEEN ? AND ? LIMIT 10", ...range).map(
          (row) => row["id"] as number,
        ),
        artifacts: all(
          "SELECT DISTINCT sha256 FROM artifacts WHERE sha256 BETWEEN ? AND ? LIMIT 10",
          ...range,
        ).map((row) => hex(row["sha256"])),
      }
    },
    boundOperator: (digest: string) =>
      get("SELECT id FROM operators WHERE digest = ?", Buffer.from(digest, "hex"))?.["id"] as
        | number
        | undefined,
    earlier: (input: number, name: string) => {
      const row = get(
        "SELECT operators.version, operators.params, operators.seed, calls.status, calls.reason FROM calls JOIN operators ON operators.id = calls.operator WHERE calls.input = ? AND operators.name = ? ORDER BY calls.id DESC LIMIT 1",
        input,
        name,
      )
      return row === undefined
        ? undefined
        : {
            version: row["version"] as string,
            params: row["params"] as string,
            seed: row["seed"] === null ? undefined : (row["seed"] as number),
            status: row["status"] as Hit["status"],
            reason: text(row["reason"]),
          }
    },
    history: (name: string, version: string) => {
      const row = get(
        `SELECT count(*) AS calls, avg(ms) AS mean FROM (SELECT ms FROM calls JOIN operators ON operators.id = calls.operator
         WHERE operators.name = ? AND operators.version = ? AND calls.status = 0 ORDER BY calls.id DESC LIMIT 1000)`,
        name,
        version,
      )
      return {
        calls: (row?.["calls"] as number | undefined) ?? 0,
        meanMs: (row?.["mean"] as number | null | undefined) ?? 0,
      }
    },
    sources: (name: string, version: string) =>
      all("SELECT DISTINCT source FROM operators WHERE name = ? AND version = ?", name, version).map(
        (row) => row["source"] as string,
      ),
    runs: () => all("SELECT * FROM runs ORDER BY id").map(runOf),
    run: (name: string) => {
      const row = get("SELECT * FROM runs WHERE name = ?", name)
      return row === undefined ? undefined : runOf(row)
    },
    failures: (run: number) =>
      all(
        `SELECT run_nodes.name AS node, failures.item, failures.reason, failures.detail FROM failures
         JOIN run_nodes ON run_nodes.run = failures.run AND run_nodes.node = failures.node WHERE failures.run = ? ORDER BY failures.node, failures.item`,
        run,
      ).map(refusalOf),
    dropped: (run: number) =>
      all(
        `SELECT run_nodes.name AS node, calls.input AS item, calls.reason, calls.detail FROM run_calls JOIN calls ON calls.id = run_calls.call
         JOIN run_nodes ON run_nodes.run = run_calls.run AND run_nodes.node = run_calls.node WHERE run_calls.run = ? AND calls.status = 1
         UNION ALL SELECT run_nodes.name, call_drops.item, call_drops.reason, call_drops.detail FROM run_calls JOIN call_drops ON call_drops.call = run_calls.call
         JOIN run_nodes ON run_nodes.run = run_calls.run AND run_nodes.node = run_calls.node WHERE run_calls.run = ?`,
        run,
        run,
      ).map(refusalOf),
    runItems: (run: number, port: string) =>
      all("SELECT item FROM run_items WHERE run = ? AND port = ?", run, port).map(
        (row) => row["item"] as number,
      ),
    runPorts: (run: number) =>
      all("SELECT DISTINCT port FROM run_items WHERE run = ?", run).map((row) => row["port"] as string),
    places: (run: number) =>
      all(
        `SELECT DISTINCT calls.place FROM run_calls JOIN calls ON calls.id = run_calls.call AND calls.run = run_calls.run
         WHERE run_calls.run = ? AND calls.place IS NOT NULL`,
        run,
      ).map((row) => row["place"] as string),
    itemsOfArtifact: (sha256: string) =>
      all("SELECT item FROM artifacts WHERE sha256 = ?", Buffer.from(sha256, "hex")).map(
        (row) => row["item"] as number,
      ),
    madeArtifacts: (after: string, limit: number) =>
      all(
        "SELECT DISTINCT sha256 FROM artifacts WHERE sha256 > ? AND (EXISTS (SELECT 1 FROM calls WHERE calls.output = artifacts.item) OR EXISTS (SELECT 1 FROM call_outputs WHERE call_outputs.item = artifacts.item)) ORDER BY sha256 LIMIT ?",
        Buffer.from(after, "hex"),
        limit,
      ).map((row) => hex(row["sha256"])),
    producers,
    consumers,
    runsOfCall: (call: number) =>
      all(
        "SELECT DISTINCT runs.id, runs.name FROM runs JOIN run_nodes ON run_nodes.run = runs.id JOIN run_calls ON run_calls.run = runs.id AND run_calls.node = run_nodes.node AND run_calls.call = ? ORDER BY runs.id",
        call,
      ).map((row) => row["name"] as string),
  }
}
