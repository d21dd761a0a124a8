/** Runs as people ask for them: by name, by the beginning of a name, or `last`. */
import type { Journal, Run } from "@reelgraph/store"
import * as Effect from "effect/Effect"

import { Ambiguous, RunUnknown } from "./UsageError.ts"

/** The run that is meant. */
export const find = (
  journal: typeof Journal.Service,
  given: string,
  store: string,
): Effect.Effect<Run, RunUnknown | Ambiguous> =>
  Effect.suspend((): Effect.Effect<Run, RunUnknown | Ambiguous> => {
    const exact = journal.run(given)
    if (exact !== undefined) return Effect.succeed(exact)
    const runs = journal.runs()
    const newest = runs.at(-1)
    if (given === "last" && newest !== undefined) return Effect.succeed(newest)
    const matches = runs.filter(({ name }) => name.startsWith(given))
    const [only] = matches
    if (only !== undefined && matches.length === 1) return Effect.succeed(only)
    return matches.length === 0
      ? Effect.fail(new RunUnknown({ run: given, store, runs: runs.map(({ name }) => name) }))
      : Effect.fail(
          new Ambiguous({ what: "runs", given, matches: matches.slice(-5).map(({ name }) => name) }),
        )
  })
