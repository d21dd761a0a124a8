/**
 * The cores, the memory and the GPUs that calls share. Waiting calls of a higher priority go first, so that items far
 * down a graph leave it before new ones enter.
 */
import type { Resources } from "@reelgraph/core"
import * as Effect from "effect/Effect"

/** What there is. */
export interface Amounts {
  readonly cores: number
  /** @default no limit */
  readonly memoryGiB?: number
  /** Memory of each GPU, in GiB. @default there are none */
  readonly gpus?: ReadonlyArray<number>
}

interface Request {
  readonly cores: number
  readonly memory: number
  readonly gpus: number
  /** Of each GPU; nothing: all of it. */
  readonly gpuMemory: number | undefined
  readonly priority: number
  devices: ReadonlyArray<number>
  grant: () => void
  state: "waiting" | "granted" | "gone"
}

/** Cores and GiB are counted in thousandths: fractions of them add up to whole ones exactly. */
const thousandths = (amount: number): number => Math.max(1, Math.round(amount * 1000))

export class ResourcePool {
  readonly #cores: number
  readonly #memory: number
  readonly #gpus: ReadonlyArray<number>
  #freeCores: number
  #freeMemory: number
  /** Of each GPU. */
  readonly #freeGpus: Array<number>
  readonly #waiting: Array<Request> = []

  constructor({ cores, gpus = [], memoryGiB = Number.POSITIVE_INFINITY }: Amounts) {
    this.#cores = thousandths(cores)
    this.#memory = thousandths(memoryGiB)
    this.#gpus = gpus.map(thousandths)
    this.#freeCores = this.#cores
    this.#freeMemory = this.#memory
    this.#freeGpus = [...this.#gpus]
  }

  /** Cores that no call holds. */
  get freeCores(): number {
    return this.#freeCores / 1000
  }

  /**
   * Runs an effect while holding a share, with the numbers of its GPUs; a request for more than there is holds all. A
   * GPU is shared by those whose memory it has room for; a call that does not set how much has it alone.
   */
  use<A, E, R>(
    { cores, gpu, memoryGiB = 0 }: Resources.Resources,
    priority: number,
    effect: (devices: ReadonlyArray<number>) => Effect.Effect<A, E, R>,
  ): Effect.Effect<A, E, R> {
    return Effect.suspend(() => {
      const most = Math.max(0, ...this.#gpus)
      const request: Request = {
        cores: Math.min(thousandths(cores), this.#cores),
        memory: memoryGiB === 0 ? 0 : Math.min(thousandths(memoryGiB), this.#memory),
        gpus: Math.min(gpu?.count ?? 0, this.#gpus.length),
        gpuMemory: gpu?.memoryGiB === undefined ? undefined : Math.min(thousandths(gpu.memoryGiB), most),
        priority,
        devices: [],
        grant: () => {},
        state: "waiting",
      }
      const granted = Effect.callback<ReadonlyArray<number>>((resume) => {
        request.grant = () => resume(Effect.succeed(request.devices))
        this.#enter(request)
      })
      return Effect.ensuring(
        Effect.flatMap(granted, effect),
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
      for (const device of request.devices)
        this.#freeGpus[device] = this.#freeGpus[device]! + (request.gpuMemory ?? this.#gpus[device]!)
    }
    const at = this.#waiting.indexOf(request)
    if (at !== -1) this.#waiting.splice(at, 1)
    request.state = "gone"
    // Also after one that only waited: it may have been the large one at the head of the line.
    this.#grant()
  }

  #grant(): void {
    // The first in line is never overtaken by a smaller one behind it: large requests would starve.
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      const devices = this.#devicesFor(next)
      if (devices === undefined || next.cores > this.#freeCores || next.memory > this.#freeMemory) return
      this.#waiting.shift()
      this.#freeCores -= next.cores
      this.#freeMemory -= next.memory
      for (const device of devices)
        this.#freeGpus[device] = this.#freeGpus[device]! - (next.gpuMemory ?? this.#gpus[device]!)
      next.devices = devices
      next.state = "granted"
      next.grant()
    }
  }

  /** GPUs with room for a request, the fullest first: large requests find whole ones. */
  #devicesFor({ gpuMemory, gpus }: Request): ReadonlyArray<number> | undefined {
    if (gpus === 0) return []
    const roomy = this.#freeGpus
      .map((free, device) => ({ free, device }))
      .filter(({ device, free }) => free >= (gpuMemory ?? this.#gpus[device]!))
      .sort((a, b) => a.free - b.free || a.device - b.device)
    return roomy.length < gpus
      ? undefined
      : roomy
          .slice(0, gpus)
          .map(({ device }) => device)
          .sort((a, b) => a - b)
  }
}
