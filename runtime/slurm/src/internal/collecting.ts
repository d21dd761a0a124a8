/** What workers have written: taken in as it comes, once. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

import * as Order from "../Order.ts"
import * as Results from "../Results.ts"
import { activeJobs, type Desk, endJob, type Job, type Task, utf8 } from "./desk.ts"

/** A clock may be so far off before it is told. */
const skewMs = 30_000

const decodeHello = Schema.decodeUnknownEffect(Schema.fromJsonString(Results.Hello))

export const collectAll = (desk: Desk): Effect.Effect<void, unknown> =>
  Effect.suspend(() =>
    Effect.forEach(activeJobs(desk), (job) => collect(desk, job), { concurrency: 8, discard: true }),
  )

export const collect = (desk: Desk, job: Job): Effect.Effect<void, unknown> =>
  Effect.gen(function* () {
    const folder = Order.resultsFolder(job.session, job.label)
    const now = yield* Clock.currentTimeMillis
    const names = yield* Stream.runCollect(desk.objects.list(folder))
    const fresh = names.filter((name) => !job.seen.has(name))
    yield* Effect.forEach(fresh, (name) => read(desk, job, name, name.slice(folder.length + 1)), {
      concurrency: 8,
      discard: true,
    })
    for (const task of job.tasks) {
      const left = task.entries.filter(({ missing }) => missing.size > 0)
      task.entries.splice(0, task.entries.length, ...left)
      if (left.length === 0 && !job.held) task.done = true
    }
    job.collectedMs = now
    endJob(desk, job)
  })

const read = (desk: Desk, job: Job, name: string, base: string): Effect.Effect<void, unknown> =>
  Effect.gen(function* () {
    const said = Results.parseName(base)
    const task = said === undefined ? undefined : job.tasks[said.task]
    if (said === undefined || task === undefined) return void job.seen.add(name)
    const bytes = Option.getOrUndefined(yield* desk.objects.get(name))
    if (bytes === undefined) return
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
    const entry = desk.work.entries.get(head.shard)
    const remove = Effect.ignore(desk.objects.remove(name))
    if (entry === undefined) {
      desk.notes.add("results of attempts that had been given up came late, and did not count", base)
      return yield* remove
    }
    const fresh = desk.work.take(entry, results, Results.placeOf(head, job.session), remove)
    if (fresh < results.length)
      desk.notes.add("results that two attempts of a task had made counted once", base)
    if (entry.missing.size === 0)
      yield* Effect.ignore(desk.objects.remove(Order.shardName(entry.session, entry.id)))
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
