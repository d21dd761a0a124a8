/**
 * Where a sampling run is. A state is immutable and whole: the plan, how many steps are done, the sample, and what a
 * multistep sampler keeps from earlier steps. `codec` turns it into JSON and back without losing a bit, so that a run
 * goes on in another process as if it had never stopped.
 */
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"

import { checkLength, type Level } from "./Prediction.ts"
import type { Grid } from "./SamplerPlan.ts"
import { RunFinished } from "./SamplingError.ts"

/** What `step` needs of a plan, whichever the sampler. */
interface Planned extends Grid {
  readonly sampler: string
  readonly startScale: number
}

export interface State<Plan> {
  readonly plan: Plan
  /** Steps done: 0 to n. */
  readonly index: number
  readonly sample: Float32Array
  /** What the sampler keeps from earlier steps, each of the sample's length: its module says what. */
  readonly history: ReadonlyArray<Float32Array>
}

/** The first state, from standard normal noise. */
export const start = <Plan extends Planned>(plan: Plan, noise: Float32Array): State<Plan> => ({
  plan,
  index: 0,
  sample: noise.map((value) => value * plan.startScale),
  history: [],
})

/** The level before the step and the one after it. */
export const levels = ({ index, plan }: State<Planned>): readonly [Level, Level] => [
  levelOf(plan, index),
  levelOf(plan, index + 1),
]

/** The level at a place of the grid. */
export const levelOf = ({ alphas, sigmas }: Grid, index: number): Level => ({
  alpha: alphas[index]!,
  sigma: sigmas[index]!,
})

/**
 * The state with a new sample, one step on.
 */
export const advance = <Plan>(
  state: State<Plan>,
  sample: Float32Array,
  history: ReadonlyArray<Float32Array> = [],
): State<Plan> => ({ plan: state.plan, index: state.index + 1, sample, history })

/** @throws RunFinished LengthMismatch */
export const checkStep = ({ index, plan, sample }: State<Planned>, output: Float32Array): void => {
  const steps = plan.timesteps.length
  if (index >= steps) throw new RunFinished({ sampler: plan.sampler, steps })
  checkLength("the model's output", sample.length, output.length)
}

/** Float32 numbers as base64 of their bytes, little-endian. */
const Floats = Schema.Uint8ArrayFromBase64.check(
  Schema.makeFilter(
    (bytes: Uint8Array) => bytes.length % 4 === 0 || "expected float32 numbers, 4 bytes each",
  ),
).pipe(
  Schema.decodeTo(Schema.instanceOf(Float32Array<ArrayBufferLike>), {
    decode: SchemaGetter.transform((bytes: Uint8Array) => new Float32Array(new Uint8Array(bytes).buffer)),
    encode: SchemaGetter.transform(
      (floats: Float32Array) => new Uint8Array(floats.buffer, floats.byteOffset, floats.byteLength),
    ),
  }),
)

/** The schema of the states of a plan: its encoded side is JSON. */
export const codec = <Plan extends Schema.Codec<any, any>>(plan: Plan) =>
  Schema.Struct({ plan, index: Schema.Int, sample: Floats, history: Schema.Array(Floats) })
