/** What an earlier driver has left: its jobs, which go on, and what they have written. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

import * as SessionObjects from "../SessionObjects.ts"
import * as RunKey from "../RunKey.ts"
import type { Entry } from "../CallTable.ts"
import { collect } from "./collecting.ts"
import {
  decodeShard,
  type DriverState,
  entryOf,
  type ActiveJob,
  jobName,
  type StoreProblem,
  taskOf,
  utf8,
} from "./driverState.ts"

const decodeSubmitted = Schema.decodeUnknownEffect(Schema.fromJsonString(SessionObjects.SubmittedJob))

/**
 * Takes over the jobs of a session whose driver has ended: what they make is found when it is asked for. Of what is not
 * sealed with the key of the session, nothing is taken over: it is made again.
 */
export const adopt = (
  driver: DriverState,
  session: string,
  key: RunKey.RunKey,
): Effect.Effect<number, StoreProblem> =>
  Effect.gen(function* () {
    driver.keys.set(session, key)
    const names = yield* Stream.runCollect(driver.objects.list(`${SessionObjects.folder(session)}/jobs`))
    let shards = 0
    for (const name of names) {
      const read = yield* Effect.option(Effect.flatMap(opened(driver, key, name), decodeSubmitted))
      if (Option.isNone(read)) {
        driver.notes.add(
          "jobs of an earlier driver were not taken over: their objects are damaged, or of another origin",
          name,
        )
        continue
      }
      const submitted = read.value
      const entries = yield* Effect.forEach(submitted.shards, (ids) =>
        Effect.forEach(ids, (id) => found(driver, key, session, submitted.node, id), { concurrency: 8 }),
      )
      const shares = entries.map((list) => list.filter((entry) => entry !== undefined))
      shards += shares.reduce((sum, list) => sum + list.length, 0)
      // A driver may end between submitting a job and noting its number: it is found by its name.
      const id =
        submitted.job ??
        (yield* Effect.orElseSucceed(
          driver.slurm.find(jobName(session, submitted.label)),
          () => undefined,
        )) ??
        0
      const label = submitted.label
      const job: ActiveJob = {
        key: `${session}/${label}`,
        session,
        label,
        node: submitted.node,
        // No further assignment goes to what was held for another driver.
        held: false,
        id,
        submittedMs: 0,
        slots: submitted.slots,
        tasks: shares.map((list, index) => ({ ...taskOf(index, list), closed: true })),
        seen: new Set(),
        collectedMs: 0,
        unread: new Map(),
      }
      driver.jobs.set(job.key, job)
      yield* collect(driver, job)
    }
    return shards
  })

/** The text of an object of a session; empty when it is gone. */
const opened = (driver: DriverState, key: RunKey.RunKey, name: string) =>
  Effect.flatMap(driver.objects.get(name), (sealed) =>
    Option.isNone(sealed)
      ? Effect.succeed("")
      : Effect.map(RunKey.open(key, name, sealed.value), (bytes) => utf8(bytes)),
  )

/** A shard that is on its way. One that is gone has all its results, or is made again when it is asked for. */
const found = (
  driver: DriverState,
  key: RunKey.RunKey,
  session: string,
  node: string,
  id: string,
): Effect.Effect<Entry | undefined> =>
  Effect.gen(function* () {
    const text = yield* opened(driver, key, SessionObjects.shardName(session, id))
    if (text === "") return undefined
    const entry = entryOf(session, node, id, yield* decodeShard(text))
    driver.calls.add(entry)
    return entry
  }).pipe(
    Effect.catch((problem) =>
      Effect.sync(() => {
        driver.notes.add("shards of an earlier driver were not taken over", problem.message)
        return undefined
      }),
    ),
  )
