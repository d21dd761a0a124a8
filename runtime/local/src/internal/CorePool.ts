/**
 * The cores that calls share. Waiting calls of a higher priority go first, so that items far down a graph leave it
 * before new ones enter.
 */
import * as Effect from "effect/Effect"

interface Request {
  readonly cores: number
  readonly priority: number
  grant: () => void
  state: "waiting" | "granted" | "gone"
}

/** Cores are counted in thousandths: fractions of them add up to whole ones exactly. */
const thousandths = (cores: number): number => Math.max(1, Math.round(cores * 1000))

export class CorePool {
  readonly #all: number
  #free: number
  readonly #waiting: Array<Request> = []

  constructor(cores: number) {
    this.#all = thousandths(cores)
    this.#free = this.#all
  }

  /** Cores that nobody holds. */
  get free(): number {
    return this.#free / 1000
  }

  /** Runs an effect while holding cores; a request for more than there are holds all. */
  use<A, E, R>(cores: number, priority: number, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.suspend(() => {
      const request: Request = {
        cores: Math.min(thousandths(cores), this.#all),
        priority,
        grant: () => {},
        state: "waiting",
      }
      const granted = Effect.callback<void>((resume) => {
        request.grant = () => resume(Effect.void)
        this.#enter(request)
      })
      return Effect.ensuring(
        Effect.andThen(granted, effect),
        Effect.sync(() => this.#leave(request)),
      )
    })
  }

  #enter(request: Request): void {
    // After those of the same priority: first come, first served.
    const place = this.#waiting.findIndex((other) => other.priority < request.priority)
    this.#waiting.splice(place === -1 ? this.#waiting.length : place, 0, request)
    this.#grant()
  }

  #leave(request: Request): void {
    if (request.state === "granted") this.#free += request.cores
    const at = this.#waiting.indexOf(request)
    if (at !== -1) this.#waiting.splice(at, 1)
    request.state = "gone"
    // Also after one that only waited: it may have been the large one at the head of the line.
    this.#grant()
  }

  #grant(): void {
    // The first in line is never overtaken by a smaller one behind it: large requests would starve.
    while (this.#waiting.length > 0 && this.#waiting[0]!.cores <= this.#free) {
      const next = this.#waiting.shift()!
      this.#free -= next.cores
      next.state = "granted"
      next.grant()
    }
  }
}
