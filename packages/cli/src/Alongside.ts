/** Other runs of a graph that are at work on the same store: what two make at once is made twice. */
import { Executor } from "@reelgraph/call/Executor"
import { Journal } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"

import { TerminalOutput } from "./TerminalOutput.ts"

const sentence = (graph: string, run: string): string =>
  `another run of ${graph} is at work on this store (${run}): what both are asked for is made twice; end one of them, unless their inputs differ`

/** What an executor of several machines has noted of another driver says the same. */
const isNoted = (notes: ReadonlyArray<string>, graph: string): boolean =>
  notes.some((note) => note.startsWith(`another driver of ${graph} is at work`))

/**
 * Runs with the other runs among its warnings: those at work when it begins, which are told of at once, and those when
 * it ends. Of two that begin in the same moment, the one that ends first has the other among its warnings. `own` gives
 * the name of the run, once it has one.
 */
export const watched = <A, E, R>(
  graph: string,
  own: () => string | undefined,
  running: Effect.Effect<A, E, R>,
): Effect.Effect<A, E, R | Executor | Journal | TerminalOutput> =>
  Effect.gen(function* () {
    const executor = yield* Executor
    const journal = yield* Journal
    const screen = yield* TerminalOutput
    const seen = new Set<string>()
    // A journal that cannot be read is what the run itself ends with.
    const look = () => {
      const found = Result.try(() => journal.atWork(graph))
      if (Result.isFailure(found) || isNoted(executor.notes(), graph)) return
      for (const { name } of found.success) if (name !== own()) seen.add(name)
    }
    const lines = () => [...seen].map((name) => sentence(graph, name))
    look()
    for (const line of lines()) screen.tell(`warning: ${line}`)
    return yield* Effect.provideService(running, Executor, {
      ...executor,
      notes: () => {
        look()
        return [...executor.notes(), ...lines()]
      },
    })
  })
