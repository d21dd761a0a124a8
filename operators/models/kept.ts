/** What is slow to make and stays made between the calls of one process: open models, tokenizers. */
import type { Session } from "@reelgraph/onnx"
import * as Effect from "effect/Effect"
import * as RcMap from "effect/RcMap"
import * as Scope from "effect/Scope"

import { withSessions } from "./sessions.ts"

/** How long something that nobody uses is kept. */
const idle = "1 minute"

/**
 * A function that gives the same thing for equal keys while it is in use or has been lately. Keys are plain data. What
 * could not be made is not remembered.
 */
export const kept = <K, A, E>(
  make: (key: K) => Effect.Effect<A, E, Session.Sessions | Scope.Scope>,
): ((key: K) => Effect.Effect<A, E, Scope.Scope>) => {
  let things: RcMap.RcMap<string, A, E> | undefined
  const open = Effect.suspend(() =>
    things === undefined
      ? RcMap.make({
          lookup: (key: string) => withSessions(make(JSON.parse(key) as K)),
          idleTimeToLive: idle,
        }).pipe(
          // As long as the process.
          Effect.provideService(Scope.Scope, Scope.makeUnsafe()),
          Effect.tap((made) => Effect.sync(() => (things = made))),
        )
      : Effect.succeed(things),
  )
  return (key) =>
    Effect.flatMap(open, (made) => {
      const text = JSON.stringify(key)
      return Effect.tapError(RcMap.get(made, text), () => RcMap.invalidate(made, text))
    })
}
