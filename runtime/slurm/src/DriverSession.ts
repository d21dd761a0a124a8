/**
 * A session: a driver with its jobs. Looks into the store for results, asks Slurm now and then how its jobs are, has
 * made again elsewhere what did not come through, and submits what waits.
 */
import { Call, type Part } from "@reelgraph/call"
import type { Objects } from "@reelgraph/store"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

import * as Adopting from "./internal/adopting.ts"
import { collectAll } from "./internal/collecting.ts"
import * as DriverState from "./internal/driverState.ts"
import { poll } from "./internal/following.ts"
import { reconcile } from "./internal/reconciling.ts"
import { submitAll } from "./internal/submitting.ts"
import * as RunNotes from "./RunNotes.ts"
import type { RunKey } from "./RunKey.ts"
import type { SlurmClient } from "./SlurmClient.ts"
import { CallTable } from "./CallTable.ts"

export { jobName, type Site } from "./internal/driverState.ts"

export class DriverSession {
  readonly notes = new RunNotes.RunNotes()
  readonly #driver: DriverState.DriverState

  constructor(
    options: DriverState.Options,
    objects: typeof Objects.Service,
    slurm: typeof SlurmClient.Service,
  ) {
    this.#driver = {
      options,
      objects,
      slurm,
      notes: this.notes,
      calls: new CallTable(),
      modules: new Set(),
      keys: new Map([[options.session, options.key]]),
      jobs: new Map(),
      waiting: new Map(),
      submitting: new Set(),
      reserved: new Map(),
      stalled: new Map(),
      startFailures: new Map(),
      storeFailures: new Map(),
      shards: 0,
      labels: 0,
    }
  }

  /** Has the calls of a shard made. */
  ask(
    shard: Call.Shard,
    give: (part: Part) => void,
    end: () => void,
    fail: (problem: string) => void,
  ): Effect.Effect<void, DriverState.ShardTooLarge | DriverState.StoreProblem> {
    return Effect.suspend(() => {
      const fresh = this.#driver.calls.ask({ shard, give, end, fail })
      if (fresh.length === 0) return Effect.void
      const parts = shard.set === undefined ? bySize(shard, fresh) : [shard]
      return Effect.forEach(parts, (part) => DriverState.enter(this.#driver, part), { discard: true })
    })
  }

  /** One who asked does not wait any more. */
  forget(shard: Call.Shard, give: (part: Part) => void): void {
    this.#driver.calls.forget(Call.keys(shard), give)
  }

  /**
   * Looks for results, asks Slurm, and submits, each at its own pace: a controller that is slow to answer holds up no
   * results. Ends never; what cannot be done now, such as while a store does not answer, is done later. What cannot be
   * done for too long ends everybody who waits, with a sentence.
   */
  get run(): Effect.Effect<void> {
    const { lookMs, pollMs } = this.#driver.options
    const { slurm, store } = DriverState.patience(this.#driver.options)
    const again = <E extends { readonly message: string }>(
      what: string,
      effect: Effect.Effect<void, E>,
      ms: number,
      patienceMs: number,
    ) => {
      // Told once until it works again: what lasts would fill the screen.
      let sinceMs: number | undefined
      const failed = (cause: Cause.Cause<E>, now: number) => {
        // Nobody waits: nothing is late.
        if (!this.#driver.calls.awaited) sinceMs = now
        if (sinceMs !== undefined) {
          if (now - sinceMs < patienceMs) return Effect.void
          const error = Cause.squash(cause)
          const message = error instanceof Error ? error.message : String(error)
          const problem = `${what} has failed for ${Math.round((now - sinceMs) / 60_000)} min: ${message}; what jobs have written is left to the next run`
          return Effect.sync(() => this.#driver.calls.fail(undefined, problem))
        }
        sinceMs = now
        return Effect.logWarning(`${what} failed, and follows again`, cause)
      }
      const once = Effect.matchCauseEffect(effect, {
        onFailure: (cause) => Effect.flatMap(Clock.currentTimeMillis, (now) => failed(cause, now)),
        onSuccess: () => Effect.sync(() => void (sinceMs = undefined)),
      })
      return Effect.forever(Effect.andThen(once, Effect.sleep(ms)))
    }
    return Effect.all(
      [
        again("a look for results in the store", collectAll(this.#driver), lookMs, store),
        again("a question to Slurm", poll(this.#driver), pollMs, slurm),
        again("writing shards anew", reconcile(this.#driver), lookMs, store),
        again("a submission", submitAll(this.#driver), lookMs, store),
      ],
      { concurrency: "unbounded", discard: true },
    )
  }

  /** How the tasks of a node of the graph are: `3 tasks run, 2 wait (Resources)`. */
  state(node: string): string {
    const tasks = DriverState.activeJobs(this.#driver)
      .filter((job) => job.node === node)
      .flatMap((job) => job.tasks)
    const open = tasks.filter(({ done }) => !done)
    const waiting = open.filter(({ at }) => at === undefined)
    const reasons = [...new Set(waiting.flatMap(({ reason }) => reason ?? []))]
    const run = open.length - waiting.length
    return [
      ...(run === 0 ? [] : [`${run} ${run === 1 ? "task runs" : "tasks run"}`]),
      ...(waiting.length === 0
        ? []
        : [
            `${waiting.length} ${waiting.length === 1 ? "waits" : "wait"}${reasons.length === 0 ? "" : ` (${reasons.join(", ")})`}`,
          ]),
    ].join(", ")
  }

  /** Takes over the jobs of a session whose driver has ended, with its key. Gives how many shards they have. */
  adopt(session: string, key: RunKey): Effect.Effect<number, DriverState.StoreProblem> {
    return Adopting.adopt(this.#driver, session, key)
  }

  /** Whether nothing of a session that was taken over is left for somebody else to ask for. */
  isThrough(session: string): boolean {
    return this.#driver.calls.claimed.has(session) || !this.#driver.calls.open.has(session)
  }

  /** Cancels what still runs for this driver: not what it took over and nobody asked for. */
  get cancel(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const ids = DriverState.activeJobs(this.#driver)
        .filter(
          ({ session }) =>
            session === this.#driver.options.session || this.#driver.calls.claimed.has(session),
        )
        .map(({ id }) => ({ job: id }))
      return ids.length === 0 ? Effect.void : Effect.ignore(this.#driver.slurm.cancel(ids))
    })
  }
}

/** Bytes of the records of a shard, about, at most: it is one object of the store. */
const shardBytes = 8 * 1024 * 1024

/** The items at some positions of a shard, as shards that are not too large. */
const bySize = (shard: Call.Shard, positions: ReadonlyArray<number>): ReadonlyArray<Call.Shard> => {
  const parts: Array<Array<Call.Shard["items"][number]>> = [[]]
  let bytes = 0
  for (const at of positions) {
    const item = shard.items[at]!
    if (bytes > 0 && bytes + item.record.length > shardBytes) {
      parts.push([])
      bytes = 0
    }
    bytes += item.record.length
    parts.at(-1)!.push(item)
  }
  return parts.map((items) => ({ ...shard, items }))
}
