/** A thread that calculates, for tests. */
import { parentPort } from "node:worker_threads"

import * as ThreadServer from "@reelgraph/threads/ThreadServer"

export type Request =
  | { readonly _tag: "Square"; readonly n: number }
  /** Ends when the shared number is not 0 any more; gives it. */
  | { readonly _tag: "Wait"; readonly until: Int32Array }
  | { readonly _tag: "Double"; readonly values: Float32Array<ArrayBuffer> }
  | { readonly _tag: "Crash" }
  | { readonly _tag: "Exit"; readonly code: number }
  | { readonly _tag: "Unclonable" }

export interface Response {
  readonly Square: number
  readonly Wait: number
  readonly Double: Float32Array
  readonly Crash: undefined
  readonly Exit: undefined
  readonly Unclonable: undefined
}

export interface Failure {
  readonly _tag: "NotSafe"
  readonly n: number
}

class Refused extends Error {
  readonly n: number
  constructor(n: number) {
    super(`${n} is too large`)
    this.n = n
  }
}

const answer = (request: Request): unknown => {
  switch (request._tag) {
    case "Square":
      if (request.n > 1000) throw new Refused(request.n)
      return request.n ** 2
    case "Wait":
      Atomics.wait(request.until, 0, 0)
      return request.until[0]
    case "Double":
      return request.values.map((value) => 2 * value)
    case "Crash":
      setImmediate(() => {
        throw new Error("out of paper")
      })
      return new Promise(() => {})
    case "Exit":
      return process.exit(request.code)
    case "Unclonable":
      return () => {}
  }
}

ThreadServer.serve<Request, Failure>({
  answer,
  failureOf: (cause): Failure => ({ _tag: "NotSafe", n: (cause as Refused).n }),
  transfer: (value) => (value instanceof Float32Array ? [value.buffer as ArrayBuffer] : []),
  close: () => parentPort!.postMessage([]),
})
