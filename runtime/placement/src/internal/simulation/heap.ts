/** A queue of what is to happen, the earliest first; of what happens at once, first in, first out. A binary heap. */

interface Entry<out A> {
  readonly time: number
  readonly order: number
  readonly value: A
}

export interface Heap<in out A> {
  readonly size: () => number
  readonly push: (time: number, value: A) => void
  /** Takes the earliest out. */
  readonly pop: () => { readonly time: number; readonly value: A } | undefined
}

const before = (a: Entry<unknown>, b: Entry<unknown>): boolean =>
  a.time < b.time || (a.time === b.time && a.order < b.order)

export const make = <A>(): Heap<A> => {
  const entries: Array<Entry<A>> = []
  let order = 0
  return {
    size: () => entries.length,
    push: (time, value) => {
      const entry = { time, order: order++, value }
      let at = entries.length
      while (at > 0) {
        const parent = (at - 1) >> 1
        if (!before(entry, entries[parent]!)) break
        entries[at] = entries[parent]!
        at = parent
      }
      entries[at] = entry
    },
    pop: () => {
      const first = entries[0]
      const last = entries.pop()
      if (first === undefined || last === undefined || entries.length === 0) return first
      let at = 0
      while (true) {
        let child = 2 * at + 1
        if (child >= entries.length) break
        if (child + 1 < entries.length && before(entries[child + 1]!, entries[child]!)) child++
        if (!before(entries[child]!, last)) break
        entries[at] = entries[child]!
        at = child
      }
      entries[at] = last
      return first
    },
  }
}
