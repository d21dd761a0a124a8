/**
 * Training a denoiser on latents and captions in memory, in a folder of its own: `checkpoint.safetensors` and
 * `curve.csv` are there after every few hundred steps, and a run that finds them goes on from there, with the losses
 * that it would have had, to the last bit.
 */
import fs from "node:fs"
import { join } from "node:path"

import type * as CounterRandom from "@reelgraph/core/CounterRandom"
import type * as Denoiser from "@reelgraph/models/Denoiser"
import * as DiffusionTraining from "@reelgraph/models/DiffusionTraining"
import * as ModelFile from "@reelgraph/models/ModelFile"
import * as NoiseSchedule from "@reelgraph/models/NoiseSchedule"
import * as VideoDiT from "@reelgraph/models/VideoDiT"
import * as LearningRate from "@reelgraph/onnx/Schedule"
import * as Safetensors from "@reelgraph/onnx/Safetensors"
import * as Trainer from "@reelgraph/onnx/Trainer"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import * as Checkpoint from "./Checkpoint.ts"
import * as DiffusionBatches from "./DiffusionBatches.ts"
import type * as LatentSet from "./LatentSet.ts"
import * as LossCurve from "./LossCurve.ts"
import * as TrainingRun from "./TrainingRun.ts"

const or = <A>(value: A) => Effect.succeed(value)
const Count = Schema.Int.check(Schema.isGreaterThan(0))
const Positive = Schema.Finite.check(Schema.isGreaterThan(0))
const Share = Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 }))

const Distribution = Schema.Union([
  Schema.Struct({ kind: Schema.tag("uniform") }),
  Schema.Struct({ kind: Schema.tag("logit-normal"), mean: Schema.Finite, std: Positive }),
])

/** The settings of a run: plain data, the params of an operator. */
export const Settings = Schema.Struct({
  /** The transformer. @default the embedded one; an initial model brings its own */
  model: Schema.optionalKey(VideoDiT.Config),
  /** Steps to make, in addition to those of an initial checkpoint. */
  steps: Count.pipe(Schema.withDecodingDefaultKey(or(200))),
  /** Tokens in a batch: a bucket's batch has as many items as fit. */
  batchTokens: Count.pipe(Schema.withDecodingDefaultKey(or(3072))),
  /** How often a step is of each bucket, by its name such as "4x9x16". @default as there are items */
  shares: Schema.optionalKey(Schema.Record(Schema.String, Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0)))),
  /** Batches whose mean gradient makes one step. */
  accumulate: Count.pipe(Schema.withDecodingDefaultKey(or(1))),
  learningRate: Positive.pipe(Schema.withDecodingDefaultKey(or(2e-3))),
  /** Steps over which the rate rises. */
  warmup: Count.pipe(Schema.withDecodingDefaultKey(or(150))),
  /** The share of the steps at the end over which the rate falls along a line. */
  decay: Share.pipe(Schema.withDecodingDefaultKey(or(0.4))),
  weightDecay: Schema.Finite.pipe(Schema.withDecodingDefaultKey(or(0.01))),
  /** The largest norm of the gradient. */
  clip: Positive.pipe(Schema.withDecodingDefaultKey(or(1))),
  /** The decay of the weights' moving average, which is what is sampled from. */
  ema: Share.pipe(Schema.withDecodingDefaultKey(or(0.998))),
  /** Muon for the matrices between layers, or AdamW for everything. */
  optimizer: Schema.Literals(["muon", "adamw"]).pipe(Schema.withDecodingDefaultKey(or("muon" as const))),
  prediction: Schema.Literals(["epsilon", "sample", "v", "flow"]).pipe(
    Schema.withDecodingDefaultKey(or("flow" as const)),
  ),
  schedule: ModelFile.ScheduleSpec.pipe(Schema.withDecodingDefaultKey(or({ kind: "flow", shift: 1 } as const))),
  /** How timesteps are spread; a logit-normal mean above 0 favours noise. */
  timesteps: Distribution.pipe(
    Schema.withDecodingDefaultKey(or({ kind: "logit-normal", mean: 1, std: 1.2 } as const)),
  ),
  /** The same for images: with less to see the same noise hides more. */
  imageTimesteps: Distribution.pipe(
    Schema.withDecodingDefaultKey(or({ kind: "logit-normal", mean: 0.5, std: 1.2 } as const)),
  ),
  /** How often a caption is left out. */
  captionDropout: Share.pipe(Schema.withDecodingDefaultKey(or(0.1))),
  /** Trainers that step at the same time, each on its own batches; see `TrainingRun`. */
  replicas: Count.pipe(Schema.withDecodingDefaultKey(or(1))),
  /** Steps between averages of replicas, points of the curve and reports. */
  window: Count.pipe(Schema.withDecodingDefaultKey(or(20))),
  /** Windows between checkpoints. */
  checkpointWindows: Count.pipe(Schema.withDecodingDefaultKey(or(10))),
  provider: Schema.Literals(["cpu", "cuda", "webgpu"]).pipe(Schema.withDecodingDefaultKey(or("cpu" as const))),
  /** Threads of each replica. */
  threads: Count.pipe(Schema.withDecodingDefaultKey(or(1))),
})
export type Settings = typeof Settings.Type

