/**
 * The cores and the memory that calls share. Waiting calls of a higher priority go first, so that items far down a graph leave it
 * before new ones enter.
 */
import * as Effect from "effect/Effect"

/** What a call holds while it runs. */
export interface Share {
  readonly cores: number
  /** @default 0: not accounted for */
  readonly memoryGiB?: number
}

interface Request {
  readonly cores: number
  readonly memory: number
  readonly priority: number
  grant: () => void
  state: "waiting" | "granted" | "gone"
}

/** Cores and GiB are counted in thousandths: fractions of them add up to whole ones exactly. */
const thousandths = (amount: number): number => Math.max(1, Math.round(amount * 1000))

export class ResourcePool {
  readonly #cores: number
  readonly #memory: number
  #freeCores: number
  #freeMemory: number
  readonly #waiting: Array<Request> = []

  constructor({ cores, memoryGiB = Number.POSITIVE_INFINITY }: Share) {
    this.#cores = thousandths(cores)
    this.#memory = thousandths(memoryGiB)
    this.#freeCores = this.#cores
    this.#freeMemory = this.#memory
  }

  /** Cores that nobody holds. */
  get freeCores(): number {
    return this.#freeCores / 1000
  }

  /** Runs an effect while holding a share; a request for more than there is holds all. */
  use<A, E, R>(
    { cores, memoryGiB = 0 }: Share,
    priority: number,
    effect: Effect.Effect<A, E, R>,
  ): Effect.Effect<A, E, R> {
    return Effect.suspend(() => {
      const request: Request = {
        cores: Math.min(thousandths(cores), this.#cores),
        memory: memoryGiB === 0 ? 0 : Math.min(thousandths(memoryGiB), this.#memory),
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
    if (request.state === "granted") {
      this.#freeCores += request.cores
      this.#freeMemory += request.memory
    }
    const at = this.#waiting.indexOf(request)
    if (at !== -1) this.#waiting.splice(at, 1)
    request.state = "gone"
    // Also after one that only waited: it may have been the large one at the head of the line.
    this.#grant()
  }

  #grant(): void {
    // The first in line is never overtaken by a smaller one behind it: large requests would starve.
    const fits = ({ cores, memory }: Request) => cores <= this.#freeCores && memory <= this.#freeMemory
    while (this.#waiting.length > 0 && fits(this.#waiting[0]!)) {
      const next = this.#waiting.shift()!
      this.#freeCores -= next.cores
      this.#freeMemory -= next.memory
      next.state = "granted"
      next.grant()
    }
  }
}
