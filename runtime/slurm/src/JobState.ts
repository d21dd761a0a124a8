/**
 * What Slurm's states and reasons mean for whoever waits for a result. States are those of squeue(1) from 21.08 to
 * 25.05: a base state (PENDING, RUNNING, COMPLETED, ...) and flags beside it (COMPLETING, REQUEUED, ...). Older versions
 * show one word, and a flag hides the base state; newer ones give all of them.
 */
import * as Data from "effect/Data"

/** How long a reason to wait lasts: until others have finished, until somebody does something, or for ever. */
export type Until = "others" | "people" | "never"

export type Outcome = Data.TaggedEnum<{
  /** It has not begun, or not begun again. */
  Waiting: {
    /** As Slurm calls it: `Resources`, `BeginTime`, ... */
    readonly reason: string
    readonly until: Until
    /** What to do about a reason that does not pass by itself. */
    readonly advice: string
    /** It has run before, and waits for its turn again. */
    readonly requeued: boolean
  }
  /** It has nodes. While it is `ending`, nobody knows yet how. */
  Running: { readonly phase: "starting" | "running" | "suspended" | "ending" }
  Succeeded: {}
  /** Not its own fault: try again, elsewhere if `excludeNode`. */
  Lost: { readonly what: string; readonly excludeNode: boolean }
  /** It took more than it had asked for: try again with more. */
  Exceeded: { readonly limit: "memory" | "time" | "deadline" }
  /** Its command failed. */
  Failed: {
    readonly exitCode: number | undefined
    readonly signal: number | undefined
    /** Killed with SIGKILL: where no cgroups watch memory, that is how running out of it looks. */
    readonly perhapsMemory: boolean
  }
  /** Slurm refused it after it had been submitted: it never ran, and never will. */
  Rejected: { readonly reason: string }
  /** By whom is not known. */
  Cancelled: {}
  /** Slurm does not show it (any more), or shows a state nobody knows: nothing is known about how it ended. */
  Unknown: { readonly state: string }
}>

export const make = Data.taggedEnum<Outcome>()

/** The job is over, one way or the other. */
export const ended = ({ _tag }: Outcome): boolean =>
  _tag !== "Waiting" && _tag !== "Running" && _tag !== "Unknown"

const limits = /^(Assoc|QOS|Association|Max)/u
const ofOneJob =
  /PerJob|PerNode|Max(Cpu|Mem|Node|GRES|Energy|BB|Unknown)PerNode|^QOSMin|WallDuration|BeyondMax/u

const reasons: ReadonlyArray<readonly [RegExp, Until, string]> = [
  [/^DependencyNeverSatisfied/u, "never", "cancel it: a job it depends on has failed"],
  [
    /^BadConstraints/u,
    "never",
    "no node has what it asks for: correct the pool's constraint, cores, memory or GPUs",
  ],
  [/^PartitionTimeLimit/u, "never", "lower the pool's timeLimitMinutes to what its partition allows"],
  [/^(InvalidAccount|AccountNotAllowed)/u, "never", "correct the pool's account"],
  [/^(InvalidQOS|QOSNotAllowed)/u, "never", "correct the pool's qos"],
  [/^DeadLine/u, "never", "it cannot begin before its deadline"],
  [
    /^(PartitionNodeLimit|PartitionConfig)/u,
    "people",
    "the partition has too few nodes for it, or nodes that it needs are down: compare the pool with sinfo",
  ],
  [
    /^(ReqNodeNotAvail|NodeDown|Nodes_required_for_job_are|FrontEndDown|PowerNotAvail)/u,
    "people",
    "nodes that it needs are down, drained or reserved: sinfo -R shows why",
  ],
  [/^(PartitionDown|PartitionInactive)/u, "people", "the partition is closed: ask the site's administrators"],
  [
    /^(JobHeldUser|JobHoldMaxRequeue|JobHeldAdmin|job_requeued_in_held_state)/u,
    "people",
    "it is held: scontrol release it",
  ],
  [
    /^launch_failed_requeued_held/u,
    "people",
    "a node could not start it: exclude the node, then scontrol release it",
  ],
  [/^(Reservation|ReservationDeleted)/u, "people", "its reservation has not begun, or has gone"],
]

/** How long a reason to wait lasts, and what to do about it. */
export const waitsUntil = (reason: string): { readonly until: Until; readonly advice: string } => {
  const text = reason.trim().replaceAll(" ", "_")
  const found = reasons.find(([pattern]) => pattern.test(text))
  if (found !== undefined) return { until: found[1], advice: found[2] }
  if (!limits.test(text)) return { until: "others", advice: "" }
  if (ofOneJob.test(text))
    return { until: "never", advice: "it asks for more than its account or QOS allows one job: ask for less" }
  // The budget of an account comes back when its usage decays or somebody raises it; other limits, when jobs end.
  return text.includes("Minutes") && !text.includes("RunMinutes")
    ? { until: "people", advice: "the budget of its account or QOS is used up" }
    : { until: "others", advice: "" }
}