/** The transformer that is trained when nothing else is said: 2.6 million parameters, for latents of 16 channels. */
export const embedded: VideoDiT.Config = VideoDiT.config({
  dim: 160,
  heads: 4,
  layers: 6,
  ffn: 640,
  textDim: 512,
  freqDim: 128,
  inChannels: 16,
  outChannels: 16,
  patch: [1, 3, 2],
  qkNorm: "none",
  crossAttention: false,
  jointText: true,
  inputGate: true,
  pooledText: { queries: 8, width: 48 },
  textMask: true,
  textNorm: true,
  activation: "relu2",
})

/** The initial model and the settings or the data do not go together. */
export class TrainingMismatch extends Schema.TaggedError<TrainingMismatch>()("TrainingMismatch", {
  what: Schema.String,
  expected: Schema.String,
  found: Schema.String,
}) {
  override get message() {
    return `${this.what}: expected ${this.expected}, found ${this.found}`
  }
}

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

export interface Options {
  readonly set: LatentSet.LatentSet
  /** sha256 of the autoencoder of the latents, and the digest of the text encoder of the captions. */
  readonly vae: string
  readonly textEncoder: string
  /** Tokens that captions are padded to. */
  readonly tokens: number
  readonly vocabulary?: ReadonlyArray<string>
  readonly settings: Settings
  readonly key: CounterRandom.Key
  /** A folder that outlives this process. */
  readonly folder: string
  /** A model file or checkpoint to start from. */
  readonly initial?: string
  readonly onWindow?: (window: TrainingRun.Window) => Effect.Effect<void>
}

export interface Result {
  readonly checkpoint: string
  readonly spec: ModelFile.DenoiserSpec
  readonly rows: ReadonlyArray<LossCurve.Row>
}

/** The schedule that a specification describes. */
export const scheduleOf = (spec: ModelFile.ScheduleSpec): NoiseSchedule.NoiseSchedule =>
  spec.kind === "flow" ? NoiseSchedule.flow({ shift: spec.shift }) : NoiseSchedule.discrete(spec)

/** Warm-up, then constant, then a line to 2 % of the peak; counted from `first`. */
const rateOf = ({ decay, learningRate, steps, warmup }: Settings, first: number): LearningRate.Schedule => {
  const falls = Math.round(decay * steps)
  const after = LearningRate.chain(
    LearningRate.constant(learningRate),
    Math.max(0, steps - falls - Math.min(warmup, steps)),
    LearningRate.linearDecay({ peak: learningRate, steps: Math.max(1, falls), floor: learningRate * 0.02 }),
  )
  const whole = LearningRate.warmup(Math.min(warmup, steps), after)
  return first === 0 ? whole : LearningRate.chain(LearningRate.constant(learningRate), first, whole)
}

/** Matrices between layers: not the ends of the model, whose rows mean something of their own. */
const isHidden = (name: string): boolean => /^blocks|text_|time_/u.test(name)

