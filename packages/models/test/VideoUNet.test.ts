import { fileURLToPath } from "node:url"

import { assert, describe, it } from "@effect/vitest"
import * as Reference from "@reelgraph/onnx/Reference"
import * as Safetensors from "@reelgraph/onnx/Safetensors"
import * as Tensor from "@reelgraph/onnx/Tensor"
import * as TensorGraph from "@reelgraph/onnx/TensorGraph"
import type { Value } from "@reelgraph/onnx/Value"
import { Effect } from "effect"

import * as Denoiser from "../src/Denoiser.ts"
import * as ModelFile from "../src/ModelFile.ts"
import * as ModelWeights from "../src/ModelWeights.ts"
import * as VideoUNet from "../src/VideoUNet.ts"
import { checkGradients, evaluate, maxDifference, noise, run, scattered, tolerance } from "./fixtures.ts"

/** As test/oracle/unet/make.py has it. */
const tiny = VideoUNet.config({
  channels: [8, 8, 12],
  attention: [true, true, false],
  layers: 1,
  headDim: 2,
  groups: 4,
  textDim: 6,
  inChannels: 4,
  outChannels: 4,
})

const fixture = Safetensors.open(
  fileURLToPath(new URL("../../../test/oracle/unet/tiny.safetensors", import.meta.url)),
)

const tinyWeights = Effect.gen(function* () {
  const file = yield* fixture
  const tensors: Record<string, Tensor.Tensor> = {}
  for (const key of file.entries.keys()) if (!key.startsWith("io.")) tensors[key] = yield* file.readF32(key)
  return yield* VideoUNet.checkWeights(tiny, tensors)
}).pipe(Effect.scoped)

const io = (key: string) =>
  Effect.flatMap(fixture, (file) => file.readF32(`io.${key}`)).pipe(Effect.scoped)

const sizes = { frames: 3, height: 8, width: 8, tokens: 5 }
const everyToken = Tensor.f32([2, 5], new Float32Array(10).fill(1))

describe("VideoUNet", () => {
  it("has the weights of text-to-video-ms-1.7b: 1480, 1,411,233,860 parameters", () => {
    const specs = VideoUNet.weightSpecs(VideoUNet.modelscope1_7B)
    assert.deepStrictEqual(ModelWeights.count(specs), { keys: 1480, parameters: 1_411_233_860 })
    assert.deepStrictEqual(specs["transformer_in.proj_in.weight"]!.shape, [512, 320])
    assert.deepStrictEqual(specs["down_blocks.2.temp_convs.1.conv4.3.weight"]!.shape, [1280, 1280, 3, 1, 1])
    assert.deepStrictEqual(specs["up_blocks.1.resnets.2.conv_shortcut.weight"]!.shape, [1280, 1920, 1, 1])
    assert.deepStrictEqual(
      specs["up_blocks.3.attentions.2.transformer_blocks.0.attn2.to_k.weight"]!.shape,
      [320, 1024],
    )
  })

  for (const when of ["early", "late"])
    it.live(`predicts what the published U-Net does, ${when} in time`, () =>
      run(
        Effect.gen(function* () {
          const weights = yield* tinyWeights
          const bound = Denoiser.boundGraph(VideoUNet.denoiser(tiny), sizes, weights)
          assert.deepStrictEqual([...bound.outputs.prediction.shape], ["B", 4, 3, 8, 8])
          const { prediction } = yield* evaluate(bound, {
            latents: yield* io("latents"),
            timestep: yield* io(`timestep.${when}`),
            text: yield* io("text"),
            mask: everyToken,
          })
          const difference = maxDifference(prediction, yield* io(`out.${when}`))
          console.log(difference)
          assert.isAtMost(difference, tolerance)
        }),
      ),
    )
})
