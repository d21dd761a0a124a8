/** What is submitted to Slurm, as plain data, and what sbatch is given for it. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { JobInvalid } from "./SlurmError.ts"

const matching = (pattern: RegExp, expected: string) =>
  Schema.String.check(Schema.isPattern(pattern, { expected }))

const Count = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 10_000_000 }))

/** A word that Slurm takes as a partition, account, QOS, feature or node. */
const Word = matching(/^[A-Za-z0-9][\w.-]{0,63}$/u, "1 to 64 letters, digits, dots, dashes or underscores")

const Path = matching(
  /^\/[^\n\0"'\\]{0,1023}$/u,
  "an absolute path without quotes, of at most 1,024 characters",
)

/** Names of variables that are not Slurm's. */
const variable = /^(?!SLURM|SBATCH|SRUN)[A-Za-z_][A-Za-z0-9_]{0,99}$/u

export const Gpus = Schema.Struct({
  /** As Slurm calls the type. @default any */
  model: Schema.optionalKey(Word),
  count: Count,
})

export const Array = Schema.Struct({
  /** Their indices are 0 to `tasks` - 1. */
  tasks: Count,
  /** Tasks that run at once, at most. @default as many as fit */
  throttle: Schema.optionalKey(Count),
})

/**
 * Processes that begin together, on nodes with equally many of each: the command is run by srun, once for each rank.
 * A rank finds its number in `SLURM_PROCID`, and sees all the GPUs that the job has on its node: those from
 * `SLURM_LOCALID` times the count of one rank are its own.
 */
export const Gang = Schema.Struct({ ranks: Count, nodes: Count }).check(
  Schema.makeFilter(({ nodes, ranks }) =>
    ranks % nodes === 0 ? undefined : `${ranks} ranks cannot be shared equally by ${nodes} nodes`,
  ),
)

export const Job = Schema.Struct({
  /** Unique among all jobs of this user: a submission is found again by it. */
  name: matching(/^[A-Za-z0-9][\w.:=+@-]{0,199}$/u, "1 to 200 letters, digits or any of . : = + @ _ -"),
  comment: Schema.optionalKey(matching(/^[\x20-\x7e]{1,1000}$/u, "1 to 1,000 printable ASCII characters")),
  partition: Word,
  /** A feature expression such as `h100&sxm`. */
  constraint: Schema.optionalKey(
    matching(/^[\w.&|()[\]*-]{1,200}$/u, "a feature expression such as h100&sxm"),
  ),
  account: Schema.optionalKey(Word),
  qos: Schema.optionalKey(Word),
  /** Of one process, as are memory and GPUs: of a task of an array, or a rank of a gang. */
  cores: Count,
  memoryMiB: Count,
  gpus: Schema.optionalKey(Gpus),
  array: Schema.optionalKey(Array),
  gang: Schema.optionalKey(Gang),
  /** After which Slurm ends the job: a whole number, and Slurm looks every half a minute. */
  timeLimitMinutes: Count,
  /** Where standard output and error go, with Slurm's patterns: `%A` array job, `%a` task, `%j` job, `%N` node. */
  output: Path,
  /** Where the command begins. @default "/" */
  folder: Path.pipe(Schema.withDecodingDefaultKey(Effect.succeed("/"))),
  /**
   * The signal that the command is sent so many seconds (and up to a minute more) before its time is over. When it is
   * preempted or cancelled it gets SIGTERM, and SIGKILL after the site's `KillWait`: handle both alike. (Slurm's
   * `preempt_send_user_signal` promises this signal for preemption too; 22.05 was seen to send SIGTERM all the same.)
   */
  warning: Schema.optionalKey(
    Schema.Struct({
      signal: Schema.Literals(["USR1", "USR2", "TERM", "INT", "HUP"]),
      seconds: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 65_535 })),
    }),
  ),
  /** Whether Slurm itself starts it anew when its node fails or others preempt it. @default true */
  requeue: Schema.Boolean.pipe(Schema.withDecodingDefaultKey(Effect.succeed(true))),
  /** Nodes it must not run on. @default none */
  excludeNodes: Schema.Array(Word).pipe(Schema.withDecodingDefaultKey(Effect.succeed([]))),
  /** What the command finds in its environment, beside the PATH and the like, and what Slurm sets. @default nothing */
  environment: Schema.Record(
    Schema.String,
    matching(/^[^\0]{0,100000}$/u, "at most 100,000 characters, none of them 0"),
  )
    .check(
      Schema.makeFilter((variables) => {
        const wrong = Object.keys(variables).find((name) => !variable.test(name))
        return wrong === undefined
          ? undefined
          : `${JSON.stringify(wrong)} is no name for a variable, or is Slurm's own`
      }),
    )
    .pipe(Schema.withDecodingDefaultKey(Effect.succeed({}))),
  /** Program and arguments, as they are: no shell reads them. */
  command: Schema.NonEmptyArray(matching(/^[^\0]{0,100000}$/u, "at most 100,000 characters, none of them 0")),
}).check(
  Schema.makeFilter(({ array, gang }) =>
    array === undefined || gang === undefined ? undefined : "a job is an array or a gang, not both",
  ),
)
export interface Job extends Schema.Schema.Type<typeof Job> {}

