import { assert, describe, it } from "@effect/vitest"
import * as Ops from "@reelgraph/onnx/Ops"
import * as Reference from "@reelgraph/onnx/Reference"
import * as Tensor from "@reelgraph/onnx/Tensor"
import * as TensorGraph from "@reelgraph/onnx/TensorGraph"
import { Effect } from "effect"

import * as ModelWeights from "../src/ModelWeights.ts"
import * as VideoVae from "../src/VideoVae.ts"
import { checkGradients, evaluate, io, maxDifference, noise, open, run, tolerance } from "./fixtures.ts"

const tiny = VideoVae.config({
  baseDim: 3,
  multipliers: [1, 1, 1, 1],
  resBlocks: 1,
  temporalDownsample: [false, true, true],
})

const tinyWeights = Effect.flatMap(open("wan-tiny-vae"), (file) => VideoVae.readWeights(tiny, file)).pipe(
  Effect.scoped,
)

const encoder = (weights: ModelWeights.WeightTensors, frames: number, height: number, width: number) =>
  VideoVae.boundEncoder(tiny, { frames, height, width }, weights)

const decoder = (weights: ModelWeights.WeightTensors, frames: number, height: number, width: number) =>
  VideoVae.boundDecoder(tiny, { frames, height, width }, weights)

/** The first frames of `[B, C, T, H, W]`. */
const firstFrames = (count: number, { data, shape }: Tensor.Tensor<"f32">) => {
  const [batch, channels, frames, ...space] = shape as [number, number, number, number, number]
  const size = space[0] * space[1]
  const kept = Array.from({ length: batch * channels }, (_, i) => [
    ...data.subarray(i * frames * size, (i * frames + count) * size),
  ])
  return Tensor.f32([batch, channels, count, ...space], kept.flat())
}

