/** What an earlier driver has left: its jobs, which go on, and what they have written. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

import * as Order from "../Order.ts"
import type { Entry } from "../Work.ts"
import { collect } from "./collecting.ts"
import { decodeShard, type Desk, entryOf, type Job, jobName, taskOf, utf8 } from "./desk.ts"

const decodeSubmitted = Schema.decodeUnknownEffect(Schema.fromJsonString(Order.Submitted))

/** Takes over the jobs of a session whose driver has ended: what they make is found when it is asked for. */
export const adopt = (desk: Desk, session: string): Effect.Effect<number, unknown> =>
  Effect.gen(function* () {
    const names = yield* Stream.runCollect(desk.objects.list(`${Order.folder(session)}/jobs`))
    let shards = 0
    for (const name of names) {
      const bytes = Option.getOrUndefined(yield* desk.objects.get(name))
      const read = bytes === undefined ? Option.none() : yield* Effect.option(decodeSubmitted(utf8(bytes)))
      if (Option.isNone(read)) continue
      const submitted = read.value
      const entries = yield* Effect.forEach(submitted.shards, (ids) =>
        Effect.forEach(ids, (id) => found(desk, session, submitted.node, id)),
      )
      const shares = entries.map((list) => list.filter((entry) => entry !== undefined))
      shards += shares.reduce((sum, list) => sum + list.length, 0)
      // A driver may end between submitting a job and noting its number: it is found by its name.
      const id =
        submitted.job ??
        (yield* Effect.orElseSucceed(desk.slurm.find(jobName(session, submitted.label)), () => undefined)) ??
        0
      const label = submitted.label
      const job: Job = {
        key: `${session}/${label}`,
        session,
        label,
        node: submitted.node,
        // No further order goes to what was held for another driver.
        held: false,
        id,
        submittedMs: 0,
        slots: submitted.slots,
        tasks: shares.map((list, index) => ({ ...taskOf(index, list), closed: true })),
        seen: new Set(),
        collectedMs: 0,
      }
      desk.jobs.set(job.key, job)
      yield* collect(desk, job)
    }
    return shards
  })

const found = (
  desk: Desk,
  session: string,
  node: string,
  id: string,
): Effect.Effect<Entry | undefined, unknown> =>
  Effect.gen(function* () {
    const bytes = Option.getOrUndefined(yield* desk.objects.get(Order.shardName(session, id)))
    if (bytes === undefined) return undefined
    const entry = entryOf(session, node, id, yield* decodeShard(utf8(bytes)))
    desk.work.add(entry)
    return entry
  })
