/** What can go wrong when a model is opened or run. */
import * as Schema from "effect/Schema"

/** The execution provider asked for cannot be had on this machine. */
export class ProviderMissing extends Schema.TaggedError<ProviderMissing>()("ProviderMissing", {
  model: Schema.String,
  provider: Schema.String,
  available: Schema.Array(Schema.String),
  problem: Schema.String,
}) {
  override get message() {
    return `${this.model} cannot run on ${this.provider}: ${this.problem}; bundled here: ${this.available.join(", ")}`
  }
}

/** The runtime does not take the model. */
export class ModelInvalid extends Schema.TaggedError<ModelInvalid>()("ModelInvalid", {
  model: Schema.String,
  problem: Schema.String,
}) {
  override get message() {
    return `${this.model} is no model the runtime can open: ${this.problem}`
  }
}

/** A feed is missing, unknown, or of another type or shape than the model declares. */
export class FeedInvalid extends Schema.TaggedError<FeedInvalid>()("FeedInvalid", {
  model: Schema.String,
  input: Schema.String,
  problem: Schema.String,
}) {
  override get message() {
    return `input ${this.input} of ${this.model} ${this.problem}`
  }
}

/** The runtime failed while it ran the model. */
export class RunFailed extends Schema.TaggedError<RunFailed>()("RunFailed", {
  model: Schema.String,
  problem: Schema.String,
}) {
  override get message() {
    return `${this.model} failed: ${this.problem}`
  }
}

/** A run took longer than it may. Its thread was given up; the next run starts another. */
export class SessionTimeout extends Schema.TaggedError<SessionTimeout>()("SessionTimeout", {
  model: Schema.String,
}) {
  override get message() {
    return `${this.model} took longer than it may; its thread was given up`
  }
}

/** A session's thread ended by itself: out of memory, or a crash in the runtime. */
export class ThreadLost extends Schema.TaggedError<ThreadLost>()("ThreadLost", {
  model: Schema.String,
  problem: Schema.String,
}) {
  override get message() {
    return `the thread of ${this.model} has ended: ${this.problem}`
  }
}
