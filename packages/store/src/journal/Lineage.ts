/**
 * Lineage: walks over the calls in a journal, from an item up to all it was made from, or down to all that was made
 * from it.
 *
 * **What it means.** An item is its content: two calls that give equal records give one item, wherever in a graph and in
 * whichever run. So its parents are the union over every call that made it, and its ancestors are the parents, theirs,
 * and so on. Only two things pass an item on without making it: a filter that keeps it, and a collect that passes it.
 * They are listed as `keptBy` and are no links. Everything else makes what it gives, also when that equals what it
 * took:
 *
 * - A call of a map, flatMap or batch makes each output from its input and all its side inputs.
 * - A collect makes each record from the members that it names, be it none, and all its side inputs.
 * - A call that gives its own input again makes it from itself: a link of the item to itself, beside all other links.
 *   Chains of calls may lead back in the same way, so an item may be its own ancestor.
 * - A side input is a parent of what calls made beside it, never of what they passed on, and is not lost when a call
 *   drops or fails another item.
 *
 * A walk meets each item once, however many paths lead to it, and has its own queue: depth and fan-out are bounded
 * by memory only.
 */
import * as Components from "../internal/journal/components.ts"
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
  /** Whether a run took the item in through an input of its graph. Of a walk up only. */
  readonly takenIn: boolean
}

/** The items of a walk by row id, nearest first; those it began with are among them. */
export type Walk = ReadonlyMap<number, Entry>

type Reader = Pick<typeof Journal.Service, "producers" | "consumers" | "takenIn">

/** Everything that the items were made from. */
export const up = (journal: Reader, starts: Iterable<number>): Walk => {
  const entries = walk(starts, (item) => {
    const steps = journal.producers(item)
    return {
      item,
      links: steps.filter(isMaker).map((step) => ({ step, items: step.inputs })),
      keptBy: steps.filter(({ passed }) => passed),
      lostBy: [],
      takenIn: false,
    }
  })
  for (const item of journal.takenIn([...entries.keys()]))
    entries.set(item, { ...entries.get(item)!, takenIn: true })
  return entries
}

/** Everything that was made from the items, and what became of the rest. */
export const down = (journal: Reader, starts: Iterable<number>): Walk =>
  walk(starts, (item) => {
    const steps = journal.consumers(item)
    return {
      item,
      links: steps.filter(isMaker).map((step) => ({ step, items: step.made })),
      keptBy: steps.filter(({ passed }) => passed),
      lostBy: steps.filter(({ sideOnly, status }) => status !== Status.done && !sideOnly),
      takenIn: false,
    }
  })

const isMaker = ({ made }: Step): boolean => made.length > 0

const walk = (starts: Iterable<number>, visit: (item: number) => Entry): Map<number, Entry> => {
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

/**
 * Items of a walk up where something begins: a run took them in, or no call made them of anything but themselves. What
 * was taken in and made as well (its content is all that counts) is a source, and leads on.
 */
export const sources = (entries: Walk): ReadonlyArray<number> =>
  [...entries.values()]
    .filter(
      ({ item, links, takenIn }) =>
        takenIn || links.every(({ items }) => items.every((other) => other === item)),
    )
    .map(({ item }) => item)

/**
 * Of items that name one artifact, those that the others descend from: a source file is named by the record that
 * brought it in, and by every record made from that which still refers to it. Of items that descend from one another
 * all are first, unless they descend from yet another. Takes a walk down from all of them.
 */
export const firsts = (entries: Walk, starts: ReadonlyArray<number>): ReadonlyArray<number> => {
  const below = Components.below(entries.keys(), (item) =>
    entries.get(item)!.links.flatMap(({ items }) => items),
  )
  return starts.filter((item) => !below.has(item))
}

/** The same for a walk up: of items that name one artifact, those that were not made from another of them directly. */
export const firstsAmong = (journal: Reader, starts: ReadonlyArray<number>): ReadonlyArray<number> => {
  const all = new Set(starts)
  const children = new Map<number, Array<number>>(starts.map((item) => [item, []]))
  for (const item of all)
    for (const { inputs } of journal.producers(item))
      for (const parent of inputs) children.get(parent)?.push(item)
  const below = Components.below(all, (item) => children.get(item)!)
  return starts.filter((item) => !below.has(item))
}
