/**
 * Sessions that stay open between the calls of one process. A call that needs a session asks here; the first one opens
 * it, and it is closed when nobody has used it for a minute or the process ends.
 */
import { Session } from "@reelgraph/onnx"
import * as Effect from "effect/Effect"
import * as ManagedRuntime from "effect/ManagedRuntime"

let runtime: ManagedRuntime.ManagedRuntime<Session.Sessions, never> | undefined

/** Gives an effect the sessions of this process. */
export const withSessions = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
): Effect.Effect<A, E, Exclude<R, Session.Sessions>> =>
  Effect.suspend(() => {
    runtime ??= ManagedRuntime.make(Session.layer())
    return Effect.flatMap(Effect.orDie(runtime.contextEffect), (context) =>
      Effect.provideContext(effect, context),
    )
  })
