/** What the code of one node works with while a run goes on. */
import type { Graph } from "@reelgraph/core"
import type { BlobStore, Journal, JournalError } from "@reelgraph/store"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

import type { PlaceFailed, RecordInvalid, SideCount, TooManyFailures } from "../RunError.ts"
import type { Places } from "../Places.ts"
import type { Workers } from "../Workers.ts"
import * as Flow from "./Flow.ts"
import type { Tally } from "./Tally.ts"
import type { Underway } from "./Underway.ts"

/** What all nodes of a run share. */
export interface RunContext {
  readonly run: number
  readonly journal: typeof Journal.Service
  readonly blobs: typeof BlobStore.Service
  readonly workers: typeof Workers.Service
  readonly places: typeof Places.Service
  readonly clock: Clock.Clock
  readonly seed: number
  readonly maxFailures: number
  /** Counts failed calls over all nodes. */
  readonly failures: { count: number }
  /** Is told of each call that begins on this thread. */
  readonly begins: ((node: number) => void) | undefined
}

export interface NodeContext extends RunContext {
  readonly node: Graph.Placed
  /** Position among the nodes of the graph. */
  readonly index: number
  readonly tally: Tally
  /** Calls that go on and have told how far they are. */
  readonly underway: Set<Underway>
  readonly outlets: ReadonlyArray<Flow.Inlet>
}

export type NodeError = JournalError | RecordInvalid | SideCount | TooManyFailures | PlaceFailed

/** Milliseconds on a clock that only goes forward. */
export const now = ({ clock }: NodeContext): number => Number(clock.monotonicTimeNanosUnsafe()) / 1e6

/** Takes whatever waits. */
export const eager = () => ({ min: 1, max: Flow.chunk })

/** Row ids alone: what waits for long is read again when its time comes. */
export type Spool = Array<number>

export const spoolItems = (spool: Spool, items: ReadonlyArray<Flow.Item>): Effect.Effect<void> => {
  for (const { id } of items) spool.push(id)
  return Effect.void
}

/** A node's operator with a row in the journal, and what calls are made with. */
export interface Bound {
  readonly operator: number
  /** Of the operator and everything it is bound to. */
  readonly digest: string
  readonly sides: { readonly [side: string]: unknown }
  readonly sideJson: { readonly [side: string]: string | ReadonlyArray<string> }
}
