/** `reel logs`: what the workers of a cluster wrote that made an item, or failed at it. */
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"

import { Results } from "@reelgraph/slurm"
import { Journal, Status } from "@reelgraph/store"
import * as Effect from "effect/Effect"

import * as Format from "../Format.ts"
import { Screen } from "../Screen.ts"
import * as StoreFolder from "../StoreFolder.ts"
import * as Target from "../Target.ts"
import type { Task } from "../Task.ts"
import { ItemUnknown } from "../UsageError.ts"

export interface Options {
  readonly target: string
  readonly store: string
  readonly json: boolean
}

/** A call that was made on a cluster, and the log of its worker. */
interface Entry {
  readonly operator: string
  readonly run: string
  readonly place: string
  readonly failed: boolean
  /** Absent when its folder is not on this machine, or was removed. */
  readonly log: string | undefined
}

/** Characters of a log that are shown to people: the end of it. */
const shown = 20_000

export const run: (options: Options) => Task = Effect.fn("reel.logs")(function* (options: Options) {
  const screen = yield* Screen
  const folder = yield* StoreFolder.logs(options.store)
  yield* Effect.provide(
    Effect.gen(function* () {
      const journal = yield* Journal
      const { items } = yield* Target.find(journal, options.target, options.store)
      const steps = items.flatMap((item) => [
        ...journal.producers(item),
        ...journal.consumers(item).filter(({ status }) => status === Status.failed),
      ])
      const entries = steps.flatMap(({ operator, place, run, status }): ReadonlyArray<Entry> => {
        if (place === undefined) return []
        const name = Results.logOf(place)
        const file = name === undefined ? undefined : join(folder, name)
        const log = file !== undefined && existsSync(file) ? readFileSync(file, "utf8") : undefined
        return [
          {
            operator: `${operator.name}@${operator.version}`,
            run,
            place,
            failed: status === Status.failed,
            log,
          },
        ]
      })
      if (entries.length === 0)
        return yield* new ItemUnknown({
          given: options.target,
          store: options.store,
          why:
            steps.length === 0
              ? "no call made it: it was taken in"
              : "was made beside the driver, and not on a cluster",
        })
      if (options.json) return screen.print(JSON.stringify(entries, null, 2))
      screen.show(entries.flatMap(lines))
    }),
    StoreFolder.layerJournal(options.store),
  )
})

const lines = ({ failed, log, operator, place, run }: Entry): ReadonlyArray<string> => [
  `${operator} ${failed ? "failed" : "ran"} on ${place} (run ${run})`,
  ...(log === undefined
    ? ["  its log is not here"]
    : log
        .slice(-shown)
        .trimEnd()
        .split("\n")
        .map((line) => `  ${Format.cut(line, 400)}`)),
]
