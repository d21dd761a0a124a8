/**
 * Training an autoencoder on crops of clips in memory, and measuring its latents: the mean and deviation of every
 * channel over whole clips, by which latents are normalised, go into its file.
 */
import * as CounterRandom from "@reelgraph/core/CounterRandom"
import * as Gaussian from "@reelgraph/models/Gaussian"
import * as ModelFile from "@reelgraph/models/ModelFile"
import type * as ModelWeights from "@reelgraph/models/ModelWeights"
import * as ShiftVae from "@reelgraph/models/ShiftVae"
import * as VaeTraining from "@reelgraph/models/VaeTraining"
import * as Onnx from "@reelgraph/onnx/Onnx"
import * as LearningRate from "@reelgraph/onnx/Schedule"
import * as Session from "@reelgraph/onnx/Session"
import * as Tensor from "@reelgraph/onnx/Tensor"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import * as Crops from "./Crops.ts"
import * as KeptRun from "./KeptRun.ts"
import type * as LossCurve from "./LossCurve.ts"
import { TrainingMismatch } from "./TrainingMismatch.ts"
import type * as TrainingRun from "./TrainingRun.ts"

const or = <A>(value: A) => Effect.succeed(value)
const Count = Schema.Int.check(Schema.isGreaterThan(0))
const Positive = Schema.Finite.check(Schema.isGreaterThan(0))
const Share = Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 }))

/** The settings of a run: plain data, the params of an operator. */
export const Settings = Schema.Struct({
  model: ShiftVae.Config.pipe(Schema.withDecodingDefaultKey(or(ShiftVae.small))),
  steps: Count.pipe(Schema.withDecodingDefaultKey(or(2200))),
  /** Crops in a batch, and their size in pixels. */
  batch: Count.pipe(Schema.withDecodingDefaultKey(or(12))),
  cropWidth: Count.pipe(Schema.withDecodingDefaultKey(or(64))),
  cropHeight: Count.pipe(Schema.withDecodingDefaultKey(or(40))),
  learningRate: Positive.pipe(Schema.withDecodingDefaultKey(or(4e-3))),
  warmup: Count.pipe(Schema.withDecodingDefaultKey(or(50))),
  /** The share of the steps at the end over which the rate falls along a line. */
  decay: Share.pipe(Schema.withDecodingDefaultKey(or(0.6))),
  ema: Share.pipe(Schema.withDecodingDefaultKey(or(0.995))),
  /** Weights of the loss; see `VaeTraining`. */
  kl: Schema.Finite.pipe(Schema.withDecodingDefaultKey(or(2e-4))),
  absolute: Schema.Finite.pipe(Schema.withDecodingDefaultKey(or(0.05))),
  optimizer: Schema.Literals(["muon", "adamw"]).pipe(Schema.withDecodingDefaultKey(or("muon" as const))),
  /** Clips over which latents are measured. */
  measured: Count.pipe(Schema.withDecodingDefaultKey(or(512))),
  ...KeptRun.settings,
})
export type Settings = typeof Settings.Type

export interface Options {
  readonly clips: Crops.Clips
  readonly settings: Settings
  readonly key: CounterRandom.Key
  /** A folder that outlives this process. */
  readonly folder: string
  readonly onWindow?: (window: TrainingRun.Window) => Effect.Effect<void>
  /** See `KeptRun`. */
  readonly stopping?: Effect.Effect<boolean>
}

export interface Result {
  readonly spec: ModelFile.Vae
  readonly weights: ModelWeights.WeightTensors
  readonly checkpoint: string
  readonly rows: ReadonlyArray<LossCurve.Row>
}

const isHidden = (name: string): boolean => /blocks|down|up/u.test(name)

/** Clips of a measuring run at once. */
const together = 4

