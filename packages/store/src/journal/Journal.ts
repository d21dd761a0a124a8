/**
 * The journal: what was called with what, what came of it, and in which run.
 *
 * A result counts once its row is committed. Commits are atomic and idempotent: of two runs that make the same
 * call at once, the first result counts, and both go on with it. Lineage is read from the same rows.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** A record to be stored: its digest (hex), its canonical JSON, and the blobs that it names (hex SHA-256). */
export interface NewItem {
  readonly digest: string
  readonly record: string
  readonly artifacts: ReadonlyArray<string>
}

/** A record in the journal, under its row id. */
export interface StoredItem {
  readonly id: number
  readonly digest: string
  readonly record: string
}

/** An operator bound to params, a seed (when it draws random numbers) and side inputs. */
export interface OperatorRow {
  readonly digest: string
  readonly name: string
  readonly version: string
  /** Canonical JSON. */
  readonly params: string
  readonly seed?: number
  /** Fingerprint of its code. */
  readonly source: string
  /** Row ids of the items given to its side inputs. */
  readonly sides: { readonly [side: string]: number }
}

export const Status = { done: 0, dropped: 1, failed: 2 } as const
export type Status = (typeof Status)[keyof typeof Status]

/** One call that ended. */
export interface CallRow {
  /** Row id of the item that drove it. */
  readonly input: number
  /** Row id of the bound operator. */
  readonly operator: number
  readonly status: Status
  /** Records that it made, or row ids of items that it passed on as they came. */
  readonly outputs: ReadonlyArray<NewItem | number>
  /** For `collect`: by output, the row ids of the items that it was made from. */
  readonly parents?: ReadonlyArray<ReadonlyArray<number>>
  /** For `collect`: the items that it took out. */
  readonly drops?: ReadonlyArray<{ readonly item: number; readonly reason: string; readonly detail: string }>
  /** Why it was dropped, or the tag of its error. */
  readonly reason?: string
  readonly detail?: string
  /** The call whose result this one takes the place of, because blobs that it names are lost. */
  readonly replaces?: number
  readonly attempts: number
  readonly startedMs: number
  /** Milliseconds that the last attempt took. */
  readonly ms: number
  /** Where it was made, for people, when not on the machine of the run: `h100-3 job 1234_5.0 gpu 2`. Cut at 400 characters. */
  readonly place?: string
}

/** A committed call. When its result was there before, `adopted` is that result's status. */
export interface Committed {
  readonly call: number
  /** Row ids of what it gave. */
  readonly outputs: ReadonlyArray<number>
  readonly adopted: number | undefined
}

/** A call found in the journal. */
export interface Hit {
  readonly call: number
  readonly status: Status
  readonly outputs: ReadonlyArray<number>
  readonly reason: string | undefined
  readonly detail: string | undefined
}

export interface RunRow {
  /** Unique, for people: `curate-20260114-093042-k3f9`. */
  readonly name: string
  readonly graph: string
  readonly version: string
  readonly digest: string
  /** JSON of the graph. */
  readonly definition: string
  readonly startedMs: number
  /** Node ids in order; rows refer to nodes by position. */
  readonly nodes: ReadonlyArray<string>
}

/** `killed` is a run whose process ended before it recorded an end. */
export const RunStatus = Schema.Literals([
  "running",
  "killed",
  "done",
  "failed",
  "finished-with-failures",
  "interrupted",
])
export type RunStatus = typeof RunStatus.Type

export interface RunEnd {
  readonly endedMs: number
  readonly status: RunStatus
  /** JSON of the ledger. */
  readonly ledger: string
  readonly problem?: string
  /**
   * Events that did not stop the run, one sentence each. At most 200 are stored, of 2,000 characters each.
   * @default none
   */
  readonly notes?: ReadonlyArray<string>
}

/** A run as the journal lists it. */
export interface Run {
  readonly id: number
  readonly name: string
  readonly graph: string
  readonly version: string
  readonly digest: string
  readonly definition: string
  readonly startedMs: number
  readonly endedMs: number | undefined
  readonly status: RunStatus
  readonly ledger: string
  readonly problem: string | undefined
  /** Events that did not stop the run. Unknown while it goes on, and if it was killed. */
  readonly notes: ReadonlyArray<string>
}

