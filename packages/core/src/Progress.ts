/**
 * Progress: how far one call has come that takes long. An operator tells it with `call.progress` as often as it
 * likes; whoever watches the run sees the latest a few times a second. It is never part of a result, of a cache
 * key or of the journal.
 */
export interface Progress {
  /** In any unit, such as steps. */
  readonly done: number
  /** In the same unit; 0 while it is not known. */
  readonly total: number
  /** One line for people: `loss 0.312, 412 ms a step`. */
  readonly detail: string
  /** Milliseconds until the call ends. @default by the pace so far */
  readonly remainingMillis?: number
}

/** Characters of a detail that travel. */
const detailLength = 200

/** A copy with nothing else in it: what can be sent to another process, and does not change any more. */
export const plain = ({ detail, done, remainingMillis, total }: Progress): Progress => ({
  done,
  total,
  detail: detail.slice(0, detailLength),
  ...(remainingMillis === undefined ? {} : { remainingMillis }),
})

/** The share that is done, from 0 to 1; nothing while the total is not known. */
export const share = ({ done, total }: Progress): number | undefined =>
  total > 0 && Number.isFinite(total) && done >= 0 ? Math.min(1, done / total) : undefined

/** A report, and when it was made, in milliseconds since the epoch. */
export interface Timed {
  readonly report: Progress
  readonly atMs: number
}

/**
 * Milliseconds that are left at a time: what the latest report says, less what went by since; else by the pace from
 * the first report of the call to the latest (a call that goes on from earlier work does not begin at 0).
 */
export const remaining = (first: Timed, latest: Timed, nowMs: number): number | undefined => {
  const { done, remainingMillis, total } = latest.report
  const since = nowMs - latest.atMs
  if (remainingMillis !== undefined && Number.isFinite(remainingMillis))
    return Math.max(0, remainingMillis - since)
  const gained = done - first.report.done
  if (share(latest.report) === undefined || !(gained > 0)) return undefined
  return Math.max(0, ((latest.atMs - first.atMs) * Math.max(0, total - done)) / gained - since)
}