const bucketsOf = (
  { batchTokens, imageTimesteps, shares, timesteps }: Settings,
  patch: readonly [number, number, number],
  set: LatentSet.LatentSet,
): Effect.Effect<
  readonly [DiffusionBatches.Bucket, ...ReadonlyArray<DiffusionBatches.Bucket>],
  TrainingMismatch
> =>
  Effect.gen(function* () {
    const all: Array<DiffusionBatches.Bucket> = []
    for (const [name, { count, size }] of set.buckets) {
      const grid = size.map((dim, axis) => dim / patch[axis]!)
      if (!grid.every(Number.isInteger))
        return yield* new TrainingMismatch({
          what: `latents of ${name}`,
          expected: `frames, rows and columns that the patch ${patch.join("x")} divides`,
          found: name,
        })
      const tokens = grid.reduce((a, b) => a * b, 1)
      const share = shares === undefined ? count : (shares[name] ?? 0)
      if (share > 0)
        all.push({
          name,
          size,
          batch: Math.max(1, Math.floor(batchTokens / tokens)),
          share,
          distribution: size[0] === 1 ? imageTimesteps : timesteps,
        })
    }
    const unknown = Object.keys(shares ?? {}).find((name) => !set.buckets.has(name))
    if (unknown !== undefined || all.length === 0)
      return yield* new TrainingMismatch({
        what: "shares",
        expected: `sizes of latents that there are: ${[...set.buckets.keys()].join(", ") || "none"}`,
        found: unknown ?? "none of them",
      })
    // The largest first: it gives the step its name, and fails first if memory is short.
    return all.toSorted((a, b) => b.size[0] - a.size[0] || b.share - a.share) as unknown as readonly [
      DiffusionBatches.Bucket,
    ]
  })

/** What an initial file brings: its structure and purpose, and a whole state or weights alone. */
interface Initial {
  readonly config: VideoDiT.Config
  readonly isCheckpoint: boolean
  readonly step: number
}

const initialOf = (options: Options) =>
  Effect.gen(function* () {
    const { initial, settings, textEncoder, tokens, vae } = options
    if (initial === undefined)
      return { config: settings.model ?? embedded, isCheckpoint: false, step: 0 } satisfies Initial as Initial
    const file = yield* Safetensors.open(initial)
    const spec = yield* ModelFile.specOf("denoiser", file)
    const wanted = {
      "the autoencoder of the initial model": [vae, spec.vae],
      "the text encoder of the initial model": [textEncoder, spec.textEncoder],
      "the tokens of a caption": [String(tokens), String(spec.tokens)],
      "the prediction of the initial model": [settings.prediction, spec.prediction],
      "the noise schedule of the initial model": [
        JSON.stringify(settings.schedule),
        JSON.stringify(spec.schedule),
      ],
      "the structure of the initial model": [
        JSON.stringify(settings.model ?? spec.config),
        JSON.stringify(spec.config),
      ],
    }
    for (const [what, [expected, found]] of Object.entries(wanted))
      if (expected !== found) return yield* new TrainingMismatch({ what, expected: expected!, found: found! })
    const isCheckpoint = Checkpoint.isIn(file)
    const step = isCheckpoint ? Number((yield* file.read("step", { dtype: "i64", shape: [] })).data[0]) : 0
    return { config: spec.config, isCheckpoint, step } satisfies Initial as Initial
  }).pipe(Effect.scoped)

const readRows = (path: string, step: number): ReadonlyArray<LossCurve.Row> =>
  fs.existsSync(path)
    ? LossCurve.fromCsv(fs.readFileSync(path, "utf8")).filter((row) => row.step <= step)
    : []

/** Writes a text beside its place first. */
const writeText = (path: string, text: string): void => {
  fs.writeFileSync(`${path}.part`, text)
  fs.renameSync(`${path}.part`, path)
}

/**
 * Trains to the end of the settings. Everything that can be wrong with settings, files and data is found before the
 * first step.
 */