/** The journal could not be written or read. */
export class JournalError extends Schema.TaggedError<JournalError>()("JournalError", {
  file: Schema.String,
  action: Schema.String,
  problem: Schema.String,
}) {
  override get message() {
    return `the journal ${this.file} could not be ${this.action}: ${this.problem}`
  }
}

/** The journal was written by a later version of reelgraph. */
export class JournalNewer extends Schema.TaggedError<JournalNewer>()("JournalNewer", {
  file: Schema.String,
  found: Schema.Int,
  supported: Schema.Int,
}) {
  override get message() {
    return `the journal ${this.file} has format ${this.found}, and this reelgraph reads up to ${this.supported}; use the reelgraph that wrote it, or a later one`
  }
}

/** The operator a call was bound to, as lineage shows it. */
export interface BoundOperator {
  readonly id: number
  readonly digest: string
  readonly name: string
  readonly version: string
  readonly params: string
  readonly seed: number | undefined
  readonly source: string
}

/** One step of lineage: a call as one item sees it that came out of it, or went in. */
export interface Step {
  readonly call: number
  readonly operator: BoundOperator
  readonly status: Status
  readonly reason: string | undefined
  readonly detail: string | undefined
  readonly startedMs: number
  readonly ms: number
  /** Where it was made, when not on the machine of the run. */
  readonly place: string | undefined
  /** Name of the run that executed it. */
  readonly run: string
  /** Row ids of what it made the item from, side inputs among them. Of a consumer: the item. */
  readonly inputs: ReadonlyArray<number>
  /** Row ids of what it made with the item, and of the item when it passed it on. Of a producer: the item. */
  readonly outputs: ReadonlyArray<number>
  /** Row ids of those outputs that it made, each once. The item is among them when it made an equal record. */
  readonly made: ReadonlyArray<number>
  /** Whether it passed the item on as it came: a filter that passed it, or a collect. It may also have made an equal record. */
  readonly passed: boolean
  /** Of a consumer: whether the item went in through a side input alone. */
  readonly sideOnly: boolean
}

/** An item that a node of a run did not pass on. */
export interface Refusal {
  readonly node: string
  /** Row id. */
  readonly item: number
  readonly reason: string
  readonly detail: string
}

/** What a node of a run dropped for one reason. */
export interface Dropped {
  readonly node: string
  readonly reason: string
  readonly count: number
  /** The first of them. */
  readonly example: Refusal
}

/** An earlier call of an operator of the same name on the same input. It explains why a call is not in the cache. */
export interface Earlier {
  readonly version: string
  readonly params: string
  readonly seed: number | undefined
  /** Fingerprint of its code. */
  readonly source: string
  readonly status: Status
  readonly reason: string | undefined
}

