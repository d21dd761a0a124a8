/** What the tests of shared journals use: a store's objects in memory, and all that a journal says, without row ids. */
import { createHash } from "node:crypto"
import type { DatabaseSync } from "node:sqlite"

import { Effect, Layer, Option, Stream } from "effect"
import { type Journal, Lineage, Objects, type Step, StoreUnwritable } from "../src/index.ts"

export type Bucket = Map<string, Uint8Array<ArrayBuffer>>

/** Objects in a map. While `state.down`, nothing can be put; while `state.stuck`, a put does not end. */
export const objectsIn = (bucket: Bucket, state: { down?: boolean; stuck?: boolean } = {}) =>
  Layer.succeed(
    Objects,
    Objects.of({
      put: (name, bytes) =>
        Effect.suspend(() => {
          if (state.stuck) return Effect.never
          if (state.down) return Effect.fail(new StoreUnwritable({ path: name, cause: new Error("down") }))
          bucket.set(name, new Uint8Array(bytes))
          return Effect.void
        }),
      get: (name) => Effect.sync(() => Option.fromNullishOr(bucket.get(name))),
      list: (prefix) =>
        Stream.suspend(() =>
          Stream.fromIterable([...bucket.keys()].filter((name) => name.startsWith(`${prefix}/`)).sort()),
        ),
      remove: (name) => Effect.sync(() => void bucket.delete(name)),
    }),
  )

/**
 * Parents and children of the numbers 1, 2, 3 and 9, and what passed them on or dropped them, in a journal that earlier
 * code wrote: of a graph with filters, maps and collects that give what they took.
 */
export const lineageOfOld = (
  journal: Pick<
    typeof Journal.Service,
    "producers" | "consumers" | "takenIn" | "members" | "item" | "itemByDigest"
  >,
) => {
  const idOf = (n: number): number =>
    journal.itemByDigest(createHash("sha256").update(`{"n":${n}}`).digest("hex"))!.id
  const numbers = (links: ReadonlyArray<Lineage.Link>): ReadonlyArray<number> =>
    [...new Set(links.flatMap(({ items }) => items))]
      .map((id) => (JSON.parse(journal.item(id)!.record) as { n: number }).n)
      .sort((a, b) => a - b)
  const names = (steps: ReadonlyArray<Step>): string =>
    steps
      .map(({ operator }) => operator.name)
      .sort()
      .join(" ")
  return [1, 2, 3, 9].map((n) => {
    const up = Lineage.up(journal, [idOf(n)]).get(idOf(n))!
    const down = Lineage.down(journal, [idOf(n)]).get(idOf(n))!
    return [
      n,
      numbers(up.links),
      numbers(down.links),
      names(up.keptBy),
      names(down.keptBy),
      names(down.lostBy),
    ]
  })
}

/** What is right, as the operators did it. */
export const rightOfOld = [
  [1, [1, 3], [1, 3, 11, 21], "dedup judge small", "dedup judge small", ""],
  [2, [2, 3], [2, 3, 12, 22], "judge small", "judge small", "dedup"],
  // The one that `best` chose is a side input of `same`.
  [3, [1, 2, 3], [1, 2, 3, 13, 23], "dedup judge small", "dedup judge small", ""],
  [9, [], [], "", "", "small"],
]

const item = (column: string) => `(SELECT hex(digest) FROM items WHERE items.id = ${column})`
const operator = (column: string) => `(SELECT hex(digest) FROM operators WHERE operators.id = ${column})`
const run = (column: string) => `(SELECT name FROM runs WHERE runs.id = ${column})`
const call = (column: string) =>
  `(SELECT ${item("c.input")} || ${operator("c.operator")} FROM calls AS c WHERE c.id = ${column})`

// Operators that were bound and never called are nobody else's business.
const queries = {
  items: "SELECT hex(digest), record FROM items",
  artifacts: `SELECT hex(sha256), ${item("artifacts.item")} AS item FROM artifacts`,
  members: `SELECT ${item("set_id")} AS \`set\`, ${item("set_members.item")} AS item, times FROM set_members`,
  operators:
    "SELECT hex(digest), name, version, params, seed, source FROM operators WHERE id IN (SELECT operator FROM calls)",
  sides: `SELECT ${operator("operator")} AS operator, side, ${item("operator_sides.item")} AS item FROM operator_sides WHERE operator IN (SELECT operator FROM calls)`,
  calls: `SELECT ${item("input")} AS input, ${operator("operator")} AS operator, status, ${item("output")} AS output, passed, reason, detail FROM calls`,
  made: `SELECT ${call("calls.id")} AS call, attempts, started_ms, ms, place, ${run("run")} AS run FROM calls`,
  outputs: `SELECT ${call("call")} AS call, position, ${item("call_outputs.item")} AS item, passed FROM call_outputs`,
  parents: `SELECT ${call("call")} AS call, position, ${item("output_parents.item")} AS item FROM output_parents`,
  drops: `SELECT ${call("call")} AS call, ${item("call_drops.item")} AS item, reason, detail FROM call_drops`,
  runs: "SELECT name, graph, version, digest, definition, started_ms, ended_ms, owner, status, ledger, problem, notes FROM runs",
  nodes: `SELECT ${run("run")} AS run, node, name FROM run_nodes`,
  used: `SELECT ${run("run")} AS run, node, ${call("call")} AS call, cached FROM run_calls`,
  failures: `SELECT ${run("run")} AS run, node, ${item("failures.item")} AS item, reason, detail, started_ms FROM failures`,
  ports: `SELECT ${run("run")} AS run, port, ${item("run_items.item")} AS item FROM run_items`,
} as const

/** What is kept of each kind, as sorted lines. */
export type Picture = { readonly [K in keyof typeof queries]: ReadonlyArray<string> }

export const pictureOf = (db: DatabaseSync): Picture =>
  Object.fromEntries(
    Object.entries(queries).map(([kind, sql]) => [
      kind,
      db
        .prepare(sql)
        .all()
        .map((row) => JSON.stringify(row))
        .sort(),
    ]),
  ) as unknown as Picture
