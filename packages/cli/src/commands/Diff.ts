/** `reel diff`: what is different between two runs: their graphs, their ledgers, and the first items apart. */
import { type Canonical, Difference } from "@reelgraph/core"
import { Journal, type Run } from "@reelgraph/store"
import * as Effect from "effect/Effect"

import * as Format from "../Format.ts"
import * as ItemLabel from "../ItemLabel.ts"
import * as RunName from "../RunName.ts"
import * as RunReport from "../RunReport.ts"
import { TerminalOutput } from "../TerminalOutput.ts"
import * as StoreFolder from "../StoreFolder.ts"
import type { Task } from "../Task.ts"

export interface Options {
  readonly a: string
  readonly b: string
  readonly store: string
  readonly json: boolean
}

type Reader = typeof Journal.Service

/** Items of a port (`in:videos`, `out:clips`) that only one of the runs has. */
interface PortDifference {
  readonly port: string
  readonly both: number
  readonly onlyA: number
  readonly onlyB: number
  /** The first of each by digest. */
  readonly first: { readonly a: string | null; readonly b: string | null }
}

export const run: (options: Options) => Task = Effect.fn("reel.diff")(function* (options: Options) {
  const screen = yield* TerminalOutput
  yield* Effect.provide(
    Effect.gen(function* () {
      const journal = yield* Journal
      const a = yield* RunName.find(journal, options.a, options.store)
      const b = yield* RunName.find(journal, options.b, options.store)
      const found = compare(journal, a, b, options.store)
      if (options.json) screen.print(JSON.stringify(found, null, 2))
      else screen.show(lines(found))
    }),
    StoreFolder.layerJournal(options.store),
  )
})

/** Numbers of a ledger that say what a run did, not how fast or from where. */
const essence = (report: RunReport.RunReport): Canonical.Json =>
  Object.fromEntries(
    Object.entries(report.ledger).map(([node, { dropped, failed, in: taken, kept, out }]) => [
      node,
      { in: taken, kept, dropped, failed, out },
    ]),
  )

const compare = (journal: Reader, a: Run, b: Run, store: string) => {
  const ports = [...new Set([...journal.runPorts(a.id), ...journal.runPorts(b.id)])].sort()
  const refusals = (run: Run) =>
    new Map(
      [...journal.dropped(run.id), ...journal.failures(run.id)].map((one) => [
        `${one.node}\0${one.item}`,
        one,
      ]),
    )
  const refusedA = refusals(a)
  const refusedB = refusals(b)
  const onlyIn = (here: typeof refusedA, there: typeof refusedA) =>
    [...here]
      .filter(([key, { reason }]) => there.get(key)?.reason !== reason)
      .map(([, { detail, item, node, reason }]) => ({
        node,
        name: ItemLabel.of(journal, item),
        reason,
        detail,
      }))
  return {
    a: a.name,
    b: b.name,
    graph: Difference.lines(
      JSON.parse(a.definition) as Canonical.Json,
      JSON.parse(b.definition) as Canonical.Json,
    ),
    ledger: Difference.lines(
      essence(RunReport.read(journal, a, store)),
      essence(RunReport.read(journal, b, store)),
    ),
    ports: ports.map((port) => portDifference(journal, port, a, b)),
    refusedOnlyIn: { a: onlyIn(refusedA, refusedB), b: onlyIn(refusedB, refusedA) },
  }
}

const portDifference = (journal: Reader, port: string, a: Run, b: Run): PortDifference => {
  const inA = new Set(journal.runItems(a.id, port))
  const inB = new Set(journal.runItems(b.id, port))
  const first = (items: ReadonlyArray<number>): string | null =>
    items.map((item) => journal.item(item)?.digest ?? "?").sort()[0] ?? null
  const onlyA = [...inA].filter((item) => !inB.has(item))
  const onlyB = [...inB].filter((item) => !inA.has(item))
  return {
    port,
    both: inA.size - onlyA.length,
    onlyA: onlyA.length,
    onlyB: onlyB.length,
    first: { a: first(onlyA), b: first(onlyB) },
  }
}

const few = 10

const lines = (found: ReturnType<typeof compare>): ReadonlyArray<string> => {
  const section = (title: string, texts: ReadonlyArray<string>) =>
    texts.length === 0
      ? []
      : [
          "",
          title,
          ...texts.slice(0, few).map((text) => `  ${Format.line(text)}`),
          ...(texts.length > few ? [`  and ${texts.length - few} more`] : []),
        ]
  const refused = (which: "a" | "b") =>
    found.refusedOnlyIn[which].map(
      ({ detail, name, node, reason }) =>
        `${name} at ${node}: ${reason}${detail === "" ? "" : `: ${detail}`}`,
    )
  const apart = found.ports.filter(({ onlyA, onlyB }) => onlyA + onlyB > 0)
  const same = found.graph.length + found.ledger.length + apart.length === 0
  return [
    `A  ${found.a}`,
    `B  ${found.b}`,
    ...(same ? ["", "the same graph, the same items in and out"] : []),
    ...section("graph", found.graph),
    ...section("ledger", found.ledger),
    ...section(
      "items",
      apart.map(({ both, first, onlyA, onlyB, port }) => {
        const digest = (value: string | null) => (value === null ? "" : `, first ${Format.short(value)}`)
        return `${port}: ${both} in both, ${onlyA} only in A${digest(first.a)}, ${onlyB} only in B${digest(first.b)}`
      }),
    ),
    ...section("dropped or failed in A, not so in B", refused("a")),
    ...section("dropped or failed in B, not so in A", refused("b")),
  ]
}
