/** One call while it goes on, as far as it tells of itself. */
import type { Progress } from "@reelgraph/core"
import type * as Clock from "effect/Clock"

export class CallInProgress {
  /** What it reported first and last; absent until it reports something. */
  first: Progress.Timed | undefined
  latest: Progress.Timed | undefined
  readonly #among: Set<CallInProgress>
  readonly #clock: Clock.Clock
  #ended = false

  /** Is `among` others from its first report until it ends. */
  constructor(among: Set<CallInProgress>, clock: Clock.Clock) {
    this.#among = among
    this.#clock = clock
  }

  /** Takes a report. An assignment and no more: there may be many, and whoever watches reads when it likes. */
  report(report: Progress.Progress): void {
    if (this.#ended) return
    this.latest = { report, atMs: this.#clock.currentTimeMillisUnsafe() }
    if (this.first !== undefined) return
    this.first = this.latest
    this.#among.add(this)
  }

  /** What is reported after this is not heard of. */
  end(): void {
    this.#ended = true
    if (this.first !== undefined) this.#among.delete(this)
  }
}
