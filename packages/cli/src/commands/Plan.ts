/** `reel plan`: what a run would do, before it does anything. */
import { type ChangedCode, Plan } from "@reelgraph/engine"
import * as Effect from "effect/Effect"

import * as Format from "../Format.ts"
import * as GraphSource from "../GraphSource.ts"
import * as InputSource from "../InputSource.ts"
import * as Placed from "../Placed.ts"
import * as PlacementReport from "../PlacementReport.ts"
import { TerminalOutput } from "../TerminalOutput.ts"
import * as Settings from "../Settings.ts"
import * as StoreFolder from "../StoreFolder.ts"
import type { Task } from "../Task.ts"
import { FlagsConflict } from "../UsageError.ts"

export interface Options {
  readonly graph: string
  readonly input: ReadonlyArray<string>
  readonly set: ReadonlyArray<string>
  readonly store: string
  readonly seed: number
  readonly changedCode: ChangedCode.ChangedCode
  /** File of the pools to place the graph on. */
  readonly pools: string | undefined
  /** Whether to simulate the run on its pools instead. */
  readonly simulate: boolean
  /** File of a profile, and `INPUT=N`: what the simulation is told. */
  readonly profile: string | undefined
  readonly items: ReadonlyArray<string>
  readonly json: boolean
}

export const run: (options: Options) => Task = Effect.fn("reel.plan")(function* (options: Options) {
  const found = yield* GraphSource.find(options.graph)
  const graph = yield* Settings.apply(found.graph, options.set)
  const placed = options.pools === undefined ? undefined : yield* Placed.of(graph, options.pools)
  const planned = Effect.gen(function* () {
    const prepared = yield* InputSource.prepare(graph, options.input)
    const making = Plan.make(graph, prepared.inputs, {
      seed: options.seed,
      changedCode: options.changedCode,
    })
    return { plan: yield* Effect.provide(making, StoreFolder.layer(options.store)), prepared }
  })
  if (options.simulate) {
    if (placed === undefined)
      return yield* new FlagsConflict({
        problem: "--simulate needs --pools FILE: a run is simulated on pools",
      })
    // Without files the numbers of items are given, or are in the profile.
    const counted = options.input.length === 0 ? {} : (yield* planned).plan.inputs
    const Simulate = yield* Effect.promise(() => import("./Simulate.ts"))
    return yield* Simulate.run({ ...options, graph, placement: placed.placement, counted })
  }
  if (options.profile !== undefined || options.items.length > 0)
    return yield* new FlagsConflict({ problem: "--profile and --items are for --simulate" })
  const { plan, prepared } = yield* planned
  const screen = yield* TerminalOutput
  if (options.json) {
    const placement = placed === undefined ? {} : { placement: PlacementReport.json(placed) }
    screen.print(JSON.stringify({ ...plan, skipped: prepared.skipped, ...placement }, null, 2))
  } else
    screen.show([
      ...lines(plan, prepared.skipped),
      ...(placed === undefined ? [] : ["", ...PlacementReport.lines(placed)]),
    ])
})

const total = (misses: Plan.NodePlan["misses"]): number =>
  Object.values(misses).reduce((sum, count) => sum + count, 0)

/** Why results are missing, the most frequent reason first. */
const reasons = ({ misses, more }: Plan.NodePlan): string => {
  const sorted = Object.entries(misses).sort(([, a], [, b]) => b - a)
  const told = sorted
    .slice(0, 3)
    .map(([reason, count]) =>
      sorted.length === 1 ? Format.cut(reason, 100) : `${Format.count(count)} ${Format.cut(reason, 70)}`,
    )
  if (sorted.length > told.length) told.push(`${sorted.length - told.length} more reasons`)
  return [told.join("; "), more ? "+ more after upstream" : ""].filter((text) => text !== "").join(" ")
}

/** A plan for people. */
export const lines = (
  plan: Plan.Plan,
  skipped: ReadonlyArray<InputSource.Skipped> = [],
): ReadonlyArray<string> => {
  const rows = plan.nodes.map((node) => [
    node.id,
    Format.count(node.hits),
    Format.count(total(node.misses)),
    node.estimatedMs === undefined ? "?" : node.estimatedMs === 0 ? "" : Format.duration(node.estimatedMs),
    reasons(node),
  ])
  const known = plan.nodes.reduce((sum, { estimatedMs }) => sum + (estimatedMs ?? 0), 0)
  const complete = plan.nodes.every(({ estimatedMs, more }) => estimatedMs !== undefined && !more)
  const missing = plan.nodes.reduce((sum, { misses }) => sum + total(misses), 0)
  const inputs = Object.entries(plan.inputs).map(([name, count]) => `${name} ${Format.count(count)}`)
  const work =
    missing === 0
      ? "nothing to do: every result is there"
      : `${Format.counted(missing, "call")} to make${known === 0 ? "" : `, ${complete ? "about" : "at least"} ${Format.duration(known)} of work`}`
  return [
    `${plan.graph}@${plan.version}: ${work}`,
    `inputs: ${inputs.join(", ")}`,
    "",
    ...Format.table(["node", "hits", "misses", "time", "why"], rows, [false, true, true, true]),
    ...skipped.map(({ problem, source }) => `skipped: ${source}: ${Format.line(problem)}`),
    ...plan.warnings.map((warning) => `warning: ${Format.line(warning)}`),
  ]
}
