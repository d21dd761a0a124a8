/** Models that stay open between calls: reading one takes longer than running it. */
import * as Effect from "effect/Effect"
import * as RcMap from "effect/RcMap"
import type * as Scope from "effect/Scope"

/** How long a model that nobody uses stays open. */
const idle = "1 minute"

/**
 * A function that gives the same model for equal keys while one is in use or has been lately. Keys are plain data. A
 * model that could not be opened is tried again when it is next asked for. All are closed with the scope.
 */
export const make = <K, A, E, R>(
  open: (key: K) => Effect.Effect<A, E, R | Scope.Scope>,
): Effect.Effect<(key: K) => Effect.Effect<A, E, Scope.Scope>, never, R | Scope.Scope> =>
  Effect.map(
    RcMap.make({
      lookup: (key: string): Effect.Effect<A, E, R | Scope.Scope> => open(JSON.parse(key) as K),
      idleTimeToLive: idle,
    }),
    (models) => (key) => {
      const text = JSON.stringify(key)
      return Effect.tapError(RcMap.get(models, text), () => RcMap.invalidate(models, text))
    },
  ) as Effect.Effect<(key: K) => Effect.Effect<A, E, Scope.Scope>, never, R | Scope.Scope>
