/**
 * Lineage: walks over the calls in a journal, from an item up to all it was made from, or down to all that was made
 * from it.
 *
 * A walk meets each item once, however many paths lead to it, and keeps its own queue: depth and fan-out are bounded
 * by memory only. What a filter passes on is the same item; such calls do not lead anywhere and are told apart as
 * `keptBy`.
 */
import type { Journal, Step } from "./Journal.ts"
import { Status } from "./Journal.ts"

/** A call, and the items that it leads to: what it was made from on the way up, what it gave on the way down. */
export interface Link {
  readonly step: Step
  /** Row ids. */
  readonly items: ReadonlyArray<number>
}

/** An item that a walk has met. */
export interface Entry {
  /** Row id. */
  readonly item: number
  readonly links: ReadonlyArray<Link>
  /** Calls that passed the item on as it is. */
  readonly keptBy: ReadonlyArray<Step>
  /** Calls that dropped the item, or failed on it. Of a walk down only. */
  readonly lostBy: ReadonlyArray<Step>
}

/** The items of a walk by row id, nearest first; those it began with are among them. */
export type Walk = ReadonlyMap<number, Entry>

type Reader = Pick<typeof Journal.Service, "producers" | "consumers" | "find">

/** Everything that the items were made from. */
export const up = (journal: Reader, starts: Iterable<number>): Walk =>
  walk(starts, (item) => {
    const links: Array<Link> = []
    const keptBy: Array<Step> = []
    for (const step of journal.producers(item)) {
      if (step.inputs.includes(item)) keptBy.push(step)
      else links.push({ step, items: step.inputs })
    }
    return { item, links, keptBy, lostBy: [] }
  })

/** Everything that was made from the items, and what became of the rest. */
export const down = (journal: Reader, starts: Iterable<number>): Walk =>
  walk(starts, (item) => {
    const links: Array<Link> = []
    const keptBy: Array<Step> = []
    const lostBy: Array<Step> = []
    for (const step of journal.consumers(item)) {
      if (step.status !== Status.done) lostBy.push(step)
      else if (step.outputs.includes(item)) keptBy.push(step)
      else {
        const items = step.outputs.filter((output) => !isPassedOn(journal, step, output))
        if (items.length > 0) links.push({ step, items })
      }
    }
    return { item, links, keptBy, lostBy }
  })

/** Whether a call only passed the item on: then who gave it something beside is no ancestor of the item. */
const isPassedOn = (journal: Reader, step: Step, output: number): boolean =>
  journal.find(output, step.operator.id)?.call === step.call

const walk = (starts: Iterable<number>, visit: (item: number) => Entry): Walk => {
  const entries = new Map<number, Entry>()
  const queue = [...new Set(starts)]
  const met = new Set(queue)
  for (let next = 0; next < queue.length; next++) {
    const item = queue[next]!
    const entry = visit(item)
    entries.set(item, entry)
    for (const { items } of entry.links) {
      for (const other of items) {
        if (met.has(other)) continue
        met.add(other)
        queue.push(other)
      }
    }
  }
  return entries
}

/** Items of a walk up that no call gave: where everything begins. */
export const sources = (entries: Walk): ReadonlyArray<number> =>
  [...entries.values()].filter(({ links }) => links.length === 0).map(({ item }) => item)

/**
 * Of items that name one artifact, those that the others descend from: a source file is named by the record that
 * brought it in, and by every record made from that which still refers to it. Takes a walk down from all of them.
 */
export const firsts = (entries: Walk, starts: ReadonlyArray<number>): ReadonlyArray<number> => {
  const reached = new Set<number>()
  for (const { links } of entries.values())
    for (const { items } of links) for (const item of items) reached.add(item)
  return starts.filter((item) => !reached.has(item))
}
