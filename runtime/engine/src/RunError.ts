/** The ways in which a whole run ends early. What was done until then is kept. */
import * as Schema from "effect/Schema"

/** More calls failed than the run was allowed to lose. */
export class TooManyFailures extends Schema.TaggedError<TooManyFailures>()("TooManyFailures", {
  failures: Schema.Int,
  allowed: Schema.Int,
  last: Schema.String,
}) {
  override get message() {
    return `${this.failures} calls failed, and ${this.allowed} were allowed; the last: ${this.last}`
  }
}

/** A side input that takes exactly one item got none or several. */
export class SideCount extends Schema.TaggedError<SideCount>()("SideCount", {
  node: Schema.String,
  side: Schema.String,
  from: Schema.String,
  got: Schema.Int,
}) {
  override get message() {
    return `${this.node} takes exactly one item as ${this.side}, and ${this.from} gave ${this.got}`
  }
}

/** A record given to an input of the graph is not what its port describes. */
export class RecordInvalid extends Schema.TaggedError<RecordInvalid>()("RecordInvalid", {
  input: Schema.String,
  position: Schema.Int,
  problem: Schema.String,
}) {
  override get message() {
    return `record ${this.position} of input ${this.input}: ${this.problem.replaceAll(/\n[ \t]+at /g, " at ")}`
  }
}

/** An input of the graph was not given, or one was given that it does not have. */
export class InputsMismatch extends Schema.TaggedError<InputsMismatch>()("InputsMismatch", {
  graph: Schema.String,
  missing: Schema.Array(Schema.String),
  unknown: Schema.Array(Schema.String),
  has: Schema.Array(Schema.String),
}) {
  override get message() {
    const missing = this.missing.length === 0 ? "" : ` needs the input ${this.missing.join(", ")}`
    const unknown =
      this.unknown.length === 0
        ? ""
        : ` has no input ${this.unknown.join(", ")} (it has ${this.has.join(", ")})`
    return `graph ${this.graph}${missing}${missing !== "" && unknown !== "" ? " and" : ""}${unknown}`
  }
}

/**
 * Something that an operator left behind in this process failed when no call was there to fail with it. It may be of
 * any of the nodes that have made calls in this process.
 */
export class OperatorStray extends Schema.TaggedError<OperatorStray>()("OperatorStray", {
  /** An error was thrown, or a promise rejected. */
  how: Schema.Literals(["thrown", "rejected"]),
  nodes: Schema.Array(Schema.String),
  problem: Schema.String,
}) {
  override get message() {
    const of = this.nodes.length === 0 ? "in this process" : `by ${this.nodes.join(" or ")}`
    const what = this.how === "thrown" ? "an error was thrown" : "a promise was rejected"
    return `${what} ${of} outside of a call: ${this.problem}; an operator has to wait for all that it begins`
  }
}

/** The store cannot be used any more: a full disk, an expired token, refused writes, a folder that is gone. */
export class StoreFailed extends Schema.TaggedError<StoreFailed>()("StoreFailed", {
  node: Schema.String,
  problem: Schema.String,
}) {
  override get message() {
    return `the store failed in ${this.node}: ${this.problem}`
  }
}
