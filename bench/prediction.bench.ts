/**
 * What a denoiser should predict: noise, v or flow, trained alike on images of the sample world.
 *
 * Losses of different predictions are not comparable, so each prediction is turned into the data that it implies, at
 * the same ratios of noise to data: x / alpha = x0 + ratio n is the same whatever the schedule. The error of the noise
 * is that of the data divided by the ratio's square.
 *
 * STEPS, IMAGES and PROMPTS change how much is trained and sampled, WEIGHTS the folder of the autoencoder.
 */
import { spawn } from "node:child_process"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

import { CounterRandom } from "@reelgraph/core"
import * as ModelFile from "@reelgraph/models/ModelFile"
import * as TextModel from "@reelgraph/models/TextModel"
import * as VideoDiT from "@reelgraph/models/VideoDiT"
import * as Half from "@reelgraph/onnx/Half"
import * as Safetensors from "@reelgraph/onnx/Safetensors"
import * as Session from "@reelgraph/onnx/Session"
import * as Tensor from "@reelgraph/onnx/Tensor"
import { DenoiserRun, type LatentSet } from "@reelgraph/training"
import { Attributes, Captions, Render, Scene } from "@reelgraph/world"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { temporaryFolder } from "../test/curation.ts"
import type { Bench } from "./main.ts"
import type { Result, Task } from "./predictionChild.ts"
import { percent, table } from "./table.ts"
import * as worldModels from "./worldModels.ts"

const child = fileURLToPath(new URL("predictionChild.ts", import.meta.url))

const tokens = 32
const batch = 64
const steps = [20, 50]
const [guidance, shift] = [3, 3]
const ratios = [0.25, 0.5, 1, 2, 4, 8]

const denoiser: ModelFile.Structure = {
  model: "VideoDiT",
  config: VideoDiT.config({
    ...DenoiserRun.embedded.config,
    dim: 96,
    heads: 4,
    layers: 4,
    ffn: 384,
    pooledText: { queries: 8, width: 32 },
  }),
}

const discrete = {
  kind: "discrete",
  betas: "linear",
  betaStart: 0.0001,
  betaEnd: 0.02,
  zeroTerminalSnr: false,
} as const
const uniform = { kind: "uniform" } as const

/** What differs. */
const ways = {
  "noise (epsilon)": {
    settings: { prediction: "epsilon", schedule: discrete, imageTimesteps: uniform },
    samplers: ["ddim", "dpm-solver"],
    says: "linear betas, uniform timesteps",
  },
  v: {
    settings: {
      prediction: "v",
      schedule: { ...discrete, zeroTerminalSnr: true },
      imageTimesteps: uniform,
    },
    samplers: ["ddim", "dpm-solver"],
    says: "linear betas to zero terminal SNR, uniform timesteps",
  },
  flow: {
    settings: { prediction: "flow", schedule: { kind: "flow", shift: 1 }, imageTimesteps: uniform },
    samplers: ["flow-euler"],
    says: "straight paths, uniform timesteps",
  },
  "flow, logit-normal": {
    settings: { prediction: "flow", schedule: { kind: "flow", shift: 1 } },
    samplers: ["flow-euler"],
    says: "straight paths, logit-normal timesteps of mean 0.5 and deviation 1.2",
  },
} as const satisfies Record<
  string,
  {
    readonly settings: Partial<typeof DenoiserRun.Settings.Encoded>
    readonly samplers: Task["samplers"]
    readonly says: string
  }
>

const halves = (shape: ReadonlyArray<number>, values: Float32Array) =>
  Tensor.make("f16", shape, Half.fromFloat32("f16", values))

/** One shard of latents and one of captions' states, of one image for each combination in turn. */
const itemsOf = Effect.fnUntraced(function* (
  folder: string,
  name: string,
  count: number,
  combinations: ReadonlyArray<Attributes.Attributes>,
  templates: Captions.Source,
  encode: Effect.Success<ReturnType<typeof worldModels.encoder>>,
  vae: string,
  text: TextModel.TextModel,
) {
  const scenes = Array.from({ length: count }, (_, i) => {
    const attributes = combinations[i % combinations.length]!
    const key = CounterRandom.key(4, `${name} ${i}`, "bench/prediction")
    return {
      scene: Scene.make(attributes, key, { positions: 0.3 }),
      caption: Captions.caption(attributes, CounterRandom.key(5, `${name} ${i}`, "bench/prediction"), {
        templates,
      }),
    }
  })
  const latents = yield* Effect.forEach(scenes, ({ scene }) => encode(Render.frame(scene, 0.5)))
  const { lengths, states } = yield* text.encode(scenes.map(({ caption }) => caption))
  const textDim = states.shape[2]!
  const offsets = lengths.reduce<ReadonlyArray<number>>(
    (ends, length) => [...ends, ends.at(-1)! + length],
    [0],
  )
  const together = new Float32Array(offsets.at(-1)! * textDim)
  lengths.forEach((length, i) => {
    const from = i * tokens * textDim
    together.set(states.data.subarray(from, from + length * textDim), offsets[i]! * textDim)
  })
  const size = latents[0]!.length
  const mean = new Float32Array(count * size)
  latents.forEach((each, i) => mean.set(each, i * size))
  const path = join(folder, `${name}.safetensors`)
  const textPath = join(folder, `${name}-text.safetensors`)
  yield* Safetensors.write(path, { tensors: { mean: halves([count, 16, 1, 9, 16], mean) } })
  yield* Safetensors.write(textPath, {
    tensors: {
      states: halves([offsets.at(-1)!, textDim], together),
      offsets: Tensor.i64([count + 1], offsets),
    },
  })
  return scenes.map(({ caption }, row): LatentSet.Item => ({
    name: `${name}-${row}`,
    captions: [caption],
    latents: { path, row },
    channels: 16,
    frames: 1,
    height: 9,
    width: 16,
    vae,
    text: { path: textPath, row },
    textEncoder: text.digest,
  }))
})

