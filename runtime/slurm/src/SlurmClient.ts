/**
 * Slurm, through its own commands: sbatch, squeue, scancel, scontrol, sinfo, and sacct where it works.
 *
 * A submission may fail and have arrived all the same: the controller did the work, and its answer was lost. So no
 * job is submitted a second time before the queue has been searched for its name, which is unique.
 */
import { userInfo } from "node:os"

import { Environment } from "@reelgraph/local"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

import * as Accounting from "./Accounting.ts"
import * as Hostlist from "./Hostlist.ts"
import * as Command from "./internal/Command.ts"
import * as Job from "./Job.ts"
import * as Partition from "./Partition.ts"
import * as SlurmError from "./SlurmError.ts"
import * as QueuedTask from "./QueuedTask.ts"

/** What this site's controller is like. */
export interface Site {
  /** Such as `22.05.8`. */
  readonly version: string
  readonly cluster: string
  /** Indices of arrays are below this. */
  readonly maxArraySize: number
  /** Jobs, and tasks of arrays, that there may be at once. */
  readonly maxJobCount: number
  /** Seconds for which jobs that ended stay in the queue. */
  readonly minJobAgeSeconds: number
  /** Seconds between the SIGTERM of a job that is preempted, cancelled or out of time, and its end. */
  readonly killWaitSeconds: number
}

export interface SubmitOptions {
  /** Whether to search for the name first: when an earlier driver may have submitted the job. @default false */
  readonly lookUpFirst?: boolean
}

export class SlurmClient extends Context.Service<
  SlurmClient,
  {
    /**
     * Submits a job, once. While the controller does not answer, or is full, waits and tries again: until the
     * `patience` of the client is over.
     */
    readonly submit: (
      job: Job.Options,
      options?: SubmitOptions,
    ) => Effect.Effect<QueuedTask.JobId, SlurmError.SubmitError>
    /** The job of this name that is in the queue, or ended a short while ago. */
    readonly find: (name: string) => Effect.Effect<QueuedTask.JobId | undefined, SlurmError.QueryError>
    /** Tasks in the queue, with those that ended a short while ago: one call of squeue. */
    readonly queue: (
      filter?: QueuedTask.Filter,
    ) => Effect.Effect<ReadonlyArray<QueuedTask.QueuedTask>, SlurmError.QueryError>
    /** Cancels jobs, or tasks of arrays. Those that are over, or were never there, are none of its business. */
    readonly cancel: (ids: ReadonlyArray<QueuedTask.Id>) => Effect.Effect<void, SlurmError.QueryError>
    /** Cancels what has this name. */
    readonly cancelNamed: (name: string) => Effect.Effect<void, SlurmError.QueryError>
    /** Lets start what waits for its time, as requeued jobs do for two minutes. */
    readonly requeueNow: (ids: ReadonlyArray<QueuedTask.Id>) => Effect.Effect<void, SlurmError.QueryError>
    /** Lets start what is held. */
    readonly release: (ids: ReadonlyArray<QueuedTask.Id>) => Effect.Effect<void, SlurmError.QueryError>
    readonly partitions: Effect.Effect<ReadonlyArray<Partition.Partition>, SlurmError.QueryError>
    readonly site: Effect.Effect<Site, SlurmError.QueryError>
    /** Whether the controller answers. */
    readonly controllerUp: Effect.Effect<boolean, SlurmError.SlurmMissing>
    /** Tasks of jobs as the accounting remembers them; nothing where there is none, which is asked once. */
    readonly accounted: (
      jobs: ReadonlyArray<QueuedTask.JobId>,
    ) => Effect.Effect<ReadonlyArray<Accounting.Accounted>, SlurmError.QueryError>
  }
>()("reelgraph/slurm/SlurmClient") {}

export interface Options {
  /** What the commands find in their environment. @default that of this process */
  readonly environment?: Readonly<Record<string, string | undefined>>
  /**
   * Names of variables of the driver that jobs get too, beside PATH, HOME and the like; `PREFIX_*` is all that begin so.
   * @default none
   */
  readonly pass?: ReadonlyArray<string>
  /** After which a command is taken to have no answer. Slurm itself gives up after 10 s or more. @default 60000 */
  readonly timeoutMs?: number
  /** For which a submission waits for a controller that does not answer. @default 900000 */
  readonly patienceMs?: number
  /** Of an answer of squeue. @default 268435456 */
  readonly maxOutputBytes?: number
}

type Environment = Readonly<Record<string, string>>

/** Variables that change what Slurm's commands do or write: our arguments set all of that. */
const overriding = /^(SLURM|SBATCH|SQUEUE|SINFO|SCANCEL|SCONTROL|SACCT|SRUN|SALLOC)_/u
const needed = new Set(["SLURM_CONF", "SLURM_JWT", "SLURM_CONF_SERVER"])

