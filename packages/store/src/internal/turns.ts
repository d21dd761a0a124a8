/** Work on a key, one at a time for each key: the second finds what the first has done. */
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"

export type Turns = <A, E, R>(key: string, effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

export const make = (): Turns => {
  const turns = new Map<string, { readonly turn: Semaphore.Semaphore; users: number }>()
  return (key, effect) =>
    Effect.acquireUseRelease(
      Effect.sync(() => {
        const entry = turns.get(key) ?? { turn: Semaphore.makeUnsafe(1), users: 0 }
        entry.users++
        turns.set(key, entry)
        return entry
      }),
      ({ turn }) => turn.withPermits(1)(effect),
      (entry) => Effect.sync(() => void (--entry.users === 0 && turns.delete(key))),
    )
}
