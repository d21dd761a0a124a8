/** What became of a run: its ledger, what was dropped and why, and what failed. Read from the journal. */
import { Ledger } from "@reelgraph/core"
import type { Engine } from "@reelgraph/engine"
import type { Journal, Run } from "@reelgraph/store"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

import * as Format from "./Format.ts"
import type { Skipped } from "./InputSource.ts"
import * as ItemLabel from "./ItemLabel.ts"
import type { Written } from "./Outputs.ts"

export interface Failed {
  readonly node: string
  /** Digest. */
  readonly item: string
  readonly name: string
  readonly error: string
  readonly detail: string
}

export interface RunReport {
  readonly run: string
  readonly graph: string
  readonly version: string
  readonly status: Run["status"]
  readonly problem?: string
  readonly startedMs: number
  readonly endedMs?: number
  readonly inputs: { readonly [input: string]: number }
  readonly outputs: { readonly [output: string]: number }
  readonly ledger: Ledger.Ledger
  readonly dropped: ReadonlyArray<{
    readonly node: string
    readonly reason: string
    readonly count: number
    /** One of them. */
    readonly example: { readonly item: string; readonly name: string; readonly detail: string }
  }>
  readonly failed: ReadonlyArray<Failed>
  readonly skipped: ReadonlyArray<Skipped>
  readonly warnings: ReadonlyArray<string>
  readonly store: string
  /** What `--out` wrote. */
  readonly written?: ReadonlyArray<Written>
}

type Reader = typeof Journal.Service

/** What drops are that the engine makes by itself, by their reason. */
const countedAs: { readonly [reason: string]: string } = {
  repeated: "equal to a record that was taken before; each is taken once",
}

const decodeLedger = Schema.decodeUnknownResult(Schema.fromJsonString(Ledger.Ledger))

export const read = (
  journal: Reader,
  run: Run,
  store: string,
  skipped: ReadonlyArray<Skipped> = [],
): RunReport => {
  const digestOf = (item: number): string => journal.item(item)?.digest ?? "?"
  const inputs: { [input: string]: number } = {}
  const outputs: { [output: string]: number } = {}
  for (const port of journal.runPorts(run.id)) {
    const [kind, name] = [port.slice(0, port.indexOf(":")), port.slice(port.indexOf(":") + 1)]
    const into = kind === "in" ? inputs : outputs
    into[name] = journal.runItemCount(run.id, port)
  }
  const ledger = Result.getOrElse(decodeLedger(run.ledger), (): Ledger.Ledger => ({}))
  const droppedBy = journal.droppedBy(run.id)
  const rows = new Set(droppedBy.map(({ node, reason }) => `${node}\0${reason}`))
  // What the engine drops by itself, such as records that come again, is counted and is no row.
  const counted = Object.entries(ledger).flatMap(([node, { dropped }]) =>
    Object.entries(dropped).flatMap(([reason, count]) =>
      rows.has(`${node}\0${reason}`)
        ? []
        : [{ node, reason, count, example: { item: "", name: "", detail: countedAs[reason] ?? "" } }],
    ),
  )
  return {
    run: run.name,
    graph: run.graph,
    version: run.version,
    status: run.status,
    ...(run.problem === undefined ? {} : { problem: run.problem }),
    startedMs: run.startedMs,
    ...(run.endedMs === undefined ? {} : { endedMs: run.endedMs }),
    inputs,
    outputs,
    ledger,
    dropped: [
      ...droppedBy.map(({ count, example, node, reason }) => ({
        node,
        reason,
        count,
        example: {
          item: digestOf(example.item),
          name: ItemLabel.of(journal, example.item),
          detail: example.detail,
        },
      })),
      ...counted,
    ].sort((a, b) => b.count - a.count),
    failed: journal.failures(run.id).map(({ detail, item, node, reason }) => ({
      node,
      item: digestOf(item),
      name: ItemLabel.of(journal, item),
      error: reason,
      detail,
    })),
    skipped,
    warnings: run.notes,
    store,
  }
}

/** What is known of a run whose end the journal could not take: what was committed, as its process has counted it. */
export const ofLive = (report: RunReport, live: Engine.Live, problem: string | undefined): RunReport => ({
  ...report,
  status: problem === undefined ? "interrupted" : "failed",
  ...(problem === undefined ? {} : { problem }),
  ledger: Object.fromEntries(live.nodes.map(({ id, tally }) => [id, tally.ledger()])),
})