describe("VideoVae", () => {
  it("has the weights of Wan2.1's autoencoder: 194, 126,892,531 parameters", () => {
    const specs = VideoVae.weightSpecs(VideoVae.wan2_1)
    assert.deepStrictEqual(ModelWeights.count(specs), { keys: 194, parameters: 126_892_531 })
  })

  it.live("encodes and decodes 9 frames as the published autoencoder does", () =>
    run(
      Effect.gen(function* () {
        const weights = yield* tinyWeights
        const { logvar, mean } = yield* evaluate(encoder(weights, 9, 16, 16), {
          pixels: yield* io("vae.9f16.in"),
        })
        const expected = yield* io("vae.9f16.mean")
        assert.isAtMost(maxDifference(mean, expected), tolerance)
        assert.isAtMost(maxDifference(logvar, yield* io("vae.9f16.logvar")), tolerance)
        const { pixels } = yield* evaluate(decoder(weights, 3, 2, 2), { latents: expected })
        assert.isAtMost(maxDifference(pixels, yield* io("vae.9f16.dec")), tolerance)
      }),
    ),
  )

  it.live("encodes and decodes an image as a clip of one frame", () =>
    run(
      Effect.gen(function* () {
        const weights = yield* tinyWeights
        const { mean } = yield* evaluate(encoder(weights, 1, 32, 48), { pixels: yield* io("vae.1f32x48.in") })
        const expected = yield* io("vae.1f32x48.mean")
        assert.isAtMost(maxDifference(mean, expected), tolerance)
        const { pixels } = yield* evaluate(decoder(weights, 1, 4, 6), { latents: expected })
        assert.isAtMost(maxDifference(pixels, yield* io("vae.1f32x48.dec")), tolerance)
      }),
    ),
  )

  it.live("what comes of a clip's beginning does not depend on its end", () =>
    run(
      Effect.gen(function* () {
        const weights = yield* tinyWeights
        const pixels = yield* io("vae.9f16.in")
        const whole = yield* io("vae.9f16.mean")
        const { mean } = yield* evaluate(encoder(weights, 5, 16, 16), { pixels: firstFrames(5, pixels) })
        assert.isAtMost(maxDifference(mean, firstFrames(2, whole)), tolerance)
        const decoded = yield* evaluate(decoder(weights, 2, 2, 2), { latents: firstFrames(2, whole) })
        assert.isAtMost(maxDifference(decoded.pixels, firstFrames(5, yield* io("vae.9f16.dec"))), tolerance)
      }),
    ),
  )

  it.live("each clip of a batch is as it is alone", () =>
    run(
      Effect.gen(function* () {
        const weights = yield* tinyWeights
        const { data, shape } = yield* io("vae.9f16.in")
        const twice = Tensor.f32([2, ...shape.slice(1)], [...data.map((x) => -x), ...data])
        const { mean } = yield* evaluate(encoder(weights, 9, 16, 16), { pixels: twice })
        const expected = yield* io("vae.9f16.mean")
        const second = Tensor.f32(expected.shape, mean.data.subarray(expected.data.length))
        assert.isAtMost(maxDifference(second, expected), tolerance)
        assert.isAbove(
          maxDifference(Tensor.f32(expected.shape, mean.data.subarray(0, expected.data.length)), expected),
          0.01,
        )
      }),
    ),
  )

  it("normalises latents by the published constants, and back", () => {
    const graph = TensorGraph.make("latents", { z: TensorGraph.spec("f32", [1, 16, 1, 1, 1]) }, ({ z }) => {
      const normal = VideoVae.normalize(tiny, z)
      return { normal, back: VideoVae.denormalize(tiny, normal) }
    })
    const z = Reference.elements(
      [1, 16, 1, 1, 1],
      Array.from({ length: 16 }, () => 1),
    )
    const { back, normal } = Reference.evaluate(graph, { z })
    assert.closeTo(normal!.data[0]!, 1.7571 / 2.8184, 1e-6)
    assert.closeTo(normal!.data[15]!, 1.2921 / 1.916, 1e-6)
    back!.data.forEach((value) => assert.closeTo(value, 1, 1e-6))
  })

  it("samples around the mean by the deviation", () => {
    const spec = TensorGraph.spec("f32", [1])
    const graph = TensorGraph.make("sample", { mean: spec, logvar: spec, noise: spec }, (values) => ({
      z: VideoVae.sample(values, values.noise),
    }))
    const one = (value: number) => Reference.elements([1], [value])
    const { z } = Reference.evaluate(graph, { mean: one(2), logvar: one(Math.log(9)), noise: one(-1) })
    assert.closeTo(z!.data[0]!, -1, 1e-6)
  })

  it("refuses sizes that its factors do not divide", () => {
    assert.throws(() => VideoVae.encoderGraph(tiny, { frames: 8, height: 16, width: 16 }), /T = 4 n \+ 1/)
    assert.throws(() => VideoVae.encoderGraph(tiny, { frames: 9, height: 20, width: 16 }), /multiples of 8/)
  })

  it("refuses a configuration whose parts do not fit", () => {
    assert.throws(
      () => VideoVae.config({ ...tiny, temporalDownsample: [true] }),
      /one between each two of 4 levels/,
    )
    assert.throws(() => VideoVae.config({ ...tiny, zDim: 8 }), /one for each of 8 channels/)
  })

  it("has the gradients of its finite differences", () => {
    const config = VideoVae.config({
      baseDim: 2,
      zDim: 2,
      multipliers: [1, 2],
      resBlocks: 1,
      temporalDownsample: [true],
      latentsMean: [0, 0],
      latentsStd: [1, 1],
    })
    const specs = VideoVae.weightSpecs(config)
    checkGradients(
      specs,
      { pixels: noise([1, 3, 3, 4, 4], 1) },
      ({ pixels }, weights) => {
        const { logvar, mean } = VideoVae.encode(config, pixels!, weights)
        const z = VideoVae.sample({ mean, logvar }, Ops.fullLike(mean, 0.5))
        return VideoVae.decode(config, z, weights, { clamp: false })
      },
      [
        "encoder.conv_in.weight",
        "encoder.down_blocks.1.time_conv.weight",
        "encoder.mid_block.attentions.0.to_qkv.weight",
        "decoder.up_blocks.0.upsamplers.0.time_conv.weight",
        "encoder.down_blocks.2.conv_shortcut.weight",
        "decoder.norm_out.gamma",
      ],
    )
  })
})
