/** Jobs for the shards that wait. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

import * as SessionObjects from "../SessionObjects.ts"
import * as SlurmError from "../SlurmError.ts"
import type { SubmitError } from "../SlurmError.ts"
import type { Entry } from "../CallTable.ts"
import {
  activeJobs,
  type DriverState,
  type ActiveJob,
  json,
  patience,
  putSealed,
  type Site,
  type StoreProblem,
  type ActiveTask,
  taskOf,
} from "./driverState.ts"

/** Shards that one slot of an array is given, at most: each is a part of what waits. */
const shardsPerSlot = 8
/** Tasks of one array, at most: sites allow 1,001 unless they set another limit. */
const tasksPerJob = 1000
/** Shards that a held slot has assigned, so that it never waits for the driver. */
const heldAhead = 2

export const submitAll = (driver: DriverState): Effect.Effect<void> =>
  Effect.suspend(() =>
    Effect.forEach(
      inTurn(driver).filter(([node]) => !driver.submitting.has(node)),
      ([node, line]) => {
        driver.submitting.add(node)
        const end = Effect.sync(() => void driver.submitting.delete(node))
        const settled = Effect.matchCauseEffect(submit(driver, node, line), {
          onFailure: (cause) => stalled(driver, node, cause),
          onSuccess: () => Effect.sync(() => void driver.stalled.delete(node)),
        })
        // A controller that does not answer holds up a submission for long: not those of others.
        return Effect.forkChild(Effect.ensuring(settled, end))
      },
      { discard: true },
    ),
  )

/** What waits, nodes far down the graph first: items leave it before new ones enter. */
const inTurn = ({ options, waiting }: DriverState): ReadonlyArray<readonly [string, Array<Entry>]> => {
  const nodes = [...options.sites.keys()]
  return [...waiting].toSorted(([a], [b]) => nodes.indexOf(b) - nodes.indexOf(a))
}

/** Tasks that a run may still have in a pool. */
const roomIn = (driver: DriverState, { maxJobs, pool }: Site): number => {
  if (maxJobs === undefined) return Number.POSITIVE_INFINITY
  const taken = activeJobs(driver)
    .filter(({ node }) => driver.options.sites.get(node)?.pool === pool)
    .reduce((sum, { tasks }) => sum + tasks.filter(({ done }) => !done).length, 0)
  return maxJobs - taken - (driver.reserved.get(pool) ?? 0)
}

/** A submission that failed: what may pass is tried again, for a while; anything else ends the node. */
const stalled = (driver: DriverState, node: string, cause: Cause.Cause<StoreProblem | SubmitError>) =>
  Effect.map(Clock.currentTimeMillis, (now) => {
    if (Cause.hasInterruptsOnly(cause)) return
    const error = Cause.squash(cause)
    const message = error instanceof Error ? error.message : String(error)
    if (!isTransient(error)) return driver.calls.fail(node, message)
    const sinceMs = driver.stalled.get(node) ?? now
    driver.stalled.set(node, sinceMs)
    driver.notes.add("Slurm took no jobs for a while", message)
    // A full queue is waited for as a queue is: only the client can tell the two apart.
    const { slurm, store } = patience(driver.options)
    if (error._tag === "QueueFull" || now - sinceMs < (isOfStore(error) ? store : slurm)) return
    driver.calls.fail(
      node,
      `no job could be submitted for ${Math.round((now - sinceMs) / 60_000)} min: ${message}; what jobs have written is left to the next run`,
    )
  })