/** A job as it is written down: what has defaults left out. */
export type Options = typeof Job.Encoded

const decode = Schema.decodeUnknownEffect(Job)

/** Checks a job. */
export const make = (options: Options): Effect.Effect<Job, JobInvalid> =>
  decode(options).pipe(
    Effect.mapError(
      ({ message }) =>
        new JobInvalid({ job: options.name, problem: message.replaceAll(/\n[ \t]+at /gu, " at ") }),
    ),
  )

const option = (name: string, value: string | number | undefined): ReadonlyArray<string> =>
  value === undefined ? [] : [`--${name}=${value}`]

/** Arguments of sbatch: all but the script. */
export const args = (job: Job): ReadonlyArray<string> => {
  const { array, gang, gpus, warning } = job
  const { nodes, ranks } = gang ?? { nodes: 1, ranks: 1 }
  const perNode = ranks / nodes
  return [
    "--parsable",
    ...option("job-name", job.name),
    ...option("comment", job.comment),
    ...option("partition", job.partition),
    ...option("constraint", job.constraint),
    ...option("account", job.account),
    ...option("qos", job.qos),
    ...option("nodes", nodes),
    ...option("ntasks", ranks),
    ...option("ntasks-per-node", gang === undefined ? undefined : perNode),
    ...option("cpus-per-task", job.cores),
    ...option("mem", `${job.memoryMiB * perNode}M`),
    ...option(
      "gres",
      gpus && ["gpu", ...(gpus.model === undefined ? [] : [gpus.model]), gpus.count * perNode].join(":"),
    ),
    ...option(
      "array",
      array && `0-${array.tasks - 1}${array.throttle === undefined ? "" : `%${array.throttle}`}`,
    ),
    ...option("time", job.timeLimitMinutes),
    ...option("output", job.output),
    // The output of earlier attempts stays.
    "--open-mode=append",
    ...option("chdir", job.folder),
    ...option("signal", warning && `B:${warning.signal}@${warning.seconds}`),
    job.requeue ? "--requeue" : "--no-requeue",
    ...option("exclude", job.excludeNodes.length === 0 ? undefined : job.excludeNodes.join(",")),
    // All of what sbatch itself is given, which is little. Anything else runs the user's login shell on the node.
    "--export=ALL",
  ]
}

/** A word of the shell that stands for exactly this text. */
export const quote = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`

/** The batch script. It becomes the command, so that signals reach it. */
export const script = ({ command, cores, environment, gang }: Job): string => {
  // Since 22.05 srun does not ask for as many cores as sbatch did unless it is told.
  const srun =
    gang === undefined
      ? []
      : ["srun", `--ntasks=${gang.ranks}`, `--cpus-per-task=${cores}`, "--kill-on-bad-exit=1", "--"]
  return [
    "#!/bin/sh",
    ...Object.entries(environment).map(([name, value]) => `export ${name}=${quote(value)}`),
    `exec ${[...srun, ...command].map(quote).join(" ")}`,
    "",
  ].join("\n")
}
