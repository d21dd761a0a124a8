/** `reel logs`: what the workers of a cluster wrote in a run, or those that made an item or failed at it. */
import { statSync } from "node:fs"
import { join } from "node:path"

import { Results } from "@reelgraph/slurm"
import { Journal, type Run, Status } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"

import * as RunName from "../RunName.ts"
import { TerminalOutput } from "../TerminalOutput.ts"
import * as StoreFolder from "../StoreFolder.ts"
import * as Suggest from "../Suggest.ts"
import * as LineageTarget from "../LineageTarget.ts"
import type { Task } from "../Task.ts"
import { ItemUnknown } from "../UsageError.ts"
import * as WorkerLogs from "../WorkerLogs.ts"

export interface Options {
  /** A run, a file, or a digest. */
  readonly target: string
  /** Lines of each log, from its end. */
  readonly lines: number
  readonly store: string
  readonly json: boolean
}

/** A call that was made on a cluster. */
interface Call {
  readonly operator: string
  readonly run: string
  readonly place: string
  readonly failed: boolean
}

/** The end of a log as `--json` has it; absent when it is not on this machine, or was removed. */
const textOf = (tail: WorkerLogs.Tail | undefined): { readonly log?: string } =>
  tail === undefined ? {} : { log: tail.lines.join("\n") }

export const run: (options: Options) => Task = Effect.fn("reel.logs")(function* (options: Options) {
  const folder = yield* StoreFolder.logs(options.store)
  yield* Effect.provide(
    Effect.gen(function* () {
      const journal = yield* Journal
      const meant = yield* find(journal, options)
      yield* "run" in meant
        ? showRun(journal, meant.run, folder, options)
        : showItems(journal, meant.items, folder, options)
    }),
    StoreFolder.layerJournal(options.store),
  )
})

const isFile = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isFile() === true

/** What is meant: a file that is there, else a run, else an item. */
const find = Effect.fnUntraced(function* (journal: typeof Journal.Service, { store, target }: Options) {
  const run = isFile(target) ? undefined : yield* Effect.result(RunName.find(journal, target, store))
  if (run !== undefined && Result.isSuccess(run)) return { run: run.success }
  if (run !== undefined && (run.failure._tag === "Ambiguous" || target === "last")) return yield* run.failure
  if (run !== undefined && run.failure._tag === "RunUnknown" && !/^[0-9a-f]+$/i.test(target))
    return yield* new ItemUnknown({
      given: target,
      store,
      why: `is neither a run, nor a file, nor a digest.${Suggest.sentence(target, run.failure.runs)} \`reel runs\` lists runs, \`reel show last --json\` digests`,
    })
  return { items: (yield* LineageTarget.find(journal, target, store)).items }
})

const showRun = Effect.fnUntraced(function* (
  journal: typeof Journal.Service,
  run: Run,
  folder: string,
  options: Options,
) {
  const screen = yield* TerminalOutput
  const logs = WorkerLogs.ofRun(journal, run, folder)
  if (options.json) {
    const entries = logs.map(({ file, ...log }) => ({
      ...log,
      ...textOf(WorkerLogs.tail(file, options.lines)),
    }))
    return screen.print(JSON.stringify(entries, null, 2))
  }
  if (logs.length === 0)
    return screen.show([`run ${run.name} has no logs of workers: none of its calls was made on a cluster`])
  if (logs.every(({ writtenMs }) => writtenMs === undefined))
    return screen.show([
      `run ${run.name} was made on a cluster, but its logs are not here: they were removed, or its driver had another machine (looked for in ${folder})`,
    ])
  // One by one: there may be thousands.
  for (const log of logs) {
    const tail = WorkerLogs.tail(log.file, options.lines)
    screen.show([`${headOf(log)}${WorkerLogs.part(tail)}`, ...WorkerLogs.lines(tail)])
  }
})

/** Places that are named of a task that was begun again and again. */
const namedPlaces = 3

const headOf = ({ places, session, task }: WorkerLogs.Log): string => {
  if (places.length === 0) return `job ${task}, session ${session} (no result of the run is from it)`
  const more = places.length - namedPlaces
  return `${places.slice(0, namedPlaces).join("; ")}${more > 0 ? `; and ${more} more` : ""}`
}

const showItems = Effect.fnUntraced(function* (
  journal: typeof Journal.Service,
  items: ReadonlyArray<number>,
  folder: string,
  options: Options,
) {
  const screen = yield* TerminalOutput
  const steps = items.flatMap((item) => [
    ...journal.producers(item),
    ...journal.consumers(item).filter(({ status }) => status === Status.failed),
  ])
  const calls = steps.flatMap(({ operator, place, run, status }): ReadonlyArray<Call> =>
    place === undefined
      ? []
      : [{ operator: `${operator.name}@${operator.version}`, run, place, failed: status === Status.failed }],
  )
  if (calls.length === 0)
    return yield* new ItemUnknown({
      given: options.target,
      store: options.store,
      why:
        steps.length === 0
          ? "no call made it: it was taken in"
          : "was made beside the driver, and not on a cluster",
    })
  const tailOf = ({ place }: Call): WorkerLogs.Tail | undefined => {
    const name = Results.logOf(place)
    return name === undefined ? undefined : WorkerLogs.tail(join(folder, name), options.lines)
  }
  if (options.json)
    return screen.print(
      JSON.stringify(
        calls.map((call) => ({ ...call, ...textOf(tailOf(call)) })),
        null,
        2,
      ),
    )
  for (const call of calls) {
    const tail = tailOf(call)
    const { failed, operator, place, run } = call
    const head = `${operator} ${failed ? "failed" : "ran"} on ${place} (run ${run})`
    screen.show([`${head}${WorkerLogs.part(tail)}`, ...WorkerLogs.lines(tail)])
  }
})
