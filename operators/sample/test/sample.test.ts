/** Sampling with random weights: what it depends on, and what it refuses before it begins. */
import { statSync, truncateSync } from "node:fs"
import { join } from "node:path"

import { assert, layer, vi } from "@effect/vitest"
import type { CounterRandom } from "@reelgraph/core"
import type * as ModelFile from "@reelgraph/models/ModelFile"
import * as VideoDiT from "@reelgraph/models/VideoDiT"
import * as Safetensors from "@reelgraph/onnx/Safetensors"
import * as Tensor from "@reelgraph/onnx/Tensor"
import type { SampledLatents } from "@reelgraph/operators/ports"
import { Sample } from "@reelgraph/operators/sample"
import { BlobStore } from "@reelgraph/store"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

import {
  denoiserConfig,
  folder,
  keyOf,
  models,
  registered,
  run,
  store,
  type TransformerSpec,
  writeDenoiser,
  writeVae,
} from "../../models/test/fixtures.ts"

type Sampled = (typeof SampledLatents)["record"]["Type"]

class Models extends Context.Service<Models, Effect.Success<typeof models>>()("test/Models") {}

const modelsLayer = Layer.unwrap(
  Effect.map(folder, (at) => Layer.provideMerge(Layer.effect(Models, models), store(at))),
)

const ask = (prompt: string, negative = "", sample = 0) => ({ prompt, negative, sample })

type Params = Parameters<typeof Sample>[0]

/** Samples with a key for each prompt. */
const sampled = Effect.fnUntraced(function* (
  prompts: ReadonlyArray<ReturnType<typeof ask>>,
  params: Params = {},
  randoms: ReadonlyArray<CounterRandom.Key> = prompts.map((_, i) => keyOf(i)),
  sides: object = {},
) {
  const { denoiser, vae } = yield* Models
  const node = Sample({ steps: 2, ...params })
  return yield* run<ReadonlyArray<Sampled>, any>(node, prompts, {
    sides: { denoiser, vae, ...sides },
    randoms,
  })
})

const shards = (records: ReadonlyArray<Sampled>) => records.map(({ latents }) => latents.shard.sha256)

/** The error of sampling with another denoiser file. */
const refused = Effect.fnUntraced(function* (
  write: (path: string, spec: TransformerSpec) => Effect.Effect<void, any>,
  params: Params = {},
) {
  const { spec } = yield* Models
  const path = join(yield* folder, "other.safetensors")
  yield* write(path, spec)
  const denoiser = yield* registered(path, "other.safetensors")
  return yield* Effect.flip(sampled([ask("a red ball rises")], params, undefined, { denoiser }))
}, Effect.scoped)

// Nothing waits for it: what decodes or runs models is slow where others work too.
vi.setConfig({ testTimeout: 120_000 })