const prepare = Effect.fnUntraced(function* (folder: string, weights: string, images: number) {
  const vae = yield* worldModels.vaeAt(weights)
  const encode = yield* worldModels.encoder(vae, [1, 72, 128])
  const text = yield* TextModel.open({ provider: "cpu", maxTokens: tokens })
  const { sha256 } = vae
  return {
    trained: yield* itemsOf(folder, "trained", images, Attributes.trained, "trained", encode, sha256, text),
    heldOut: yield* itemsOf(
      folder,
      "held-out",
      Attributes.heldOut.length,
      Attributes.heldOut,
      "held-out",
      encode,
      sha256,
      text,
    ),
  }
})

/** Runs a task to its end; its progress goes to the standard error. */
const measure = (task: Task): Effect.Effect<Result> =>
  Effect.callback((resume) => {
    const path = join(task.folder, "task.json")
    writeFileSync(path, JSON.stringify(task))
    const running = spawn(process.execPath, [child, path], { stdio: ["ignore", "pipe", "inherit"] })
    let text = ""
    running.stdout.on("data", (data: Buffer) => void (text += data.toString()))
    running.on("close", (code) =>
      resume(
        code === 0
          ? Effect.succeed(JSON.parse(text) as Result)
          : Effect.die(`${task.name} ended with ${code}`),
      ),
    )
  })

const decodeSettings = Schema.decodeUnknownSync(DenoiserRun.Settings)

const run = Effect.gen(function* () {
  const updates = yield* Config.Int("STEPS").pipe(Config.withDefault(600))
  const images = yield* Config.Int("IMAGES").pipe(Config.withDefault(2048))
  const prompts = yield* Config.Int("PROMPTS").pipe(Config.withDefault(Attributes.heldOut.length))
  const weights = yield* Config.String("WEIGHTS").pipe(Config.withDefault(worldModels.weightsFolder))
  const folder = yield* temporaryFolder
  const items = yield* Effect.scoped(prepare(folder, weights, images))
  const alike = {
    denoiser,
    steps: updates,
    batchPlaces: batch * 9 * 16,
    learningRate: 2e-3,
    warmup: 50,
    ema: 0.99,
    tokens,
    window: 50,
  }
  const results = yield* Effect.forEach(
    Object.entries(ways),
    Effect.fnUntraced(function* ([name, { samplers, says, settings }], i) {
      const own = join(folder, String(i))
      mkdirSync(own)
      const result = yield* measure({
        name,
        settings: decodeSettings({ ...alike, ...settings }),
        samplers,
        steps,
        guidance,
        shift,
        prompts,
        ratios,
        folder: own,
        weights,
        ...items,
      })
      return { name, says, ...result }
    }),
  )
  const { parameters } = results[0]!
  return [
    "A denoiser of noise, of v and of flow, trained alike and then sampled for sentences, combinations and noise that",
    `none of them has seen. Each: a transformer of 4 layers, 96 wide (${(parameters / 1e6).toFixed(2)} million parameters); ${images.toLocaleString("en-US")} images of`,
    `the sample world (positions 0.3) as latents of 16 x 1 x 9 x 16, one caption each, 10 % left out; ${updates} steps of ${batch}`,
    "images in the same order with the same noise, Muon at 2e-3, weights averaged with 0.99; the same first weights.",
    "Motion is not asked of images. Each was trained once: how much another seed would change is not measured.",
    "",
    table(
      ["prediction", "trained on", "CPU seconds of training"],
      results.map(({ cpu, name, says }) => [name, says, cpu.toFixed(0)]),
    ),
    "",
    `Sampled with guidance ${guidance}, flow with shift ${shift}, ${prompts} prompts of held-out combinations in held-out sentences; per cent`,
    "right, as read from the pixels:",
    "",
    table(
      ["prediction", "sampler", "steps", "colour", "shape", "background", "found"],
      results.flatMap(({ name, samples }) =>
        samples.map(({ sampler, score, steps }) => [
          name,
          sampler,
          steps,
          percent(score.colour),
          percent(score.shape),
          percent(score.background),
          percent(score.found),
        ]),
      ),
    ),
    "",
    `The standard error of a share of ${prompts} is up to ${(50 / Math.sqrt(prompts)).toFixed(1)}.`,
    "",
    "Mean squared error of the data (of deviation about 1) that a prediction implies, for held-out images with their",
    "captions and without guidance, by the ratio of noise to data; of the noise it is this by the ratio's square:",
    "",
    table(
      ["prediction", ...ratios.map(String)],
      results.map(({ errors, name }) => [name, ...errors.map((error) => error.toFixed(4))]),
    ),
  ].join("\n")
}).pipe(Effect.scoped, Effect.provide(Session.layer()), Effect.orDie)

export const bench: Bench = {
  description: "noise, v and flow prediction trained alike (10 minutes)",
  run,
}
