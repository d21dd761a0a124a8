import fs from "node:fs"
import os from "node:os"
import { join } from "node:path"

import { assert, describe, it } from "@effect/vitest"
import * as Half from "@reelgraph/onnx/Half"
import * as Safetensors from "@reelgraph/onnx/Safetensors"
import { Effect, Schema } from "effect"

import * as ModelFile from "../src/ModelFile.ts"
import type * as ModelWeights from "../src/ModelWeights.ts"
import * as ShiftVae from "../src/ShiftVae.ts"
import * as VideoDiT from "../src/VideoDiT.ts"
import * as VideoUNet from "../src/VideoUNet.ts"
import { scattered } from "./fixtures.ts"

const level = { width: 8, blocks: 0, expansion: 1 }
const vae: ModelFile.Vae = {
  kind: "vae",
  model: "ShiftVae",
  config: {
    ...ShiftVae.small,
    encoder: { fine: level, coarse: level },
    decoder: { fine: level, coarse: level },
  },
}
const denoiser: ModelFile.DenoiserSpec = {
  kind: "denoiser",
  model: "VideoDiT",
  config: VideoDiT.config({
    dim: 8,
    heads: 2,
    layers: 1,
    ffn: 8,
    textDim: 4,
    freqDim: 8,
    inChannels: 2,
    outChannels: 2,
  }),
  prediction: "flow",
  schedule: { kind: "flow", shift: 1 },
  vae: "v",
  textEncoder: "t",
  tokens: 4,
  latents: [4, 9, 16],
  vocabulary: ["a", "ball"],
}

const weightsOf = (spec: ModelFile.Spec, seed = 1) => scattered(ModelFile.weightSpecs(spec), seed)

const rounded = (weights: ModelWeights.WeightTensors) =>
  Object.fromEntries(
    Object.entries(weights).map(([key, { data }]) => [
      key,
      Half.toFloat32("f16", Half.fromFloat32("f16", data)),
    ]),
  )

const dataOf = (weights: ModelWeights.WeightTensors) =>
  Object.fromEntries(Object.entries(weights).map(([key, { data }]) => [key, data]))

const inFolder = <A, E>(body: (folder: string) => Effect.Effect<A, E>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => fs.mkdtempSync(join(os.tmpdir(), "reel-model-"))),
    body,
    (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true })),
  )

