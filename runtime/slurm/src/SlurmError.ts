/** The ways in which Slurm refuses, or does not answer: each message has the advice. */
import * as Schema from "effect/Schema"

const causeText = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))

/** One of Slurm's commands cannot be started. */
export class SlurmMissing extends Schema.TaggedError<SlurmMissing>()("SlurmMissing", {
  command: Schema.String,
  cause: Schema.Defect(),
}) {
  override get message() {
    return `cannot start ${this.command}: ${causeText(this.cause)}; run this on a machine with Slurm's commands on its PATH, such as a login node`
  }
}

/** The controller does not answer, or not in time. Jobs go on meanwhile; what was asked may still have been done. */
export class ControllerDown extends Schema.TaggedError<ControllerDown>()("ControllerDown", {
  command: Schema.String,
  reported: Schema.String,
}) {
  override get message() {
    return `Slurm's controller does not answer ${this.command}: ${this.reported}; jobs go on, so wait and ask again (scontrol ping shows when it is up)`
  }
}

/** A command answered with more than we are willing to read. */
export class OutputTooLarge extends Schema.TaggedError<OutputTooLarge>()("OutputTooLarge", {
  command: Schema.String,
  maxBytes: Schema.Int,
}) {
  override get message() {
    return `${this.command} answered with more than ${this.maxBytes} bytes: the queue is very long; raise maxOutputBytes`
  }
}

/** A command's answer is not what any version known here answers. */
export class AnswerUnreadable extends Schema.TaggedError<AnswerUnreadable>()("AnswerUnreadable", {
  command: Schema.String,
  problem: Schema.String,
}) {
  override get message() {
    return `the answer of ${this.command} cannot be read: ${this.problem}; squeue needs Slurm's JSON plugin (21.08 or newer)`
  }
}

/** A command failed in a way that no other error describes. */
export class CommandFailed extends Schema.TaggedError<CommandFailed>()("CommandFailed", {
  command: Schema.String,
  reported: Schema.String,
}) {
  override get message() {
    return `${this.command} failed: ${this.reported}`
  }
}

/** What was to be submitted is not a job: found before Slurm was asked. */
export class JobInvalid extends Schema.TaggedError<JobInvalid>()("JobInvalid", {
  job: Schema.String,
  problem: Schema.String,
}) {
  override get message() {
    return `job ${this.job}: ${this.problem}`
  }
}

const refusal = { job: Schema.String, reported: Schema.String }

/** There is no such partition. */
export class PartitionUnknown extends Schema.TaggedError<PartitionUnknown>()("PartitionUnknown", {
  ...refusal,
  partition: Schema.String,
}) {
  override get message() {
    return `job ${this.job}: there is no partition ${this.partition} (${this.reported}); sinfo lists those there are`
  }
}

/** The partition takes no jobs now. */
export class PartitionClosed extends Schema.TaggedError<PartitionClosed>()("PartitionClosed", {
  ...refusal,
  partition: Schema.String,
}) {
  override get message() {
    return `job ${this.job}: partition ${this.partition} takes no jobs now (${this.reported}); wait until sinfo shows it up, or place this elsewhere`
  }
}

/** The account may not be used, or not in this partition. */
export class AccountInvalid extends Schema.TaggedError<AccountInvalid>()("AccountInvalid", {
  ...refusal,
  account: Schema.String,
  partition: Schema.String,
}) {
  override get message() {
    return `job ${this.job}: ${this.account} may not be used in partition ${this.partition} (${this.reported}); sacctmgr show associations user=$USER lists what may be`
  }
}

/** There is no such QOS, or the account may not use it. */
export class QosInvalid extends Schema.TaggedError<QosInvalid>()("QosInvalid", {
  ...refusal,
  qos: Schema.String,
}) {
  override get message() {
    return `job ${this.job}: ${this.qos} may not be used (${this.reported}); sacctmgr show associations user=$USER format=account,qos lists what may be`
  }
}

/** No node, or not enough of them, could ever give what the job asks for. */
export class Unsatisfiable extends Schema.TaggedError<Unsatisfiable>()("Unsatisfiable", {
  ...refusal,
  partition: Schema.String,
  /** What was asked for, as sbatch was given it. */
  asked: Schema.String,
}) {
  override get message() {
    return `job ${this.job}: no node of partition ${this.partition} has what is asked for (${this.reported}): ${this.asked}; ask for less, or correct the pool's cores, memory, GPUs and constraint`
  }
}

/** The job is beyond a limit of the account, the QOS or the partition. */
export class LimitExceeded extends Schema.TaggedError<LimitExceeded>()("LimitExceeded", {
  ...refusal,
  partition: Schema.String,
}) {
  override get message() {
    return `job ${this.job}: beyond a limit of the account, the QOS or partition ${this.partition} (${this.reported}); lower the pool's timeLimitMinutes or maxJobs, or ask the site's administrators`
  }
}

/** Arrays may not be as long. */
export class ArrayTooLarge extends Schema.TaggedError<ArrayTooLarge>()("ArrayTooLarge", {
  ...refusal,
  tasks: Schema.Int,
}) {
  override get message() {
    return `job ${this.job}: an array of ${this.tasks} tasks is longer than this site allows (${this.reported}); MaxArraySize of scontrol show config is the limit: submit arrays of at most that`
  }
}

/** The controller has as many jobs as it takes. */
export class QueueFull extends Schema.TaggedError<QueueFull>()("QueueFull", refusal) {
  override get message() {
    return `job ${this.job}: Slurm has as many jobs as it takes (${this.reported}); wait until some have ended, or submit fewer tasks (MaxJobCount of scontrol show config)`
  }
}

