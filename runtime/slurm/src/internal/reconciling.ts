/** What becomes of tasks that are over without having brought everything. */
import { Call } from "@reelgraph/call"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

import type * as JobState from "../JobState.ts"
import * as Notes from "../Notes.ts"
import * as Order from "../Order.ts"
import type { Entry } from "../Work.ts"
import * as Stillborn from "./stillborn.ts"
import { activeJobs, decodeShard, type Desk, endJob, enter, type Job, type Task, utf8 } from "./desk.ts"

/** Attempts at a shard that its own calls seem to end, before its items are given up. */
const ownTroubles = 3
/** Attempts that machines ended, before they are taken for the calls' fault. */
const allTroubles = 20
/** Results of a task that has ended are waited for so long: stores show them late. */
const lateMs = 1500

/** What became of tasks that are over without having brought everything. */
export const reconcile = (desk: Desk): Effect.Effect<void, unknown> =>
  Effect.gen(function* () {
    for (const job of activeJobs(desk)) {
      for (const task of job.tasks) {
        // Also what its worker wrote last must have been read.
        if (task.done || task.over === undefined || job.collectedMs < task.over.sinceMs + lateMs) continue
        task.done = true
        const { how } = task.over
        const useless = Stillborn.isStillborn(task, how) ? Stillborn.count(desk, job, task, how) : undefined
        if (useless !== undefined) desk.work.fail(job.node, useless)
        const left = task.entries.filter(({ missing }) => missing.size > 0)
        for (const entry of left) yield* again(desk, job, task, entry, how)
      }
      endJob(desk, job)
    }
  })

/** Puts what is left of a shard in line again, or gives it up. */
const again = (
  desk: Desk,
  job: Job,
  task: Task,
  entry: Entry,
  how: JobState.Outcome,
): Effect.Effect<void, unknown> =>
  Effect.gen(function* () {
    const name = Order.shardName(entry.session, entry.id)
    const bytes = Option.getOrUndefined(yield* desk.objects.get(name))
    desk.work.drop(entry)
    if (!desk.work.wanted(entry) || bytes === undefined)
      return yield* Effect.ignore(desk.objects.remove(name))
    const shard = yield* decodeShard(utf8(bytes))
    const { avoid, blame, memoryScale, text } = Stillborn.isStillborn(task, how)
      ? Notes.remedyOfStillborn(how, task.on)
      : Notes.remedy(how, task.at)
    desk.notes.add(text, `${job.id}_${task.index}`)
    // Shards come one after another: only the first that are left can have been those at work.
    const atWork = task.entries
      .filter(({ missing }) => missing.size > 0)
      .slice(0, job.slots)
      .includes(entry)
    const own =
      atWork && (blame === "calls" || (blame === "stuck" && entry.missing.size === entry.keys.length))
    const troubles = [...entry.troubles, { what: text, own }]
    const items = [...entry.missing].map((at) => shard.items[at]!)
    const rest = shard.set === undefined ? { ...shard, items } : shard
    const scale = Math.max(entry.memoryScale, entry.memoryScale * memoryScale)
    // Not away from all of them: what fails everywhere is not the fault of nodes.
    const nodes = desk.options.sites.get(entry.node)?.nodes ?? 1
    const away = new Set([...entry.avoid, ...avoid])
    const from = { memoryScale: scale, troubles, avoid: away.size < nodes ? away : new Set<string>() }
    const gaveUp =
      troubles.length >= allTroubles || troubles.filter((trouble) => trouble.own).length >= ownTroubles
    if (gaveUp && rest.items.length > 1 && shard.set === undefined) {
      // One bad item costs only itself: each alone, with one more attempt.
      for (const item of rest.items)
        yield* enter(desk, { ...rest, items: [item] }, entry.node, {
          ...from,
          troubles: troubles.slice(-(ownTroubles - 1)),
        })
    } else if (gaveUp) yield* giveUp(desk, rest, entry, text)
    else yield* enter(desk, rest, entry.node, from)
    yield* Effect.ignore(desk.objects.remove(name))
  })

const giveUp = (desk: Desk, shard: Call.Shard, entry: Entry, text: string): Effect.Effect<void> =>
  Effect.map(Clock.currentTimeMillis, (now) => {
    const keys = Call.keys(shard)
    const last: Entry = { ...entry, keys, missing: new Set(keys.keys()) }
    desk.work.add(last)
    const failure = {
      tag: "WorkerLost",
      message: `${shard.node}: ${entry.troubles.length + 1} workers ended during the call; the last: ${text}`,
      retryable: true,
    }
    desk.work.take(
      last,
      keys.map((_, at) => Call.failed(at, failure, now)),
      "",
      Effect.void,
    )
  })