describe("ModelFile", () => {
  it.effect("comes back as it was written: exactly in f32, rounded in f16", () =>
    inFolder((folder) =>
      Effect.gen(function* () {
        for (const spec of [vae, denoiser]) {
          const weights = weightsOf(spec)
          const exact = join(folder, `${spec.kind}-32`)
          const half = join(folder, `${spec.kind}-16`)
          yield* ModelFile.write(exact, { spec, weights }, "f32")
          yield* ModelFile.write(half, { spec, weights })
          assert.isBelow(fs.statSync(half).size, 0.8 * fs.statSync(exact).size)
          const [a, b] = [yield* ModelFile.read(spec.kind, exact), yield* ModelFile.read(spec.kind, half)]
          assert.deepStrictEqual(a.spec, spec)
          assert.deepStrictEqual(b.spec, spec)
          assert.deepStrictEqual(dataOf(a.weights), dataOf(weights))
          assert.deepStrictEqual(dataOf(b.weights), rounded(weights))
        }
      }),
    ),
  )

  it.effect("of a checkpoint it reads the averages, and nothing else", () =>
    inFolder((folder) =>
      Effect.gen(function* () {
        const path = join(folder, "checkpoint")
        const [parameters, averages] = [weightsOf(vae, 1), weightsOf(vae, 2)]
        const below = (prefix: string, weights: ModelWeights.WeightTensors) =>
          Object.fromEntries(Object.entries(weights).map(([key, tensor]) => [prefix + key, tensor]))
        const tensors = {
          ...below(ModelFile.parameters, parameters),
          ...below("m/", parameters),
          ...below(ModelFile.averages, averages),
        }
        yield* Safetensors.write(path, { tensors, metadata: ModelFile.metadata(vae) })
        const { weights } = yield* ModelFile.read("vae", path)
        assert.deepStrictEqual(dataOf(weights), dataOf(averages))
      }),
    ),
  )

  it.effect("says what it found instead of what was asked for", () =>
    inFolder((folder) =>
      Effect.gen(function* () {
        const weights = weightsOf(vae)
        const path = join(folder, "model")
        const refused = (kind: ModelFile.Kind, contents: Safetensors.Contents) =>
          Effect.gen(function* () {
            yield* Safetensors.write(path, contents)
            return yield* Effect.flip(ModelFile.read(kind, path))
          })
        const metadata = ModelFile.metadata(vae)

        const mixed = yield* refused("denoiser", { tensors: weights, metadata })
        assert.strictEqual(mixed._tag, "ModelFileInvalid")
        assert.include(mixed.message, "is not the file of a denoiser: it is the file of a video autoencoder")

        assert.include(
          (yield* refused("vae", { tensors: weights })).message,
          'its metadata has no "reelgraph"',
        )
        for (const reelgraph of ["{", "7", '{"kind":"vae"}', metadata["reelgraph"]!.replace("16", '"16"')]) {
          const garbage = yield* refused("vae", { tensors: weights, metadata: { reelgraph } })
          assert.strictEqual(garbage._tag, "ModelFileInvalid", reelgraph)
        }

        const { "decoder.conv_in.bias": bias, ...others } = weights
        const missing = yield* refused("vae", { tensors: others, metadata })
        assert.include(missing.message, "decoder.conv_in.bias")
        const broken = { ...bias!, data: bias!.data.map(() => Number.NaN) }
        const nan = yield* refused("vae", {
          tensors: { ...weights, "decoder.conv_in.bias": broken },
          metadata,
        })
        assert.include(nan.message, "decoder.conv_in.bias")
      }),
    ),
  )

  it.prop(
    "the number of weights is that of their list, without one",
    [
      Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 6 }))).check(
        Schema.isMinLength(5),
        Schema.isMaxLength(5),
      ),
    ],
    ([[layers, ...blocks]]) => {
      const [a, b, c, d] = blocks.map((count) => ({ ...level, blocks: count }))
      const config = { ...vae.config, encoder: { fine: a!, coarse: b! }, decoder: { fine: c!, coarse: d! } }
      const unet: ModelFile.DenoiserSpec = {
        ...denoiser,
        model: "VideoUNet",
        config: VideoUNet.config({
          channels: [8, 16],
          attention: [true, false],
          layers: layers! + 1,
          headDim: 4,
          groups: 2,
          textDim: 4,
          inChannels: 2,
          outChannels: 2,
        }),
      }
      const dit = {
        ...denoiser,
        config: { ...denoiser.config, layers: layers! + 1 },
      } as ModelFile.DenoiserSpec
      for (const spec of [{ ...vae, config }, dit, unet])
        assert.strictEqual(ModelFile.weightCount(spec), Object.keys(ModelFile.weightSpecs(spec)).length)
    },
  )

  it.effect(
    "refuses numbers in its metadata that the file does not bear out, before it makes anything of them",
    () =>
      inFolder((folder) =>
        Effect.gen(function* () {
          const path = join(folder, "model")
          const tensors = weightsOf(denoiser)
          const refused = Effect.fnUntraced(function* (kind: ModelFile.Kind, text: string) {
            yield* Safetensors.write(path, { tensors, metadata: { reelgraph: text } })
            const error = yield* Effect.flip(ModelFile.read(kind, path))
            assert.strictEqual(error._tag, "ModelFileInvalid", text)
            return error.message
          })
          const { reelgraph = "" } = ModelFile.metadata(denoiser)
          for (const [from, to, problem] of [
            ['"layers":1', '"layers":100000000', /layers/],
            ['"layers":1', '"layers":1024', /its configuration has \d+ weights, and it holds \d+ tensors/],
            ['"tokens":4', '"tokens":1000000000', /tokens/],
            ['"latents":[4,', '"latents":[-1,', /latents/],
            ['"latents":[4,', '"latents":[1e9,', /latents/],
          ] as const) {
            assert.include(reelgraph, from)
            assert.match(yield* refused("denoiser", reelgraph.replace(from, to)), problem)
          }
          const autoencoder = ModelFile.metadata(vae)["reelgraph"]!
          assert.match(
            yield* refused("vae", autoencoder.replace('"blocks":0', '"blocks":100000000')),
            /blocks/,
          )
          const many = autoencoder.replaceAll('"blocks":0', '"blocks":1024')
          assert.match(yield* refused("vae", many), /its configuration has 24\d\d\d weights/)
          const unet = {
            channels: Array.from({ length: 1000 }, () => 32),
            attention: Array.from({ length: 1000 }, () => true),
          }
          const levels = {
            ...JSON.parse(reelgraph),
            model: "VideoUNet",
            config: { ...unet, textDim: 4, inChannels: 2, outChannels: 2 },
          }
          assert.match(yield* refused("denoiser", JSON.stringify(levels)), /channels/)
        }),
      ),
  )

  it.effect("refuses a file that is cut anywhere", () =>
    inFolder((folder) =>
      Effect.gen(function* () {
        const path = join(folder, "model")
        yield* ModelFile.write(path, { spec: vae, weights: weightsOf(vae) })
        const whole = fs.readFileSync(path)
        for (const length of [0, 7, 100, whole.length - 1]) {
          fs.writeFileSync(path, whole.subarray(0, length))
          const error = yield* Effect.flip(ModelFile.read("vae", path))
          assert.strictEqual(error._tag, "SafetensorsInvalid", `${length} bytes`)
        }
        fs.rmSync(path)
        const gone = yield* Effect.flip(ModelFile.read("vae", path))
        assert.strictEqual(gone._tag, "SafetensorsUnreadable")
      }),
    ),
  )
})
