/**
 * Ledgers: what became of every item that came in. For each node, `in = kept + dropped + failed`, and the
 * ledger of a finished run always adds up.
 */
import * as Schema from "effect/Schema"

const Count = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))

export const NodeLedger = Schema.Struct({
  in: Count,
  /** Items that went on: for `collect`, those it did not drop. */
  kept: Count,
  /** Items dropped, by reason. */
  dropped: Schema.Record(Schema.String, Count),
  failed: Count,
  /** Items given. */
  out: Count,
  /** Of the items that came in, those answered from the cache. */
  cached: Count,
  /** Attempts after the first. */
  retries: Count,
  /** Milliseconds spent in calls, summed over calls that ran at once. */
  busyMs: Schema.Finite,
})

export interface NodeLedger extends Schema.Schema.Type<typeof NodeLedger> {}

/** The ledger of a run: by node id, in the graph's order. */
export const Ledger = Schema.Record(Schema.String, NodeLedger)
export type Ledger = typeof Ledger.Type

export const droppedOf = (node: NodeLedger): number =>
  Object.values(node.dropped).reduce((sum, count) => sum + count, 0)

/** Nodes whose numbers do not add up: `in` is not `kept + dropped + failed`. Empty for every finished run. */
export const imbalances = (ledger: Ledger): ReadonlyArray<string> =>
  Object.entries(ledger)
    .filter(([, node]) => node.in !== node.kept + droppedOf(node) + node.failed)
    .map(
      ([id, node]) =>
        `${id}: in ${node.in} is not kept ${node.kept} + dropped ${droppedOf(node)} + failed ${node.failed}`,
    )
