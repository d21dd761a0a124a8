/**
 * The cores that calls share. Waiting calls of a higher priority go first, so that items far down a graph leave it
 * before new ones enter.
 */
import * as Effect from "effect/Effect"

interface Waiting {
  readonly cores: number
  readonly priority: number
  readonly grant: () => void
}

export class CorePool {
  #free: number
  readonly #waiting: Array<Waiting> = []

  constructor(cores: number) {
    this.#free = cores
  }

  /** Runs an effect while holding cores. */
  use<A, E, R>(cores: number, priority: number, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.acquireUseRelease(
      this.#take(cores, priority),
      () => effect,
      () => Effect.sync(() => this.#give(cores)),
    )
  }

  #take(cores: number, priority: number): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      const waiting: Waiting = { cores, priority, grant: () => resume(Effect.void) }
      // After those of the same priority: first come, first served.
      const place = this.#waiting.findIndex((other) => other.priority < priority)
      this.#waiting.splice(place === -1 ? this.#waiting.length : place, 0, waiting)
      this.#grant()
      return Effect.sync(() => {
        const at = this.#waiting.indexOf(waiting)
        if (at === -1) this.#give(cores)
        else this.#waiting.splice(at, 1)
      })
    })
  }

  #give(cores: number): void {
    this.#free += cores
    this.#grant()
  }

  #grant(): void {
    // The first in line is never overtaken by a smaller one behind it: large requests would starve.
    while (this.#waiting.length > 0 && this.#waiting[0]!.cores <= this.#free + 1e-9) {
      const next = this.#waiting.shift()!
      this.#free -= next.cores
      next.grant()
    }
  }
}
