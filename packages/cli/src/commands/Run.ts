/** `reel run`: runs a graph, shows how it goes, and reports what became of every item. */
import type { Graph } from "@reelgraph/core"
import { type ChangedCode, Engine } from "@reelgraph/engine"
import { Journal } from "@reelgraph/store"
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

import * as Alongside from "../Alongside.ts"
import * as Ends from "../Ends.ts"
import * as ExitCode from "../ExitCode.ts"
import * as Format from "../Format.ts"
import * as GraphSource from "../GraphSource.ts"
import * as InputSource from "../InputSource.ts"
import * as LostBlobs from "../LostBlobs.ts"
import * as Outputs from "../Outputs.ts"
import * as Installed from "../Installed.ts"
import * as Progress from "../Progress.ts"
import * as RunReport from "../RunReport.ts"
import { TerminalOutput } from "../TerminalOutput.ts"
import * as Settings from "../Settings.ts"
import * as StoreFolder from "../StoreFolder.ts"
import type { Task } from "../Task.ts"

export interface Options {
  readonly graph: string
  readonly input: ReadonlyArray<string>
  readonly set: ReadonlyArray<string>
  readonly store: string
  readonly seed: number
  readonly changedCode: ChangedCode.ChangedCode
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
  if (options.pools !== undefined) {
    const { runOnPools } = yield* Effect.promise(() => import("./RunOnPools.ts"))
    return yield* runOnPools(graph, options, options.pools)
  }
  const prepared = yield* prepare(graph, options)
  const services = Installed.executor(options.store).pipe(
    Layer.provideMerge(StoreFolder.layer(options.store)),
  )
  yield* Effect.provide(Effect.flatMap(execute(graph, prepared, options), ended), services)
})

/** What is checked and read before anything runs. */
export const prepare = Effect.fnUntraced(function* (graph: Graph.Graph, options: Options) {
  if (options.out !== undefined) yield* Outputs.check(options.out, graph)
  return yield* InputSource.prepare(graph, options.input, options.maxFailures)
})

/** Runs a graph to its end, writes its outputs where that was asked for, and reports it. */
export const execute = Effect.fnUntraced(function* (
  graph: Graph.Graph,
  prepared: InputSource.Prepared,
  options: Options,
) {
  const journal = yield* Journal
  const { again, print, told: first } = yield* complete(graph, prepared, options)
  const { done: told, written } = yield* LostBlobs.exported(first, again(first), ({ run }) =>
    options.out === undefined
      ? Effect.succeed(undefined)
      : Outputs.write(options.out, graph, journal.run(run)!, journal),
  )
  print(written === undefined ? told : { ...told, written })
  return told
})

/** What a run needs to know of its command. */
export interface Running extends Pick<Options, "store" | "seed" | "maxFailures" | "json"> {
  /** @default "auto" */
  readonly changedCode?: ChangedCode.ChangedCode
}

/**
 * Runs a graph to its end, showing how it goes. A run that ends early is told of here; of one that is complete, what
 * to tell is returned, and how.
 */
export const complete = Effect.fnUntraced(function* (
  graph: Graph.Graph,
  prepared: InputSource.Prepared,
  options: Running,
) {
  const journal = yield* Journal
  const screen = yield* TerminalOutput
  let live: Engine.Live | undefined
  const once = (inputs: Engine.Inputs | undefined) =>
    Effect.scoped(
      Effect.gen(function* () {
        const { observe } = yield* Progress.show(prepared.totals)
        const running = Engine.run(graph, inputs ?? prepared.inputs, {
          ...(yield* Ends.watched(graph)),
          seed: options.seed,
          ...(options.changedCode === undefined ? {} : { changedCode: options.changedCode }),
          ...(options.maxFailures === undefined ? {} : { maxFailures: options.maxFailures }),
          observe: (now) => {
            live = now
            observe(now)
          },
        })
        return yield* Alongside.watched(graph.name, () => live?.name, running)
      }),
    )
  const reportOf = (): RunReport.RunReport | undefined => {
    const recorded = live === undefined ? undefined : journal.run(live.name)
    return recorded === undefined
      ? undefined
      : RunReport.read(journal, recorded, options.store, prepared.skipped)
  }
  const print = (report: RunReport.RunReport) =>
    options.json ? screen.print(JSON.stringify(report, null, 2)) : screen.show(RunReport.lines(report))

  let toldOf = false
  const tellEarlyEnd = (cause: Cause.Cause<unknown>, there: boolean) => {
    const recorded = reportOf()
    if (recorded === undefined) return
    toldOf = true
    const ended = ExitCode.ofCause(cause)
    const how = typeof ended === "number" ? "interrupted" : `ended early: ${ended.message}`
    // A journal on a full disk has every result that was committed, and not that the run has ended.
    const report =
      recorded.endedMs !== undefined
        ? recorded
        : RunReport.ofLive(recorded, live!, typeof ended === "number" ? undefined : ended.message)
    print(report)
    if (!there) return screen.tell(`reel: ${how}`)
    const kept = Object.values(report.ledger).reduce(
      (sum, node) => sum + node.in - Math.max(0, openOf(node)),
      0,
    )
    screen.tell(
      `reel: ${how}; ${Format.counted(kept, "result")} kept in ${options.store}: the same command goes on from there`,
    )
  }
  // A run that ended early is told of as well, before the store is closed, and only once.
  const ending = <A, E extends object, R>(running: Effect.Effect<A, E, R>) =>
    running.pipe(
      Effect.onError((cause) =>
        Effect.map(
          Effect.orElseSucceed(StoreFolder.isThere(options.store), () => false),
          (there) => tellEarlyEnd(cause, there),
        ),
      ),
      Effect.catch((error) => Effect.fail(toldOf ? new ExitCode.Ended({ exitCode: codeOf(error) }) : error)),
    )
  yield* ending(LostBlobs.mended(graph, once))
  /** Runs the graph again on what a run has taken in. */
  const again = ({ run }: RunReport.RunReport) =>
    Effect.map(
      ending(
        LostBlobs.mended(graph, (inputs) =>
          once(inputs ?? LostBlobs.taken(journal, graph, journal.run(run)!)),
        ),
      ),
      () => reportOf()!,
    )
  return { print, told: reportOf()!, again }
})

/** Ends with the code for failed items where there are some. */
export const ended = ({ failed, skipped }: RunReport.RunReport): Effect.Effect<void, ExitCode.Ended> =>
  failed.length + skipped.length > 0 ? new ExitCode.Ended({ exitCode: ExitCode.withFailures }) : Effect.void

const codeOf = (error: object): number =>
  "exitCode" in error && typeof error.exitCode === "number" ? error.exitCode : ExitCode.failed

const openOf = (node: RunReport.RunReport["ledger"][string]): number =>
  node.in - node.kept - node.failed - Object.values(node.dropped).reduce((sum, count) => sum + count, 0)
