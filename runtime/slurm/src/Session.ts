/**
 * A session: a driver with its jobs. Looks into the store for results, asks Slurm now and then how its jobs are, has
 * made again elsewhere what did not come through, and submits what waits.
 */
import { type Part, Shard } from "@reelgraph/engine"
import { Objects } from "@reelgraph/store"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

import * as JobState from "./JobState.ts"
import * as Notes from "./Notes.ts"
import * as Order from "./Order.ts"
import * as Results from "./Results.ts"
import { SlurmClient } from "./SlurmClient.ts"
import * as SlurmError from "./SlurmError.ts"
import * as SlurmTask from "./Task.ts"
import { type Entry, Work } from "./Work.ts"

/** How one node of the graph is made under Slurm. */
export interface Site {
  /** Node of the graph. */
  readonly node: string
  readonly pool: string
  /** Nodes of the cluster that the pool has. */
  readonly nodes: number
  readonly held: boolean
  /** Processes that begin together: a job has one task. */
  readonly gang: boolean
  /** Slots at once, in all tasks together, and calls at once in each. */
  readonly workers: number
  readonly perWorker: number
  /** Slots of one task, with some memory: fewer when each needs more. */
  readonly slots: (memoryScale: number) => number
  readonly cores: number
  readonly memoryGiB: number | undefined
  /** The job for so many tasks of so many slots, with some memory, away from some nodes. */
  readonly job: (
    label: string,
    tasks: number,
    slots: number,
    memoryScale: number,
    avoid: ReadonlyArray<string>,
  ) => Parameters<(typeof SlurmClient.Service)["submit"]>[0]
}

export interface Options {
  readonly session: string
  readonly version: string
  readonly sites: ReadonlyMap<string, Site>
  /** Milliseconds between looks into the store. */
  readonly lookMs: number
  /** Milliseconds between questions to Slurm. */
  readonly pollMs: number
  /** Seconds for which a held worker waits for work. */
  readonly idleSeconds: number
}

/** Shards that one slot of an array is given, at most: each is a part of what waits. */
const shardsPerSlot = 8
/** Tasks of one array, at most: sites allow 1,001 unless they say otherwise. */
const tasksPerJob = 1000
/** Shards that a held slot has in hand, so that it never waits for the driver. */
const heldAhead = 2
/** Attempts at a shard that its own calls seem to end, before its items are given up. */
const ownTroubles = 3
/** Attempts that machines ended, before they are taken for the calls' fault. */
const allTroubles = 20
/** A clock may be so far off before it is told. */
const skewMs = 30_000
/** Results of a task that has ended are waited for so long: stores show them late. */
const lateMs = 1500
/** Questions to Slurm in which a job is unknown, before it is taken for gone. */
const unknownPolls = 3

/** Reasons of a task that ran before and is held, though no administrator holds it. */
const heldBySlurm = /^(JobHeldUser|launch[_ ]failed|job[_ ]requeued[_ ]in[_ ]held)/u

/** One task of a job, as the driver sees it. */
interface Task {
  readonly index: number
  readonly entries: Array<Entry>
  turn: number
  /** No further order goes to it. */
  closed: boolean
  /** Its node of the cluster, once it has begun. */
  at: string | undefined
  /** Why it has not begun, as Slurm says. */
  reason: string | undefined
  restarts: number
  /** Questions in which it was unknown. */
  unknown: number
  over: { readonly how: JobState.Outcome; readonly sinceMs: number } | undefined
  done: boolean
}

interface Job {
  readonly key: string
  readonly session: string
  readonly label: string
  readonly node: string
  readonly held: boolean
  readonly id: number
  readonly submittedMs: number
  /** Of each task. */
  readonly slots: number
  readonly tasks: ReadonlyArray<Task>
  /** Objects of its results folder that were read. */
  readonly seen: Set<string>
  /** All that was in its results folder then was read. */
  collectedMs: number
}

const utf8 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("utf8")
const json = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value))

const decodeShard = Schema.decodeUnknownEffect(Schema.fromJsonString(Shard.Shard))
const decodeHello = Schema.decodeUnknownEffect(Schema.fromJsonString(Results.Hello))
const decodeSubmitted = Schema.decodeUnknownEffect(Schema.fromJsonString(Order.Submitted))

