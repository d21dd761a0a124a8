/** A task as squeue reports it: one of an array, or a job of its own. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import * as Hostlist from "./Hostlist.ts"
import * as JobState from "./JobState.ts"
import { AnswerUnreadable, ControllerDown } from "./SlurmError.ts"

/** Number of a job; of an array, that of the whole. */
export type JobId = number

/** A job, or one task of an array. */
export interface Id {
  readonly job: JobId
  readonly index?: number | undefined
}

export interface QueuedTask {
  readonly job: JobId
  /** In its array; nothing for a job of its own. */
  readonly index: number | undefined
  readonly name: string
  readonly comment: string
  readonly partition: string
  /** As Slurm calls it, flags after a plus: `RUNNING`, `COMPLETED+COMPLETING`. */
  readonly state: string
  /** As Slurm calls it; for what waits, why. */
  readonly reason: string
  readonly outcome: JobState.Outcome
  /** How often Slurm has put it back into the queue. Its command finds the same as `SLURM_RESTART_COUNT`, if not 0. */
  readonly restarts: number
  /** That it has, or had last. */
  readonly nodes: ReadonlyArray<string>
  readonly exitCode: number | undefined
  readonly signal: number | undefined
  /** In milliseconds since 1970, as are the others. */
  readonly submittedAt: number | undefined
  /** Of this attempt; of what waits, when Slurm expects it to, if it does. */
  readonly startedAt: number | undefined
  /** Of what runs, when its time is over. */
  readonly endedAt: number | undefined
}

/** As Slurm's commands take it: `12`, `12_3`. */
export const format = ({ index, job }: Id): string => (index === undefined ? String(job) : `${job}_${index}`)

/** A number; since 23.02 an object that says whether there is one, for some fields sooner than for others. */
const Numeric = Schema.Union([
  Schema.Finite,
  Schema.Null,
  Schema.Struct({ set: Schema.Boolean, infinite: Schema.optionalKey(Schema.Boolean), number: Schema.Finite }),
])

/** One word, or since 23.11 several. */
const Words = Schema.Union([Schema.String, Schema.Array(Schema.String)])

/** What wait(2) gives; since 23.11, taken apart. */
const ExitStatus = Schema.Union([
  Numeric,
  Schema.Struct({
    return_code: Schema.optionalKey(Numeric),
    signal: Schema.optionalKey(
      Schema.Union([
        Numeric,
        Schema.Struct({ id: Schema.optionalKey(Numeric), signal_id: Schema.optionalKey(Numeric) }),
      ]),
    ),
  }),
])

const Text = Schema.NullOr(Schema.String)

/** What is read of a job in the answer of `squeue --json`. */
const Reported = Schema.Struct({
  job_id: Schema.Int,
  array_job_id: Schema.optionalKey(Numeric),
  array_task_id: Schema.optionalKey(Numeric),
  array_task_string: Schema.optionalKey(Text),
  name: Schema.String,
  comment: Schema.optionalKey(Text),
  partition: Schema.String,
  job_state: Words,
  state_reason: Schema.optionalKey(Text),
  nodes: Schema.optionalKey(Text),
  exit_code: Schema.optionalKey(ExitStatus),
  restart_cnt: Schema.optionalKey(Numeric),
  submit_time: Schema.optionalKey(Numeric),
  start_time: Schema.optionalKey(Numeric),
  end_time: Schema.optionalKey(Numeric),
})
type Reported = typeof Reported.Type

const Answer = Schema.Struct({
  jobs: Schema.Array(Schema.Unknown),
  errors: Schema.optionalKey(Schema.Array(Schema.Unknown)),
})

const number = (numeric: typeof Numeric.Type | undefined): number | undefined => {
  if (numeric === null || numeric === undefined) return undefined
  if (typeof numeric === "number") return numeric
  return numeric.set && numeric.infinite !== true ? numeric.number : undefined
}

/** Slurm writes 0 for a time that is not known. */
const time = (numeric: typeof Numeric.Type | undefined): number | undefined => {
  const seconds = number(numeric)
  return seconds === undefined || seconds === 0 ? undefined : seconds * 1000
}

interface Exit {
  readonly exitCode: number | undefined
  readonly signal: number | undefined
}

