/**
 * What workers have written: taken in as it comes, once. An object that cannot be read holds up no other; when it still
 * cannot after a while it is left out, as is one that no worker of this run has sealed, and what it may have had is made
 * again.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

import * as SessionObjects from "../SessionObjects.ts"
import * as Results from "../Results.ts"
import * as RunKey from "../RunKey.ts"
import {
  activeJobs,
  type DriverState,
  endJob,
  type ActiveJob,
  keyOf,
  type StoreProblem,
  type ActiveTask,
  utf8,
} from "./driverState.ts"

/** A clock may be so far off before it is reported. */
const skewMs = 30_000

/** An object that is listed and cannot be read is waited for so long. */
const unreadMs = 120_000

const decodeRegistration = Schema.decodeUnknownEffect(Schema.fromJsonString(Results.Registration))

export const collectAll = (driver: DriverState): Effect.Effect<void, StoreProblem> =>
  Effect.suspend(() =>
    Effect.forEach(activeJobs(driver), (job) => collect(driver, job), { concurrency: 8, discard: true }),
  )

export const collect = (driver: DriverState, job: ActiveJob): Effect.Effect<void, StoreProblem> =>
  Effect.gen(function* () {
    const folder = SessionObjects.resultsFolder(job.session, job.label)
    const now = yield* Clock.currentTimeMillis
    const names = yield* Stream.runCollect(driver.objects.list(folder))
    const fresh = names.filter((name) => !job.seen.has(name))
    const outcomes = yield* Effect.forEach(
      fresh,
      (name) => Effect.result(read(driver, job, name, name.slice(folder.length + 1))),
      { concurrency: 8 },
    )
    const problems = outcomes.flatMap((outcome, i) =>
      outcome._tag === "Failure" ? [{ name: fresh[i]!, problem: outcome.failure }] : [],
    )
    // Not one of several could be read: it is the store that does not answer.
    const silent = problems.length === fresh.length && problems.length > 1
    const waits = problems.filter(({ name, problem }) => isWaitedFor(driver, job, name, problem, now, silent))
    for (const task of job.tasks) {
      const left = task.entries.filter(({ missing }) => missing.size > 0)
      task.entries.splice(0, task.entries.length, ...left)
      if (left.length === 0 && !job.held) task.done = true
    }
    endJob(driver, job)
    const [first] = waits
    if (first === undefined) job.collectedMs = now
    else if (silent && first.problem._tag === "StoreUnreadable") return yield* Effect.fail(first.problem)
  })

type ReadProblem = StoreProblem | RunKey.ObjectRefused

/** Whether an object that could not be read may be read later. If not, it is left out. */
const isWaitedFor = (
  driver: DriverState,
  job: ActiveJob,
  name: string,
  problem: ReadProblem,
  now: number,
  silent: boolean,
): boolean => {
  const sinceMs = job.unread.get(name) ?? now
  job.unread.set(name, sinceMs)
  if (problem._tag === "StoreUnreadable" && (silent || now - sinceMs < unreadMs)) return true
  job.unread.delete(name)
  job.seen.add(name)
  driver.notes.add(problem._tag === "ObjectRefused" ? refused : unreadable, name)
  return false
}

const refused =
  "objects that no worker of this run wrote as they are (damaged, or of another origin) were refused; what they may have had was made again"
const unreadable = "objects that could not be read were left out; what they may have had was made again"

const read = (
  driver: DriverState,
  job: ActiveJob,
  name: string,
  base: string,
): Effect.Effect<void, ReadProblem> =>
  Effect.gen(function* () {
    const parsed = Results.parseName(base)
    const task = parsed === undefined ? undefined : job.tasks[parsed.task]
    const key = keyOf(driver, job.session)
    if (parsed === undefined || task === undefined || key === undefined) return void job.seen.add(name)
    const sealed = Option.getOrUndefined(yield* driver.objects.get(name))
    if (sealed === undefined) return
    const bytes = yield* RunKey.open(key, name, sealed)
    if (parsed._tag === "Registration") {
      const registration = yield* Effect.option(decodeRegistration(utf8(bytes)))
      job.seen.add(name)
      if (Option.isSome(registration)) yield* register(driver, job, task, registration.value)
      return
    }
    const part = yield* Effect.result(Results.decode(name, bytes))
    job.seen.add(name)
    if (part._tag === "Failure")
      return driver.notes.add("damaged results were left out, and made again", base)
    const { head, results } = part.success
    const entry = driver.calls.entry(job.session, head.shard)
    const remove = Effect.ignore(driver.objects.remove(name))
    if (entry === undefined) {
      if (results.length > 0)
        driver.notes.add("results of attempts that had been given up came late, and did not count", base)
      return yield* remove
    }
    if (head.refused !== undefined) driver.notes.add(`workers found no use for shards: ${head.refused}`, base)
    const fresh = driver.calls.take(entry, results, Results.placeOf(head, job.session), remove)
    if (fresh > 0) driver.storeFailures.delete(job.node)
    if (fresh < results.length)
      driver.notes.add("results that two attempts of a task had made counted once", base)
    if (entry.missing.size === 0)
      yield* Effect.ignore(driver.objects.remove(SessionObjects.shardName(entry.session, entry.id)))
    else if (head.whole) task.through.set(entry, yield* Clock.currentTimeMillis)
  })

const register = (
  driver: DriverState,
  job: ActiveJob,
  task: ActiveTask,
  registration: Results.Registration,
): Effect.Effect<void> =>
  Effect.map(Clock.currentTimeMillis, (now) => {
    task.at = registration.node
    driver.startFailures.delete(job.node)
    if (registration.refused !== undefined) {
      task.closed = true
      driver.calls.fail(job.node, registration.refused)
    }
    const off =
      registration.clockMs > now
        ? registration.clockMs - now
        : Math.min(0, registration.clockMs - job.submittedMs)
    if (Math.abs(off) > skewMs)
      driver.notes.add(
        `the clock of ${registration.node} is ${Math.round(off / 1000)} s off that of the driver: times of its calls are its own`,
      )
  })
