/**
 * A training run in a folder that outlives its process: `checkpoint.safetensors` and `curve.csv` are there after every
 * few windows of steps, and a run that finds them goes on from there, with the losses that it would have had, to the
 * last bit. One that is told to stop writes them after the window that it is at; one that is killed has those of before.
 */
import fs from "node:fs"
import { join } from "node:path"

import type * as CounterRandom from "@reelgraph/core/CounterRandom"
import * as ModelFile from "@reelgraph/models/ModelFile"
import type * as ModelWeights from "@reelgraph/models/ModelWeights"
import * as Trainer from "@reelgraph/onnx/Trainer"
import type * as TensorGraph from "@reelgraph/onnx/TensorGraph"
import type * as TrainStep from "@reelgraph/onnx/TrainStep"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import * as Checkpoint from "./Checkpoint.ts"
import * as LossCurve from "./LossCurve.ts"
import * as TrainingRun from "./TrainingRun.ts"

const or = <A>(value: A) => Effect.succeed(value)
const Count = Schema.Int.check(Schema.isGreaterThan(0))

/** What every run has to be told: fields of its settings. */
export const settings = {
  /** Trainers that step at the same time, each on its own batches; see `TrainingRun`. */
  replicas: Count.pipe(Schema.withDecodingDefaultKey(or(1))),
  /** Steps between averages of replicas, points of the curve and reports. */
  window: Count.pipe(Schema.withDecodingDefaultKey(or(20))),
  /** Windows between checkpoints. */
  checkpointWindows: Count.pipe(Schema.withDecodingDefaultKey(or(10))),
  provider: Schema.Literals(["cpu", "cuda", "webgpu"]).pipe(
    Schema.withDecodingDefaultKey(or("cpu" as const)),
  ),
  /** Threads of each replica. */
  threads: Count.pipe(Schema.withDecodingDefaultKey(or(1))),
}
const Settings = Schema.Struct(settings)
export type Settings = typeof Settings.Type

/** The loss became infinite or not a number. */
export class TrainingDiverged extends Schema.TaggedError<TrainingDiverged>()("TrainingDiverged", {
  step: Schema.Int,
  loss: Schema.String,
  norm: Schema.String,
  /** The last good state; absent when none was saved yet. */
  checkpoint: Schema.optionalKey(Schema.String),
}) {
  override get message() {
    const kept = this.checkpoint === undefined ? "none was saved yet" : `it is ${this.checkpoint}`
    return `step ${this.step} has loss ${this.loss} and gradient norm ${this.norm}; of the last good checkpoint: ${kept}. Go on from it with a lower learningRate`
  }
}

/** Where training begins when the folder has no checkpoint. */
export type Start =
  | { readonly _tag: "Weights"; readonly weights: ModelWeights.WeightTensors }
  | { readonly _tag: "Checkpoint"; readonly path: string }

export interface Options<P extends TrainStep.Parameters, B extends TensorGraph.Specs> {
  readonly folder: string
  readonly spec: ModelFile.Spec
  /** The name of the step's bucket, and steps for others by their names. */
  readonly bucket: string
  readonly step: TrainStep.TrainStep<P, B>
  readonly variants?: Trainer.Variants<P, B>
  readonly settings: Settings
  /** Of the random numbers that the work draws: kept in checkpoints. */
  readonly key: CounterRandom.Key
  /** Whether a step may be made of several batches. */
  readonly accumulate?: boolean
  readonly start: Start
  /** Steps, counted from the beginning of training. */
  readonly until: number
  readonly work: (step: number, replica: number) => TrainingRun.Work<BatchOf<B>>
  readonly onWindow?: ((window: TrainingRun.Window) => Effect.Effect<void>) | undefined
  /** Asked after each window: whether to save at once and end with `TrainingInterrupted`. @default never */
  readonly stopping?: Effect.Effect<boolean> | undefined
}

type BatchOf<B extends TensorGraph.Specs> = TrainingRun.BatchOf<B>

export interface Result {
  readonly checkpoint: string
  readonly rows: ReadonlyArray<LossCurve.Row>
}

/** Writes a text beside its place first. */
const writeText = (path: string, text: string): void => {
  fs.writeFileSync(`${path}.part`, text)
  fs.renameSync(`${path}.part`, path)
}

/** What the curve has up to a step: a run that was killed may have got further than its checkpoint. */
const rowsUntil = (path: string, step: number): ReadonlyArray<LossCurve.Row> =>
  fs.existsSync(path)
    ? LossCurve.fromCsv(fs.readFileSync(path, "utf8")).filter((row) => row.step <= step)
    : []

/** Trains to the end. The trainers live until the scope closes. */
export const run = <P extends TrainStep.Parameters, B extends TensorGraph.Specs>(options: Options<P, B>) =>
  Effect.gen(function* () {
    const {
      accumulate = false,
      bucket,
      folder,
      onWindow,
      settings,
      spec,
      start,
      step,
      stopping,
      until,
      work,
    } = options
    const { checkpointWindows, provider, threads, window } = settings
    const { variants = {} } = options
    const replicas = yield* Effect.all(
      Array.from({ length: settings.replicas }, () =>
        Trainer.make(step, { provider, threads, accumulate }, variants),
      ),
    )
    const checkpoint = join(folder, "checkpoint.safetensors")
    const curve = join(folder, "curve.csv")
    const resumes = fs.existsSync(checkpoint)
    let saved = resumes
    if (resumes || start._tag === "Checkpoint") {
      const path = start._tag === "Checkpoint" && !resumes ? start.path : checkpoint
      const { state } = yield* Checkpoint.read(spec.kind, path, step)
      yield* Effect.forEach(replicas, ({ restore }) => restore(state))
    } else yield* Effect.forEach(replicas, ({ initialize }) => initialize(start.weights as never))
    const rows = [...rowsUntil(curve, yield* replicas[0]!.count)]
    const named = Object.keys(variants).length > 0

    yield* TrainingRun.run({
      replicas: replicas as unknown as readonly [Trainer.Trainer<P, B>],
      until,
      window,
      work,
      checkpointEvery: window * checkpointWindows,
      stopping,
      onWindow: (done) =>
        Effect.suspend(() => {
          const each = Object.entries(done.variants).map(
            ([name, report]) => [name === "" ? bucket : name, report] as const,
          )
          rows.push(...LossCurve.rowsOf({ ...done, variants: named ? Object.fromEntries(each) : {} }))
          return onWindow?.(done) ?? Effect.void
        }),
      save: (state) =>
        Effect.gen(function* () {
          // The curve first: what it has beyond the checkpoint is cut off when training goes on from there.
          yield* Effect.sync(() => writeText(curve, LossCurve.toCsv(rows)))
          yield* Checkpoint.write(checkpoint, spec, state, options.key)
          saved = true
        }),
    }).pipe(
      Effect.catchTag("NotFinite", ({ loss, norm, step }) =>
        Effect.fail(new TrainingDiverged({ step, loss, norm, ...(saved ? { checkpoint } : {}) })),
      ),
    )
    return { checkpoint, rows } satisfies Result
  })
