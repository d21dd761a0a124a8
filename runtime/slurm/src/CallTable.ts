/**
 * The driver's table of the calls that its jobs make: who waits for each call, which shard has it, and which results have
 * arrived.
 *
 * A call is known by its key, which is the same in every run and every session. So a result counts once, whichever
 * attempt, task or session brought it first; and a driver that takes over finds what is on its way by the same keys.
 */
import { Call, type Part } from "@reelgraph/call"
import * as Effect from "effect/Effect"

/** Why a shard did not come through in a task, and what to do otherwise next time. */
export interface FailedAttempt {
  readonly what: string
  /** Whether its calls may be to blame, and not the machine. */
  readonly own: boolean
}

/** A shard that is to be made, or is being made. */
export interface Entry {
  readonly id: string
  readonly session: string
  /** Node of the graph. */
  readonly node: string
  /** The key of each call, by position in the shard. */
  readonly keys: ReadonlyArray<string>
  /** Positions without a result. */
  readonly missing: Set<number>
  readonly failedAttempts: Array<FailedAttempt>
  /** Nodes of the cluster to exclude. */
  readonly avoid: Set<string>
  /** Memory to ask for, as a multiple of what was placed. */
  memoryScale: number
}

/** A results object, stored until all that counts of it is in the journal. */
interface Source {
  open: number
  readonly remove: Effect.Effect<void>
}

interface Early {
  readonly session: string
  readonly result: Call.Result
  readonly place: string
  readonly source: Source
}

interface Waiter {
  readonly at: number
  readonly group: Group
}

/** Those who asked for the calls of one shard of the engine. */
interface Group {
  open: number
  /** What was asked for: its calls can be made again from here alone, whatever has become of objects in the store. */
  readonly shard: Call.Shard
  readonly give: (part: Part) => void
  readonly end: () => void
  readonly fail: (problem: string) => void
}

const nameOf = ({ id, session }: Pick<Entry, "session" | "id">): string => `${session}/${id}`

export class CallTable {
  /** Two nodes of a graph may make the same call. */
  readonly #waiters = new Map<string, Array<Waiter>>()
  /** Results that came before anybody asked, of work that was taken over. */
  readonly #early = new Map<string, Early>()
  /** Which shard has a call. */
  readonly #inProgress = new Map<string, Entry>()
  /** By session and id: sessions number their shards alike. */
  readonly #entries = new Map<string, Entry>()
  /** Sessions of which something was asked for. */
  readonly claimed = new Set<string>()