const present = (environment: Readonly<Record<string, string | undefined>>): Environment =>
  Object.fromEntries(
    Object.entries(environment).filter((entry): entry is [string, string] => entry[1] !== undefined),
  )

const pick = (environment: Environment, keep: (name: string) => boolean): Environment =>
  Object.fromEntries(Object.entries(environment).filter(([name]) => keep(name)))

/** What sbatch is given, and with it the job. */
const passed = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", ...needed]

/** Ids of each command: arguments have a greatest length. */
const idsPerCommand = 200

/** Ids as Slurm's commands take them, tasks of one array together: `12`, `13_[0-3,7]`. */
const targets = (ids: ReadonlyArray<QueuedTask.Id>): ReadonlyArray<string> => {
  const whole = new Set(ids.filter(({ index }) => index === undefined).map(({ job }) => job))
  const parts = Map.groupBy(
    ids.filter(({ index, job }) => index !== undefined && !whole.has(job)),
    ({ job }) => job,
  )
  const tasks = [...parts].flatMap(([job, ids]) =>
    chunks(ids, idsPerCommand).map(
      (some) => `${job}_[${Hostlist.compress(some.map(({ index }) => index!))}]`,
    ),
  )
  return [...[...whole].map(String), ...tasks]
}

const chunks = <A>(items: ReadonlyArray<A>, size: number): ReadonlyArray<ReadonlyArray<A>> =>
  Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size))

/** What was wanted is so already, or has no object: the job is over, has begun, or was never there. */
const alreadyDone =
  /Invalid job id|[Jj]ob(\(s\))? (has )?already|already completing|no longer pending|is not pending|is not running|: No error$/u

const onlyAlreadyDone = (reported: string): boolean =>
  reported !== "" && reported.split("\n").every((line) => alreadyDone.test(line))

const setting = (text: string, name: string): string =>
  new RegExp(`^${name}\\s*= (.*)$`, "mu").exec(text)?.[1]?.trim() ?? ""

const count = (text: string, name: string): number => Number.parseInt(setting(text, name), 10) || 0

const siteOf = (text: string): Site => ({
  version: setting(text, "SLURM_VERSION"),
  cluster: setting(text, "ClusterName"),
  maxArraySize: count(text, "MaxArraySize"),
  maxJobCount: count(text, "MaxJobCount"),
  minJobAgeSeconds: count(text, "MinJobAge"),
  killWaitSeconds: count(text, "KillWait"),
})

const firstPauseMs = 1000
const longestPauseMs = 30_000

/** For which a submission may lie unread in a controller that has just come back. */
const settleMs = 2000