export class Journal extends Context.Service<
  Journal,
  {
    /** The file that it is stored in. */
    readonly file: string

    // Writing. Each effect ends when what it wrote is on disk.
    readonly beginRun: (row: RunRow) => Effect.Effect<number, JournalError>
    readonly endRun: (run: number, end: RunEnd) => Effect.Effect<void, JournalError>
    readonly operator: (row: OperatorRow) => Effect.Effect<number, JournalError>
    /** Stores what came in through a port of the graph; row ids in order. */
    readonly items: (
      run: number,
      port: string,
      items: ReadonlyArray<NewItem>,
    ) => Effect.Effect<ReadonlyArray<number>, JournalError>
    /** Notes what a run gave through an output of the graph. */
    readonly outputs: (
      run: number,
      port: string,
      items: ReadonlyArray<number>,
    ) => Effect.Effect<void, JournalError>
    readonly set: (digest: string, members: ReadonlyArray<number>) => Effect.Effect<StoredItem, JournalError>
    readonly calls: (
      run: number,
      node: number,
      rows: ReadonlyArray<CallRow>,
    ) => Effect.Effect<ReadonlyArray<Committed>, JournalError>
    /** Notes that a run used results that were there. */
    readonly hits: (
      run: number,
      node: number,
      calls: ReadonlyArray<number>,
    ) => Effect.Effect<void, JournalError>

    // Reading. Plain functions of microseconds, for hot loops; they throw {@link JournalError}.
    /** The call of (input, operator), if there is one. */
    readonly find: (input: number, operator: number) => Hit | undefined
    /** The calls of an operator on many inputs, by input: half of what it takes to look for each. */
    readonly findAll: (inputs: ReadonlyArray<number>, operator: number) => ReadonlyMap<number, Hit>
    /** What a `collect` call took out. */
    readonly drops: (
      call: number,
    ) => ReadonlyArray<{ readonly item: number; readonly reason: string; readonly detail: string }>
    readonly item: (id: number) => StoredItem | undefined
    readonly itemByDigest: (digest: string) => StoredItem | undefined
    /** Row ids of items whose digest begins with these hex digits, and blobs whose SHA-256 does: some of many. */
    readonly startingWith: (prefix: string) => {
      readonly items: ReadonlyArray<number>
      readonly artifacts: ReadonlyArray<string>
    }
    readonly boundOperator: (digest: string) => number | undefined
    /** The latest call of any other binding of an operator of this name on the input. */
    readonly earlier: (input: number, name: string) => Earlier | undefined
    /** Mean milliseconds of the done calls of an operator, and how many there are. */
    readonly history: (name: string, version: string) => { readonly calls: number; readonly meanMs: number }
    /** Fingerprints of the code that results of this operator were made by. */
    readonly sources: (name: string, version: string) => ReadonlyArray<string>
    readonly runs: () => ReadonlyArray<Run>
    /** Runs of a graph of this name that go on now: those whose process is known to live, on this machine. */
    readonly atWork: (graph: string) => ReadonlyArray<Run>
    readonly run: (name: string) => Run | undefined
    /** The calls of a run that failed, also those that succeeded in a later run. */
    readonly failures: (run: number) => ReadonlyArray<Refusal>
    /** What a run dropped, from the cache or not, in the order of its nodes. */
    readonly dropped: (run: number) => ReadonlyArray<Refusal>
    /** The same by node and reason, with one of the items: of millions in a fraction of the time. */
    readonly droppedBy: (run: number) => ReadonlyArray<Dropped>
    /** Items that a run took in (`in:NAME`) or gave (`out:NAME`). */
    readonly runItems: (run: number, port: string) => ReadonlyArray<number>
    /** How many those are. */
    readonly runItemCount: (run: number, port: string) => number
    /** Of these items, by each that a run gave: the runs, and the ports (`out:NAME`) that it was given through. */
    readonly givenBy: (
      items: ReadonlyArray<number>,
    ) => ReadonlyMap<number, ReadonlyArray<{ readonly run: string; readonly port: string }>>
    readonly runPorts: (run: number) => ReadonlyArray<string>
    /** The places, each once, of the calls that a run made elsewhere than on its machine. */
    readonly places: (run: number) => ReadonlyArray<string>
    /** Of these items, those that a run took in through an input of its graph. */
    readonly takenIn: (items: ReadonlyArray<number>) => ReadonlySet<number>
    /** Row ids of the members of a set, in the order of their digests; undefined of an item that is no set. */
    readonly members: (item: number) => ReadonlyArray<number> | undefined
    /** Items whose record names the blob. */
    readonly itemsOfArtifact: (sha256: string) => ReadonlyArray<number>
    /** Blobs that results name, in the order of their digests, after one of them: the empty text begins. */
    readonly madeArtifacts: (after: string, limit: number) => ReadonlyArray<string>
    /** The calls that gave an item, each once. Those that only passed it on are among them. */
    readonly producers: (item: number) => ReadonlyArray<Step>
    /** The calls that took an item, directly, in a set, or as a side input, each once, and what they made of it. */
    readonly consumers: (item: number) => ReadonlyArray<Step>
    /** Names of the runs that made or reused a call. */
    readonly runsOfCall: (call: number) => ReadonlyArray<string>
  }
>()("reelgraph/store/Journal") {}
