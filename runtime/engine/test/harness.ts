/** What the tests of the engine run graphs with: ports, a store in memory, and a run that checks its own books. */
import { assert } from "@effect/vitest"
import { layerInline } from "@reelgraph/call"
import { type Graph, Ledger, Port } from "@reelgraph/core"
import { BlobStoreMemory, Journal, JournalSqlite } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

import { Engine } from "../src/index.ts"

export const version = "1.0.0"

export const Num = Port.make("Num", { record: Schema.Struct({ n: Schema.Int }) })
export type Num = Port.RecordOf<typeof Num>

export const num = (n: number): Num => ({ n })
export const nums = (count: number, start = 0): ReadonlyArray<Num> =>
  Array.from({ length: count }, (_, i) => num(start + i))

/** No test of the engine alone makes calls in worker processes. */
export const inline = layerInline({ name: "here", cores: 2, memoryGiB: 8, gpus: 0 })

export const memory = Layer.mergeAll(JournalSqlite.layerMemory, BlobStoreMemory.layer, inline)

/** What a finished run gave, read back from the journal. */
export interface Finished {
  readonly report: Engine.Report
  readonly live: Engine.Live
  /** Records of an output, sorted by their JSON. */
  readonly out: (output: string) => ReadonlyArray<any>
  /** The numbers of an output of {@link Num}, sorted. */
  readonly numbers: (output?: string) => ReadonlyArray<number>
  readonly ledger: (node: string) => Ledger.NodeLedger
  readonly failures: ReadonlyArray<{
    readonly node: string
    readonly reason: string
    readonly detail: string
  }>
}

/** Reads what a run gave. */
export const finished = (
  journal: typeof Journal.Service,
  report: Engine.Report,
  live: Engine.Live,
): Finished => {
  const run = journal.run(report.run)!
  const out = (output: string) =>
    journal
      .runItems(run.id, `out:${output}`)
      .map((id) => journal.item(id)!.record)
      .sort()
      .map((record) => JSON.parse(record))
  return {
    report,
    live,
    out,
    numbers: (output = "out") =>
      out(output)
        .map(({ n }) => n as number)
        .sort((a, b) => a - b),
    ledger: (node) => report.ledger[node]!,
    failures: journal.failures(run.id),
  }
}

/** Runs a graph to its end; checks that its ledger adds up and that what was shown on the way is right at the end. */
export const go = (
  graph: Graph.Graph,
  inputs: { readonly [input: string]: ReadonlyArray<unknown> | Stream.Stream<unknown> },
  options: Engine.Options = {},
): Effect.Effect<Finished, Engine.RunError, any> =>
  Effect.gen(function* () {
    const seen: Array<Engine.Live> = []
    const report = yield* Engine.run(
      graph,
      Object.fromEntries(
        Object.entries(inputs).map(([input, records]) => [
          input,
          Stream.isStream(records) ? records : Stream.fromIterable(records),
        ]),
      ),
      { ...options, observe: (live) => void seen.push(live) },
    )
    const journal = yield* Journal
    assert.deepStrictEqual(Ledger.imbalances(report.ledger), [])
    assert.strictEqual(seen.length, 1)
    const live = seen[0]!
    assert.deepStrictEqual(
      live.nodes.map(({ id, tally }) => [id, tally.in, tally.kept, tally.failed, tally.ended]),
      Object.entries(report.ledger).map(([id, node]) => [id, node.in, node.kept, node.failed, true]),
    )
    assert.deepStrictEqual(
      live.inputs,
      Object.fromEntries(
        Object.entries(report.inputs).map(([input, count]) => [input, { count, ended: true }]),
      ),
    )
    const stored = journal.run(report.run)!
    assert.strictEqual(stored.status, report.status)
    assert.deepStrictEqual(JSON.parse(stored.ledger), report.ledger)
    return finished(journal, report, live)
  })