layer(modelsLayer, { timeout: "5 minutes", excludeTestServices: true })("Sample", (it) => {
  it.effect("gives latents in half precision, of the model's size, that say what made them", () =>
    Effect.gen(function* () {
      const { denoiser, vae } = yield* Models
      const [record] = yield* sampled([ask("a  red ball rises")])
      const { latents, ...facts } = record!
      assert.deepStrictEqual(facts, {
        prompt: "a  red ball rises",
        negative: "",
        sample: 0,
        name: "a red ball rises",
        captions: ["a red ball rises"],
        seconds: 5,
        channels: 4,
        frames: 2,
        height: 9,
        width: 16,
        vae: vae.file.sha256,
        denoiser: denoiser.file.sha256,
      })
      assert.strictEqual(latents.row, 0)
      const blobs = yield* BlobStore
      const file = yield* Safetensors.decode(yield* blobs.get(latents.shard))
      yield* file.read("mean", { dtype: "f16", shape: [1, 4, 2, 9, 16], finite: true })
    }),
  )

  it.effect("depends on the prompt, the negative prompt and the key, and on nothing else in the batch", () =>
    Effect.gen(function* () {
      const prompts = [ask("a red ball rises"), ask("a blue ball falls", "red"), ask("a red ball falls")]
      const all = shards(yield* sampled(prompts))
      const again = shards(yield* sampled(prompts))
      assert.deepStrictEqual(again, all)
      for (const i of [0, 1, 2])
        assert.deepStrictEqual(shards(yield* sampled([prompts[i]!], {}, [keyOf(i)])), [all[i]!])
      const backwards = yield* sampled(prompts.toReversed(), {}, [keyOf(2), keyOf(1), keyOf(0)])
      assert.deepStrictEqual(shards(backwards), all.toReversed())
      const others = [
        ...shards(yield* sampled([ask("a red ball rises")], {}, [keyOf(7)])),
        ...shards(yield* sampled([ask("a red ball rises", "blue")], {}, [keyOf(0)])),
        ...shards(yield* sampled([ask("a blue ball rises")], {}, [keyOf(0)])),
        ...shards(yield* sampled([ask("a red ball rises")], { guidance: 2 }, [keyOf(0)])),
        ...shards(yield* sampled([ask("a red ball rises")], { steps: 3 }, [keyOf(0)])),
        ...shards(yield* sampled([ask("a red ball rises")], { rescale: 0.5 }, [keyOf(0)])),
      ]
      assert.strictEqual(new Set([...all, ...others]).size, all.length + others.length)
    }),
  )

  it.effect("takes no heed of the negative prompt without guidance", () =>
    Effect.gen(function* () {
      const of = (negative: string) => sampled([ask("a red ball rises", negative)], { guidance: 1 })
      assert.deepStrictEqual(shards(yield* of("blue")), shards(yield* of("")))
    }),
  )

  it.effect.each([
    ["flow", "flow", ["flow-euler", "unipc", "dpm-solver", "ddim", "ddpm"]],
    ["epsilon", "scaled-linear", ["euler", "unipc", "dpm-solver", "ddim", "ddpm"]],
    ["v", "cosine", ["euler", "unipc", "dpm-solver", "ddim", "ddpm"]],
  ] as const)("samples a prediction of %s on the schedule %s with %j", ([prediction, betas, samplers]) =>
    Effect.gen(function* () {
      const { spec } = yield* Models
      const path = join(yield* folder, `${prediction}.safetensors`)
      const schedule: ModelFile.ScheduleSpec =
        betas === "flow"
          ? { kind: "flow", shift: 1 }
          : {
              kind: "discrete",
              betas,
              betaStart: 0.00085,
              betaEnd: 0.012,
              zeroTerminalSnr: prediction === "v",
            }
      yield* writeDenoiser(path, { ...spec, prediction, schedule })
      const denoiser = yield* registered(path, prediction)
      const made = yield* Effect.forEach(samplers, (sampler) =>
        sampled([ask("a red ball rises")], { sampler, steps: 4 }, undefined, { denoiser }),
      )
      assert.strictEqual(new Set(made.flatMap(shards)).size, samplers.length)
    }).pipe(Effect.scoped),
  )

  it.effect("samples other sizes and durations, where the patch divides them", () =>
    Effect.gen(function* () {
      const [record] = yield* sampled([ask("a red ball rises")], { frames: 3, rows: 6, columns: 4 })
      const { frames, height, seconds, width } = record!
      assert.deepStrictEqual([frames, height, width, seconds], [3, 6, 4, 7.5])
      const error = yield* Effect.flip(sampled([ask("a red ball rises")], { rows: 7 }))
      assert.strictEqual(error._tag, "LatentSizeInvalid")
      assert.include(error.message, "2 frames, 7 rows and 16 columns")
      assert.include(error.message, "3")
    }),
  )

  it.effect("refuses files that are damaged, or are not what is asked for", () =>
    Effect.gen(function* () {
      const weights = VideoDiT.initialize(denoiserConfig, 1)
      const [key] = Object.keys(weights).filter((name) => name.endsWith("weight"))
      const { shape } = weights[key!]!

      const { size } = statSync((yield* Models).denoiserPath)
      const truncated = yield* refused((path, spec) =>
        Effect.andThen(
          writeDenoiser(path, spec),
          Effect.sync(() => truncateSync(path, size - 100)),
        ),
      )
      assert.strictEqual(truncated._tag, "SafetensorsInvalid")

      const vae = yield* refused((path) => writeVae(path))
      assert.strictEqual(vae._tag, "ModelFileInvalid")
      assert.include(vae.message, "is not the file of a denoiser: it is the file of a video autoencoder")

      const wrongShape = yield* refused((path, spec) =>
        writeDenoiser(path, spec, { ...weights, [key!]: Tensor.zeros("f32", [3, 5]) }),
      )
      assert.strictEqual(wrongShape._tag, "WeightsMismatch")
      assert.include(wrongShape.message, `${key}: expected f32 ${JSON.stringify(shape)}`)
      assert.include(wrongShape.message, "[3,5]")

      const wrongType = yield* refused((path, spec) =>
        Effect.gen(function* () {
          yield* writeDenoiser(path, spec)
          const { metadata } = yield* Safetensors.open(path)
          yield* Safetensors.write(path, {
            tensors: { ...weights, [key!]: Tensor.zeros("i32", shape) },
            metadata,
          })
        }).pipe(Effect.scoped),
      )
      assert.strictEqual(wrongType._tag, "WeightsMismatch")
      assert.include(wrongType.message, `${key}: expected a floating point type, found i32`)

      const notFinite = yield* refused((path, spec) =>
        writeDenoiser(path, spec, {
          ...weights,
          [key!]: Tensor.make("f32", shape, weights[key!]!.data.fill(Number.NaN)),
        }),
      )
      assert.strictEqual(notFinite._tag, "WeightsMismatch")
      assert.include(notFinite.message, `${key}: expected finite numbers, found NaN`)
    }),
  )

  it.effect("refuses models that do not belong together", () =>
    Effect.gen(function* () {
      const { vae } = yield* Models
      const space = yield* refused((path, spec) => writeDenoiser(path, { ...spec, vae: "f".repeat(64) }))
      assert.strictEqual(space._tag, "LatentSpaceMismatch")
      assert.include(space.message, "f".repeat(64))
      assert.include(space.message, vae.file.sha256)
      const text = yield* refused((path, spec) =>
        writeDenoiser(path, { ...spec, textEncoder: "e".repeat(64) }),
      )
      assert.strictEqual(text._tag, "TextEncoderMismatch")
      assert.include(text.message, "e".repeat(64))
      assert.include(text.message, (yield* Models).spec.textEncoder)
    }),
  )

  it.effect("refuses a sampler that does not fit the schedule, and a provider that is not there", () =>
    Effect.gen(function* () {
      const sampler = yield* Effect.flip(sampled([ask("a red ball rises")], { sampler: "euler" }))
      assert.strictEqual(sampler._tag, "OptionInvalid")
      assert.include(sampler.message, "euler: schedule")
      const provider = yield* Effect.flip(sampled([ask("a red ball rises")], { provider: "cuda" }))
      assert.strictEqual(provider._tag, "ProviderMissing")
      assert.include(provider.message, "cannot run on cuda")
    }),
  )

  it.effect("fails where the numbers leave what can be kept, naming the step", () =>
    Effect.gen(function* () {
      const weights = VideoDiT.initialize(denoiserConfig, 1)
      const huge = Object.fromEntries(
        Object.entries(weights).map(([key, { data, shape }]) => [
          key,
          Tensor.make("f32", shape, key === "proj_out.weight" ? data.map(() => 60000) : data),
        ]),
      )
      const error = yield* refused((path, spec) => writeDenoiser(path, spec, huge), {
        steps: 6,
        guidance: 100,
      })
      assert.strictEqual(error._tag, "SamplingDiverged")
      assert.match(error.message, /^step \d of 6 \(flow-euler\): expected finite numbers, found /)
    }),
  )
})
