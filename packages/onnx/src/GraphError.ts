/**
 * What can be wrong with a graph while it is written. These are thrown where the operation is called, so that
 * the stack shows the line; `site` names the first place outside this package.
 */
import * as Schema from "effect/Schema"

const at = (site: string) => (site === "" ? "" : `, at ${site}`)

/** The shapes of an operation's inputs do not fit each other or its attributes. */
export class ShapeMismatch extends Schema.TaggedError<ShapeMismatch>()("ShapeMismatch", {
  op: Schema.String,
  /** As they were given: `[2,3]`. */
  shapes: Schema.Array(Schema.String),
  problem: Schema.String,
  site: Schema.String,
}) {
  override get message() {
    return `${this.op} ${this.shapes.join(" x ")}: ${this.problem}${at(this.site)}`
  }
}

/** The element types of an operation's inputs do not fit each other, or the operation has no kernel for them. */
export class DTypeMismatch extends Schema.TaggedError<DTypeMismatch>()("DTypeMismatch", {
  op: Schema.String,
  dtypes: Schema.Array(Schema.String),
  problem: Schema.String,
  site: Schema.String,
}) {
  override get message() {
    return `${this.op} ${this.dtypes.join(" x ")}: ${this.problem}${at(this.site)}`
  }
}

/** An operation outside the table of `OpSpec`, or one without a gradient on the path to a parameter. */
export class OpUnsupported extends Schema.TaggedError<OpUnsupported>()("OpUnsupported", {
  op: Schema.String,
  problem: Schema.String,
  site: Schema.String,
}) {
  override get message() {
    return `${this.op}: ${this.problem}${at(this.site)}`
  }
}

/** A graph whose parts do not fit together: names taken twice, inputs that are not declared. */
export class GraphInvalid extends Schema.TaggedError<GraphInvalid>()("GraphInvalid", {
  graph: Schema.String,
  problem: Schema.String,
}) {
  override get message() {
    return `graph ${JSON.stringify(this.graph)}: ${this.problem}`
  }
}

export type GraphError = ShapeMismatch | DTypeMismatch | OpUnsupported | GraphInvalid

export const isGraphError = (cause: unknown): cause is GraphError =>
  cause instanceof ShapeMismatch ||
  cause instanceof DTypeMismatch ||
  cause instanceof OpUnsupported ||
  cause instanceof GraphInvalid

/** `file:line:column` of the nearest caller outside this package's sources; empty when there is none. */
export const callSite = (): string => {
  const before = Error.stackTraceLimit
  Error.stackTraceLimit = 64
  const { stack = "" } = new Error("call site")
  Error.stackTraceLimit = before
  const frame = stack
    .split("\n")
    .slice(1)
    .find(
      (line) =>
        !line.includes(import.meta.dirname) &&
        !line.includes("node:internal") &&
        !line.includes("<anonymous>"),
    )
  return /\(?((?:file:\/\/)?[^\s()]+:\d+:\d+)\)?$/u.exec(frame ?? "")?.[1] ?? ""
}
