/** The counters of one node while it runs: a mutable ledger. */
import type { Ledger } from "@reelgraph/core"

export class NodeCounters {
  in = 0
  kept = 0
  failed = 0
  out = 0
  cached = 0
  executed = 0
  retries = 0
  busyMs = 0
  /** Items of the node that are being worked on or wait for it. */
  ended = false
  readonly dropped = new Map<string, number>()

  drop(reason: string, count = 1): void {
    this.dropped.set(reason, (this.dropped.get(reason) ?? 0) + count)
  }

  get droppedTotal(): number {
    let total = 0
    for (const count of this.dropped.values()) total += count
    return total
  }

  ledger(): Ledger.NodeLedger {
    return {
      in: this.in,
      kept: this.kept,
      dropped: Object.fromEntries([...this.dropped].sort(([a], [b]) => (a < b ? -1 : 1))),
      failed: this.failed,
      out: this.out,
      cached: this.cached,
      retries: this.retries,
      busyMs: Math.round(this.busyMs * 1000) / 1000,
    }
  }
}
