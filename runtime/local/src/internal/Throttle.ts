/**
 * Passes on the latest of many values, at most once in so many milliseconds: the first at once, and never a value
 * that a later one has overtaken. Taking one costs a glance at the clock.
 */
export class Throttle<A> {
  readonly #everyMs: number
  readonly #send: (value: A) => void
  #nextMs = 0
  #pending: { readonly value: A } | undefined
  #timer: NodeJS.Timeout | undefined
  #closed = false

  constructor(everyMs: number, send: (value: A) => void) {
    this.#everyMs = everyMs
    this.#send = send
  }

  offer(value: A): void {
    if (this.#closed) return
    const nowMs = performance.now()
    this.#pending = { value }
    // Not left to the timer alone: it does not fire while an operator occupies its thread.
    if (nowMs >= this.#nextMs) this.#flush()
    else this.#timer ??= setTimeout(() => this.#flush(), this.#nextMs - nowMs)
  }

  /** What is still held, and what comes after, is forgotten. */
  close(): void {
    this.#closed = true
    this.#pending = undefined
    clearTimeout(this.#timer)
  }

  #flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const pending = this.#pending
    if (pending === undefined) return
    this.#pending = undefined
    this.#nextMs = performance.now() + this.#everyMs
    this.#send(pending.value)
  }
}
