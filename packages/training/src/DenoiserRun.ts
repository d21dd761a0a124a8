/**
 * Training a denoiser on latents and captions in memory: what is trained on what, and how; `KeptRun` does it.
 */
import type * as CounterRandom from "@reelgraph/core/CounterRandom"
import * as DiffusionTraining from "@reelgraph/models/DiffusionTraining"
import * as ModelFile from "@reelgraph/models/ModelFile"
import * as NoiseSchedule from "@reelgraph/models/NoiseSchedule"
import * as VideoDiT from "@reelgraph/models/VideoDiT"
import * as LearningRate from "@reelgraph/onnx/Schedule"
import * as Safetensors from "@reelgraph/onnx/Safetensors"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import * as Checkpoint from "./Checkpoint.ts"
import * as DiffusionBatches from "./DiffusionBatches.ts"
import * as KeptRun from "./KeptRun.ts"
import type * as LatentSet from "./LatentSet.ts"
import type * as LossCurve from "./LossCurve.ts"
import { TrainingMismatch } from "./TrainingMismatch.ts"
import type * as TrainingRun from "./TrainingRun.ts"

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
  /** The denoiser. @default the embedded transformer; an initial model brings its own */
  denoiser: Schema.optionalKey(ModelFile.Structure),
  /** Steps to make, in addition to those of an initial checkpoint. */
  steps: Count.pipe(Schema.withDecodingDefaultKey(or(200))),
  /** Places of latents (frames x rows x columns) in a batch: a bucket's batch has as many items as fit. */
  batchPlaces: Count.pipe(Schema.withDecodingDefaultKey(or(32 * 4 * 9 * 16))),
  /** How often a step is of each bucket, by its name such as "4x9x16". @default as there are items */
  shares: Schema.optionalKey(
    Schema.Record(Schema.String, Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0))),
  ),
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
  schedule: ModelFile.ScheduleSpec.pipe(
    Schema.withDecodingDefaultKey(or({ kind: "flow", shift: 1 } as const)),
  ),
  /** How timesteps are spread; a logit-normal mean above 0 favours noise. */
  timesteps: Distribution.pipe(
    Schema.withDecodingDefaultKey(or({ kind: "logit-normal", mean: 1, std: 1.2 } as const)),
  ),
  /** The same for images: with less to see the same noise hides more. */
  imageTimesteps: Distribution.pipe(
    Schema.withDecodingDefaultKey(or({ kind: "logit-normal", mean: 0.5, std: 1.2 } as const)),
  ),
  /** Tokens that captions are padded to, and at most have. */
  tokens: Count.pipe(Schema.withDecodingDefaultKey(or(32))),
  /** How often a caption is left out. */
  captionDropout: Share.pipe(Schema.withDecodingDefaultKey(or(0.1))),
  ...KeptRun.settings,
})
export type Settings = typeof Settings.Type

/** The transformer that is trained when nothing else is said: 2.6 million parameters, for latents of 16 channels. */
export const embedded: ModelFile.Structure = {
  model: "VideoDiT",
  config: VideoDiT.config({
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
    positions: true,
    ropeTheta: 30,
    activation: "relu2",
  }),
}

