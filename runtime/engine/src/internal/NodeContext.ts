/** What the code of one node works with while a run goes on. */
import type { Environment, Executor, ExecutorFailed, Fingerprints } from "@reelgraph/call"
import type { Graph, Operator } from "@reelgraph/core"
import type { BlobStore, Journal, JournalError } from "@reelgraph/store"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

import type { ChangedCode } from "../ChangedCode.ts"
import type { RecordInvalid, SideCount, TooManyFailures } from "../RunError.ts"
import * as Flow from "./Flow.ts"
import type { NodeCounters } from "./NodeCounters.ts"
import type { CallInProgress } from "./CallInProgress.ts"

/** What all nodes of a run share. */
export interface RunContext {
  readonly run: number
  readonly journal: typeof Journal.Service
  readonly blobs: typeof BlobStore.Service
  readonly executor: typeof Executor.Service
  /** What operators bring, for the calls that this process makes. */
  readonly environment: Environment.Service
  readonly code: ReadonlyMap<Operator.Any, Fingerprints.Fingerprint>
  readonly changedCode: ChangedCode
  readonly clock: Clock.Clock
  readonly seed: number
  readonly maxFailures: number
  /** Counts failed calls over all nodes. */
  readonly failures: { count: number }
  /** Counts results of other code that were reused, by operator. */
  readonly reused: Map<Operator.Any, number>
  /** Is told of each call that begins on this thread. */
  readonly begins: ((node: number) => void) | undefined
}

export interface NodeContext extends RunContext {
  readonly node: Graph.Placed
  /** Position among the nodes of the graph. */
  readonly index: number
  readonly tally: NodeCounters
  /** Calls that go on and have told how far they are. */
  readonly underway: Set<CallInProgress>
  readonly outlets: ReadonlyArray<Flow.Inlet>
}

export type NodeError = JournalError | RecordInvalid | SideCount | TooManyFailures | ExecutorFailed

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
  readonly code: Fingerprints.Fingerprint
  /** Rows of the same operator bound to the same with other code, the latest first, whose results may be reused. */
  readonly others: ReadonlyArray<number>
  /** For one call: what calls share cannot be changed, and what could be is made anew for each. */
  readonly params: () => unknown
  readonly sides: () => { readonly [side: string]: unknown }
  readonly sideJson: { readonly [side: string]: string | ReadonlyArray<string> }
}
