/**
 * Reports when a server does not answer: attempts are bounded, but they may take minutes, and a run that says
 * nothing looks as if it hung.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"

import { Notices } from "../../Notices.ts"

/** Milliseconds without any answer before it is reported; from then on each notice waits for three times as long. */
const patienceMs = 5000

export interface Silence {
  /** To be called when something has come from the server. */
  readonly heard: () => void
  /** An attempt to have something from the server. What it fails with is reported, too. */
  readonly attempt: <A, E, R>(
    one: Effect.Effect<A, E, R>,
    problemOf: (error: E) => string | undefined,
  ) => Effect.Effect<A, E, R>
  /** Work that waits for the server, pauses between attempts included. */
  readonly waiting: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

/** For a server of this name. */
export const make = Effect.fnUntraced(function* (server: string) {
  const clock = yield* Clock.Clock
  const notify = yield* Notices
  const scope = yield* Scope.Scope
  /** Pieces of work that wait. */
  const work = { waiting: 0 }
  let watched = false
  let heardMs = 0
  let problem: string | undefined
  let told = false

  const now = () => clock.currentTimeMillisUnsafe()
  const heard = () => {
    heardMs = now()
    problem = undefined
  }

  const watch = Effect.gen(function* () {
    let noticeMs = patienceMs
    // It ends by itself when no request waits. The next request starts it again.
    while (work.waiting > 0 || told) {
      yield* Effect.sleep(1000)
      const silentMs = now() - heardMs
      if (silentMs < patienceMs || work.waiting === 0) {
        if (told && silentMs < patienceMs) yield* notify(`${server} answers again`)
        told = false
        noticeMs = patienceMs
      } else if (silentMs >= noticeMs) {
        told = true
        noticeMs = silentMs * 3
        const why = problem === undefined ? "" : ` (${problem})`
        yield* notify(
          `still waiting for ${server}: no answer of use for ${Math.round(silentMs / 1000)} s${why}; requests are made again for some minutes`,
        )
      }
    }
    watched = false
  })

  return {
    heard,
    attempt: (one, problemOf) =>
      Effect.tapError(
        Effect.tap(one, () => Effect.sync(heard)),
        (error) =>
          Effect.sync(() => {
            const what = problemOf(error)
            if (what === undefined) heard()
            else problem = what
          }),
      ),
    waiting: (effect) =>
      Effect.acquireUseRelease(
        Effect.suspend(() => {
          if (work.waiting === 0) heard()
          work.waiting++
          if (watched) return Effect.void
          watched = true
          return Effect.asVoid(Effect.forkIn(watch, scope))
        }),
        () => effect,
        () => Effect.sync(() => void work.waiting--),
      ),
  } satisfies Silence
})
