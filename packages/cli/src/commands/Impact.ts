/** `reel impact`: everything that was made from a source, and where it went. What a takedown needs. */
import { type Artifact, artifactsIn, Journal, Lineage, Status } from "@reelgraph/store"
import * as Effect from "effect/Effect"

import * as Format from "../Format.ts"
import * as ItemLabel from "../ItemLabel.ts"
import { TerminalOutput } from "../TerminalOutput.ts"
import * as StoreFolder from "../StoreFolder.ts"
import * as LineageTarget from "../LineageTarget.ts"
import type { Task } from "../Task.ts"

export interface Options {
  readonly target: string
  readonly store: string
  readonly json: boolean
}

type Reader = typeof Journal.Service

/** An output of a run that holds items made from the source. */
interface Delivered {
  readonly run: string
  readonly output: string
}

interface Derived {
  readonly item: string
  readonly name: string | undefined
  /** Without those of the source itself, which records made from it may still name. */
  readonly artifacts: ReadonlyArray<Artifact>
  readonly outputs: ReadonlyArray<Delivered>
}

/** What one operator made of the source. */
interface Group {
  readonly operator: string
  readonly version: string
  readonly items: Array<Derived>
}

export interface Impact {
  readonly given: string
  readonly sha256?: string
  readonly sources: ReadonlyArray<{ readonly item: string; readonly name: string }>
  readonly groups: ReadonlyArray<Group>
  readonly lost: ReadonlyArray<{
    readonly item: string
    readonly name: string
    readonly operator: string
    readonly version: string
    readonly how: "dropped" | "failed"
    readonly reason: string
    readonly detail: string
  }>
  /** Outputs of runs that hold the source or what was made from it. */
  readonly outputs: ReadonlyArray<Delivered & { readonly items: number }>
}

export const run: (options: Options) => Task = Effect.fn("reel.impact")(function* (options: Options) {
  const screen = yield* TerminalOutput
  yield* Effect.provide(
    Effect.gen(function* () {
      const journal = yield* Journal
      const target = yield* LineageTarget.find(journal, options.target, options.store)
      const impact = of(journal, target)
      if (options.json) screen.print(JSON.stringify(impact, null, 2))
      else screen.show(lines(impact))
    }),
    StoreFolder.layerJournal(options.store),
  )
})

/** Follows a source through the whole journal. */
export const of = (journal: Reader, target: LineageTarget.LineageTarget): Impact => {
  const walk = Lineage.down(journal, target.items)
  const firsts = target.sha256 === undefined ? target.items : Lineage.firsts(walk, target.items)
  const delivered = deliveries(journal, walk)
  const digestOf = (item: number): string => journal.item(item)?.digest ?? "?"
  const own = new Set(
    firsts
      .flatMap((item) => artifactsIn(JSON.parse(journal.item(item)?.record ?? "null")))
      .map(({ sha256 }) => sha256),
  )
  const groups = new Map<string, Group>()
  const grouped = new Set(firsts)
  const lost: Array<Impact["lost"][number]> = []
  for (const { item, links, lostBy } of walk.values()) {
    for (const { items, step } of links) {
      const { name: operator, version } = step.operator
      const key = `${operator}@${version}`
      let group = groups.get(key)
      if (group === undefined) groups.set(key, (group = { operator, version, items: [] }))
      for (const made of items) {
        if (grouped.has(made)) continue
        grouped.add(made)
        const stored = journal.item(made)
        const record: unknown = JSON.parse(stored?.record ?? "null")
        group.items.push({
          item: stored?.digest ?? "?",
          name: ItemLabel.nameIn(record),
          artifacts: artifactsIn(record).filter(({ sha256 }) => !own.has(sha256)),
          outputs: delivered.get(made) ?? [],
        })
      }
    }
    for (const { detail, operator, reason, status } of lostBy) {
      lost.push({
        item: digestOf(item),
        name: ItemLabel.of(journal, item),
        operator: operator.name,
        version: operator.version,
        how: status === Status.failed ? "failed" : "dropped",
        reason: reason ?? "",
        detail: detail ?? "",
      })
    }
  }
  const outputs = new Map<string, Delivered & { items: number }>()
  for (const places of delivered.values()) {
    for (const { output, run } of places) {
      const there = outputs.get(`${run}\0${output}`)
      if (there === undefined) outputs.set(`${run}\0${output}`, { run, output, items: 1 })
      else there.items++
    }
  }
  return {
    given: target.given,
    ...(target.sha256 === undefined ? {} : { sha256: target.sha256 }),
    sources: firsts.map((item) => ({ item: digestOf(item), name: ItemLabel.of(journal, item) })),
    groups: [...groups.values()].filter(({ items }) => items.length > 0),
    lost,
    outputs: [...outputs.values()],
  }
}

/** The outputs of runs in which the items of a walk are found. */
const deliveries = (journal: Reader, walk: Lineage.Walk): ReadonlyMap<number, ReadonlyArray<Delivered>> =>
  new Map(
    [...journal.givenBy([...walk.keys()])].map(([item, given]) => [
      item,
      given.map(({ port, run }) => ({ run, output: port.slice("out:".length) })),
    ]),
  )

/** Examples that are listed. */
const few = 5

const kinds = (items: ReadonlyArray<Derived>): string => {
  const byType = new Map<string, { count: number; bytes: number }>()
  for (const { bytes, mediaType } of items.flatMap(({ artifacts }) => artifacts)) {
    const kind = byType.get(mediaType) ?? { count: 0, bytes: 0 }
    kind.count++
    kind.bytes += bytes
    byType.set(mediaType, kind)
  }
  return [...byType]
    .map(([type, { bytes, count }]) => `${Format.count(count)} ${type}, ${Format.bytes(bytes)}`)
    .join("; ")
}

const lines = (impact: Impact): ReadonlyArray<string> => {
  const derived = impact.groups.reduce((sum, { items }) => sum + items.length, 0)
  const source = impact.sources.map(({ item, name }) => `${name} (item ${Format.short(item)})`).join(", ")
  const out = [
    `${source}: ${derived === 0 ? "nothing was made from it" : `${Format.counted(derived, "item")} made from it`}`,
  ]
  if (impact.groups.length > 0) {
    const rows = impact.groups.map(({ items, operator, version }) => [
      `${operator}@${version}`,
      Format.count(items.length),
      Format.count(items.filter(({ outputs }) => outputs.length > 0).length),
      kinds(items),
      items
        .slice(0, 3)
        .map(({ item }) => Format.short(item))
        .join(" ") + (items.length > 3 ? " ..." : ""),
    ])
    out.push(
      "",
      ...Format.table(["made by", "items", "in outputs", "artifacts", "digests"], rows, [false, true, true]),
    )
  }
  if (impact.lost.length > 0) {
    const rows = impact.lost
      .slice(0, 2 * few)
      .map(({ detail, how, name, operator, reason, version }) => [
        name,
        how,
        `${operator}@${version}`,
        Format.cut(detail === "" ? reason : `${reason}: ${detail}`, 100),
      ])
    out.push("", ...Format.table(["went no further", "", "at", "why"], rows))
    if (impact.lost.length > rows.length)
      out.push(`and ${Format.count(impact.lost.length - rows.length)} more`)
  }
  if (impact.outputs.length > 0) {
    const rows = impact.outputs.map(({ items, output, run }) => [run, output, Format.count(items)])
    out.push("", ...Format.table(["in the outputs of", "output", "items"], rows, [false, false, true]))
  } else out.push("", "no output of any run holds it or anything made from it")
  if (derived > few) out.push("", "--json lists every item and artifact")
  return out
}