const exitOf = (status: typeof ExitStatus.Type | undefined): Exit => {
  if (status !== null && typeof status === "object" && !("number" in status)) {
    const { return_code, signal } = status
    const id =
      signal !== null && typeof signal === "object" && !("number" in signal)
        ? number(signal.id ?? signal.signal_id)
        : number(signal)
    return { exitCode: number(return_code), signal: id === 0 ? undefined : id }
  }
  const raw = number(status)
  if (raw === undefined) return { exitCode: undefined, signal: undefined }
  // As wait(2) packs them: the signal below, with a bit for a core dump, the exit code above.
  const signal = raw & 0x7f
  return { exitCode: raw >> 8, signal: signal === 0 ? undefined : signal }
}

const states = (words: typeof Words.Type): ReadonlyArray<string> =>
  (typeof words === "string" ? words.split(/[+,\s]+/u) : words).map((word) => word.toUpperCase())

const tasks = (reported: Reported): ReadonlyArray<QueuedTask> => {
  const array = number(reported.array_job_id)
  const index = number(reported.array_task_id)
  const restarts = number(reported.restart_cnt) ?? 0
  const reason = reported.state_reason ?? ""
  const status = { states: states(reported.job_state), reason, restarts, ...exitOf(reported.exit_code) }
  const outcome = JobState.outcome(status)
  const ended = JobState.ended(outcome)
  const one = {
    job: array === undefined || array === 0 ? reported.job_id : array,
    name: reported.name,
    comment: reported.comment ?? "",
    partition: reported.partition,
    state: status.states.join("+"),
    reason,
    outcome,
    restarts,
    nodes: Hostlist.expand(reported.nodes ?? ""),
    exitCode: ended ? status.exitCode : undefined,
    signal: ended ? status.signal : undefined,
    submittedAt: time(reported.submit_time),
    startedAt: time(reported.start_time),
    endedAt: time(reported.end_time),
  }
  // Tasks that wait are one record: it has no index of its own, and says which they are.
  const waiting = reported.array_task_string ?? ""
  return index === undefined && waiting !== ""
    ? Hostlist.indices(waiting).map((index) => ({ ...one, index }))
    : [{ ...one, index }]
}

const nameOf = (record: unknown): string | undefined => {
  const name = typeof record === "object" && record !== null ? (record as { name?: unknown }).name : undefined
  return typeof name === "string" ? name : undefined
}

const userOf = (record: unknown): unknown => (record as { user_name?: unknown }).user_name

const decodeAnswer = Schema.decodeUnknownEffect(Schema.fromJsonString(Answer))
const decodeReported = Schema.decodeUnknownEffect(Schema.Array(Reported))

const unreadable = ({ message }: { readonly message: string }): AnswerUnreadable =>
  new AnswerUnreadable({ command: "squeue --json", problem: message.slice(0, 500) })

export interface Filter {
  /** How names begin. @default all names */
  readonly prefix?: string
  /** Whole names. @default all names */
  readonly name?: string
  /** @default whoever runs this */
  readonly user?: string
}

/**
 * Tasks in an answer of `squeue --json` (21.08 to 24.11 were read), arrays task by task. Filters here, because squeue
 * before 23.02 filters nothing when it writes JSON.
 */
export const fromJson = (
  text: string,
  { name, prefix, user }: Filter = {},
): Effect.Effect<ReadonlyArray<QueuedTask>, AnswerUnreadable | ControllerDown> =>
  Effect.gen(function* () {
    const { errors = [], jobs } = yield* decodeAnswer(text).pipe(Effect.mapError(unreadable))
    // Before 23.02 squeue ends well, with no jobs, when it has not reached the controller.
    if (errors.length > 0)
      return yield* new ControllerDown({ command: "squeue", reported: JSON.stringify(errors).slice(0, 500) })
    const asked = jobs.filter((record) => {
      const named = nameOf(record)
      if (named === undefined) return name === undefined && prefix === undefined
      if (user !== undefined && userOf(record) !== undefined && userOf(record) !== user) return false
      return (name === undefined || named === name) && (prefix === undefined || named.startsWith(prefix))
    })
    return (yield* decodeReported(asked).pipe(Effect.mapError(unreadable))).flatMap(tasks)
  })

/** The outcome of a task that Slurm may no longer show: absent is unknown, never failed. */
export const outcomeOf = (tasks: ReadonlyArray<QueuedTask>, { index, job }: Id): JobState.Outcome =>
  tasks.find((task) => task.job === job && task.index === index)?.outcome ??
  JobState.make.Unknown({ state: "not in the queue" })
