/**
 * A session: a driver with its jobs. Looks into the store for results, asks Slurm now and then how its jobs are, has
 * made again elsewhere what did not come through, and submits what waits.
 */
import { Call, type Part } from "@reelgraph/call"
import type { Objects } from "@reelgraph/store"
import * as Effect from "effect/Effect"

import * as Adopting from "./internal/adopting.ts"
import { collectAll } from "./internal/collecting.ts"
import { activeJobs, type Desk, enter, type Options } from "./internal/desk.ts"
import { poll } from "./internal/following.ts"
import { reconcile } from "./internal/reconciling.ts"
import { submitAll } from "./internal/submitting.ts"
import * as Notes from "./Notes.ts"
import type { SlurmClient } from "./SlurmClient.ts"
import { Work } from "./Work.ts"

export { jobName, type Options, type Site } from "./internal/desk.ts"

export class Session {
  readonly notes = new Notes.Notes()
  readonly #desk: Desk

  constructor(options: Options, objects: typeof Objects.Service, slurm: typeof SlurmClient.Service) {
    this.#desk = {
      options,
      objects,
      slurm,
      notes: this.notes,
      work: new Work(),
      jobs: new Map(),
      waiting: new Map(),
      submitting: new Set(),
      stillborn: new Map(),
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
  ): Effect.Effect<void, unknown> {
    return Effect.suspend(() => {
      const fresh = this.#desk.work.ask(Call.keys(shard), { give, end, fail })
      if (fresh.length === 0) return Effect.void
      const parts = shard.set === undefined ? bySize(shard, fresh) : [shard]
      return Effect.forEach(parts, (part) => enter(this.#desk, part, shard.node), { discard: true })
    })
  }

  /** One who asked does not wait any more. */
  forget(shard: Call.Shard, give: (part: Part) => void): void {
    this.#desk.work.forget(Call.keys(shard), give)
  }

  /**
   * Looks for results, asks Slurm, and submits, each at its own pace: a controller that is slow to answer holds up no
   * results. Ends never; what cannot be done now, such as while a store does not answer, is done later.
   */
  get run(): Effect.Effect<void> {
    const { lookMs, pollMs } = this.#desk.options
    const again = (what: string, effect: Effect.Effect<void, unknown>, ms: number) => {
      // Told once until it works again: what lasts would fill the screen.
      let told = false
      const once = Effect.matchCauseEffect(effect, {
        onFailure: (cause) => {
          if (told) return Effect.void
          told = true
          return Effect.logWarning(`${what} failed, and follows again`, cause)
        },
        onSuccess: () => Effect.sync(() => void (told = false)),
      })
      return Effect.forever(Effect.andThen(once, Effect.sleep(ms)))
    }
    return Effect.all(
      [
        again("a look for results", collectAll(this.#desk), lookMs),
        again("a question to Slurm", Effect.andThen(poll(this.#desk), reconcile(this.#desk)), pollMs),
        again("a submission", submitAll(this.#desk), lookMs),
      ],
      { concurrency: "unbounded", discard: true },
    )
  }

  /** How the tasks of a node of the graph are: `3 tasks run, 2 wait (Resources)`. */
  state(node: string): string {
    const tasks = activeJobs(this.#desk)
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

  /** Takes over the jobs of a session whose driver has ended. Gives how many shards they have. */
  adopt(session: string): Effect.Effect<number, unknown> {
    return Adopting.adopt(this.#desk, session)
  }

  /** Sessions with calls that nobody has asked for yet, or that are not through. */
  get open(): ReadonlySet<string> {
    return this.#desk.work.open
  }

  /** Cancels what still runs for this driver: not what it took over and nobody asked for. */
  get cancel(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const ids = activeJobs(this.#desk)
        .filter(
          ({ session }) => session === this.#desk.options.session || this.#desk.work.claimed.has(session),
        )
        .map(({ id }) => ({ job: id }))
      return ids.length === 0 ? Effect.void : Effect.ignore(this.#desk.slurm.cancel(ids))
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
