/**
 * The driver's book of calls that are to be made in jobs: who waits for which, which shard has it, and what has come.
 *
 * A call is known by its key, which is the same in every run and every session. So a result counts once, whichever
 * attempt, task or session brought it first; and a driver that takes over finds what is on its way by the same keys.
 */
import { Call, type Part } from "@reelgraph/call"
import * as Effect from "effect/Effect"

/** Why a shard did not come through in a task, and what to do otherwise next time. */
export interface Trouble {
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
  readonly troubles: Array<Trouble>
  /** Nodes of the cluster to keep away from. */
  readonly avoid: Set<string>
  /** Memory to ask for, as a multiple of what was placed. */
  memoryScale: number
}

/** A results object, kept until all that counts of it is in the journal. */
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
  readonly give: (part: Part) => void
  readonly end: () => void
  readonly fail: (problem: string) => void
}

export class Work {
  /** Two nodes of a graph may make the same call. */
  readonly #waiters = new Map<string, Array<Waiter>>()
  /** Results that came before anybody asked, of work that was taken over. */
  readonly #early = new Map<string, Early>()
  /** Which shard has a call. */
  readonly #underway = new Map<string, Entry>()
  readonly entries = new Map<string, Entry>()
  /** Sessions of which something was asked for. */
  readonly claimed = new Set<string>()

  /** Sessions with calls that are not through, or results that nobody has asked for. */
  get open(): ReadonlySet<string> {
    const open = new Set<string>()
    for (const { session } of this.entries.values()) open.add(session)
    for (const { session } of this.#early.values()) open.add(session)
    return open
  }

  /** Notes who waits for the calls of a shard. Gives the positions that nobody has in hand. */
  ask(keys: ReadonlyArray<string>, group: Omit<Group, "open">): ReadonlyArray<number> {
    const asked: Group = { ...group, open: keys.length }
    const fresh: Array<number> = []
    const there: Array<{ readonly at: number; readonly early: Early }> = []
    keys.forEach((key, at) => {
      const others = this.#waiters.get(key)
      if (others === undefined) this.#waiters.set(key, [{ at, group: asked }])
      else others.push({ at, group: asked })
      const early = this.#early.get(key)
      if (early !== undefined) there.push({ at, early })
      const underway = this.#underway.get(key)
      const found = early ?? underway
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

  add(entry: Entry): void {
    this.entries.set(entry.id, entry)
    for (const at of entry.missing) this.#underway.set(entry.keys[at]!, entry)
  }

  /** Takes a shard out whose calls are now in others, or given up. */
  drop(entry: Entry): void {
    this.entries.delete(entry.id)
    for (const at of entry.missing) {
      const key = entry.keys[at]!
      if (this.#underway.get(key) === entry) this.#underway.delete(key)
    }
  }

  /** Whether somebody waits for something of a shard. */
  wanted(entry: Entry): boolean {
    for (const at of entry.missing) if (this.#waiters.has(entry.keys[at]!)) return true
    return false
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
      this.#underway.delete(key)
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
    if (entry.missing.size === 0) this.entries.delete(entry.id)
    for (const [group, list] of groups) this.#give(group, place, source, list)
    Effect.runFork(settled(source, 1))
    return fresh
  }

  /** Ends everybody who waits for a node's calls. */
  fail(node: string, problem: string): void {
    const groups = new Set<Group>()
    for (const entry of this.entries.values())
      if (entry.node === node)
        for (const at of entry.missing) {
          for (const { group } of this.#waiters.get(entry.keys[at]!) ?? []) groups.add(group)
        }
    for (const group of groups) group.fail(problem)
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
