/**
 * Calls of one node on a store in a bucket, side by side in their stages: while some compute, the inputs of the next are
 * fetched into the cache of this machine, and what the last ones made is stored. A call that waits for the network holds
 * no core and no GPU. Of each stage there are as many calls as the node has slots; one that has computed keeps its slot
 * until there is room among those that are stored.
 *
 * Which fields of its records an operator reads blobs of is seen from its calls: a field that none of them has read is not
 * fetched. Side inputs are the same for all calls: the first has brought them.
 */
import { type Call, Failure } from "@reelgraph/call"
import { type Artifact, artifactsIn, type Transfers } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"

import type { Made } from "./WorkerProcess.ts"

/** Calls in a stage of the network, beyond one for each slot. */
const slack = 1

/** Mebibytes that calls have made and that wait to be stored, at most, of all nodes together. */
const unstoredAtMost = 4096

/** What calls of all nodes share. */
export interface Shared {
  readonly transfers: Transfers.Transfers
  /** In mebibytes. */
  readonly unstored: Semaphore.Semaphore
  /** Is done when no other call begins: nothing is fetched any more. */
  readonly stopped: Effect.Effect<void>
}

export const share = (transfers: Transfers.Transfers, stopped: Effect.Effect<void>): Shared => ({
  transfers,
  unstored: Semaphore.makeUnsafe(unstoredAtMost),
  stopped,
})

/** Takes permits until a scope closes. */
const hold = (semaphore: Semaphore.Semaphore, permits: number, scope: Scope.Scope): Effect.Effect<void> =>
  Effect.asVoid(
    Effect.provideService(
      Effect.acquireRelease(semaphore.take(permits), () => semaphore.release(permits), {
        interruptible: true,
      }),
      Scope.Scope,
      scope,
    ),
  )

const mebibytesOf = (artifacts: ReadonlyArray<Artifact>): number => {
  const bytes = artifacts.reduce((sum, artifact) => sum + artifact.bytes, 0)
  return Math.min(unstoredAtMost, Math.ceil(bytes / 2 ** 20))
}

/** The blobs that each field of a call's records names. */
const blobsByField = (call: Call.Call): ReadonlyMap<string, ReadonlyArray<Artifact>> => {
  const found = new Map<string, Array<Artifact>>()
  for (const { record } of call.items) {
    const fields: unknown = JSON.parse(record)
    if (typeof fields !== "object" || fields === null) continue
    for (const [field, value] of Object.entries(fields)) {
      const artifacts = artifactsIn(value)
      if (artifacts.length > 0) found.set(field, [...(found.get(field) ?? []), ...artifacts])
    }
  }
  return found
}

export class Overlap {
  readonly #shared: Shared
  readonly #slots: number
  /** Slots in use. */
  #busy = 0
  readonly #ahead: Semaphore.Semaphore
  readonly #computing: Semaphore.Semaphore
  readonly #storing: Semaphore.Semaphore
  /** Whether any call has read blobs of a field; absent: none that had the field has ended. */
  readonly #reads = new Map<string, boolean>()

  constructor(shared: Shared, slots: number) {
    this.#shared = shared
    this.#slots = slots
    this.#ahead = Semaphore.makeUnsafe(slots + slack)
    this.#computing = Semaphore.makeUnsafe(slots)
    this.#storing = Semaphore.makeUnsafe(slots + slack)
  }

  /** Calls that may be in their stages at once: fetching, computing and storing. */
  get calls(): number {
    return 3 * this.#slots + 2 * slack
  }

  /**
   * Makes a call. `compute` runs its first argument on what was made before it gives up its cores. The outcomes count:
   * what they name is in the bucket.
   */
  call(
    call: Call.Call,
    compute: (andThen: (made: Made) => Effect.Effect<Made>) => Effect.Effect<Made, Failure.Failure>,
  ): Effect.Effect<ReadonlyArray<Call.Outcome>, Failure.Failure> {
    return Effect.scopedWith((scope) =>
      Effect.gen({ self: this }, function* () {
        const slot = yield* Scope.fork(scope)
        const inputs = blobsByField(call)
        yield* this.#ahead.withPermits(1)(Effect.andThen(this.#fetch(inputs), hold(this.#computing, 1, slot)))
        this.#busy++
        yield* Scope.addFinalizer(
          slot,
          Effect.sync(() => void this.#busy--),
        )
        const { blobs, outcomes } = yield* compute((made) => {
          const unstored = made.blobs?.unstored ?? []
          if (unstored.length === 0) return Effect.succeed(made)
          // Also when nobody wants the result any more.
          return Scope.addFinalizer(scope, made.stored).pipe(
            Effect.andThen(hold(this.#storing, 1, scope)),
            Effect.andThen(hold(this.#shared.unstored, mebibytesOf(unstored), scope)),
            Effect.as(made),
          )
        })
        // Before the next is let in.
        this.#note(inputs, new Set(blobs?.read))
        yield* Scope.close(slot, Exit.void)
        yield* Effect.mapError(this.#shared.transfers.store(blobs?.unstored ?? []), Failure.fromError)
        return outcomes
      }),
    )
  }

  /** Fetches what the operator is known to read; what it may read, when the call has to wait for a slot anyway. */
  #fetch(inputs: ReadonlyMap<string, ReadonlyArray<Artifact>>): Effect.Effect<void> {
    return Effect.suspend(() => {
      const waits = this.#busy >= this.#slots
      const wanted = [...inputs].flatMap(([field, artifacts]) =>
        (this.#reads.get(field) ?? waits) ? artifacts : [],
      )
      if (wanted.length === 0) return Effect.void
      return Effect.raceFirst(this.#shared.transfers.fetch(wanted), this.#shared.stopped)
    })
  }

  #note(inputs: ReadonlyMap<string, ReadonlyArray<Artifact>>, read: ReadonlySet<string>): void {
    for (const [field, artifacts] of inputs)
      if (this.#reads.get(field) !== true)
        this.#reads.set(
          field,
          artifacts.some(({ sha256 }) => read.has(sha256)),
        )
  }
}
