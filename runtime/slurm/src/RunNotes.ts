/** What happened on the way, for the report: each kind of event once, with how often and for example where. */
/** Examples of each kind of event that are reported. */
const examples = 3

export class RunNotes {
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

const takenOverText = "an earlier driver's jobs were taken over"

/** That jobs of a session whose driver had ended were taken over. */
export const takenOver = (shards: number, session: string): string =>
  `${takenOverText}: ${shards} shards of ${session}`

/** Whether a report has such a sentence: then a part of its calls was made before the run began. */
export const reportTakeOver = (lines: ReadonlyArray<string>): boolean =>
  lines.some((line) => line.startsWith(takenOverText))
