/**
 * One denoiser of `prediction.bench.ts`, in a process of its own: trained, sampled and asked about latents it has not
 * seen. The first argument is a file with the task as JSON, the result is JSON on the standard output.
 */
import { readFileSync } from "node:fs"

import { CounterRandom } from "@reelgraph/core"
import * as Gaussian from "@reelgraph/models/Gaussian"
import * as NoiseSchedule from "@reelgraph/models/NoiseSchedule"
import * as Prediction from "@reelgraph/models/Prediction"
import * as TextModel from "@reelgraph/models/TextModel"
import * as Session from "@reelgraph/onnx/Session"
import * as Tensor from "@reelgraph/onnx/Tensor"
import { DenoiserRun, LatentSet } from "@reelgraph/training"
import { Captions, Measure, Score } from "@reelgraph/world"
import * as Effect from "effect/Effect"

import * as worldModels from "./worldModels.ts"

/** What is trained, and how. */
export interface Task {
  readonly name: string
  readonly settings: DenoiserRun.Settings
  readonly samplers: ReadonlyArray<worldModels.Settings["sampler"]>
  readonly steps: ReadonlyArray<number>
  readonly guidance: number
  readonly shift: number
  readonly prompts: number
  /** Ratios of noise to data. */
  readonly ratios: ReadonlyArray<number>
  /** A folder of the task's own, and the items to train on and those held out. */
  readonly folder: string
  readonly weights: string
  readonly trained: ReadonlyArray<LatentSet.Item>
  readonly heldOut: ReadonlyArray<LatentSet.Item>
}

export interface Result {
  /** Seconds of CPU of the training, and parameters trained. */
  readonly cpu: number
  readonly parameters: number
  readonly samples: ReadonlyArray<{
    readonly sampler: string
    readonly steps: number
    readonly score: Omit<Score.Score, "confusion">
  }>
  /** By ratio: the mean squared error of the data that the predictions imply. */
  readonly errors: ReadonlyArray<number>
}

/** Latents of an image, and the frames that it stands for. */
const [frames, height, width] = [4, 72, 128]
const latents = [1, 9, 16] as const
const bucket = latents.join("x")

/** Samples, or held-out images, in a run. */
const together = 14

const progress = (line: string) => Effect.sync(() => void process.stderr.write(`${line}\n`))

const train = Effect.fnUntraced(function* ({ folder, name, settings, trained }: Task) {
  const set = yield* LatentSet.load(trained, { tokens: settings.tokens })
  const begun = process.cpuUsage()
  const { checkpoint } = yield* DenoiserRun.run({
    set,
    vae: set.vae,
    textEncoder: set.textEncoder,
    settings,
    key: CounterRandom.key(1, "all of them", "bench/prediction"),
    folder,
    onWindow: ({ report, step, until }) =>
      progress(`${name}: step ${step} of ${until}, loss ${report["loss"]!.toFixed(3)}`),
  })
  const { system, user } = process.cpuUsage(begun)
  return { checkpoint, cpu: (system + user) / 1e6 }
})

/** The timestep whose ratio of noise to data is nearest. */
const timestepAt = (schedule: NoiseSchedule.NoiseSchedule, ratio: number): number => {
  if (schedule.kind === "flow") return (schedule.trainSteps * ratio) / (1 + ratio)
  const distance = (t: number): number => {
    const { alpha, sigma } = NoiseSchedule.levelAt(schedule, t)
    return alpha === 0 ? Infinity : Math.abs(Math.log(sigma / alpha / ratio))
  }
  let best = 0
  for (let t = 1; t < schedule.trainSteps; t++) if (distance(t) < distance(best)) best = t
  return best
}

