/**
 * Profiles from the runs of a store: what the calls of a graph's operators took, kept, gave and wrote.
 *
 * Walks forth from what the latest runs took in, through the calls of the operators of the graph, some hundred of
 * each. Where the walk finds too few (runs of other graphs), the mean of {@link Journal} `history` stands for all.
 */
import type { Graph } from "@reelgraph/core"
import { artifactsIn, Journal, JournalError, Status, type Step } from "@reelgraph/store"
import * as Effect from "effect/Effect"

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

/** Calls from which a spread can be told; of fewer only the mean counts. */
const enough = 20

/** Steps of the quantiles of a duration. */
const steps = 20

interface Samples {
  readonly ms: Array<number>
  kept: number
  dropped: number
  failed: number
  readonly given: Array<number>
  bytesIn: number
  bytesOut: number
  /** Records that `collect` made, of one call at the latest. */
  emitted: number | undefined
  items: number
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
  const samples = walk(journal, graph)
  const operators: { [node: string]: typeof Profile.OperatorProfile.Encoded } = {}
  const unmeasured: Array<string> = []
  const calls: { [node: string]: number } = {}
  for (const node of graph.nodes) {
    const { name, version } = node.operator
    const found = samples.get(`${name}\0${version}`)
    const history = journal.history(name, version)
    if (found !== undefined && found.items > 0) {
      operators[node.id] = profileOf(node, found)
      calls[node.id] = found.ms.length
    } else if (history.calls > 0) {
      operators[node.id] = { seconds: history.meanMs / 1000, source: `mean of ${history.calls} calls` }
      calls[node.id] = history.calls
    } else unmeasured.push(node.id)
  }
  return { profile: Profile.make({ operators }), unmeasured, calls }
}

/** Calls of the graph's operators that followed from what its latest runs took in. */
const walk = (journal: Reader, graph: Graph.Graph): ReadonlyMap<string, Samples> => {
  const wanted = new Set(graph.nodes.map(({ operator }) => `${operator.name}\0${operator.version}`))
  const samples = new Map<string, Samples>()
  const seenCalls = new Set<number>()
  const runs = journal
    .runs()
    .filter((run) => run.graph === graph.name)
    .sort((a, b) => b.startedMs - a.startedMs)
    .slice(0, most.runs)
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

const none = (): Samples => ({
  ms: [],
  kept: 0,
  dropped: 0,
  failed: 0,
  given: [],
  bytesIn: 0,
  bytesOut: 0,
  emitted: undefined,
  items: 0,
})

const note = (journal: Reader, samples: Samples, { call, inputs, ms, outputs, status }: Step): void => {
  samples.ms.push(ms)
  // Of a set of items, the inputs are many; of what was passed on, outputs are among them.
  const passed = outputs.filter((output) => inputs.includes(output)).length
  const drops = journal.drops(call).length
  const all = inputs.length > 1 && (drops > 0 || passed > 1) ? inputs.length : 1
  samples.items += all
  if (status === Status.failed) samples.failed += all
  else if (status === Status.dropped) samples.dropped += all
  else {
    samples.dropped += drops
    samples.kept += all - drops
    samples.given.push(outputs.length)
    samples.emitted = passed === 0 ? outputs.length : undefined
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

const profileOf = (node: Graph.Placed, samples: Samples): typeof Profile.OperatorProfile.Encoded => {
  const { bytesIn, bytesOut, dropped, emitted, failed, given, items, kept, ms } = samples
  const collects = node.operator.cardinality === "collect"
  const sorted = [...ms].sort((a, b) => a - b).map((value) => value / 1000)
  const mean = sorted.reduce((sum, value) => sum + value, 0) / sorted.length
  const at = (share: number) => sorted[Math.round(share * (sorted.length - 1))]!
  const out = given.reduce((sum, value) => sum + value, 0) / Math.max(1, given.length)
  const spread =
    out === 0 ? 0 : Math.sqrt(given.reduce((sum, value) => sum + (value - out) ** 2, 0) / given.length) / out
  const seconds = collects
    ? (mean * sorted.length) / items
    : sorted.length < enough
      ? mean
      : { quantiles: Array.from({ length: steps + 1 }, (_, i) => at(i / steps)) }
  return {
    seconds,
    keep: kept + dropped === 0 ? 1 : kept / (kept + dropped),
    poison: failed / items,
    ...(node.operator.cardinality === "flatMap" ? { out, outSpread: spread } : {}),
    ...(collects && emitted !== undefined ? { emits: emitted } : {}),
    bytesIn: bytesIn / items,
    bytesOut: bytesOut / items,
    source: `${ms.length} calls of this store`,
  }
}
