/** The messages between a thread and its owner. They are structured clones. */

export interface Envelope<Request> {
  /** Drawn by the owner: 0, 1, 2, ... */
  readonly id: number
  readonly request: Request
}

/**
 * What the owner sends. After `close` the thread answers what came before and ends; after `stop` it ends when it has
 * answered the request that it is at.
 */
export type ToThread<Request> = Envelope<Request> | "close" | "stop"

/** How one request ended. */
export type Outcome<Failure> = { readonly value: unknown } | { readonly failure: Failure }

export type Reply<Failure> = Outcome<Failure> & { readonly id: number }

/** What the thread sends: replies to requests that were answered together. */
export type FromThread<Failure> = ReadonlyArray<Reply<Failure>>
