/** The ways in which planning and stepping a sampler fail. They are thrown where the plan or the step is asked for. */
import * as Schema from "effect/Schema"

/** An option of a schedule, a plan or a guidance has a value that it cannot have. */
export class OptionInvalid extends Schema.TaggedError<OptionInvalid>()("OptionInvalid", {
  /** What was being made, such as "ddim" or "NoiseSchedule.discrete". */
  of: Schema.String,
  option: Schema.String,
  got: Schema.String,
  /** What would do. */
  expected: Schema.String,
}) {
  override get message() {
    return `${this.of}: ${this.option} is ${this.got}; give ${this.expected}`
  }
}

/** A prediction cannot say what the clean sample is, as where pure noise is given and the noise is predicted. */
export class PredictionSingular extends Schema.TaggedError<PredictionSingular>()("PredictionSingular", {
  prediction: Schema.String,
  alpha: Schema.Finite,
  sigma: Schema.Finite,
}) {
  override get message() {
    return `a prediction of ${this.prediction} says nothing new at alpha ${this.alpha}, sigma ${this.sigma}; predict v or flow there`
  }
}

/** Two arrays that belong to one sample differ in length. */
export class LengthMismatch extends Schema.TaggedError<LengthMismatch>()("LengthMismatch", {
  of: Schema.String,
  expected: Schema.Int,
  got: Schema.Int,
}) {
  override get message() {
    return `${this.of} has ${this.got} numbers where ${this.expected} were expected; give an array of the sample's length`
  }
}

/** A run was asked for a step past its last. */
export class RunFinished extends Schema.TaggedError<RunFinished>()("RunFinished", {
  sampler: Schema.String,
  steps: Schema.Int,
}) {
  override get message() {
    return `this ${this.sampler} run is over after ${this.steps} steps; take state.sample, or start another run`
  }
}
