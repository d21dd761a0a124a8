/**
 * One thing that all who use it at once get equal shares of, such as the file server that workers load from when they
 * start: egalitarian processor sharing.
 *
 * In virtual time, which passes at the rate `1 / n` while `n` use it, each is through when as much of it has passed as
 * its work takes alone (Parekh and Gallager 1993, of weights that are equal). Work that is all of one length is
 * therefore through in the order in which it came: those that use it are a queue. Exact for any arrivals.
 */

/** Those that came together. */
interface Entry {
  readonly count: number
  /** Virtual time at which they are through. */
  readonly end: number
  readonly through: () => void
}

export interface Sharing {
  /** Seconds that it takes of one that is alone. */
  readonly seconds: number
  /** How many use it. */
  using: number
  /** Virtual time, and the time at which it was that. */
  virtual: number
  since: number
  /** The first to be through is at `first`. */
  readonly queue: Array<Entry>
  first: number
}

export const make = (seconds: number): Sharing => ({
  seconds,
  using: 0,
  virtual: 0,
  since: 0,
  queue: [],
  first: 0,
})

/** So many begin to use it; `through` is for when they are. */
export const enter = (sharing: Sharing, now: number, count: number, through: () => void): void => {
  if (sharing.using > 0) sharing.virtual += (now - sharing.since) / sharing.using
  sharing.since = now
  sharing.using += count
  sharing.queue.push({ count, end: sharing.virtual + sharing.seconds, through })
}

/** When the next are through, if no others come. */
export const next = ({ first, queue, since, using, virtual }: Sharing): number | undefined => {
  const entry = queue[first]
  return entry === undefined ? undefined : since + Math.max(0, entry.end - virtual) * using
}

/** Takes one entry out that is through, and gives what is to be done for it. */
export const leave = (sharing: Sharing, now: number): (() => void) | undefined => {
  const at = next(sharing)
  if (at === undefined || at > now) return undefined
  const { count, end, through } = sharing.queue[sharing.first]!
  sharing.first++
  sharing.virtual = Math.max(sharing.virtual, end)
  sharing.since = now
  sharing.using -= count
  if (sharing.first === sharing.queue.length) {
    sharing.queue.length = 0
    sharing.first = 0
    sharing.virtual = 0
  } else if (sharing.first >= compacted) {
    sharing.queue.splice(0, sharing.first)
    sharing.first = 0
  }
  return through
}

/** Entries that are gone, beyond which the queue is rid of them. */
const compacted = 1024
