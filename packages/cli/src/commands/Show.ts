/** `reel show`: one run of the store, with everything that became of its items. */
import { Journal } from "@reelgraph/store"
import * as Effect from "effect/Effect"

import * as Format from "../Format.ts"
import * as ItemLabel from "../ItemLabel.ts"
import * as RunName from "../RunName.ts"
import * as RunReport from "../RunReport.ts"
import { TerminalOutput } from "../TerminalOutput.ts"
import * as StoreFolder from "../StoreFolder.ts"
import type { Task } from "../Task.ts"

export interface Options {
  readonly run: string
  readonly store: string
  readonly json: boolean
}

export const run: (options: Options) => Task = Effect.fn("reel.show")(function* (options: Options) {
  const screen = yield* TerminalOutput
  yield* Effect.provide(
    Effect.gen(function* () {
      const journal = yield* Journal
      const found = yield* RunName.find(journal, options.run, options.store)
      const report = RunReport.read(journal, found, options.store)
      if (!options.json) {
        const began = `began    ${Format.moment(report.startedMs)} UTC`
        screen.show([...RunReport.lines(report), began])
        return
      }
      const droppedItems = journal.dropped(found.id).map(({ detail, item, node, reason }) => ({
        node,
        item: journal.item(item)?.digest ?? "?",
        name: ItemLabel.of(journal, item),
        reason,
        detail,
      }))
      const definition: unknown = JSON.parse(found.definition)
      screen.print(JSON.stringify({ ...report, droppedItems, definition }, null, 2))
    }),
    StoreFolder.layerJournal(options.store),
  )
})
