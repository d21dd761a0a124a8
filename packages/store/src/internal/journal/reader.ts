/** What is read from the journal: prepared statements on a connection of its own. */
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite"

import {
  type BoundOperator,
  type Dropped,
  type Hit,
  JournalError,
  type Refusal,
  type Run,
  type Step,
} from "../../journal/Journal.ts"
import * as Problem from "./problem.ts"
import * as Sets from "./sets.ts"
import { ownerIsAlive } from "../processIdentity.ts"
import * as RunNotes from "./runNotes.ts"

type Row = Record<string, unknown>

const hex = (blob: unknown): string => Buffer.from(blob as Uint8Array).toString("hex")
const text = (value: unknown): string | undefined => (value === null ? undefined : (value as string))

/** Calls of a node that are looked through one by one. */
const fewCalls = 10_000

/** Items times ports that are looked up one by one. */
const fewLookUps = 500_000

/** Both, each once. */
const union = (some: ReadonlyArray<number>, others: ReadonlyArray<number>): ReadonlyArray<number> =>
  some.length + others.length < 2 ? [...some, ...others] : [...new Set([...some, ...others])]

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
      throw new JournalError({ file, action: "read", problem: Problem.of(cause, file) })
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

  /** Inputs of one statement: what its text and its rows take stays small. */
  const inputsAtOnce = 1024
  const findAll = (inputs: ReadonlyArray<number>, operator: number): ReadonlyMap<number, Hit> => {
    const found = new Map<number, Hit>()
    // CROSS JOIN keeps the order: an operator may have millions of calls.
    const statement = prepare(
      `SELECT calls.input, calls.id, calls.status, calls.output, calls.reason, calls.detail
       FROM json_each(?) AS wanted CROSS JOIN calls ON calls.input = wanted.value AND calls.operator = ?`,
    )
    statement.setReturnArrays(true)
    for (let at = 0; at < inputs.length; at += inputsAtOnce) {
      const wanted = JSON.stringify(inputs.slice(at, at + inputsAtOnce))
      const rows = attempt(() => statement.all(wanted, operator)) as unknown as ReadonlyArray<
        readonly [number, number, Hit["status"], number | null, string | null, string | null]
      >
      for (const [input, call, status, output, reason, detail] of rows)
        found.set(input, {
          call,
          status,
          outputs: outputsOf(call, output),
          reason: text(reason),
          detail: text(detail),
        })
    }
    return found
  }

  const droppedOf = (node: string, row: Row, example: Row): Dropped => ({
    node,
    reason: text(row["reason"]) ?? "",
    count: row["count"] as number,
    example: refusalOf({ ...example, node }),
  })
  const itemOf = (row: Row | undefined) =>
    row === undefined
      ? undefined
      : { id: row["id"] as number, digest: hex(row["digest"]), record: row["record"] as string }

  const operatorOf = (row: Row): BoundOperator => ({
    id: row["operator"] as number,
    digest: hex(row["operator_digest"]),
    name: row["operator_name"] as string,
    version: row["operator_version"] as string,
    params: row["operator_params"] as string,
    seed: row["operator_seed"] === null ? undefined : (row["operator_seed"] as number),
    source: row["operator_source"] as string,
  })
  const stepColumns = `calls.id AS call, calls.input, calls.output, calls.passed, calls.status, calls.reason, calls.detail, calls.started_ms, calls.ms, calls.place,
    runs.name AS run, operators.id AS operator, operators.digest AS operator_digest, operators.name AS operator_name,
    operators.version AS operator_version, operators.params AS operator_params, operators.seed AS operator_seed, operators.source AS operator_source`
  const stepJoins = "JOIN operators ON operators.id = calls.operator LEFT JOIN runs ON runs.id = calls.run"
  const ids = (sql: string, ...values: Array<SQLInputValue>): ReadonlyArray<number> =>
    all(sql, ...values).map((row) => row["item"] as number)
  const members = (item: number): ReadonlyArray<number> | undefined => {
    const found = ids("SELECT item FROM set_members WHERE set_id = ? ORDER BY item", item)
    if (found.length > 0) return found
    const stored = itemOf(get("SELECT id, digest, record FROM items WHERE id = ?", item))
    return stored !== undefined && Sets.sizeOf(stored.digest, stored.record) !== undefined ? [] : undefined
  }
  const sidesOf = (operator: number): ReadonlyArray<number> =>
    ids("SELECT item FROM operator_sides WHERE operator = ?", operator).flatMap(
      (item) => members(item) ?? [item],
    )
  /** What a call gave, and of that what it made. */
  const givenBy = (row: Row) => {
    const { call, output, passed } = row as { call: number; output: number | null; passed: number }
    if (output !== null) return { outputs: [output], made: passed === 1 ? [] : [output] }
    const given = all("SELECT item, passed FROM call_outputs WHERE call = ? ORDER BY position", call)
    const idOf = (one: Row) => one["item"] as number
    const made = new Set(given.filter((one) => one["passed"] === 0).map(idOf))
    return { outputs: given.map(idOf), made: [...made] }
  }

  /** What a row adds to the step of its call: one call gives, and takes, an item in several ways. */
  type Part = Pick<Step, "inputs" | "outputs" | "made" | "passed" | "sideOnly"> &
    Partial<Pick<Step, "status" | "reason" | "detail">>
  const stepsOf = (parts: ReadonlyArray<readonly [row: Row, part: Part]>): ReadonlyArray<Step> => {
    const steps = new Map<number, Step>()
    for (const [row, part] of parts) {
      const call = row["call"] as number
      const before = steps.get(call)
      if (before !== undefined) {
        steps.set(call, {
          ...before,
          inputs: union(before.inputs, part.inputs),
          outputs: union(before.outputs, part.outputs),
          made: union(before.made, part.made),
          passed: before.passed || part.passed,
          sideOnly: before.sideOnly && part.sideOnly,
        })
        continue
      }
      steps.set(call, {
        call,
        operator: operatorOf(row),
        status: row["status"] as Step["status"],
        reason: text(row["reason"]),
        detail: text(row["detail"]),
        startedMs: row["started_ms"] as number,
        ms: row["ms"] as number,
        place: text(row["place"]),
        run: (row["run"] as string | null) ?? "?",
        ...part,
      })
    }
    return [...steps.values()]
  }

  const producers = (item: number): ReadonlyArray<Step> => {
    const partOf = (passed: boolean, from: () => ReadonlyArray<number>): Part => ({
      inputs: passed ? [] : from(),
      outputs: [item],
      made: passed ? [] : [item],
      passed,
      sideOnly: false,
    })
    const direct = all(
      `SELECT ${stepColumns} FROM calls ${stepJoins} WHERE calls.output = ? ORDER BY calls.id`,
      item,
    ).map((row) => {
      const from = () => union([row["input"] as number], sidesOf(row["operator"] as number))
      return [row, partOf(row["passed"] === 1, from)] as const
    })
    const several = all(
      `SELECT ${stepColumns}, call_outputs.position, call_outputs.passed AS passed_on
       FROM call_outputs JOIN calls ON calls.id = call_outputs.call ${stepJoins} WHERE call_outputs.item = ? ORDER BY calls.id`,
      item,
    ).map((row) => {
      const from = () => {
        // A collect records what each output was made from, which may be nothing; its input is a set.
        const parents = ids(
          "SELECT item FROM output_parents WHERE call = ? AND position = ?",
          row["call"] as number,
          row["position"] as number,
        )
        const input = row["input"] as number
        const leads = parents.length > 0 ? parents : members(input) === undefined ? [input] : []
        return union(leads, sidesOf(row["operator"] as number))
      }
      return [row, partOf(row["passed_on"] === 1, from)] as const
    })
    return stepsOf([...direct, ...several])
  }

  const consumers = (item: number): ReadonlyArray<Step> => {
    const direct = all(
      `SELECT ${stepColumns} FROM calls ${stepJoins} WHERE calls.input = ? ORDER BY calls.id`,
      item,
    ).map((row) => {
      const passed = row["passed"] === 1
      return [row, { inputs: [item], ...givenBy(row), passed, sideOnly: false }] as const
    })
    const collected = all(
      `SELECT ${stepColumns} FROM set_members JOIN calls ON calls.input = set_members.set_id ${stepJoins} WHERE set_members.item = ? ORDER BY calls.id`,
      item,
    ).map((row) => {
      const call = row["call"] as number
      const given = all(
        "SELECT call_outputs.item, call_outputs.passed FROM output_parents JOIN call_outputs ON call_outputs.call = output_parents.call AND call_outputs.position = output_parents.position WHERE output_parents.call = ? AND output_parents.item = ? ORDER BY call_outputs.position",
        call,
        item,
      )
      const idOf = (one: Row) => one["item"] as number
      const dropped = get("SELECT reason, detail FROM call_drops WHERE call = ? AND item = ?", call, item)
      const part: Part = {
        inputs: [item],
        outputs: given.map(idOf),
        made: [...new Set(given.filter((one) => one["passed"] === 0).map(idOf))],
        passed: given.some((one) => one["passed"] === 1),
        sideOnly: false,
      }
      if (dropped === undefined) return [row, part] as const
      const reason = dropped["reason"] as string
      return [row, { ...part, status: 1 as const, reason, detail: dropped["detail"] as string }] as const
    })
    // CROSS JOIN keeps the order: most items are no side input, and calls have no index by operator.
    const asSide = all(
      `SELECT ${stepColumns} FROM operator_sides CROSS JOIN calls ON calls.operator = operator_sides.operator ${stepJoins}
       WHERE operator_sides.item IN (SELECT ? UNION ALL SELECT set_id FROM set_members WHERE item = ?) ORDER BY calls.id`,
      item,
      item,
    ).map((row) => {
      const { made } = givenBy(row)
      return [row, { inputs: [item], outputs: made, made, passed: false, sideOnly: true }] as const
    })
    return stepsOf([...direct, ...collected, ...asSide])
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
  /** A node of a run, and how the calls that it dropped are found. */
  interface RunNode {
    readonly node: number
    readonly name: string
    readonly isLarge: boolean
    readonly key: ReadonlyArray<number>
  }
  const nodesOf = (run: number): ReadonlyArray<RunNode> =>
    all("SELECT node, name FROM run_nodes WHERE run = ? ORDER BY node", run).map((row) => {
      const node = row["node"] as number
      const operatorAt = (order: "ASC" | "DESC") =>
        get(
          `SELECT calls.operator FROM run_calls JOIN calls ON calls.id = run_calls.call
           WHERE run_calls.run = ? AND run_calls.node = ? ORDER BY run_calls.call ${order} LIMIT 1`,
          run,
          node,
        )?.["operator"] as number | undefined
      // All of its calls are of one operator, unless journals were mixed up.
      const first = operatorAt("ASC")
      const operator = first === operatorAt("DESC") ? first : undefined
      const isLarge =
        operator !== undefined &&
        get("SELECT 1 FROM run_calls WHERE run = ? AND node = ? LIMIT 1 OFFSET ?", run, node, fewCalls) !==
          undefined
      const key = isLarge ? [run, node, operator] : [run, node]
      return { node, name: row["name"] as string, isLarge, key }
    })
  // CROSS JOIN keeps the order: of many calls of a node, few are dropped, and these have an index.
  const droppedCalls = ({ isLarge }: RunNode): string =>
    isLarge
      ? `calls INDEXED BY calls_dropped CROSS JOIN run_calls ON run_calls.run = ?1 AND run_calls.node = ?2 AND run_calls.call = calls.id
         WHERE calls.operator = ?3 AND calls.status = 1`
      : `run_calls CROSS JOIN calls ON calls.id = run_calls.call WHERE run_calls.run = ?1 AND run_calls.node = ?2 AND calls.status = 1`
  /** What collects took out: from each of their calls to the next, since there are few. */
  const droppedMembers = `(
      WITH RECURSIVE collects(call) AS (
        SELECT min(call) FROM call_drops
        UNION ALL SELECT (SELECT min(call) FROM call_drops WHERE call > collects.call) FROM collects WHERE collects.call IS NOT NULL
      ) SELECT call FROM collects WHERE call IS NOT NULL
    ) AS collects
    CROSS JOIN run_calls ON run_calls.run = ?1 AND run_calls.node = ?2 AND run_calls.call = collects.call
    CROSS JOIN call_drops ON call_drops.call = collects.call`

  /** From each port to the next: there are few, of many items each. */
  const portsOf = (run: number): ReadonlyArray<string> =>
    all(
      `WITH RECURSIVE ports(port) AS (
         SELECT min(port) FROM run_items WHERE run = ?1
         UNION ALL SELECT (SELECT min(port) FROM run_items WHERE run = ?1 AND port > ports.port) FROM ports WHERE ports.port IS NOT NULL
       ) SELECT port FROM ports WHERE port IS NOT NULL`,
      run,
    ).map((row) => row["port"] as string)
  /**
   * The ports of runs that these items went through, in the order of the runs. There is no index of runs by item: it would
   * have to be written with every item. So few items are looked up in each port, and for many each port is read.
   */
  const throughPorts = function* (kind: "in:" | "out:", items: ReadonlyArray<number>) {
    const ports = all("SELECT id, name FROM runs ORDER BY id").flatMap((row) =>
      portsOf(row["id"] as number)
        .filter((port) => port.startsWith(kind))
        .map((port) => ({ id: row["id"] as number, run: row["name"] as string, port })),
    )
    const wanted = new Set(items)
    const list = JSON.stringify([...wanted])
    const isFew = ports.length * wanted.size <= fewLookUps
    for (const { id, port, run } of ports) {
      const found = isFew
        ? ids(
            "SELECT item.value AS item FROM json_each(?3) AS item CROSS JOIN run_items ON run_items.run = ?1 AND run_items.port = ?2 AND run_items.item = item.value",
            id,
            port,
            list,
          )
        : ids("SELECT item FROM run_items WHERE run = ? AND port = ?", id, port)
      for (const item of found) if (wanted.has(item)) yield { item, run, port }
    }
  }

  const refusalOf = (row: Row): Refusal => ({
    node: row["node"] as string,
    item: row["item"] as number,
    reason: text(row["reason"]) ?? "",
    detail: text(row["detail"]) ?? "",
  })
  return {
    find,
    findAll,
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
        "SELECT operators.version, operators.params, operators.seed, operators.source, calls.status, calls.reason FROM calls JOIN operators ON operators.id = calls.operator WHERE calls.input = ? AND operators.name = ? ORDER BY calls.id DESC LIMIT 1",
        input,
        name,
      )
      return row === undefined
        ? undefined
        : {
            version: row["version"] as string,
            params: row["params"] as string,
            seed: row["seed"] === null ? undefined : (row["seed"] as number),
            source: row["source"] as string,
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
    atWork: (graph: string) =>
      all("SELECT * FROM runs WHERE status = 'running' AND graph = ? ORDER BY id", graph)
        .filter((row) => ownerIsAlive(row["owner"] as string) === true)
        .map(runOf),
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
    dropped: (run: number) => {
      const nodes = nodesOf(run)
      const called = nodes.flatMap((node) =>
        all(
          `SELECT calls.input AS item, calls.reason, calls.detail FROM ${droppedCalls(node)} ORDER BY calls.id`,
          ...node.key,
        ).map((row) => refusalOf({ ...row, node: node.name })),
      )
      const collected = nodes.flatMap(({ name, node }) =>
        all(
          `SELECT call_drops.item, call_drops.reason, call_drops.detail FROM ${droppedMembers} ORDER BY call_drops.call, call_drops.item`,
          run,
          node,
        ).map((row) => refusalOf({ ...row, node: name })),
      )
      return [...called, ...collected]
    },
    droppedBy: (run: number) => {
      const nodes = nodesOf(run)
      const called = nodes.flatMap((node) =>
        all(
          `SELECT calls.reason, count(*) AS count, min(calls.id) AS call FROM ${droppedCalls(node)} GROUP BY calls.reason ORDER BY min(calls.id)`,
          ...node.key,
        ).map((row) => {
          const call = row["call"] as number
          return droppedOf(
            node.name,
            row,
            get("SELECT input AS item, reason, detail FROM calls WHERE id = ?", call)!,
          )
        }),
      )
      // Of the only min() the other columns are of its row.
      const collected = nodes.flatMap(({ name, node }) =>
        all(
          `SELECT call_drops.reason, count(*) AS count, min(call_drops.item) AS item, call_drops.detail FROM ${droppedMembers}
           GROUP BY call_drops.reason ORDER BY 3`,
          run,
          node,
        ).map((row) => droppedOf(name, row, row)),
      )
      return [...called, ...collected]
    },
    runItems: (run: number, port: string) =>
      all("SELECT item FROM run_items WHERE run = ? AND port = ?", run, port).map(
        (row) => row["item"] as number,
      ),
    runItemCount: (run: number, port: string) =>
      get("SELECT count(*) AS count FROM run_items WHERE run = ? AND port = ?", run, port)![
        "count"
      ] as number,
    runPorts: portsOf,
    givenBy: (items: ReadonlyArray<number>) => {
      const found = new Map<number, Array<{ readonly run: string; readonly port: string }>>()
      for (const { item, port, run } of throughPorts("out:", items)) {
        const there = found.get(item)
        if (there === undefined) found.set(item, [{ run, port }])
        else there.push({ run, port })
      }
      return found
    },
    places: (run: number) =>
      all(
        `SELECT DISTINCT calls.place FROM run_calls JOIN calls ON calls.id = run_calls.call AND calls.run = run_calls.run
         WHERE run_calls.run = ? AND calls.place IS NOT NULL`,
        run,
      ).map((row) => row["place"] as string),
    takenIn: (items: ReadonlyArray<number>) =>
      new Set(Array.from(throughPorts("in:", items), ({ item }) => item)),
    members,
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
