/**
 * Failures of the store as a whole. They end the run, as those of the journal do: every other item would fail for the
 * same reason, after its work was done.
 */
import type { Call, Failure } from "@reelgraph/call"
import * as Effect from "effect/Effect"

import { StoreFailed } from "../RunError.ts"

/** Ends the run when what came of a call says so. */
export const endRunOn = (node: string, outcome: Call.Outcome | Failure.Failure): Effect.Effect<void> =>
  !("_tag" in outcome) && outcome.endsRun === true
    ? Effect.die(new StoreFailed({ node, problem: outcome.message }))
    : Effect.void

/** The same of looking for what a node has made. */
export const lookingIn = <A, E extends { readonly message: string }, R>(
  node: string,
  effect: Effect.Effect<A, E, R>,
): Effect.Effect<A, never, R> =>
  Effect.catch(effect, ({ message }) => Effect.die(new StoreFailed({ node, problem: message })))

/** Makes what ended a run a failure again. */
export const storeErrors = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | StoreFailed, R> =>
  Effect.catchDefect(effect, (defect) =>
    defect instanceof StoreFailed ? Effect.fail(defect) : Effect.die(defect),
  )