/** The error of the data at one ratio, over the held-out images with their captions. */
const errorAt = Effect.fnUntraced(function* (
  session: Effect.Success<ReturnType<typeof worldModels.predictor>>,
  { spec }: worldModels.DenoiserModel,
  set: LatentSet.LatentSet,
  ratio: number,
) {
  const batch = 2 * together
  const { channels, tokens, width: textDim } = set
  const schedule = DenoiserRun.scheduleOf(spec.schedule)
  const timestep = timestepAt(schedule, ratio)
  const level = NoiseSchedule.levelAt(schedule, timestep)
  const size = channels * latents[0] * latents[1] * latents[2]
  const key = CounterRandom.key(2, "noise", "bench/prediction")
  let sum = 0
  const count = Math.floor(set.count / batch) * batch
  for (let first = 0; first < count; first += batch) {
    const data = new Float32Array(batch * size)
    const text = Tensor.zeros("f32", [batch, tokens, textDim])
    const mask = Tensor.zeros("f32", [batch, tokens])
    for (let b = 0; b < batch; b++) {
      set.latents(bucket, first + b, data, b * size)
      const length = set.states(bucket, first + b, 0, text.data, b * tokens * textDim)
      mask.data.fill(1, b * tokens, b * tokens + length)
    }
    const noisy = Prediction.addNoise(data, Gaussian.normals(key, data.length, first), level)
    const { prediction } = yield* session.run({
      latents: Tensor.f32([batch, channels, ...latents], noisy),
      timestep: Tensor.f32([batch], new Float32Array(batch).fill(timestep)),
      text,
      mask,
    })
    const implied = Prediction.toSample(spec.prediction, noisy, prediction.data, level)
    for (let i = 0; i < data.length; i++) sum += (implied[i]! - data[i]!) ** 2
  }
  return sum / (count * size)
})

const samplesOf = Effect.fnUntraced(function* (
  { guidance, name, prompts: count, samplers, shift, steps, weights }: Task,
  { spec }: worldModels.DenoiserModel,
  session: Effect.Success<ReturnType<typeof worldModels.predictor>>,
) {
  const decode = yield* worldModels.decoder(yield* worldModels.vaeAt(weights), latents)
  const model = yield* TextModel.open({ provider: "cpu", maxTokens: spec.tokens })
  const prompts = Captions.prompts(count, { templates: "held-out" }, 3)
  const texts = yield* worldModels.texts(
    model,
    prompts.map(({ text }) => text),
  )
  const asked = texts.map((text, i) => ({
    text,
    key: CounterRandom.key(3, `sample ${i}`, "bench/prediction"),
  }))
  const kinds = samplers.flatMap((sampler) => steps.map((steps) => ({ sampler, steps })))
  return yield* Effect.forEach(
    kinds,
    Effect.fnUntraced(function* ({ sampler, steps }) {
      const settings = { sampler, steps, guidance, shift }
      const samples = yield* worldModels.sample(session, spec, latents, together, settings, asked)
      const clips = yield* Effect.forEach(samples, decode)
      const { confusion: _, ...score } = Score.of(
        clips.map((clip, i) => ({
          attributes: prompts[i]!.attributes,
          reading: Measure.read(clip, { frames, height, width }),
        })),
      )
      yield* progress(`${name}: ${sampler}, ${steps} steps, ${JSON.stringify(score)}`)
      return { sampler, steps, score }
    }),
  )
})

const run = Effect.fnUntraced(function* (task: Task) {
  const { checkpoint, cpu } = yield* Effect.scoped(train(task))
  const model = yield* worldModels.denoiserAt(checkpoint)
  const session = yield* worldModels.predictor(model, latents, 2 * together)
  const heldOut = yield* LatentSet.load(task.heldOut, { tokens: task.settings.tokens })
  const errors = yield* Effect.forEach(task.ratios, (ratio) => errorAt(session, model, heldOut, ratio))
  yield* progress(`${task.name}: errors ${errors.map((error) => error.toFixed(4)).join(" ")}`)
  const samples = yield* samplesOf(task, model, session)
  return { cpu, parameters: model.parameters, samples, errors } satisfies Result
})

const task = JSON.parse(readFileSync(process.argv[2]!, "utf8")) as Task

const result = await Effect.runPromise(
  run(task).pipe(Effect.scoped, Effect.provide(Session.layer()), Effect.orDie),
)
process.stdout.write(JSON.stringify(result))