const taskOf = (index: number, entries: ReadonlyArray<Entry>): Task => ({
  index,
  entries: [...entries],
  turn: 0,
  closed: false,
  at: undefined,
  reason: undefined,
  restarts: 0,
  unknown: 0,
  over: undefined,
  done: false,
})

export class Session {
  readonly notes = new Notes.Notes()
  readonly #work = new Work()
  readonly #jobs = new Map<string, Job>()
  /** Shards that wait for a job, by node of the graph. */
  readonly #waiting = new Map<string, Array<Entry>>()
  readonly #options: Options
  readonly #objects: typeof Objects.Service
  readonly #slurm: typeof SlurmClient.Service
  /** Nodes of the graph for which a job is being submitted. */
  readonly #submitting = new Set<string>()
  #shards = 0
  #labels = 0

  constructor(options: Options, objects: typeof Objects.Service, slurm: typeof SlurmClient.Service) {
    this.#options = options
    this.#objects = objects
    this.#slurm = slurm
  }

  /** Has the calls of a shard made. */
  ask(
    shard: Shard.Shard,
    give: (part: Part) => void,
    end: () => void,
    fail: (problem: string) => void,
  ): Effect.Effect<void, unknown> {
    return Effect.suspend(() => {
      const fresh = this.#work.ask(Shard.keys(shard), { give, end, fail })
      if (fresh.length === 0) return Effect.void
      const parts = shard.set === undefined ? bySize(shard, fresh) : [shard]
      const from = { memoryScale: 1, troubles: [], avoid: [] }
      return Effect.forEach(parts, (part) => this.#enter(part, shard.node, from), { discard: true })
    })
  }

  /** One who asked does not wait any more. */
  forget(shard: Shard.Shard, give: (part: Part) => void): void {
    this.#work.forget(Shard.keys(shard), give)
  }

  /** Writes a shard down and puts it in line. */
  #enter(
    shard: Shard.Shard,
    node: string,
    from: { memoryScale: number; troubles: Entry["troubles"]; avoid: Iterable<string> },
  ): Effect.Effect<void, unknown> {
    const { session } = this.#options
    const id = `${node}-${this.#shards++}`
    const keys = Shard.keys(shard)
    const entry: Entry = {
      id,
      session,
      node,
      keys,
      missing: new Set(keys.keys()),
      troubles: [...from.troubles],
      avoid: new Set(from.avoid),
      memoryScale: from.memoryScale,
    }
    // In the book before it is in the store: a second one who asks meanwhile shares it.
    this.#work.add(entry)
    return Effect.map(this.#objects.put(Order.shardName(session, id), json(shard)), () => {
      const line = this.#waiting.get(node)
      if (line === undefined) this.#waiting.set(node, [entry])
      else line.push(entry)
    })
  }

  /**
   * Looks for results, asks Slurm, and submits, each at its own pace: a controller that is slow to answer holds up no
   * results. Ends never; what cannot be done now, such as while a store does not answer, is done later.
   */
  get run(): Effect.Effect<void> {
    const { lookMs, pollMs } = this.#options
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
        again("a look for results", this.#collectAll, lookMs),
        again("a question to Slurm", Effect.andThen(this.#poll, this.#reconcile), pollMs),
        again("a submission", this.#submitAll, lookMs),
      ],
      { concurrency: "unbounded", discard: true },
    )
  }

  get #active(): ReadonlyArray<Job> {
    return [...this.#jobs.values()]
  }

  // Results.

  get #collectAll(): Effect.Effect<void, unknown> {
    return Effect.suspend(() =>
      Effect.forEach(this.#active, (job) => this.#collect(job), { concurrency: 8, discard: true }),
    )
  }

  #collect(job: Job): Effect.Effect<void, unknown> {
    return Effect.gen({ self: this }, function* () {
      const folder = Order.resultsFolder(job.session, job.label)
      const now = yield* Clock.currentTimeMillis
      const names = yield* Stream.runCollect(this.#objects.list(folder))
      const fresh = names.filter((name) => !job.seen.has(name))
      yield* Effect.forEach(fresh, (name) => this.#read(job, name, name.slice(folder.length + 1)), {
        concurrency: 8,
        discard: true,
      })
      for (const task of job.tasks) {
        const left = task.entries.filter(({ missing }) => missing.size > 0)
        task.entries.splice(0, task.entries.length, ...left)
        if (left.length === 0 && !job.held) task.done = true
      }
      job.collectedMs = now
      this.#endJob(job)
    })
  }

  #endJob(job: Job): void {
    if (job.tasks.every(({ done }) => done)) this.#jobs.delete(job.key)
  }

  #read(job: Job, name: string, base: string): Effect.Effect<void, unknown> {
    return Effect.gen({ self: this }, function* () {
      const said = Results.parseName(base)
      const task = said === undefined ? undefined : job.tasks[said.task]
      if (said === undefined || task === undefined) return void job.seen.add(name)
      const bytes = Option.getOrUndefined(yield* this.#objects.get(name))
      if (bytes === undefined) return
      if (said._tag === "Hello") {
        const hello = yield* Effect.option(decodeHello(utf8(bytes)))
        job.seen.add(name)
        if (Option.isSome(hello)) yield* this.#greet(job, task, hello.value)
        return
      }
      const part = yield* Effect.result(Results.decode(name, bytes))
      job.seen.add(name)
      if (part._tag === "Failure")
        return this.notes.add("damaged results were left out, and made again", base)
      const { head, results } = part.success
      const entry = this.#work.entries.get(head.shard)
      const remove = Effect.ignore(this.#objects.remove(name))
      if (entry === undefined) {
        this.notes.add("results of attempts that had been given up came late, and did not count", base)
        return yield* remove
      }
      const fresh = this.#work.take(entry, results, Results.placeOf(head, job.session), remove)
      if (fresh < results.length)
        this.notes.add("results that two attempts of a task had made counted once", base)
      if (entry.missing.size === 0)
        yield* Effect.ignore(this.#objects.remove(Order.shardName(entry.session, entry.id)))
    })
  }

  #greet(job: Job, task: Task, hello: Results.Hello): Effect.Effect<void> {
    return Effect.map(Clock.currentTimeMillis, (now) => {
      task.at = hello.node
      if (hello.refused !== undefined) {
        task.closed = true
        this.#work.fail(job.node, hello.refused)
      }
      const off = hello.clockMs > now ? hello.clockMs - now : Math.min(0, hello.clockMs - job.submittedMs)
      if (Math.abs(off) > skewMs)
        this.notes.add(
          `the clock of ${hello.node} is ${Math.round(off / 1000)} s off that of the driver: times of its calls are its own`,
        )
    })
  }

  // Jobs.

  get #poll(): Effect.Effect<void, unknown> {
    return Effect.gen({ self: this }, function* () {
      const jobs = this.#active
      if (jobs.length === 0) return
      const answer = yield* Effect.result(this.#slurm.queue({ prefix: "reel:" }))
      if (answer._tag === "Failure") {
        this.notes.add("Slurm's controller did not answer for a while; jobs went on", answer.failure.message)
        return
      }
      const now = yield* Clock.currentTimeMillis
      const states = new Map(answer.success.map((state) => [`${state.job}_${state.index ?? 0}`, state]))
      for (const job of jobs)
        for (const task of job.tasks) {
          if (task.done || task.over !== undefined) continue
          const state = states.get(`${job.id}_${task.index}`)
          if (state === undefined || state.outcome._tag === "Unknown") {
            // Forgotten by Slurm, or never arrived: not known to have failed, and not waited for for ever.
            if (++task.unknown >= unknownPolls)
              task.over = { how: JobState.make.Unknown({ state: "gone" }), sinceMs: now }
            continue
          }
          task.unknown = 0
          yield* this.#follow(job, task, state, now)
        }
    })
  }

  #follow(job: Job, task: Task, state: SlurmTask.Task, now: number): Effect.Effect<void, unknown> {
    return Effect.suspend(() => {
      const { outcome } = state
      if (state.restarts > task.restarts) {
        task.restarts = state.restarts
        this.notes.add(
          "tasks were begun again by Slurm (preempted, or their node was lost)",
          `${job.id}_${task.index}`,
        )
      }
      task.reason = outcome._tag === "Waiting" ? outcome.reason : undefined
      switch (outcome._tag) {
        case "Waiting":
          if (outcome.until === "never") {
            this.#work.fail(
              job.node,
              `Slurm never starts job ${job.id} in pool ${this.#site(job.node)?.pool} (${outcome.reason}): ${outcome.advice}`,
            )
            return Effect.ignore(this.#slurm.cancel([{ job: job.id }]))
          }
          // A node that could not start it again, as while orphans of it live on, has Slurm hold it for somebody to look
          // at. `squeue --json` calls that JobHeldUser, and we hold nothing.
          if (outcome.requeued && heldBySlurm.test(outcome.reason)) {
            task.over = {
              how: JobState.make.Lost({ what: "a node could not start them again", excludeNode: false }),
              sinceMs: now,
            }
            return Effect.ignore(this.#slurm.cancel([idOf(state)]))
          }
          if (outcome.until === "people")
            this.notes.add(
              `tasks waited for somebody to act (${outcome.reason}): ${outcome.advice}`,
              SlurmTask.format(idOf(state)),
            )
          // Slurm holds what it has requeued for two minutes.
          return outcome.requeued && outcome.reason === "BeginTime"
            ? Effect.ignore(this.#slurm.requeueNow([idOf(state)]))
            : Effect.void
        case "Running":
          return Effect.void
        default:
          task.over = { how: outcome, sinceMs: now }
          return Effect.void
      }
    })
  }

  #site(node: string): Site | undefined {
    return this.#options.sites.get(node)
  }

  /** How the tasks of a node of the graph are: `3 tasks run, 2 wait (Resources)`. */
  state(node: string): string {
    const tasks = this.#active.filter((job) => job.node === node).flatMap((job) => job.tasks)
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

  /** What became of tasks that are over without having brought everything. */
  get #reconcile(): Effect.Effect<void, unknown> {
    return Effect.gen({ self: this }, function* () {
      for (const job of this.#active) {
        for (const task of job.tasks) {
          // Also what its worker wrote last must have been read.
          if (task.done || task.over === undefined || job.collectedMs < task.over.sinceMs + lateMs) continue
          task.done = true
          const left = task.entries.filter(({ missing }) => missing.size > 0)
          for (const entry of left) yield* this.#again(job, task, entry, task.over.how)
        }
        this.#endJob(job)
      }
    })
  }

  /** Puts what is left of a shard in line again, or gives it up. */
  #again(job: Job, task: Task, entry: Entry, how: JobState.Outcome): Effect.Effect<void, unknown> {
    return Effect.gen({ self: this }, function* () {
      const name = Order.shardName(entry.session, entry.id)
      const bytes = Option.getOrUndefined(yield* this.#objects.get(name))
      this.#work.drop(entry)
      if (!this.#work.wanted(entry) || bytes === undefined)
        return yield* Effect.ignore(this.#objects.remove(name))
      const shard = yield* decodeShard(utf8(bytes))
      const { avoid, blame, memoryScale, text } = Notes.remedy(how, task.at)
      this.notes.add(text, `${job.id}_${task.index}`)
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
      const nodes = this.#site(entry.node)?.nodes ?? 1
      const away = new Set([...entry.avoid, ...avoid])
      const from = { memoryScale: scale, troubles, avoid: away.size < nodes ? away : [] }
      const gaveUp =
        troubles.length >= allTroubles || troubles.filter((trouble) => trouble.own).length >= ownTroubles
      if (gaveUp && rest.items.length > 1 && shard.set === undefined) {
        // One bad item costs only itself: each alone, with one more attempt.
        for (const item of rest.items)
          yield* this.#enter({ ...rest, items: [item] }, entry.node, {
            ...from,
            troubles: troubles.slice(-(ownTroubles - 1)),
          })
      } else if (gaveUp) yield* this.#giveUp(rest, entry, text)
      else yield* this.#enter(rest, entry.node, from)
      yield* Effect.ignore(this.#objects.remove(name))
    })
  }

  #giveUp(shard: Shard.Shard, entry: Entry, text: string): Effect.Effect<void> {
    return Effect.map(Clock.currentTimeMillis, (now) => {
      const keys = Shard.keys(shard)
      const last: Entry = { ...entry, keys, missing: new Set(keys.keys()) }
      this.#work.add(last)
      const failure = {
        tag: "WorkerLost",
        message: `${shard.node}: ${entry.troubles.length + 1} workers ended during the call; the last: ${text}`,
        retryable: true,
      }
      this.#work.take(
        last,
        keys.map((_, at) => Shard.failed(at, failure, now)),
        "",
        Effect.void,
      )
    })
  }

  // Submitting.

  get #submitAll(): Effect.Effect<void, unknown> {
    return Effect.suspend(() =>
      Effect.forEach(
        [...this.#waiting].filter(([node]) => !this.#submitting.has(node)),
        ([node, line]) => {
          this.#submitting.add(node)
          const end = Effect.sync(() => void this.#submitting.delete(node))
          // A controller that does not answer holds up a submission for long: not those of others.
          return Effect.forkChild(Effect.ensuring(this.#submit(node, line), end))
        },
        { discard: true },
      ),
    )
  }

  #submit(node: string, line: Array<Entry>): Effect.Effect<void, unknown> {
    return Effect.gen({ self: this }, function* () {
      const site = this.#site(node)
      if (site === undefined || line.length === 0) return
      const busy = this.#active.filter((job) => job.node === node)
      if (site.held) yield* this.#feed(site, busy, line)
      const running = busy.reduce(
        (sum, { slots, tasks }) => sum + slots * tasks.filter((task) => !task.done && !task.closed).length,
        0,
      )
      const first = line[0]
      if (first === undefined) return
      const most = Math.min(site.slots(first.memoryScale), site.workers - running)
      if (most <= 0) return
      const free = Math.min(tasksPerJob, Math.floor((site.workers - running) / most))
      // One job for those that ask for the same.
      const alike = line.filter((entry) => askOf(entry) === askOf(first))
      const taken = alike.slice(0, free * most * (site.held ? 1 : shardsPerSlot))
      // A gang is a job of one task.
      const tasks = site.gang ? 1 : Math.min(free, Math.ceil(taken.length / most))
      // What is held is held for more shards to come.
      const slots = site.held ? most : Math.min(most, Math.ceil(taken.length / tasks))
      const shares = Array.from({ length: tasks }, (_, task) => taken.filter((_, i) => i % tasks === task))
      const chosen = new Set(taken)
      line.splice(0, line.length, ...line.filter((entry) => !chosen.has(entry)))
      const label = `${node}-${this.#labels++}`
      yield* Effect.catch(this.#submitJob(site, label, slots, shares), (error) =>
        Effect.sync(() => {
          line.unshift(...taken)
          if (isTransient(error)) this.notes.add("Slurm took no jobs for a while", messageOf(error))
          else this.#work.fail(node, messageOf(error))
        }),
      )
    })
  }

  #submitJob(site: Site, label: string, slots: number, shares: ReadonlyArray<ReadonlyArray<Entry>>) {
    return Effect.gen({ self: this }, function* () {
      const { session } = this.#options
      const tasks = shares.map((entries, index) => taskOf(index, entries))
      const submitted: Order.Submitted = {
        label,
        node: site.node,
        held: site.held,
        tasks: tasks.length,
        slots,
        shards: shares.map((entries) => entries.map(({ id }) => id)),
      }
      const name = Order.submittedName(session, label)
      yield* Effect.forEach(tasks, (task) => this.#order(site, session, label, task, shares[task.index]!), {
        concurrency: 16,
        discard: true,
      })
      yield* this.#objects.put(name, json(submitted))
      const first = shares[0]![0]!
      const submittedMs = yield* Clock.currentTimeMillis
      const id = yield* this.#slurm.submit(
        site.job(label, tasks.length, slots, first.memoryScale, [...first.avoid]),
      )
      this.#jobs.set(label, {
        key: label,
        session,
        label,
        node: site.node,
        held: site.held,
        id,
        submittedMs,
        slots,
        tasks,
        seen: new Set(),
        collectedMs: 0,
      })
      yield* Effect.ignore(this.#objects.put(name, json({ ...submitted, job: id })))
    })
  }

  #order(site: Site, session: string, label: string, task: Task, entries: ReadonlyArray<Entry>) {
    const order: Order.Order = {
      format: Order.format,
      version: this.#options.version,
      session,
      label,
      shards: entries.map(({ id }) => id),
      perWorker: site.perWorker,
      cores: site.cores,
      ...(site.memoryGiB === undefined ? {} : { memoryGiB: site.memoryGiB }),
      last: !site.held,
      idleSeconds: this.#options.idleSeconds,
    }
    return Effect.andThen(
      this.#objects.put(Order.orderName(session, label, task.index, task.turn), json(order)),
      Effect.sync(() => void task.turn++),
    )
  }

  /** Gives shards to held tasks that have few. */
  #feed(site: Site, jobs: ReadonlyArray<Job>, line: Array<Entry>): Effect.Effect<void, unknown> {
    return Effect.gen({ self: this }, function* () {
      const hands = jobs.flatMap((job) =>
        job.tasks
          .filter((task) => !task.done && !task.closed && task.over === undefined)
          .map((task) => ({ job, task })),
      )
      const most = Math.max(0, ...jobs.map(({ slots }) => heldAhead * slots))
      for (let ahead = 0; ahead < most; ahead++)
        for (const { job, task } of hands) {
          const next = line[0]
          if (next === undefined) return
          if (task.entries.length > ahead || ahead >= heldAhead * job.slots) continue
          if (next.avoid.has(task.at ?? "") || next.memoryScale > 1) continue
          yield* this.#order(site, job.session, job.label, task, [next])
          line.shift()
          task.entries.push(next)
        }
    })
  }

  // The beginning and the end.

  /** Takes over the jobs of a session whose driver has ended: what they make is found when it is asked for. */
  adopt(session: string): Effect.Effect<number, unknown> {
    return Effect.gen({ self: this }, function* () {
      const names = yield* Stream.runCollect(this.#objects.list(`${Order.folder(session)}/jobs`))
      let shards = 0
      for (const name of names) {
        const bytes = Option.getOrUndefined(yield* this.#objects.get(name))
        const read = bytes === undefined ? Option.none() : yield* Effect.option(decodeSubmitted(utf8(bytes)))
        if (Option.isNone(read)) continue
        const submitted = read.value
        const entries = yield* Effect.forEach(submitted.shards, (ids) =>
          Effect.forEach(ids, (id) => this.#found(session, submitted.node, id)),
        )
        const shares = entries.map((list) => list.filter((entry) => entry !== undefined))
        shards += shares.reduce((sum, list) => sum + list.length, 0)
        // A driver may end between submitting a job and noting its number: it is found by its name.
        const id =
          submitted.job ??
          (yield* Effect.orElseSucceed(
            this.#slurm.find(jobName(session, submitted.label)),
            () => undefined,
          )) ??
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
        this.#jobs.set(job.key, job)
        yield* this.#collect(job)
      }
      return shards
    })
  }

  #found(session: string, node: string, id: string): Effect.Effect<Entry | undefined, unknown> {
    return Effect.gen({ self: this }, function* () {
      const bytes = Option.getOrUndefined(yield* this.#objects.get(Order.shardName(session, id)))
      if (bytes === undefined) return undefined
      const keys = Shard.keys(yield* decodeShard(utf8(bytes)))
      const entry: Entry = {
        id,
        session,
        node,
        keys,
        missing: new Set(keys.keys()),
        troubles: [],
        avoid: new Set(),
        memoryScale: 1,
      }
      this.#work.add(entry)
      return entry
    })
  }

  /** Sessions with calls that nobody has asked for yet, or that are not through. */
  get open(): ReadonlySet<string> {
    return this.#work.open
  }

  /** Cancels what still runs for this driver: not what it took over and nobody asked for. */
  get cancel(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const ids = this.#active
        .filter(({ session }) => session === this.#options.session || this.#work.claimed.has(session))
        .map(({ id }) => ({ job: id }))
      return ids.length === 0 ? Effect.void : Effect.ignore(this.#slurm.cancel(ids))
    })
  }
}

/** Bytes of the records of a shard, about, at most: it is one object of the store. */
const shardBytes = 8 * 1024 * 1024

/** The items at some positions of a shard, as shards that are not too large. */
const bySize = (shard: Shard.Shard, positions: ReadonlyArray<number>): ReadonlyArray<Shard.Shard> => {
  const parts: Array<Array<Shard.Shard["items"][number]>> = [[]]
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

/** The name of a job in Slurm: unique, so that a submission is found again by it. */
export const jobName = (session: string, label: string): string => `reel:${session}:${label}`

/** What a shard asks of its job beyond what was placed. */
const askOf = ({ avoid, memoryScale }: Entry): string => `${memoryScale} ${[...avoid].toSorted().join(" ")}`

const idOf = ({ index, job }: SlurmTask.Task): SlurmTask.Id => ({
  job,
  ...(index === undefined ? {} : { index }),
})

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

const isTransient = (error: unknown): boolean =>
  typeof error === "object" &&
  error !== null &&
  "_tag" in error &&
  (SlurmError.transient(error as SlurmError.SubmitError) ||
    error._tag === "StoreUnreadable" ||
    error._tag === "StoreUnwritable")
