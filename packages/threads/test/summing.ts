/** A thread that answers in batches, for tests: each number with how many were answered together with it. */
import * as ThreadServer from "@reelgraph/threads/ThreadServer"

export type Request =
  | { readonly _tag: "Count"; readonly n: number }
  /** Ends when the shared number is not 0 any more. */
  | { readonly _tag: "Wait"; readonly until: Int32Array }

export interface Response {
  readonly Count: readonly [n: number, together: number]
  readonly Wait: null
}

export const largest = 4

ThreadServer.serveBatches<Request, string>({
  largest,
  answer: (requests) =>
    requests.map((request) => {
      if (request._tag === "Count")
        return request.n < 0 ? { failure: `${request.n} < 0` } : { value: [request.n, requests.length] }
      Atomics.wait(request.until, 0, 0)
      return { value: null }
    }),
})
