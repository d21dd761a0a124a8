/** `reel run`: runs a graph, shows how it goes, and reports what became of every item. */
import { Engine } from "@reelgraph/engine"
import { Journal } from "@reelgraph/store"
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

import * as Ends from "../Ends.ts"
import * as ExitCode from "../ExitCode.ts"
import * as Foretold from "../Foretold.ts"
import * as Format from "../Format.ts"
import * as GraphSource from "../GraphSource.ts"
import * as InputSource from "../InputSource.ts"
import * as Outputs from "../Outputs.ts"
import * as Placed from "../Placed.ts"
import * as PlacementReport from "../PlacementReport.ts"
import * as Progress from "../Progress.ts"
import * as RunReport from "../RunReport.ts"
import { Screen } from "../Screen.ts"
import * as Settings from "../Settings.ts"
import * as SimulationReport from "../SimulationReport.ts"
import * as StoreFolder from "../StoreFolder.ts"
import type { Task } from "../Task.ts"

export interface Options {
  readonly graph: string
  readonly input: ReadonlyArray<string>
  readonly set: ReadonlyArray<string>
  readonly store: string
  readonly seed: number
  readonly maxFailures: number | undefined
  readonly out: string | undefined
  /** File of the pools to place the graph on. */
  readonly pools: string | undefined
  /** Whether an interruption leaves jobs of a cluster running. */
  readonly detach: boolean
  readonly json: boolean
}

export const run: (options: Options) => Task = Effect.fn("reel.run")(function* (options: Options) {
  const found = yield* GraphSource.find(options.graph)
  const graph = yield* Settings.apply(found.graph, options.set)
  const placed = options.pools === undefined ? undefined : yield* Placed.of(graph, options.pools)
  if (options.out !== undefined) yield* Outputs.check(options.out, graph)
  const prepared = yield* InputSource.prepare(graph, options.input, options.maxFailures)
  if (placed !== undefined) {
    const screen = yield* Screen
    for (const line of [...PlacementReport.table(placed), ...PlacementReport.warnings(placed)])
      screen.tell(line)
  }
  const away = { graph: graph.name, store: options.store, detach: options.detach }
  const services = Placed.workers(placed, away).pipe(Layer.provideMerge(StoreFolder.layer(options.store)))
  yield* Effect.provide(execute(graph, prepared, options, placed), services)
})

const execute = Effect.fnUntraced(function* (
  graph: GraphSource.Found["graph"],
  prepared: InputSource.Prepared,
  options: Options,
  placed: Placed.Placed | undefined,
) {
  const journal = yield* Journal
  const known = placed === undefined ? undefined : yield* Foretold.profile(graph)
  const { print, told } = yield* complete(graph, prepared, options)
  const written =
    options.out === undefined
      ? undefined
      : yield* Outputs.write(options.out, graph, journal.run(told.run)!, journal)
  print(written === undefined ? told : { ...told, written })
  if (placed !== undefined && known !== undefined && !options.json) {
    const score = yield* Foretold.score(graph, placed.placement, known, told)
    const screen = yield* Screen
    if (score !== undefined) screen.show(["", ...SimulationReport.scoreLines(score)])
  }
  yield* ended(told)
})

/** What a run needs to know of its command. */
export interface Running extends Pick<Options, "store" | "seed" | "maxFailures" | "json"> {}

/**
 * Runs a graph to its end, showing how it goes. A run that ends early is told of here; of one that is complete, what
 * to tell is returned, and how.
 */
export const complete = Effect.fnUntraced(function* (
  graph: GraphSource.Found["graph"],
  prepared: InputSource.Prepared,
  options: Running,
) {
  const journal = yield* Journal
  const screen = yield* Screen
  let name: string | undefined
  const running = Effect.scoped(
    Effect.gen(function* () {
      const { observe } = yield* Progress.show(prepared.totals)
      return yield* Engine.run(graph, prepared.inputs, {
        ...(yield* Ends.watched(graph)),
        seed: options.seed,
        ...(options.maxFailures === undefined ? {} : { maxFailures: options.maxFailures }),
        observe: (live) => {
          name = live.name
          observe(live)
        },
      })
    }),
  )
  const reportOf = (): RunReport.RunReport | undefined => {
    const recorded = name === undefined ? undefined : journal.run(name)
    return recorded === undefined
      ? undefined
      : RunReport.read(journal, recorded, options.store, prepared.skipped)
  }
  const print = (report: RunReport.RunReport) =>
    options.json ? screen.print(JSON.stringify(report, null, 2)) : screen.show(RunReport.lines(report))

  let toldOf = false
  const tellEarlyEnd = (cause: Cause.Cause<unknown>) => {
    const report = reportOf()
    if (report === undefined) return
    toldOf = true
    print(report)
    const kept = Object.values(report.ledger).reduce(
      (sum, node) => sum + node.in - Math.max(0, openOf(node)),
      0,
    )
    const ended = ExitCode.ofCause(cause)
    const how = typeof ended === "number" ? "interrupted" : `ended early: ${ended.message}`
    screen.tell(
      `reel: ${how}; ${Format.counted(kept, "result")} kept in ${options.store}: the same command goes on from there`,
    )
  }
  // A run that ended early is told of as well, before the store is closed, and only once.
  yield* running.pipe(
    Effect.onError((cause) => Effect.sync(() => tellEarlyEnd(cause))),
    Effect.catch((error) => Effect.fail(toldOf ? new ExitCode.Ended({ exitCode: codeOf(error) }) : error)),
  )
  return { print, told: reportOf()! }
})

/** Ends with the code for failed items where there are some. */
export const ended = ({ failed, skipped }: RunReport.RunReport): Effect.Effect<void, ExitCode.Ended> =>
  failed.length + skipped.length > 0 ? new ExitCode.Ended({ exitCode: ExitCode.withFailures }) : Effect.void

const codeOf = (error: object): number =>
  "exitCode" in error && typeof error.exitCode === "number" ? error.exitCode : ExitCode.failed

const openOf = (node: RunReport.RunReport["ledger"][string]): number =>
  node.in - node.kept - node.failed - Object.values(node.dropped).reduce((sum, count) => sum + count, 0)
