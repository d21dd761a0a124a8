/** `reel plan --simulate`: a run on its pools, simulated from what its work costs. */
import type { Graph } from "@reelgraph/core"
import {
  Balance,
  Bottleneck,
  MeasuredProfile,
  type Placement,
  Profile,
  Simulation,
} from "@reelgraph/placement"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import * as ProfileSource from "../ProfileSource.ts"
import { TerminalOutput } from "../TerminalOutput.ts"
import * as SimulationReport from "../SimulationReport.ts"
import * as StoreFolder from "../StoreFolder.ts"
import type { Task } from "../Task.ts"
import { InputUnknown } from "../UsageError.ts"

export interface Options {
  readonly graph: Graph.Graph
  readonly placement: Placement.Placement
  /** File of a profile; what it does not say, and all without one, is from the runs of the store. */
  readonly profile: string | undefined
  /** `INPUT=N`; before what the profile says. */
  readonly items: ReadonlyArray<string>
  /** Items of inputs that were given as files: where neither `items` nor the profile says a number. */
  readonly counted: { readonly [input: string]: number }
  readonly store: string
  readonly seed: number
  readonly json: boolean
}

/** An `--items` that is not `INPUT=N`. */
export class ItemsMalformed extends Schema.TaggedError<ItemsMalformed>()("ItemsMalformed", {
  given: Schema.String,
}) {
  readonly exitCode = 2
  override get message() {
    return `--items ${this.given} is not of the form INPUT=N, such as --items videos=100000000 or --items videos=1e8`
  }
}

/** Events of a run up to which it is simulated under several seeds. */
const shortRun = 100_000
const seeds = 5

export const run: (options: Options) => Task = Effect.fn("reel.plan.simulate")(function* (options: Options) {
  const { graph, placement, seed } = options
  const items = yield* itemsOf(graph, options.items)
  const { calls, profile } = yield* profileOf(options)
  const simulation = {
    graph,
    placement,
    profile: Profile.withItems(Profile.withItems(profile, { ...options.counted, ...profile.items }), items),
    seed,
  }
  const simulated = yield* Simulation.run(simulation)
  const luck = simulated.events > shortRun ? undefined : yield* Simulation.repeat(simulation, seeds)
  const bottlenecks = yield* Bottleneck.find(simulation)
  const { nodes, reached, simulated: then } = yield* Balance.find(simulation)
  const report: SimulationReport.SimulationReport = {
    simulated,
    currency: profile.currency,
    ...(luck === undefined
      ? {}
      : { luck: { runs: luck.runs, leastSeconds: luck.leastSeconds, mostSeconds: luck.mostSeconds } }),
    bottlenecks,
    balanced: { nodes, reached, simulated: then },
    measured: calls,
  }
  const screen = yield* TerminalOutput
  if (options.json) screen.print(JSON.stringify(report, null, 2))
  else screen.show(SimulationReport.lines(report))
})

/** What the file says, and for the rest what the store has measured. */
const profileOf = Effect.fnUntraced(function* ({ graph, profile: file, store }: Options) {
  const written = file === undefined ? undefined : yield* ProfileSource.load(file)
  const missing = graph.nodes.filter(
    (node) => written === undefined || Profile.of(written, node) === undefined,
  )
  const none = { profile: Profile.make({ operators: {} }), calls: {} as { readonly [node: string]: number } }
  const measured = (yield* StoreFolder.exists(store))
    ? yield* Effect.provide(MeasuredProfile.of(graph), StoreFolder.layerJournal(store))
    : none
  if (written === undefined) return measured
  const needed = new Set(missing.map(({ id }) => id))
  const only = <A>(record: { readonly [node: string]: A }) =>
    Object.fromEntries(Object.entries(record).filter(([node]) => needed.has(node)))
  const rest = { ...measured.profile, operators: only(measured.profile.operators) }
  return { profile: Profile.orElse(written, rest), calls: only(measured.calls) }
})

const itemsOf = (graph: Graph.Graph, given: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const items: { [input: string]: number } = {}
    const inputs = Object.keys(graph.inputs)
    for (const text of given) {
      const [, input, number] = /^([^=]+)=(\d[\d_]*(?:\.\d+)?(?:e\d+)?)$/i.exec(text) ?? []
      const count = Number(number?.replaceAll("_", ""))
      if (input === undefined || !Number.isSafeInteger(count))
        return yield* new ItemsMalformed({ given: text })
      if (!inputs.includes(input)) return yield* new InputUnknown({ graph: graph.name, input, inputs })
      items[input] = count
    }
    return items
  })
