/**
 * What a person should know of a store that goes on working: a server that does not answer, a folder that others may
 * write to. A sentence each.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"

/** Takes a notice. @default a warning in the log */
export const Notices = Context.Reference<(text: string) => Effect.Effect<void>>("reelgraph/store/Notices", {
  defaultValue: () => (text) => Effect.logWarning(text),
})
