/** What a driver does about tasks that ended without all of their results. */
import type * as JobState from "./JobState.ts"
import * as WorkerExit from "./workerExit.ts"

/** What to do about a task that is over without all of its results. */
export interface Remedy {
  readonly text: string
  /** Nodes to exclude. */
  readonly avoid: ReadonlyArray<string>
  /** Times as much memory. */
  readonly memoryScale: number
  /** Whose fault it may be: that of the calls it was at, of those if they made no progress, or of none. */
  readonly blame: "calls" | "stuck" | "none"
}

const none = { avoid: [], memoryScale: 1, blame: "none" } as const

/** How a task ended that failed: `exit code 1`, `signal 9`. */
export const endOf = (how: JobState.Outcome): string =>
  how._tag !== "Failed"
    ? how._tag
    : how.signal === undefined
      ? `exit code ${how.exitCode ?? "?"}`
      : `signal ${how.signal}`

/** Of a task that ended before its worker began, on this node of the cluster. */
export const remedyOfStartFailure = (how: JobState.Outcome, on: string | undefined): Remedy => ({
  ...none,
  text: `tasks ended before their workers began (${endOf(how)}), and were made elsewhere`,
  avoid: on === undefined ? [] : [on],
})

/** Of a shard that its worker found gone or damaged, or of which results were lost. */
export const leftOut: Remedy = {
  ...none,
  text: "shards or results of them were gone or damaged in the store, and were written anew",
}

/** Of a way to end, on this node of the cluster. */
export const remedy = (how: JobState.Outcome, at: string | undefined): Remedy => {
  switch (how._tag) {
    case "Lost":
      return {
        ...none,
        text: `tasks were lost, and their calls made elsewhere: ${how.what}`,
        avoid: how.excludeNode && at !== undefined ? [at] : [],
      }
    case "Exceeded":
      return how.limit === "memory"
        ? { ...none, text: "tasks ran out of memory, and got twice as much", memoryScale: 2, blame: "calls" }
        : { ...none, text: `tasks ran into their ${how.limit} limit, and others went on`, blame: "stuck" }
    case "Failed":
      if (how.exitCode === WorkerExit.leftInTime)
        return { ...none, text: "tasks were warned, wrote what they had, and left; others went on" }
      if (how.exitCode === WorkerExit.assignmentRefused)
        return {
          ...none,
          text: "workers found assignments that were damaged, or that their driver had not written, and left; others went on",
        }
      if (how.exitCode === WorkerExit.storeFailed)
        return { ...none, text: "workers could not read or write the store, and left; others went on" }
      return how.perhapsMemory
        ? {
            ...none,
            text: "tasks were killed, perhaps for memory, and got twice as much",
            memoryScale: 2,
            blame: "calls",
          }
        : {
            ...none,
            text: `tasks failed with ${endOf(how)}, and were made again`,
            blame: "calls",
          }
    case "Cancelled":
      return { ...none, text: "tasks were cancelled by a user, and made again" }
    case "Rejected":
      return { ...none, text: `Slurm refused tasks after it had taken them: ${how.reason}`, blame: "calls" }
    case "Succeeded":
      return { ...none, text: "workers left before all was done, and others went on" }
    default:
      return { ...none, text: "Slurm no longer knew tasks, and they were made again" }
  }
}
