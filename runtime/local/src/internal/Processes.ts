/** Worker processes that are at work, or wait for the next call on the same GPUs. */
import * as Effect from "effect/Effect"

import { WorkerProcess } from "./WorkerProcess.ts"

/** What a process sees of the GPUs of this machine, and may take of their memory. */
export interface Seat {
  /** As in CUDA_VISIBLE_DEVICES; undefined: what this process sees. */
  readonly visible: ReadonlyArray<string> | undefined
  /** Of each, in GiB. */
  readonly memoryGiB: number
}

export class Processes {
  readonly #store: string
  readonly #environment: Readonly<Record<string, string>>
  /** Of one GPU. */
  readonly #gpuMemoryGiB: number
  readonly #all = new Map<WorkerProcess, Seat>()
  readonly #idle: Array<WorkerProcess> = []
  /** Of processes that are about to be started. */
  readonly #coming = new Set<Seat>()
  #stopped = false

  constructor(store: string, environment: Readonly<Record<string, string>>, gpuMemoryGiB: number) {
    this.#store = store
    this.#environment = environment
    this.#gpuMemoryGiB = gpuMemoryGiB
  }

  /** A process on these GPUs: one that is idle, or a new one. */
  take(seat: Seat): Effect.Effect<WorkerProcess> {
    return Effect.gen({ self: this }, function* () {
      for (let at = this.#idle.length - 1; at >= 0; at--) {
        const worker = this.#idle[at]!
        if (worker.reusable && !isAlike(this.#all.get(worker)!, seat)) continue
        this.#idle.splice(at, 1)
        if (worker.reusable) return worker
        this.#all.delete(worker)
      }
      const coming = { ...seat }
      this.#coming.add(coming)
      yield* this.#makeRoom(seat)
      this.#coming.delete(coming)
      const { visible } = seat
      const worker = new WorkerProcess(this.#store, {
        ...this.#environment,
        ...(visible === undefined ? {} : { CUDA_VISIBLE_DEVICES: visible.join(",") }),
      })
      this.#all.set(worker, seat)
      if (this.#stopped) worker.stop()
      return worker
    })
  }

  giveBack(worker: WorkerProcess): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (worker.reusable) {
        this.#idle.push(worker)
        return Effect.void
      }
      this.#all.delete(worker)
      return worker.end
    })
  }

  /** Tells calls that go on, and those to come, to come to an end. */
  stop(): void {
    this.#stopped = true
    for (const worker of this.#all.keys()) worker.stop()
  }

  get end(): Effect.Effect<void> {
    return Effect.suspend(() =>
      Effect.forEach(this.#all.keys(), (worker) => worker.end, { concurrency: "unbounded", discard: true }),
    )
  }

  /** Idle processes hold what they have loaded on a GPU: those that have been idle longest are ended for another. */
  #makeRoom({ visible }: Seat): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      for (const device of visible ?? []) {
        const isOn = (seat: Seat) => seat.visible?.includes(device) ?? false
        const taken = () =>
          [...this.#all.values(), ...this.#coming].reduce(
            (sum, seat) => (isOn(seat) ? sum + seat.memoryGiB : sum),
            0,
          )
        while (taken() > this.#gpuMemoryGiB + 1e-9) {
          const at = this.#idle.findIndex((worker) => isOn(this.#all.get(worker)!))
          if (at === -1) break
          const [worker] = this.#idle.splice(at, 1)
          this.#all.delete(worker!)
          yield* worker!.end
        }
      }
    })
  }
}

const isAlike = (a: Seat, b: Seat): boolean =>
  a.memoryGiB === b.memoryGiB && a.visible?.join(",") === b.visible?.join(",")