export const run = Effect.fn("DenoiserRun.run")(function* (options: Options) {
  const { folder, key, set, settings, textEncoder, tokens, vae, vocabulary } = options
  const first = yield* initialOf(options)
  const denoiser: Denoiser.Denoiser = VideoDiT.denoiser(first.config)
  const buckets = yield* bucketsOf(settings, first.config.patch, set)
  const schedule = scheduleOf(settings.schedule)
  const batches = DiffusionBatches.make({
    set,
    denoiser,
    tokens,
    buckets,
    schedule,
    prediction: settings.prediction,
    captionDropout: settings.captionDropout,
    key,
  })
  const spec: ModelFile.DenoiserSpec = {
    kind: "denoiser",
    model: "VideoDiT",
    config: first.config,
    prediction: settings.prediction,
    schedule: settings.schedule,
    vae,
    textEncoder,
    tokens,
    latents: [buckets[0].size[0], buckets[0].size[1], buckets[0].size[2]],
    ...(vocabulary === undefined ? {} : { vocabulary }),
  }
  const optimizer = {
    schedule: rateOf(settings, first.step),
    clip: settings.clip,
    beta2: 0.99,
    weightDecay: settings.weightDecay,
  }
  const [main, ...others] = buckets.map(({ batch, name, size: [frames, height, width] }) => ({
    name,
    step: DiffusionTraining.step({
      denoiser,
      sizes: { batch, frames, height, width, tokens },
      optimizer,
      muon: settings.optimizer === "muon" ? isHidden : () => false,
      ema: settings.ema,
    }),
  }))
  const replicas = yield* Effect.all(
    Array.from({ length: settings.replicas }, () =>
      Trainer.make(
        main!.step,
        { provider: settings.provider, threads: settings.threads, accumulate: settings.accumulate > 1 },
        Object.fromEntries(others.map(({ name, step }) => [name, step])),
      ),
    ),
  )

  const checkpoint = join(folder, "checkpoint.safetensors")
  const curve = join(folder, "curve.csv")
  const resumes = fs.existsSync(checkpoint)
  let saved: string | undefined = resumes ? checkpoint : undefined
  if (resumes || first.isCheckpoint) {
    const path = resumes ? checkpoint : options.initial!
    const { state } = yield* Checkpoint.read("denoiser", path, main!.step)
    yield* Effect.forEach(replicas, ({ restore }) => restore(state))
  } else {
    const weights =
      options.initial === undefined
        ? denoiser.initialize(key.k0)
        : (yield* ModelFile.read("denoiser", options.initial)).weights
    yield* Effect.forEach(replicas, ({ initialize }) => initialize(weights as never))
  }
  const rows = [...readRows(curve, yield* replicas[0]!.count)]

  const { accumulate, checkpointWindows, window } = settings
  yield* TrainingRun.run({
    replicas: replicas as unknown as readonly [(typeof replicas)[number]],
    until: first.step + settings.steps,
    window,
    work: (step, replica) => {
      const draw = (step * settings.replicas + replica) * accumulate
      const bucket = batches.bucketOf(draw)
      return {
        ...(bucket.name === main!.name ? {} : { variant: bucket.name }),
        batches: Array.from({ length: accumulate }, (_, part) => batches.batchOf(bucket, draw + part)) as never,
      }
    },
    checkpointEvery: window * checkpointWindows,
    onWindow: (done) =>
      Effect.suspend(() => {
        const variants = Object.fromEntries(
          Object.entries(done.variants).map(([name, report]) => [name === "" ? main!.name : name, report]),
        )
        rows.push(...LossCurve.rowsOf({ ...done, variants: others.length > 0 ? variants : {} }))
        return options.onWindow?.(done) ?? Effect.void
      }),
    save: (state) =>
      Effect.andThen(
        // The curve first: what it has beyond the checkpoint is cut off when training goes on from there.
        Effect.sync(() => writeText(curve, LossCurve.toCsv(rows))),
        Effect.tap(Checkpoint.write(checkpoint, spec, state), () =>
          Effect.sync(() => {
            saved = checkpoint
          }),
        ),
      ),
  }).pipe(
    Effect.catchTag("NotFinite", ({ loss, norm, step }) =>
      Effect.fail(
        new TrainingDiverged({ step, loss, norm, ...(saved === undefined ? {} : { checkpoint: saved }) }),
      ),
    ),
  )
  return { checkpoint, spec, rows } satisfies Result as Result
}, Effect.scoped)