const statusText: { readonly [status in Run["status"]]: string } = {
  running: "running",
  killed: "ended by force",
  done: "done",
  failed: "failed",
  "finished-with-failures": "finished, with failed items",
  interrupted: "interrupted",
}

export const status = (value: Run["status"]): string => statusText[value]

/** The ledger as a table. Items that a run which ended early had not come to are `open`. */
export const ledgerLines = (ledger: Ledger.Ledger): ReadonlyArray<string> => {
  const nodes = Object.entries(ledger)
  const openOf = (node: Ledger.NodeLedger) => node.in - node.kept - node.failed - Ledger.droppedOf(node)
  const someOpen = nodes.some(([, node]) => openOf(node) > 0)
  const header = [
    "node",
    "in",
    "kept",
    "dropped",
    "failed",
    ...(someOpen ? ["open"] : []),
    "out",
    "cached",
    "time",
  ]
  const rows = nodes.map(([id, node]) => [
    id,
    Format.count(node.in),
    Format.count(node.kept),
    Format.count(Ledger.droppedOf(node)),
    Format.count(node.failed),
    ...(someOpen ? [Format.count(openOf(node))] : []),
    Format.count(node.out),
    Format.count(node.cached),
    Format.duration(node.busyMs),
  ])
  return Format.table(header, rows, [false, ...header.slice(1).map(() => true)])
}

/** What happened to a thing, which the facts may name themselves. */
const naming = (name: string, detail: string): string =>
  detail === "" ? name : detail.includes(name) ? detail : `${name}: ${detail}`

/** Failed items and skipped files that are told one by one. */
const listedFailures = 10

/** A run for people. */
export const lines = (report: RunReport): ReadonlyArray<string> => {
  const took = report.endedMs === undefined ? "" : `, ${Format.duration(report.endedMs - report.startedMs)}`
  const unread =
    report.skipped.length === 0 ? "" : `, ${Format.counted(report.skipped.length, "input")} could not be read`
  const out: Array<string> = [
    `${report.graph}@${report.version}: ${status(report.status)}${unread}${took}`,
    ...(report.problem === undefined || report.status === "interrupted" ? [] : [Format.line(report.problem)]),
    "",
    ...(Object.keys(report.ledger).length === 0 ? ["(no ledger)"] : ledgerLines(report.ledger)),
  ]
  if (report.dropped.length > 0) {
    const rows = report.dropped.map(({ count, example, node, reason }) => [
      node,
      reason,
      Format.count(count),
      Format.cut(naming(example.name, example.detail), 100),
    ])
    out.push("", ...Format.table(["dropped by", "reason", "items", "such as"], rows, [false, false, true]))
  }
  const failures = [
    ...report.failed.map(({ detail, error, item, name, node }) => [
      node,
      name,
      Format.short(item),
      Format.cut(`${error}: ${detail}`, 160),
    ]),
    ...report.skipped.map(({ input, problem, source }) => [input, source, "", Format.cut(problem, 160)]),
  ]
  if (failures.length > 0) {
    out.push("", ...Format.table(["failed at", "item", "digest", "why"], failures.slice(0, listedFailures)))
    const rest = failures.length - listedFailures
    if (rest > 0) out.push(`and ${Format.count(rest)} more; \`reel show ${report.run} --json\` has them all`)
  }
  for (const warning of report.warnings) out.push("", `warning: ${Format.line(warning)}`)
  const outputs = Object.entries(report.outputs).map(([name, count]) => `${name} ${Format.count(count)}`)
  out.push(
    "",
    `run      ${report.run}`,
    `outputs  ${outputs.length === 0 ? "none" : outputs.join(", ")} (in the store ${report.store}${report.written === undefined ? "; --out DIR writes them as files" : ""})`,
  )
  for (const { files, folder, items, manifest } of report.written ?? []) {
    const beside = files === 0 ? "" : `, ${Format.counted(files, "file")} in ${Format.line(folder)}`
    out.push(`written  ${Format.line(manifest)} (${Format.counted(items, "row")})${beside}`)
  }
  return out
}
