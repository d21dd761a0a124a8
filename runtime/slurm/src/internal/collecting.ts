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

import * as Order from "../Order.ts"
import * as Results from "../Results.ts"
import * as RunKey from "../RunKey.ts"
import { activeJobs, type Desk, endJob, type Job, keyOf, type StoreProblem, type Task, utf8 } from "./desk.ts"

/** A clock may be so far off before it is told. */
const skewMs = 30_000

/** An object that is listed and cannot be read is waited for so long. */
const unreadMs = 120_000

const decodeHello = Schema.decodeUnknownEffect(Schema.fromJsonString(Results.Hello))

export const collectAll = (desk: Desk): Effect.Effect<void, StoreProblem> =>
  Effect.suspend(() =>
    Effect.forEach(activeJobs(desk), (job) => collect(desk, job), { concurrency: 8, discard: true }),
  )

export const collect = (desk: Desk, job: Job): Effect.Effect<void, StoreProblem> =>
  Effect.gen(function* () {
    const folder = Order.resultsFolder(job.session, job.label)
    const now = yield* Clock.currentTimeMillis
    const names = yield* Stream.runCollect(desk.objects.list(folder))
    const fresh = names.filter((name) => !job.seen.has(name))
    const outcomes = yield* Effect.forEach(
      fresh,
      (name) => Effect.result(read(desk, job, name, name.slice(folder.length + 1))),
      { concurrency: 8 },
    )
    const problems = outcomes.flatMap((outcome, i) =>
      outcome._tag === "Failure" ? [{ name: fresh[i]!, problem: outcome.failure }] : [],
    )
    // Not one of several could be read: it is the store that does not answer.
    const silent = problems.length === fresh.length && problems.length > 1
    const waits = problems.filter(({ name, problem }) => isWaitedFor(desk, job, name, problem, now, silent))
    for (const task of job.tasks) {
      const left = task.entries.filter(({ missing }) => missing.size > 0)
      task.entries.splice(0, task.entries.length, ...left)
      if (left.length === 0 && !job.held) task.done = true
    }
    endJob(desk, job)
    const [first] = waits
    if (first === undefined) job.collectedMs = now
    else if (silent && first.problem._tag === "StoreUnreadable") return yield* Effect.fail(first.problem)
  })

type ReadProblem = StoreProblem | RunKey.ObjectRefused

/** Whether an object that could not be read may be read later. If not, it is left out. */
const isWaitedFor = (
  desk: Desk,
  job: Job,
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
  desk.notes.add(problem._tag === "ObjectRefused" ? refused : unreadable, name)
  return false
}

const refused =
  "objects that no worker of this run wrote as they are (damaged, or somebody else's) were refused; what they may have had was made again"
const unreadable = "objects that could not be read were left out; what they may have had was made again"

const read = (desk: Desk, job: Job, name: string, base: string): Effect.Effect<void, ReadProblem> =>
  Effect.gen(function* () {
    const said = Results.parseName(base)
    const task = said === undefined ? undefined : job.tasks[said.task]
    const key = keyOf(desk, job.session)
    if (said === undefined || task === undefined || key === undefined) return void job.seen.add(name)
    const sealed = Option.getOrUndefined(yield* desk.objects.get(name))
    if (sealed === undefined) return
    const bytes = yield* RunKey.open(key, name, sealed)
    if (said._tag === "Hello") {
      const hello = yield* Effect.option(decodeHello(utf8(bytes)))
      job.seen.add(name)
      if (Option.isSome(hello)) yield* greet(desk, job, task, hello.value)
      return
    }
    const part = yield* Effect.result(Results.decode(name, bytes))
    job.seen.add(name)
    if (part._tag === "Failure") return desk.notes.add("damaged results were left out, and made again", base)
    const { head, results } = part.success
    const entry = desk.work.entry(job.session, head.shard)
    const remove = Effect.ignore(desk.objects.remove(name))
    if (entry === undefined) {
      if (results.length > 0)
        desk.notes.add("results of attempts that had been given up came late, and did not count", base)
      return yield* remove
    }
    if (head.refused !== undefined) desk.notes.add(`workers found no use for shards: ${head.refused}`, base)
    const fresh = desk.work.take(entry, results, Results.placeOf(head, job.session), remove)
    if (fresh > 0) desk.cutOff.delete(job.node)
    if (fresh < results.length)
      desk.notes.add("results that two attempts of a task had made counted once", base)
    if (entry.missing.size === 0)
      yield* Effect.ignore(desk.objects.remove(Order.shardName(entry.session, entry.id)))
    else if (head.whole) task.through.set(entry, yield* Clock.currentTimeMillis)
  })

const greet = (desk: Desk, job: Job, task: Task, hello: Results.Hello): Effect.Effect<void> =>
  Effect.map(Clock.currentTimeMillis, (now) => {
    task.at = hello.node
    desk.stillborn.delete(job.node)
    if (hello.refused !== undefined) {
      task.closed = true
      desk.work.fail(job.node, hello.refused)
    }
    const off = hello.clockMs > now ? hello.clockMs - now : Math.min(0, hello.clockMs - job.submittedMs)
    if (Math.abs(off) > skewMs)
      desk.notes.add(
        `the clock of ${hello.node} is ${Math.round(off / 1000)} s off that of the driver: times of its calls are its own`,
      )
  })
