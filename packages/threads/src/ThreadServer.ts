/**
 * The thread's side of a {@link ThreadClient}: what the module of a thread calls once. It loads nothing but Node, so
 * that a thread starts fast.
 */
import { type MessagePort, parentPort, receiveMessageOnPort, type Transferable } from "node:worker_threads"

import type { Envelope, FromThread, Outcome, Reply, ToThread } from "./internal/messages.ts"

export type { Outcome } from "./internal/messages.ts"

export interface Handler<Request, Failure> {
  /** The value of a request. What it throws, or rejects with, is its failure. */
  readonly answer: (request: Request) => unknown
  /** The failure that the owner is sent, for what `answer` threw. It must be a value that can be cloned. */
  readonly failureOf: (cause: unknown) => Failure
  /** Buffers of a value that are handed over instead of copied. @default none */
  readonly transfer?: (value: unknown) => ReadonlyArray<Transferable>
  /** Runs once, when the thread is about to end. */
  readonly close?: () => void
}

export interface BatchHandler<Request, Failure> {
  /** Requests that are answered together, at most. */
  readonly largest: number
  /** The outcomes of requests that waited together, in their order. It must not throw. */
  readonly answer: (requests: ReadonlyArray<Request>) => ReadonlyArray<Outcome<Failure>>
  /** Runs once, when the thread is about to end. */
  readonly close?: () => void
}

const portOf = (): MessagePort => {
  if (parentPort === null) throw new Error("a thread's server was started outside of a thread")
  return parentPort
}

/** Sends replies. What cannot be sent ends the thread, with a reason that its owner can read: an exception of V8 cannot. */
const send = <Failure>(
  port: MessagePort,
  replies: FromThread<Failure>,
  transfer: ReadonlyArray<Transferable> = [],
): void => {
  try {
    port.postMessage(replies, [...transfer])
  } catch (cause) {
    const problem = cause instanceof Error ? cause.message : String(cause)
    throw new Error(`its reply cannot be sent: ${problem}`, { cause })
  }
}

/** Answers requests one after the other, in their order. */
export const serve = <Request, Failure>(handler: Handler<Request, Failure>): void => {
  const { answer, close, failureOf, transfer } = handler
  const port = portOf()
  const reply = async ({ id, request }: Envelope<Request>): Promise<void> => {
    let outcome: Outcome<Failure>
    try {
      outcome = { value: await answer(request) }
    } catch (cause) {
      outcome = { failure: failureOf(cause) }
    }
    send(port, [{ id, ...outcome }], "value" in outcome ? transfer?.(outcome.value) : [])
  }
  const end = () => {
    close?.()
    port.close()
  }
  let last: Promise<void> = Promise.resolve()
  let stopped = false
  let ended = false
  port.on("message", (message: ToThread<Request>) => {
    if (message === "stop") stopped = true
    last = last.then(() => {
      if (ended) return undefined
      if (!stopped && message !== "close" && message !== "stop") return reply(message)
      ended = true
      return end()
    })
  })
}

/**
 * Answers requests as they come, many at once: for what waits for a network. When it is closed it answers what came before
 * first; when it is given up it ends at once, and `close` has to end what is still at work.
 */
export const serveConcurrently = <Request, Failure>(
  handler: Omit<Handler<Request, Failure>, "transfer">,
): void => {
  const { answer, close, failureOf } = handler
  const port = portOf()
  const running = new Set<Promise<void>>()
  const reply = async ({ id, request }: Envelope<Request>): Promise<void> => {
    let outcome: Outcome<Failure>
    try {
      outcome = { value: await answer(request) }
    } catch (cause) {
      outcome = { failure: failureOf(cause) }
    }
    send(port, [{ id, ...outcome }])
  }
  const end = () => {
    port.close()
    close?.()
  }
  port.on("message", (message: ToThread<Request>) => {
    if (message === "stop") return end()
    if (message === "close") return void Promise.all(running).then(end)
    const one = reply(message).finally(() => running.delete(one))
    running.add(one)
    return undefined
  })
}

/** Answers requests that wait together at once: for what costs the same for many as for one. */
export const serveBatches = <Request, Failure>(handler: BatchHandler<Request, Failure>): void => {
  const { answer, close, largest } = handler
  const port = portOf()
  const isRequest = (message: ToThread<Request> | undefined): message is Envelope<Request> =>
    message !== undefined && message !== "close" && message !== "stop"
  port.on("message", (first: ToThread<Request>) => {
    const batch: Array<Envelope<Request>> = []
    let next: ToThread<Request> | undefined = first
    while (isRequest(next)) {
      batch.push(next)
      next =
        batch.length < largest
          ? (receiveMessageOnPort(port)?.message as ToThread<Request> | undefined)
          : undefined
    }
    if (batch.length > 0) {
      const outcomes = answer(batch.map(({ request }) => request))
      send(
        port,
        batch.map(({ id }, i): Reply<Failure> => ({ id, ...outcomes[i]! })),
      )
    }
    // Nothing but the end of the thread comes after it.
    if (next !== undefined) {
      close?.()
      port.close()
    }
  })
}