export interface Options {
  readonly set: LatentSet.LatentSet
  /** sha256 of the autoencoder of the latents, and the digest of the text encoder of the captions. */
  readonly vae: string
  readonly textEncoder: string
  readonly vocabulary?: ReadonlyArray<string>
  readonly settings: Settings
  readonly key: CounterRandom.Key
  /** A folder that outlives this process. */
  readonly folder: string
  /** A model file or checkpoint to start from. */
  readonly initial?: string
  readonly onWindow?: (window: TrainingRun.Window) => Effect.Effect<void>
  /** See `KeptRun`. */
  readonly stopping?: Effect.Effect<boolean>
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
const isHidden = (name: string): boolean => /blocks|text_|time_/u.test(name)

const bucketsOf = (
  { batchPlaces, imageTimesteps, shares, timesteps }: Settings,
  set: LatentSet.LatentSet,
): Effect.Effect<
  readonly [DiffusionBatches.Bucket, ...ReadonlyArray<DiffusionBatches.Bucket>],
  TrainingMismatch
> =>
  Effect.gen(function* () {
    const all = set.buckets.flatMap(({ count, name, sizes }): ReadonlyArray<DiffusionBatches.Bucket> => {
      const share = shares === undefined ? count : (shares[name] ?? 0)
      const places = sizes.reduce((a, b) => a * b, 1)
      const batch = Math.max(1, Math.floor(batchPlaces / places))
      const distribution = sizes[0] === 1 ? imageTimesteps : timesteps
      return share > 0 ? [{ name, size: sizes, batch, share, distribution }] : []
    })
    const unknown = Object.keys(shares ?? {}).find(
      (name) => !set.buckets.some((bucket) => bucket.name === name),
    )
    if (unknown !== undefined || all.length === 0)
      return yield* new TrainingMismatch({
        what: "shares",
        expected: `sizes of latents that there are: ${set.buckets.map(({ name }) => name).join(", ") || "none"}`,
        found: unknown ?? "none of them",
      })
    // The largest first: it gives the step its name, and fails first if memory is short.
    return all.toSorted((a, b) => b.size[0] - a.size[0] || b.share - a.share) as unknown as readonly [
      DiffusionBatches.Bucket,
    ]
  })

/** What an initial file brings: its structure and purpose, and a whole state or weights alone. */
interface Initial {
  readonly structure: ModelFile.Structure
  readonly isCheckpoint: boolean
  readonly step: number
  /** Words it was trained on; absent when they are not listed. */
  readonly vocabulary?: ReadonlyArray<string>
}

const initialOf = (options: Options) =>
  Effect.gen(function* () {
    const { initial, settings, textEncoder, vae } = options
    if (initial === undefined)
      return {
        structure: settings.denoiser ?? embedded,
        isCheckpoint: false,
        step: 0,
      } satisfies Initial
    const file = yield* Safetensors.open(initial)
    const spec = yield* ModelFile.specOf("denoiser", file)
    const wanted = {
      "the autoencoder of the initial model": [vae, spec.vae],
      "the text encoder of the initial model": [textEncoder, spec.textEncoder],
      "the tokens of a caption": [String(settings.tokens), String(spec.tokens)],
      "the prediction of the initial model": [settings.prediction, spec.prediction],
      "the noise schedule of the initial model": [
        JSON.stringify(settings.schedule),
        JSON.stringify(spec.schedule),
      ],
      "the structure of the initial model": [
        JSON.stringify(settings.denoiser?.config ?? spec.config),
        JSON.stringify(spec.config),
      ],
    }
    for (const [what, [expected, found]] of Object.entries(wanted))
      if (expected !== found) return yield* new TrainingMismatch({ what, expected: expected!, found: found! })
    const isCheckpoint = Checkpoint.isIn(file)
    const step = isCheckpoint ? Number((yield* file.read("step", { dtype: "i64", shape: [] })).data[0]) : 0
    const { vocabulary } = spec
    return {
      structure: spec,
      isCheckpoint,
      step,
      ...(vocabulary === undefined ? {} : { vocabulary }),
    } satisfies Initial
  }).pipe(Effect.scoped)

/** The words of the captions, and of what the initial model was trained on: none when those are not listed. */
const vocabularyOf = (
  { initial, vocabulary }: Options,
  first: Initial,
): { readonly vocabulary?: ReadonlyArray<string> } =>
  vocabulary === undefined || (initial !== undefined && first.vocabulary === undefined)
    ? {}
    : { vocabulary: [...new Set([...vocabulary, ...(first.vocabulary ?? [])])].toSorted() }

/**
 * Trains to the end of the settings. Everything that can be wrong with settings, files and data is found before the
 * first step.
 */
export const run = Effect.fn("DenoiserRun.run")(function* (options: Options) {
  const { folder, key, set, settings, textEncoder, vae } = options
  const { tokens } = settings
  const first = yield* initialOf(options)
  const denoiser = ModelFile.denoiserOf(first.structure)
  const buckets = yield* bucketsOf(settings, set)
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
    ...(first.structure.model === "VideoDiT"
      ? { model: "VideoDiT", config: first.structure.config }
      : { model: "VideoUNet", config: first.structure.config }),
    prediction: settings.prediction,
    schedule: settings.schedule,
    vae,
    textEncoder,
    tokens,
    latents: [buckets[0].size[0], buckets[0].size[1], buckets[0].size[2]],
    ...vocabularyOf(options, first),
  }
  const optimizer = {
    schedule: rateOf(settings, first.step),
    clip: settings.clip,
    beta2: 0.99,
    weightDecay: settings.weightDecay,
  }
  const steps = yield* Effect.forEach(buckets, ({ batch, name, size: [frames, height, width] }) =>
    Effect.try({
      try: () => ({
        name,
        step: DiffusionTraining.step({
          denoiser,
          sizes: { batch, frames, height, width, tokens },
          optimizer,
          muon: settings.optimizer === "muon" ? isHidden : () => false,
          ema: settings.ema,
        }),
      }),
      catch: (cause) =>
        new TrainingMismatch({
          what: `latents of ${name}`,
          expected: `a size that ${denoiser.name} takes`,
          found: (cause as Error).message,
        }),
    }),
  )
  const [main, ...others] = steps
  const start: KeptRun.Start = first.isCheckpoint
    ? { _tag: "Checkpoint", path: options.initial! }
    : {
        _tag: "Weights",
        weights:
          options.initial === undefined
            ? denoiser.initialize(key.k0)
            : (yield* ModelFile.read("denoiser", options.initial)).weights,
      }
  const { accumulate, replicas } = settings
  const { checkpoint, rows } = yield* KeptRun.run({
    folder,
    spec,
    bucket: main.name,
    step: main.step,
    variants: Object.fromEntries(others.map(({ name, step }) => [name, step])),
    settings,
    key,
    accumulate: accumulate > 1,
    start,
    until: first.step + settings.steps,
    work: (step, replica) => {
      const draw = (step * replicas + replica) * accumulate
      const bucket = batches.bucketOf(draw)
      return {
        ...(bucket.name === main.name ? {} : { variant: bucket.name }),
        batches: Array.from({ length: accumulate }, (_, part) =>
          batches.batchOf(bucket, draw + part),
        ) as never,
      }
    },
    onWindow: options.onWindow,
    stopping: options.stopping,
  })
  return { checkpoint, spec, rows } satisfies Result
}, Effect.scoped)