/** Whoever runs this may not do it. */
export class Denied extends Schema.TaggedError<Denied>()("Denied", {
  command: Schema.String,
  reported: Schema.String,
}) {
  override get message() {
    return `${this.command} is not permitted: ${this.reported}; ask the site's administrators for access to the partition or reservation`
  }
}

/** sbatch refused for a reason that no other error describes. */
export class SubmitRejected extends Schema.TaggedError<SubmitRejected>()("SubmitRejected", {
  ...refusal,
  asked: Schema.String,
}) {
  override get message() {
    return `job ${this.job}: sbatch refuses it (${this.reported}): ${this.asked}`
  }
}

/** Whatever a command that changes nothing may fail with. */
export type QueryError =
  | SlurmMissing
  | ControllerDown
  | OutputTooLarge
  | AnswerUnreadable
  | CommandFailed
  | Denied

/** Whatever a submission may fail with. */
export type SubmitError =
  | QueryError
  | JobInvalid
  | PartitionUnknown
  | PartitionClosed
  | AccountInvalid
  | QosInvalid
  | Unsatisfiable
  | LimitExceeded
  | ArrayTooLarge
  | QueueFull
  | SubmitRejected

/** Texts of slurm_errno.c (22.05 to 24.11) that mean that the controller was not reached, or did not answer. */
const unreachable =
  /Unable to contact slurm controller|Socket timed out|Communication (connection|shutdown) failure|Message (send|receive) failure|Connection (refused|reset|timed out)|No route to host|Network is unreachable|Zero Bytes were transmitted|in standby mode|Failed to connect to authentication agent|Protocol authentication error|Resource temporarily unavailable|Could not establish a configuration source|try again (later|in a bit)|^no answer|; no answer/u

const denied =
  /Access\/permission denied|User's group not permitted|Invalid user id|Access denied to requested reservation|Invalid group id|disabled for this user/u

/** What a failed command means, from what it reported. */
export const ofCommand = (command: string, reported: string): ControllerDown | Denied | CommandFailed => {
  if (unreachable.test(reported)) return new ControllerDown({ command, reported })
  if (denied.test(reported)) return new Denied({ command, reported })
  return new CommandFailed({ command, reported: reported === "" ? "it reported no reason" : reported })
}

/** What of a job its refusal is explained with. */
export interface Asked {
  readonly job: string
  readonly partition: string
  readonly account: string | undefined
  readonly qos: string | undefined
  readonly tasks: number | undefined
  readonly args: ReadonlyArray<string>
}

type Refusal = (asked: Asked & { readonly reported: string; readonly all: string }) => SubmitError

/** Texts of sbatch, in the order in which they are looked for. */
const refusals: ReadonlyArray<readonly [RegExp, Refusal]> = [
  [
    /job queue full|temporarily unable to accept job/u,
    ({ job, reported }) => new QueueFull({ job, reported }),
  ],
  [
    /invalid partition specified|Invalid partition name|No partition specified/u,
    ({ job, partition, reported }) => new PartitionUnknown({ job, partition, reported }),
  ],
  [
    /Partition in DOWN state|Required partition not available|System submissions disabled|partition configuration not available now/u,
    ({ job, partition, reported }) => new PartitionClosed({ job, partition, reported }),
  ],
  [
    /Invalid account|Multiple partition job request not supported/u,
    ({ account, job, partition, reported }) =>
      new AccountInvalid({
        job,
        partition,
        reported,
        account: account === undefined ? "the default account" : `account ${account}`,
      }),
  ],
  [
    /Invalid qos/u,
    ({ job, qos, reported }) =>
      new QosInvalid({ job, reported, qos: qos === undefined ? "the default QOS" : `QOS ${qos}` }),
  ],
  [
    /Invalid job array specification/u,
    ({ job, reported, tasks }) => new ArrayTooLarge({ job, reported, tasks: tasks ?? 0 }),
  ],
  [
    /accounting\/QOS policy|time limit is invalid|Time limit specification|time-min specification|usage threshold|More processors requested than permitted/u,
    ({ job, partition, reported }) => new LimitExceeded({ job, partition, reported }),
  ],
  [
    /node configuration is not available|can not be satisfied|Invalid feature|Invalid generic resource|Invalid GRES|Invalid node name|Requested nodes not in this partition|Memory required by task is not available|[Cc]ount specification invalid|Requested more tasks than|Required node not available|Invalid Trackable RESource/u,
    ({ all, job, partition, reported }) => new Unsatisfiable({ job, partition, reported, asked: all }),
  ],
]

/** What a failed sbatch means. */
export const ofSubmission = (asked: Asked, text: string): SubmitError => {
  const reported = text
    .split("\n")
    .map((line) => line.replace(/^sbatch: (error: )?/u, "").replace(/^Batch job submission failed: /u, ""))
    .join("; ")
  const all = asked.args.join(" ")
  const refusal = refusals.find(([pattern]) => pattern.test(reported))
  if (refusal !== undefined) return refusal[1]({ ...asked, reported, all })
  const known = ofCommand("sbatch", reported)
  return known._tag === "CommandFailed"
    ? new SubmitRejected({ job: asked.job, reported: known.reported, asked: all })
    : known
}

/** Whether trying again later can help. */
export const transient = ({ _tag }: SubmitError): boolean => _tag === "ControllerDown" || _tag === "QueueFull"
