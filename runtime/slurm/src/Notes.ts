/** What happened on the way, for the report: each kind of event once, with how often and for example where. */
import type * as JobState from "./JobState.ts"

/** Examples that are kept of each kind of event. */
const examples = 3

export class Notes {
  readonly #events = new Map<string, { count: number; readonly at: Set<string> }>()

  add(what: string, at?: string): void {
    const event = this.#events.get(what) ?? { count: 0, at: new Set<string>() }
    this.#events.set(what, event)
    event.count++
    if (at !== undefined && event.at.size < examples) event.at.add(at)
  }

  /** A sentence for each kind of event. */
  get lines(): ReadonlyArray<string> {
    return [...this.#events].map(([what, { at, count }]) =>
      at.size === 0
        ? `${what}${count === 1 ? "" : ` (${count} times)`}`
        : `${what} (${count === 1 ? "" : `${count} times, such as `}${[...at].join(", ")})`,
    )
  }
}

const takenOverWords = "an earlier driver's jobs were taken over"

/** That jobs of a session whose driver had ended were taken over. */
export const takenOver = (shards: number, session: string): string =>
  `${takenOverWords}: ${shards} shards of ${session}`

/** Whether sentences of a report say so: then a part of its calls was made before the run began. */
export const tellOfTakeOver = (lines: ReadonlyArray<string>): boolean =>
  lines.some((line) => line.startsWith(takenOverWords))

/** What to do about a task that is over without all of its results. */
export interface Remedy {
  readonly text: string
  /** Nodes to keep away from. */
  readonly avoid: ReadonlyArray<string>
  /** Times as much memory. */
  readonly memoryScale: number
  /** Whose fault it may be: that of the calls it was at, of those if they made no progress, or of none. */
  readonly blame: "calls" | "stuck" | "none"
}

/** The exit code of a worker that was warned and has left in time. */
export const leftInTime = 75

/** The exit code of a worker that could not read or write the store. */
export const storeFailed = 77

/** The exit code of a worker that found an order damaged, or not its driver's. */
export const orderRefused = 76

const none = { avoid: [], memoryScale: 1, blame: "none" } as const

/** How a task ended that failed: `exit code 1`, `signal 9`. */
export const endOf = (how: JobState.Outcome): string =>
  how._tag !== "Failed"
    ? how._tag
    : how.signal === undefined
      ? `exit code ${how.exitCode ?? "?"}`
      : `signal ${how.signal}`

/** Of a task that ended before its worker began, on this node of the cluster. */
export const remedyOfStillborn = (how: JobState.Outcome, on: string | undefined): Remedy => ({
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
      if (how.exitCode === leftInTime)
        return { ...none, text: "tasks were warned, wrote what they had, and left; others went on" }
      if (how.exitCode === orderRefused)
        return {
          ...none,
          text: "workers found orders that were damaged, or that their driver had not written, and left; others went on",
        }
      if (how.exitCode === storeFailed)
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
      return { ...none, text: "tasks were cancelled by somebody, and made again" }
    case "Rejected":
      return { ...none, text: `Slurm refused tasks after it had taken them: ${how.reason}`, blame: "calls" }
    case "Succeeded":
      return { ...none, text: "workers left before all was done, and others went on" }
    default:
      return { ...none, text: "Slurm no longer knew tasks, and they were made again" }
  }
}