const make = (options: Options) => {
  const { maxOutputBytes = 2 ** 28, patienceMs = 900_000, timeoutMs = 60_000 } = options
  // oxlint-disable-next-line node/no-process-env -- a process boundary: Slurm's commands see what their driver sees
  const own = present(options.environment ?? process.env)
  const environment: Environment = {
    ...pick(own, (name) => needed.has(name) || !overriding.test(name)),
    // Or long lists of indices are cut short.
    SLURM_BITSTR_LEN: "0",
  }
  const forJobs = new Set([...passed, ...Environment.picked(own, options.pass ?? [])])
  const submitting = pick(own, (name) => forJobs.has(name))
  const me = userInfo().username

  const command = (name: string, args: ReadonlyArray<string>) =>
    Command.run({ command: name, args, environment, timeoutMs, maxBytes: maxOutputBytes })

  /** Standard output of a command that has to succeed. */
  const ask = Effect.fnUntraced(function* (name: string, args: ReadonlyArray<string>) {
    const { code, reported, stdout } = yield* command(name, args)
    if (code !== 0) return yield* SlurmError.ofCommand([name, ...args.slice(0, 2)].join(" "), reported)
    return stdout
  })

  const queue = Effect.fn("SlurmClient.queue")(function* (filter: QueuedTask.Filter = {}) {
    const user = filter.user ?? me
    const text = yield* ask("squeue", ["--json", "--array", "--states=all", `--user=${user}`])
    return yield* QueuedTask.fromJson(text, { ...filter, user })
  })

  const find = Effect.fn("SlurmClient.find")(function* (name: string) {
    const tasks = yield* queue({ name })
    // Slurm also records what it has refused.
    return tasks.find(({ outcome }) => outcome._tag !== "Rejected")?.job
  })

  /** Does something to each of the ids, in as few commands as may be. */
  const each = Effect.fnUntraced(function* (
    ids: ReadonlyArray<QueuedTask.Id>,
    name: string,
    args: (targets: ReadonlyArray<string>) => ReadonlyArray<string>,
    perCommand: number,
  ) {
    for (const some of chunks(targets(ids), perCommand)) {
      const { code, reported } = yield* command(name, args(some))
      if (code !== 0 && !onlyAlreadyDone(reported)) return yield* SlurmError.ofCommand(name, reported)
    }
  })

  const sbatch = Effect.fnUntraced(function* (job: Job.Job) {
    const args = Job.args(job)
    const { code, reported, stdout } = yield* Command.run({
      command: "sbatch",
      args,
      environment: submitting,
      input: Job.script(job),
      timeoutMs,
      maxBytes: 65_536,
    })
    // With --parsable: the id, and the cluster after a semicolon when there are several.
    const id = /^(\d+)(?:;.*)?$/mu.exec(stdout)?.[1]
    if (code === 0 && id !== undefined) return Number(id)
    const { account, array, name, partition, qos } = job
    return yield* Effect.fail(
      SlurmError.ofSubmission({ job: name, partition, account, qos, tasks: array?.tasks, args }, reported),
    )
  })

  const submit = Effect.fn("SlurmClient.submit")(function* (
    options: Job.Options,
    { lookUpFirst = false }: SubmitOptions = {},
  ) {
    const job = yield* Job.make(options)
    let waited = 0
    let pause = firstPauseMs
    const wait = Effect.fnUntraced(function* (error: SlurmError.SubmitError) {
      if (!SlurmError.transient(error) || waited >= patienceMs) return yield* Effect.fail(error)
      yield* Effect.logWarning(`${error.message}; trying again in ${pause / 1000} s`)
      yield* Effect.sleep(pause)
      waited += pause
      pause = Math.min(2 * pause, longestPauseMs)
    })
    /** The queue, as soon as it answers. */
    const search = Effect.fnUntraced(function* () {
      for (;;) {
        const found = yield* Effect.result(find(job.name))
        if (found._tag === "Success") return found.success
        yield* wait(found.failure)
      }
    })
    if (lookUpFirst) {
      const found = yield* search()
      if (found !== undefined) return found
    }
    for (;;) {
      const submitted = yield* Effect.result(sbatch(job))
      if (submitted._tag === "Success") return submitted.success
      yield* wait(submitted.failure)
      // The controller may answer a search before it reads a submission that came before.
      const found = (yield* search()) ?? (yield* Effect.andThen(Effect.sleep(settleMs), search()))
      if (found !== undefined) return found
    }
  })

  /** Whether the accounting answers: it is asked once. */
  let accounting: boolean | undefined

  const accounted = Effect.fn("SlurmClient.accounted")(function* (jobs: ReadonlyArray<QueuedTask.JobId>) {
    if (accounting === false || jobs.length === 0) return []
    const found: Array<Accounting.Accounted> = []
    for (const some of chunks(jobs, idsPerCommand)) {
      const { code, reported, stdout } = yield* command("sacct", Accounting.args(some))
      if (code !== 0) {
        if (accounting === true) return yield* SlurmError.ofCommand("sacct", reported)
        accounting = false
        yield* Effect.logInfo(
          `sacct does not work here (${reported}): jobs that have left the queue are unknown`,
        )
        return []
      }
      accounting = true
      found.push(...Accounting.fromText(stdout))
    }
    return found
  })

  return SlurmClient.of({
    submit,
    find,
    queue,
    cancel: Effect.fn("SlurmClient.cancel")((ids) =>
      each(ids, "scancel", (some) => ["--", ...some], idsPerCommand),
    ),
    cancelNamed: Effect.fn("SlurmClient.cancelNamed")(function* (name) {
      const { code, reported } = yield* command("scancel", [`--user=${me}`, `--name=${name}`])
      if (code !== 0 && !onlyAlreadyDone(reported)) return yield* SlurmError.ofCommand("scancel", reported)
    }),
    requeueNow: Effect.fn("SlurmClient.requeueNow")((ids) =>
      each(ids, "scontrol", ([id]) => ["update", `JobId=${id}`, "StartTime=now"], 1),
    ),
    release: Effect.fn("SlurmClient.release")((ids) =>
      each(ids, "scontrol", ([id]) => ["release", String(id)], 1),
    ),
    partitions: ask("sinfo", Partition.args).pipe(
      Effect.map(Partition.fromText),
      Effect.withSpan("SlurmClient.partitions"),
    ),
    site: ask("scontrol", ["show", "config"]).pipe(Effect.map(siteOf), Effect.withSpan("SlurmClient.site")),
    controllerUp: command("scontrol", ["ping"]).pipe(
      Effect.map(({ stdout }) => /\bis UP\b/u.test(stdout)),
      Effect.catchTag("OutputTooLarge", () => Effect.succeed(false)),
      Effect.withSpan("SlurmClient.controllerUp"),
    ),
    accounted,
  })
}

export const layer = (options: Options = {}): Layer.Layer<SlurmClient> =>
  Layer.sync(SlurmClient, () => make(options))