/** What Slurm reports about a job. */
export interface Reported {
  /** Base state and flags, in capitals; one of them in versions before 23.11. */
  readonly states: ReadonlyArray<string>
  readonly reason: string
  readonly exitCode: number | undefined
  readonly signal: number | undefined
  readonly restarts: number
}

/** Nothing sends a batch script a signal beyond these: Slurm shows its own error numbers as such. */
const greatestSignal = 31

const failed = ({ exitCode, reason, signal }: Reported): Outcome => {
  if (reason === "BadConstraints") return make.Rejected({ reason })
  if (signal !== undefined && signal > greatestSignal)
    return make.Lost({
      what: "its node could not start it (its output file or its folder may not be there)",
      excludeNode: true,
    })
  if (reason === "JobLaunchFailure" && signal === undefined)
    return make.Lost({ what: "its node could not start it", excludeNode: true })
  if (reason === "SystemFailure") return make.Lost({ what: "Slurm itself failed", excludeNode: true })
  return make.Failed({
    exitCode: signal === undefined ? exitCode : undefined,
    signal,
    perhapsMemory: signal === 9,
  })
}

const waiting = (reported: Reported): Outcome =>
  make.Waiting({ reason: reported.reason, ...waitsUntil(reported.reason), requeued: reported.restarts > 0 })

const held = (reported: Reported): Outcome =>
  make.Waiting({
    reason: reported.reason,
    until: "people",
    advice: "it was put back into the queue and is held: scontrol release it",
    requeued: true,
  })

/** Flags that mean more than the state beside them, and states: the first that is there decides. */
const meanings: ReadonlyArray<readonly [string, (reported: Reported) => Outcome]> = [
  ["REQUEUE_HOLD", held],
  ["SPECIAL_EXIT", held],
  ["RESV_DEL_HOLD", held],
  [
    "REQUEUED",
    (reported) => make.Waiting({ reason: reported.reason, until: "others", advice: "", requeued: true }),
  ],
  [
    "REQUEUE_FED",
    (reported) => make.Waiting({ reason: reported.reason, until: "others", advice: "", requeued: true }),
  ],
  ["REVOKED", () => make.Unknown({ state: "REVOKED" })],
  ["COMPLETING", () => make.Running({ phase: "ending" })],
  ["STAGE_OUT", () => make.Running({ phase: "ending" })],
  ["RECONFIG_FAIL", () => make.Lost({ what: "its node could not be set up", excludeNode: true })],
  [
    "LAUNCH_FAILED",
    (reported) =>
      reported.states.includes("PENDING")
        ? waiting(reported)
        : failed({ ...reported, signal: greatestSignal + 1 }),
  ],
  ["BOOT_FAIL", () => make.Lost({ what: "its node did not boot", excludeNode: true })],
  ["NODE_FAIL", () => make.Lost({ what: "its node failed", excludeNode: true })],
  ["PREEMPTED", () => make.Lost({ what: "another job took its nodes", excludeNode: false })],
  ["OUT_OF_MEMORY", () => make.Exceeded({ limit: "memory" })],
  ["TIMEOUT", () => make.Exceeded({ limit: "time" })],
  ["DEADLINE", () => make.Exceeded({ limit: "deadline" })],
  ["CANCELLED", () => make.Cancelled()],
  ["COMPLETED", () => make.Succeeded()],
  ["FAILED", failed],
  ["SUSPENDED", () => make.Running({ phase: "suspended" })],
  ["STOPPED", () => make.Running({ phase: "suspended" })],
  ["PENDING", waiting],
  ["CONFIGURING", () => make.Running({ phase: "starting" })],
  ["POWER_UP_NODE", () => make.Running({ phase: "starting" })],
  ["RUNNING", () => make.Running({ phase: "running" })],
  ["RESIZING", () => make.Running({ phase: "running" })],
  ["SIGNALING", () => make.Running({ phase: "running" })],
  // A flag that older versions show instead of a state: the job's end is being written down.
  ["UPDATE_DB", () => make.Running({ phase: "ending" })],
]

/** The outcome of a job, from its states and what else Slurm reports. */
export const outcome = (reported: Reported): Outcome => {
  const found = meanings.find(([state]) => reported.states.includes(state))
  return found === undefined ? make.Unknown({ state: reported.states.join("+") }) : found[1](reported)
}