/** The deviation counts what the posterior spreads too: `sqrt(var(mean) + mean(variance))`. */
const measure = (
  config: ShiftVae.Config,
  weights: ModelWeights.WeightTensors,
  clips: Crops.Clips,
  settings: Settings,
) =>
  Effect.gen(function* () {
    const { frames, height, width } = clips
    const plain = {
      ...config,
      latentsMean: config.latentsMean.map(() => 0),
      latentsStd: config.latentsStd.map(() => 1),
    }
    const graph = ShiftVae.boundEncoder(plain, { batch: together, frames, height, width }, weights)
    const { provider, threads } = settings
    const session = yield* Session.open(Onnx.model(graph), { provider, threads })
    const [sums, squares, spread] = [0, 1, 2].map(() => new Float64Array(config.zDim)) as [
      Float64Array,
      Float64Array,
      Float64Array,
    ]
    let count = 0
    const most = Math.min(settings.measured, clips.pixels.length)
    for (let first = 0; first + together <= most; first += together) {
      const pixels = Crops.whole(clips, first, together)
      const { logvar, mean } = yield* session.run({ pixels })
      const plane = mean.data.length / together / config.zDim
      for (let i = 0; i < mean.data.length; i++) {
        const channel = Math.floor(i / plane) % config.zDim
        sums[channel]! += mean.data[i]!
        squares[channel]! += mean.data[i]! ** 2
        spread[channel]! += Math.exp(logvar.data[i]!)
      }
      count += together * plane
    }
    const latentsMean = Array.from(sums, (sum) => sum / count)
    const latentsStd = latentsMean.map((mean, z) =>
      Math.sqrt(squares[z]! / count - mean ** 2 + spread[z]! / count),
    )
    return { latentsMean, latentsStd }
  })

/** Trains, measures, and gives the moving averages of the weights. Settings and clips are checked first. */
export const run = Effect.fn("VaeRun.run")(function* (options: Options) {
  const { clips, folder, key, onWindow, settings, stopping } = options
  const { absolute, batch, cropHeight, cropWidth, ema, kl, model, steps } = settings
  const { space, time } = ShiftVae.factors(model)
  const { frames, height, width } = clips
  if (
    cropHeight > height ||
    cropWidth > width ||
    cropHeight % space !== 0 ||
    cropWidth % space !== 0 ||
    frames % time !== 0
  )
    return yield* new TrainingMismatch({
      what: "crops",
      expected: `multiples of ${space} pixels within clips of ${width}x${height} with a multiple of ${time} frames`,
      found: `${cropWidth}x${cropHeight} of ${frames} frames`,
    })
  if (clips.pixels.length < together)
    return yield* new TrainingMismatch({
      what: "clips",
      expected: `at least ${together} of one size`,
      found: String(clips.pixels.length),
    })
  const latents = [batch, model.zDim, frames / time, cropHeight / space, cropWidth / space]
  const length = latents.reduce((a, b) => a * b, 1)
  const falls = Math.round(settings.decay * steps)
  const warmup = Math.min(settings.warmup, steps)
  const spec: ModelFile.Vae = { kind: "vae", model: "ShiftVae", config: model }
  const keys = {
    crops: CounterRandom.key(key.k0, String(key.k1), "training/crops"),
    noise: CounterRandom.key(key.k0, String(key.k1), "training/noise"),
  }
  const { checkpoint, rows } = yield* KeptRun.run({
    folder,
    spec,
    bucket: "crops",
    step: VaeTraining.step({
      vae: {
        name: "ShiftVae",
        weightSpecs: ShiftVae.weightSpecs(model),
        encode: (pixels, weights) => ShiftVae.encode(model, pixels, weights),
        decode: (z, weights) => ShiftVae.decode(model, z, weights, { clamp: false }),
      },
      pixels: [batch, 3, frames, cropHeight, cropWidth],
      latents,
      optimizer: {
        schedule: LearningRate.warmup(
          warmup,
          LearningRate.chain(
            LearningRate.constant(settings.learningRate),
            Math.max(0, steps - falls - warmup),
            LearningRate.linearDecay({
              peak: settings.learningRate,
              steps: Math.max(1, falls),
              floor: settings.learningRate * 0.01,
            }),
          ),
        ),
        clip: 1,
        beta2: 0.98,
      },
      muon: settings.optimizer === "muon" ? isHidden : () => false,
      ema,
      kl,
      absolute,
    }),
    settings,
    key,
    start: { _tag: "Weights", weights: ShiftVae.initialize(model, key.k0) },
    until: steps,
    work: (step, replica) => {
      const draw = step * settings.replicas + replica
      return {
        batches: [
          {
            pixels: Crops.batch(clips, keys.crops, draw, {
              batch,
              height: cropHeight,
              width: cropWidth,
              candidates: 2,
              grid: 2,
            }),
            noise: Tensor.make("f32", latents, Gaussian.normals(keys.noise, length, draw)),
          },
        ],
      }
    },
    onWindow,
    stopping,
  })
  const { weights } = yield* ModelFile.read("vae", checkpoint)
  const measured = yield* measure(model, weights, clips, settings)
  return {
    spec: { ...spec, config: { ...model, ...measured } },
    weights,
    checkpoint,
    rows,
  } satisfies Result
}, Effect.scoped)
