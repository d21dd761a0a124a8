import * as Schema from "effect/Schema"

/** The data, the settings and the initial model do not go together. */
export class TrainingMismatch extends Schema.TaggedError<TrainingMismatch>()("TrainingMismatch", {
  what: Schema.String,
  expected: Schema.String,
  found: Schema.String,
}) {
  override get message() {
    return `${this.what}: expected ${this.expected}, found ${this.found}`
  }
}