  /** Sessions with calls that are not through, or results that nobody has asked for. */
  get open(): ReadonlySet<string> {
    const open = new Set<string>()
    for (const { session } of this.#entries.values()) open.add(session)
    for (const { session } of this.#early.values()) open.add(session)
    return open
  }

  /** Notes who waits for the calls of a shard. Gives the positions that nobody has in hand. */
  ask(group: Omit<Group, "open">): ReadonlyArray<number> {
    const keys = Call.keys(group.shard)
    const asked: Group = { ...group, open: keys.length }
    const fresh: Array<number> = []
    const there: Array<{ readonly at: number; readonly early: Early }> = []
    keys.forEach((key, at) => {
      const others = this.#waiters.get(key)
      if (others === undefined) this.#waiters.set(key, [{ at, group: asked }])
      else others.push({ at, group: asked })
      const early = this.#early.get(key)
      if (early !== undefined) there.push({ at, early })
      const inProgress = this.#inProgress.get(key)
      const found = early ?? inProgress
      if (found === undefined) fresh.push(at)
      else this.claimed.add(found.session)
    })
    for (const { at, early } of there) {
      this.#early.delete(keys[at]!)
      this.#waiters.delete(keys[at]!)
      this.#give(asked, early.place, early.source, [{ ...early.result, at }])
    }
    return fresh
  }

  /** One who asked for these does not wait any more. */
  forget(keys: ReadonlyArray<string>, give: Group["give"]): void {
    for (const key of keys) {
      const left = this.#waiters.get(key)?.filter(({ group }) => group.give !== give)
      if (left === undefined || left.length === 0) this.#waiters.delete(key)
      else this.#waiters.set(key, left)
    }
  }

  /** The shard of a session, while something of it is missing. */
  entry(session: string, id: string): Entry | undefined {
    return this.#entries.get(nameOf({ session, id }))
  }

  add(entry: Entry): void {
    this.#entries.set(nameOf(entry), entry)
    for (const at of entry.missing) this.#inProgress.set(entry.keys[at]!, entry)
  }

  /** Takes a shard out whose calls are now in others, or given up. */
  drop(entry: Entry): void {
    this.#entries.delete(nameOf(entry))
    for (const at of entry.missing) {
      const key = entry.keys[at]!
      if (this.#inProgress.get(key) === entry) this.#inProgress.delete(key)
    }
  }

  /**
   * The calls of a shard that have no result and that somebody waits for, as shards of those who asked for them: each
   * call in one of them, but for those of some keys. Nothing of it is read from the store, where the shard may be gone,
   * or damaged.
   */
  remainder(entry: Entry, except: ReadonlySet<string> = new Set()): ReadonlyArray<Call.Shard> {
    const positions = new Map<Group, Array<number>>()
    for (const at of entry.missing) {
      const key = entry.keys[at]!
      const waiter = except.has(key) ? undefined : this.#waiters.get(key)?.[0]
      if (waiter === undefined) continue
      const list = positions.get(waiter.group)
      if (list === undefined) positions.set(waiter.group, [waiter.at])
      else list.push(waiter.at)
    }
    return [...positions].map(([{ shard }, list]) =>
      shard.set === undefined ? { ...shard, items: list.map((at) => shard.items[at]!) } : shard,
    )
  }

  /** Takes a shard out in favour of those that have its calls now: of these, what has no result yet is to be made. */
  replace(entry: Entry, others: ReadonlyArray<Entry>): void {
    const left = new Set([...entry.missing].map((at) => entry.keys[at]!))
    this.drop(entry)
    for (const other of others) {
      // Results of the old one may have come while the new ones were written.
      for (const at of other.missing) if (!left.has(other.keys[at]!)) other.missing.delete(at)
      if (other.missing.size > 0) this.add(other)
    }
  }

  /** Gives those who wait for calls of a shard a result with the reason why they were not made, and forgets the shard. */
  giveUp(entry: Entry, result: (at: number) => Call.Result): void {
    const wanted = [...entry.missing].filter((at) => this.#waiters.has(entry.keys[at]!))
    this.take(entry, wanted.map(result), "", Effect.void)
    this.drop(entry)
  }

  /**
   * Takes results in: those that came before are left out. `remove` is run when all that count are in the journal.
   * Gives how many were new.
   */
  take(
    entry: Entry,
    results: ReadonlyArray<Call.Result>,
    place: string,
    remove: Effect.Effect<void>,
  ): number {
    const source: Source = { open: 1, remove }
    const groups = new Map<Group, Array<Call.Result>>()
    let fresh = 0
    for (const result of results) {
      if (!entry.missing.delete(result.at)) continue
      fresh++
      const key = entry.keys[result.at]!
      this.#inProgress.delete(key)
      const waiters = this.#waiters.get(key)
      if (waiters === undefined) {
        source.open++
        this.#early.set(key, { session: entry.session, result, place, source })
        continue
      }
      this.#waiters.delete(key)
      for (const { at, group } of waiters) {
        const list = groups.get(group)
        if (list === undefined) groups.set(group, [{ ...result, at }])
        else list.push({ ...result, at })
      }
    }
    if (entry.missing.size === 0) this.#entries.delete(nameOf(entry))
    for (const [group, list] of groups) this.#give(group, place, source, list)
    Effect.runFork(settled(source, 1))
    return fresh
  }

  /** Ends everybody who waits for a node's calls; without a node, everybody. */
  fail(node: string | undefined, problem: string): void {
    const groups = new Set<Group>()
    if (node === undefined) {
      for (const waiters of this.#waiters.values()) for (const { group } of waiters) groups.add(group)
    } else
      for (const entry of this.#entries.values())
        if (entry.node === node)
          for (const at of entry.missing) {
            for (const { group } of this.#waiters.get(entry.keys[at]!) ?? []) groups.add(group)
          }
    for (const group of groups) group.fail(problem)
  }

  /** Whether anybody waits for anything. */
  get awaited(): boolean {
    return this.#waiters.size > 0
  }

  #give(group: Group, place: string, source: Source, results: ReadonlyArray<Call.Result>): void {
    source.open += results.length
    group.give({ results, place, committed: settled(source, results.length) })
    group.open -= results.length
    if (group.open === 0) group.end()
  }
}

/** So many results of an object need it no longer. */
const settled = (source: Source, count: number): Effect.Effect<void> =>
  Effect.suspend(() => {
    source.open -= count
    return source.open === 0 ? source.remove : Effect.void
  })
