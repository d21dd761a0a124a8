/** A thread that answers many at once, for tests. */
import * as ThreadServer from "@reelgraph/threads/ThreadServer"

export type Request =
  | { readonly _tag: "Square"; readonly n: number }
  /** Ends when the shared number is not 0 any more; gives it. */
  | { readonly _tag: "Wait"; readonly until: Int32Array }

export interface Response {
  readonly Square: number
  readonly Wait: number
}

const answer = (request: Request): unknown => {
  if (request._tag === "Square") {
    if (request.n > 1000) throw new Error(`${request.n} is too large`)
    return request.n ** 2
  }
  const { until } = request
  const waited = Atomics.waitAsync(until, 0, 0)
  return waited.async ? waited.value.then(() => until[0]) : until[0]
}

ThreadServer.serveConcurrently<Request, string>({
  answer,
  failureOf: (cause) => (cause as Error).message,
  close: () => process.exit(),
})
