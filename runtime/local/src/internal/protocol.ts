/** The messages of the driver and its worker processes over IPC (structured clones). */
import type { Call, Failure } from "@reelgraph/call"
import type { Progress } from "@reelgraph/core"
import type { Artifact } from "@reelgraph/store"

/** Environment variable with the store that a worker process works on: a folder or a URL, never a secret. */
export const storeVariable = "REELGRAPH_WORKER_STORE"

export type Request =
  | {
      readonly _tag: "Call"
      readonly id: number
      readonly call: Call.Call
      /** Whether the driver has the bucket given the blobs that the call makes: until then they are in the cache. */
      readonly overlaps: boolean
    }
  /** The blobs that a call made are in the bucket, or nobody wants them any more: the cache may let them go. */
  | { readonly _tag: "Stored"; readonly id: number }
  /** Calls are to come to an end: see `stopping` of an operator's call. */
  | { readonly _tag: "Stop" }
  /** No call will follow: what operators have open is to be closed. The process then ends. */
  | { readonly _tag: "End" }

export type Result =
  | { readonly _tag: "Done"; readonly outcomes: ReadonlyArray<Call.Outcome> }
  | { readonly _tag: "Failed"; readonly failure: Failure.Failure }

/** What a call did with the blobs of a bucket. */
export interface Blobs {
  /** Digests of those that it read. */
  readonly read: ReadonlyArray<string>
  /** Those that are in the cache alone, until they are `Stored`. */
  readonly unstored: ReadonlyArray<Artifact>
}

export type Reply =
  /** The module is imported, and the operator begins. */
  | { readonly _tag: "Started"; readonly id: number }
  /** How far the call has come. */
  | { readonly _tag: "Reported"; readonly id: number; readonly progress: Progress.Progress }
  | {
      readonly _tag: "Ended"
      readonly id: number
      readonly result: Result
      /** Of a call that overlaps with others. */
      readonly blobs?: Blobs
      /** Resident memory of the worker after the call, in bytes. */
      readonly rss: number
    }
