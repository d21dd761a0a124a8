/** `reel runs`: the runs of a store, newest first. */
import { Ledger } from "@reelgraph/core"
import { Journal, type Run } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

import * as Format from "../Format.ts"
import * as RunReport from "../RunReport.ts"
import { TerminalOutput } from "../TerminalOutput.ts"
import * as StoreFolder from "../StoreFolder.ts"
import type { Task } from "../Task.ts"

export interface Options {
  readonly store: string
  readonly json: boolean
}

const decodeLedger = Schema.decodeUnknownResult(Schema.fromJsonString(Ledger.Ledger))

const summaryOf = ({ endedMs, graph, ledger, name, notes, problem, startedMs, status, version }: Run) => {
  const nodes = Object.values(Result.getOrElse(decodeLedger(ledger), (): Ledger.Ledger => ({})))
  const sum = (of: (node: Ledger.NodeLedger) => number) => nodes.reduce((total, node) => total + of(node), 0)
  return {
    run: name,
    graph,
    version,
    status,
    startedMs,
    ...(endedMs === undefined ? {} : { endedMs }),
    ...(problem === undefined ? {} : { problem }),
    cached: sum((node) => node.cached),
    dropped: sum(Ledger.droppedOf),
    failed: sum((node) => node.failed),
    /** How many things happened on the way: `reel show` has them. */
    warnings: notes.length,
  }
}

export const run: (options: Options) => Task = Effect.fn("reel.runs")(function* (options: Options) {
  const screen = yield* TerminalOutput
  const runs = yield* Effect.provide(
    Journal.use((journal) => Effect.sync(() => journal.runs().map(summaryOf).toReversed())),
    StoreFolder.layerJournal(options.store),
  )
  if (options.json) screen.print(JSON.stringify(runs, null, 2))
  else screen.show(runs.length === 0 ? [`the store ${options.store} has no runs yet`] : lines(runs))
})

const lines = (runs: ReadonlyArray<ReturnType<typeof summaryOf>>): ReadonlyArray<string> => {
  const rows = runs.map((one) => [
    one.run,
    `${one.graph}@${one.version}`,
    Format.moment(one.startedMs),
    one.endedMs === undefined ? "" : Format.duration(one.endedMs - one.startedMs),
    Format.count(one.cached),
    Format.count(one.dropped),
    Format.count(one.failed),
    `${RunReport.status(one.status)}${one.warnings === 0 ? "" : ` (${Format.counted(one.warnings, "warning")})`}`,
  ])
  const header = ["run", "graph", "began (UTC)", "took", "cached", "dropped", "failed", "status"]
  return Format.table(header, rows, [false, false, false, true, true, true, true])
}
