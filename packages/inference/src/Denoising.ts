/**
 * The loop of sampling: noise, and a denoiser that is asked once for every step. With guidance it is asked about a
 * sample twice in one run, with the prompt and without it.
 *
 * A run takes a fixed number of samples, and what is missing is padded: the shapes of a run are the same whatever else
 * is sampled. On a CPU a batch is no faster than its samples one by one (measured once, with other work on the machine:
 * 59, 61 and 64 ms of CPU a sample in batches of 1, 2 and 4; 256 wide, 6 layers, 270 tokens), so there a run takes one,
 * and no sample meets another.
 */
import type { CounterRandom } from "@reelgraph/core"
import type * as Denoiser from "@reelgraph/models/Denoiser"
import * as Gaussian from "@reelgraph/models/Gaussian"
import * as Guidance from "@reelgraph/models/Guidance"
import * as Sampler from "@reelgraph/models/Sampler"
import type { LengthMismatch, OptionInvalid, PredictionSingular } from "@reelgraph/models/SamplingError"
import type * as Session from "@reelgraph/onnx/Session"
import * as Tensor from "@reelgraph/onnx/Tensor"
import * as Shape from "@reelgraph/onnx/Shape"
import type { Value } from "@reelgraph/onnx/Value"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** The denoiser said something that is no number, or too large to be kept. */
export class SamplingDiverged extends Schema.TaggedError<SamplingDiverged>()("SamplingDiverged", {
  sampler: Schema.String,
  /** From 1. */
  step: Schema.Int,
  steps: Schema.Int,
  found: Schema.String,
}) {
  override get message() {
    return `step ${this.step} of ${this.steps} (${this.sampler}): expected finite numbers, found ${this.found}; the denoiser's weights are of no use, or guidance is too high`
  }
}

/** Of a text: token states `[L, D]`, 0 at padding, and a mask `[L]`, 1 where there is a token. */
export interface Text {
  readonly states: Float32Array
  readonly mask: Float32Array
}

export interface Sample {
  /** Of its noise. */
  readonly key: CounterRandom.Key
  readonly plan: Sampler.Plan
  readonly positive: Text
  /** What it is pushed away from: zeros for nothing, as with captions that are left out in training. */
  readonly negative: Text
}

export type Predictor = Session.Session<
  { readonly [K in keyof Denoiser.Inputs]: Denoiser.Inputs[K] },
  { readonly prediction: Value<"f32"> }
>

export interface Options extends Guidance.Options {
  readonly session: Predictor
  /** Samples in a run; see {@link batchOf}. */
  readonly together: number
  /** `[C, T, H, W]` */
  readonly latents: ReadonlyArray<number>
  readonly tokens: number
  readonly textDim: number
}

/** Whether the prediction without the prompt plays a part. */
export const isGuided = (scale: number): boolean => scale !== 1

/** The batch of the session for this many samples. */
export const batchOf = (together: number, scale: number): number => together * (isGuided(scale) ? 2 : 1)

/** Rows one after another, zeros after the last. */
const stacked = (rows: ReadonlyArray<Float32Array>, batch: number, shape: ReadonlyArray<number>) => {
  const out = Tensor.zeros("f32", [batch, ...shape])
  rows.forEach((row, i) => out.data.set(row, i * row.length))
  return out
}

/** Twice the same with guidance. */
const doubled = <A>(rows: ReadonlyArray<A>, guided: boolean): ReadonlyArray<A> =>
  guided ? [...rows, ...rows] : rows

/** What a sampler throws. */
const attempt = <A>(body: () => A) =>
  Effect.try({
    try: body,
    catch: (cause) => cause as OptionInvalid | PredictionSingular | LengthMismatch,
  })

const feedsOf = (
  { latents, scale, textDim, together, tokens }: Options,
  samples: ReadonlyArray<Sample>,
  states: ReadonlyArray<Sampler.State>,
) => {
  const batch = batchOf(together, scale)
  const guided = isGuided(scale)
  const texts = [
    ...samples.map(({ positive }) => positive),
    ...(guided ? samples.map(({ negative }) => negative) : []),
  ]
  return {
    latents: stacked(doubled(states.map(Sampler.modelInput), guided), batch, latents),
    timestep: Tensor.make("f32", [batch], new Float32Array(batch).fill(Sampler.timestep(states[0]!))),
    text: stacked(
      texts.map(({ states }) => states),
      batch,
      [tokens, textDim],
    ),
    mask: stacked(
      texts.map(({ mask }) => mask),
      batch,
      [tokens],
    ),
  }
}

/** One run for every step. The plans visit the same timesteps. */
const runOf = Effect.fnUntraced(function* (options: Options, samples: ReadonlyArray<Sample>) {
  const { latents, scale } = options
  const size = Shape.size(latents)
  const { sampler, timesteps } = samples[0]!.plan
  const steps = timesteps.length
  let states = samples.map(({ key, plan }) => Sampler.start(plan, Gaussian.normals(key, size)))
  for (let step = 1; step <= steps; step++) {
    const feeds = yield* attempt(() => feedsOf(options, samples, states))
    const { prediction } = yield* options.session.run(feeds, { transfer: true })
    const at = prediction.data
      .subarray(0, samples.length * (isGuided(scale) ? 2 : 1) * size)
      .findIndex((value) => !Number.isFinite(value))
    if (at >= 0)
      return yield* new SamplingDiverged({ sampler, step, steps, found: String(prediction.data[at]) })
    const said = (row: number) => prediction.data.subarray(row * size, (row + 1) * size)
    states = yield* attempt(() =>
      states.map((state, i) =>
        Sampler.step(
          state,
          isGuided(scale) ? Guidance.apply(said(i), said(samples.length + i), options) : said(i),
        ),
      ),
    )
  }
  return states.map(({ sample }) => sample)
})

/** Samples `[C, T, H, W]` in their order. */
export const denoise = Effect.fn("Denoising.denoise")(function* (
  options: Options,
  samples: ReadonlyArray<Sample>,
) {
  const done: Array<Float32Array> = []
  for (let i = 0; i < samples.length; i += options.together)
    done.push(...(yield* runOf(options, samples.slice(i, i + options.together))))
  return done
})
