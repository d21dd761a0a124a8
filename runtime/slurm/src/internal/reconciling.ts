/**
 * What becomes of shards that did not bring everything: of tasks that are over, and of workers that are through with
 * them. Each is written anew, or given up with a sentence. What is to be made is known from those who wait for it, not
 * read from the store. When the store fails in between, the same is done again later.
 */
import { Call } from "@reelgraph/call"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

import * as Remedy from "../Remedy.ts"
import type { Entry } from "../CallTable.ts"
import {
  activeJobs,
  type DriverState,
  endJob,
  type ActiveJob,
  replace,
  type ShardTooLarge,
  type StoreProblem,
  type ActiveTask,
} from "./driverState.ts"
import * as StartFailures from "./startFailures.ts"

/** Attempts at a shard that its own calls seem to end, before its items are given up. */
const attemptsOfCalls = 3
/** Attempts that machines ended, before they are taken for the calls' fault. */
const attemptsAtMost = 20
/** Results of a task that has ended are waited for so long: stores show them late. */
const lateMs = 1500

type Problem = ShardTooLarge | StoreProblem

/** What became of shards that did not bring everything. Of what fails, the rest is done all the same. */
export const reconcile = (driver: DriverState): Effect.Effect<void, Problem> =>
  Effect.gen(function* () {
    const problems: Array<Problem> = []
    const attempt = (effect: Effect.Effect<void, Problem>) =>
      Effect.matchEffect(effect, {
        onFailure: (problem) => Effect.sync(() => void problems.push(problem)),
        onSuccess: () => Effect.void,
      })
    for (const job of activeJobs(driver)) {
      for (const task of job.tasks) {
        if (task.done) continue
        if (task.over === undefined) yield* attempt(leftOut(driver, job, task))
        else yield* attempt(ended(driver, job, task, task.over))
      }
      endJob(driver, job)
    }
    const [first] = problems
    if (first !== undefined) return yield* Effect.fail(first)
  })

/** A task that is over. */
const ended = (
  driver: DriverState,
  job: ActiveJob,
  task: ActiveTask,
  { how, sinceMs }: NonNullable<ActiveTask["over"]>,
) =>
  Effect.gen(function* () {
    // Also what its worker wrote last must have been read.
    if (job.collectedMs < sinceMs + lateMs) return
    const left = task.entries.filter(({ missing }) => missing.size > 0)
    if (task.atWork === undefined) {
      // Shards come one after another: only the first that are left can have been those at work.
      task.atWork = new Set(left.slice(0, job.slots))
      const useless = StartFailures.isStartFailure(task, how)
        ? StartFailures.count(driver, job, task, how)
        : StartFailures.countStoreFailure(driver, job, task, how)
      if (useless !== undefined) driver.calls.fail(job.node, useless)
    }
    const remedy = StartFailures.isStartFailure(task, how)
      ? Remedy.remedyOfStartFailure(how, task.on)
      : Remedy.remedy(how, task.at)
    for (const entry of left) yield* again(driver, job, task, entry, remedy)
    task.done = true
  })

/** What the worker of a task that goes on is through with, and has not brought all results of. */
const leftOut = (driver: DriverState, job: ActiveJob, task: ActiveTask) =>
  Effect.gen(function* () {
    for (const [entry, sinceMs] of task.through) {
      if (entry.missing.size > 0) {
        if (job.collectedMs < sinceMs + lateMs) continue
        yield* again(driver, job, task, entry, Remedy.leftOut)
      }
      task.through.delete(entry)
    }
  })

/** Puts what is left of a shard in line again, or gives it up. */
const again = (driver: DriverState, job: ActiveJob, task: ActiveTask, entry: Entry, remedy: Remedy.Remedy) =>
  Effect.gen(function* () {
    const { avoid, blame, memoryScale, text } = remedy
    const own =
      (task.atWork?.has(entry) ?? false) &&
      (blame === "calls" || (blame === "stuck" && entry.missing.size === entry.keys.length))
    const failedAttempts = [...entry.failedAttempts, { what: text, own }]
    const scale = Math.max(entry.memoryScale, entry.memoryScale * memoryScale)
    // Never all of them: what fails everywhere is not the fault of nodes.
    const nodes = driver.options.sites.get(entry.node)?.nodes ?? 1
    const excluded = new Set([...entry.avoid, ...avoid])
    const from = {
      memoryScale: scale,
      failedAttempts,
      avoid: excluded.size < nodes ? excluded : new Set<string>(),
    }
    const gaveUp =
      failedAttempts.length >= attemptsAtMost ||
      failedAttempts.filter((attempt) => attempt.own).length >= attemptsOfCalls
    const rest = driver.calls.remainder(entry)
    const divisible = rest.some(({ items, set }) => set === undefined && items.length > 1)
    if (gaveUp && !divisible) yield* giveUp(driver, entry, text)
    else
      yield* replace(
        driver,
        entry,
        gaveUp ? { ...from, failedAttempts: failedAttempts.slice(-(attemptsOfCalls - 1)) } : from,
        // One bad item costs only itself: each alone, with one more attempt.
        gaveUp ? alone : undefined,
      )
    if (rest.length > 0) driver.notes.add(text, `${job.id}_${task.index}`)
    task.entries.splice(0, task.entries.length, ...task.entries.filter((other) => other !== entry))
  })

const alone = (shard: Call.Shard): ReadonlyArray<Call.Shard> =>
  shard.set === undefined ? shard.items.map((item) => ({ ...shard, items: [item] })) : [shard]

const giveUp = (driver: DriverState, entry: Entry, text: string): Effect.Effect<void> =>
  Effect.map(Clock.currentTimeMillis, (now) => {
    const failure = {
      tag: "WorkerLost",
      message: `${entry.node}: ${entry.failedAttempts.length + 1} workers ended during the call; the last: ${text}`,
      retryable: true,
    }
    driver.calls.giveUp(entry, (at) => Call.failed(at, failure, now))
  })
