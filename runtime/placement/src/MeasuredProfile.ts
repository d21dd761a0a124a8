/**
 * Profiles from the runs of a store: the time, share passed, fan-out and bytes of the calls of a graph's operators.
 *
 * Walks forth from what the latest runs took in, through the calls of the operators of the graph, some hundred of
 * each. Where it finds none (runs of other graphs), the mean of `Journal.history` stands for all. Of a `collect`, what
 * it passed and gave is in the ledgers of those runs.
 *
 * Bytes are those of the blobs that items name. Only operators in workers are taken to read them.
 */
import { type Graph, Ledger } from "@reelgraph/core"
import { artifactsIn, Journal, JournalError, type Run, Status, type Step } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

import * as Profile from "./Profile.ts"

/** A profile of what was measured, and what was not. */
export interface Measured {
  readonly profile: Profile.Profile
  /** Nodes whose operators, in their versions, have never run in this store. */
  readonly unmeasured: ReadonlyArray<string>
  /** Calls that each node's numbers are of. */
  readonly calls: { readonly [node: string]: number }
}

/** Runs whose calls are looked at, the latest first; items of each; calls of each operator. */
const most = { runs: 5, items: 400, calls: 400 }

/** Calls from which a spread is estimated; of fewer only the mean counts. */
const enough = 20

/** Steps of the quantiles of a duration. */
const steps = 20

interface Samples {
  readonly ms: Array<number>
  kept: number
  dropped: number
  failed: number
  /** Records that each call gave. */
  readonly given: Array<number>
  bytesIn: number
  bytesOut: number
}

type Reader = typeof Journal.Service

/** Measures a graph in the store that is provided. */
export const of = (graph: Graph.Graph): Effect.Effect<Measured, JournalError, Journal> =>
  Effect.flatMap(Journal, (journal) =>
    Effect.try({
      try: () => measure(journal, graph),
      catch: (cause) =>
        cause instanceof JournalError
          ? cause
          : new JournalError({ file: journal.file, action: "read", problem: String(cause) }),
    }),
  )

const measure = (journal: Reader, graph: Graph.Graph): Measured => {
  const runs = journal
    .runs()
    .filter((run) => run.graph === graph.name)
    .sort((a, b) => b.startedMs - a.startedMs)
    .slice(0, most.runs)
  const samples = walk(journal, graph, runs)
  const operators: { [node: string]: typeof Profile.OperatorProfile.Encoded } = {}
  const unmeasured: Array<string> = []
  const calls: { [node: string]: number } = {}
  for (const node of graph.nodes) {
    const { name, version } = node.operator
    const found = samples.get(`${name}\0${version}`)
    const history = journal.history(name, version)
    if (found !== undefined) {
      operators[node.id] =
        node.operator.cardinality === "collect" ? collectOf(node, found, runs) : profileOf(node, found)
      calls[node.id] = found.ms.length
    } else if (history.calls > 0) {
      operators[node.id] = { seconds: history.meanMs / 1000, source: `mean of ${history.calls} calls` }
      calls[node.id] = history.calls
    } else unmeasured.push(node.id)
  }
  return { profile: Profile.make({ operators }), unmeasured, calls }
}

/** Calls of the graph's operators that followed from what its latest runs took in. */
const walk = (
  journal: Reader,
  graph: Graph.Graph,
  runs: ReadonlyArray<Run>,
): ReadonlyMap<string, Samples> => {
  const wanted = new Set(graph.nodes.map(({ operator }) => `${operator.name}\0${operator.version}`))
  const samples = new Map<string, Samples>()
  const seenCalls = new Set<number>()
  const items = runs.flatMap(({ id }) =>
    Object.keys(graph.inputs).flatMap((input) => journal.runItems(id, `in:${input}`).slice(0, most.items)),
  )
  const seenItems = new Set<number>()
  while (items.length > 0) {
    const item = items.pop()!
    if (seenItems.has(item)) continue
    seenItems.add(item)
    for (const step of journal.consumers(item)) {
      const key = `${step.operator.name}\0${step.operator.version}`
      if (!wanted.has(key) || seenCalls.has(step.call)) continue
      seenCalls.add(step.call)
      const found = samples.get(key) ?? none()
      samples.set(key, found)
      if (found.ms.length >= most.calls) continue
      note(journal, found, step)
      items.push(...step.outputs)
    }
  }
  return samples
}

const none = (): Samples => ({ ms: [], kept: 0, dropped: 0, failed: 0, given: [], bytesIn: 0, bytesOut: 0 })

const note = (journal: Reader, samples: Samples, { inputs, ms, outputs, status }: Step): void => {
  samples.ms.push(ms)
  if (status === Status.failed) samples.failed++
  else if (status === Status.dropped) samples.dropped++
  else {
    samples.kept++
    samples.given.push(outputs.length)
  }
  const before = new Set<string>()
  for (const input of inputs)
    for (const { bytes, sha256 } of artifactsOf(journal, input))
      if (!before.has(sha256)) {
        before.add(sha256)
        samples.bytesIn += bytes
      }
  for (const output of outputs)
    for (const { bytes, sha256 } of artifactsOf(journal, output))
      if (!before.has(sha256)) samples.bytesOut += bytes
}

const artifactsOf = (journal: Reader, item: number) => {
  const stored = journal.item(item)
  return stored === undefined ? [] : artifactsIn(JSON.parse(stored.record))
}

type Costs = typeof Profile.OperatorProfile.Encoded

const mean = (values: ReadonlyArray<number>): number =>
  values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length)

const profileOf = ({ operator }: Graph.Placed, samples: Samples): Costs => {
  const { bytesIn, bytesOut, dropped, failed, given, kept, ms } = samples
  const items = ms.length
  const sorted = ms.map((value) => value / 1000).sort((a, b) => a - b)
  const at = (share: number) => sorted[Math.round(share * (items - 1))]!
  const out = mean(given)
  const spread = out === 0 ? 0 : Math.sqrt(mean(given.map((value) => (value - out) ** 2))) / out
  return {
    seconds:
      items < enough
        ? mean(sorted)
        : { quantiles: Array.from({ length: steps + 1 }, (_, i) => at(i / steps)) },
    keep: kept + dropped === 0 ? 1 : kept / (kept + dropped),
    poison: failed / items,
    ...(operator.cardinality === "flatMap" ? { out, outSpread: spread } : {}),
    bytesIn: operator.worker === undefined ? 0 : bytesIn / items,
    bytesOut: bytesOut / items,
    source: `${items} calls of this store`,
  }
}

const decodeLedger = Schema.decodeUnknownResult(Schema.fromJsonString(Ledger.Ledger))

/** Of calls on sets of items: what one took by its items, in the latest run that made it. */
const collectOf = (node: Graph.Placed, { ms }: Samples, runs: ReadonlyArray<Run>): Costs => {
  const source = `${ms.length} calls of this store`
  for (const { ledger } of runs) {
    const was = Result.getOrUndefined(decodeLedger(ledger))?.[node.id]
    if (was === undefined || was.in === 0) continue
    return {
      seconds: mean(ms) / 1000 / was.in,
      keep: was.kept / was.in,
      // It passes on those that it does not drop; otherwise it makes new ones.
      ...(was.out === was.kept ? {} : { emits: was.out }),
      source,
    }
  }
  return { fixedSeconds: mean(ms) / 1000, source }
}
