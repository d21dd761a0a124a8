/**
 * A drop: an item that an operator took out of the flow, and why.
 *
 * `reason` is a short code that a ledger counts by (`too-dark`); `detail` holds the facts of this item
 * (`mean luma 11.2 below 16`). Operators of every cardinality may fail with a drop; filters return one.
 */
import * as Data from "effect/Data"

export class Drop extends Data.TaggedError("Drop")<{ readonly reason: string; readonly detail: string }> {
  override get message() {
    return this.detail === "" ? this.reason : `${this.reason}: ${this.detail}`
  }
}

/** A drop for a reason code, with the facts of this item. */
export const drop = (reason: string, detail = ""): Drop => new Drop({ reason, detail })

/** The other decision of a filter. */
export const keep = "keep" as const

export type Decision = typeof keep | Drop