const submit = (
  driver: DriverState,
  node: string,
  line: Array<Entry>,
): Effect.Effect<void, StoreProblem | SubmitError> =>
  Effect.gen(function* () {
    const site = driver.options.sites.get(node)
    if (site === undefined || line.length === 0) return
    const busy = activeJobs(driver).filter((job) => job.node === node)
    if (site.held) yield* feed(driver, site, busy, line)
    const running = busy.reduce(
      (sum, { slots, tasks }) => sum + slots * tasks.filter((task) => !task.done && !task.closed).length,
      0,
    )
    const first = line[0]
    if (first === undefined) return
    const most = Math.min(site.slots(first.memoryScale), site.workers - running)
    if (most <= 0) return
    const free = Math.min(tasksPerJob, Math.floor((site.workers - running) / most), roomIn(driver, site))
    if (free <= 0) return
    // One job for those that ask for the same.
    const alike = line.filter((entry) => askOf(entry) === askOf(first))
    // A fair share for each slot: those that are free a moment later are to find some, too.
    const perSlot = site.held ? 1 : Math.min(shardsPerSlot, Math.ceil(alike.length / site.workers))
    const taken = alike.slice(0, free * most * perSlot)
    // A gang is a job of one task.
    const tasks = site.gang ? 1 : Math.min(free, Math.ceil(taken.length / most))
    // What is held is held for more shards to come.
    const slots = site.held ? most : Math.min(most, Math.ceil(taken.length / tasks))
    const shares = Array.from({ length: tasks }, (_, task) => taken.filter((_, i) => i % tasks === task))
    const chosen = new Set(taken)
    line.splice(0, line.length, ...line.filter((entry) => !chosen.has(entry)))
    const label = `${node}-${driver.labels++}`
    const reserve = (tasks: number) =>
      Effect.sync(() => void driver.reserved.set(site.pool, (driver.reserved.get(site.pool) ?? 0) + tasks))
    yield* reserve(tasks)
    // Whatever keeps them from being submitted, they stay in line.
    yield* submitJob(driver, site, label, slots, shares).pipe(
      Effect.onError(() => Effect.sync(() => void line.unshift(...taken))),
      Effect.ensuring(reserve(-tasks)),
    )
  })

const submitJob = (
  driver: DriverState,
  site: Site,
  label: string,
  slots: number,
  shares: ReadonlyArray<ReadonlyArray<Entry>>,
) =>
  Effect.gen(function* () {
    const { session } = driver.options
    const tasks = shares.map((entries, index) => taskOf(index, entries))
    const submitted: SessionObjects.SubmittedJob = {
      label,
      node: site.node,
      held: site.held,
      tasks: tasks.length,
      slots,
      shards: shares.map((entries) => entries.map(({ id }) => id)),
    }
    const name = SessionObjects.submittedName(session, label)
    yield* Effect.forEach(tasks, (task) => assign(driver, site, session, label, task, shares[task.index]!), {
      concurrency: 16,
      discard: true,
    })
    yield* putSealed(driver, session, name, json(submitted))
    const first = shares[0]![0]!
    const submittedMs = yield* Clock.currentTimeMillis
    const id = yield* driver.slurm.submit(
      site.job(label, tasks.length, slots, first.memoryScale, [...first.avoid]),
    )
    driver.jobs.set(label, {
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
      unread: new Map(),
    })
    yield* Effect.ignore(putSealed(driver, session, name, json({ ...submitted, job: id })))
  })

const assign = (
  driver: DriverState,
  site: Site,
  session: string,
  label: string,
  task: ActiveTask,
  entries: ReadonlyArray<Entry>,
) => {
  const assignment: SessionObjects.Assignment = {
    format: SessionObjects.format,
    version: driver.options.version,
    session,
    label,
    shards: entries.map(({ id }) => id),
    modules: [...driver.modules],
    perWorker: site.perWorker,
    cores: site.cores,
    ...(site.memoryGiB === undefined ? {} : { memoryGiB: site.memoryGiB }),
    last: !site.held,
    idleSeconds: driver.options.idleSeconds,
  }
  return Effect.andThen(
    putSealed(
      driver,
      session,
      SessionObjects.assignmentName(session, label, task.index, task.turn),
      json(assignment),
    ),
    Effect.sync(() => void task.turn++),
  )
}

/** Gives shards to held tasks that have few. */
const feed = (
  driver: DriverState,
  site: Site,
  jobs: ReadonlyArray<ActiveJob>,
  line: Array<Entry>,
): Effect.Effect<void, StoreProblem> =>
  Effect.gen(function* () {
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
        yield* assign(driver, site, job.session, job.label, task, [next])
        line.shift()
        task.entries.push(next)
      }
  })

/** What a shard asks of its job beyond what was placed. */
const askOf = ({ avoid, memoryScale }: Entry): string => `${memoryScale} ${[...avoid].toSorted().join(" ")}`

/** Whether trying again later can help. */
const isTransient = (error: unknown): error is StoreProblem | SubmitError =>
  typeof error === "object" &&
  error !== null &&
  "_tag" in error &&
  (SlurmError.transient(error as SubmitError) || isOfStore(error as SubmitError))

const isOfStore = ({ _tag }: StoreProblem | SubmitError): boolean =>
  _tag === "StoreUnreadable" || _tag === "StoreUnwritable"
