import { assert, describe, it } from "@effect/vitest"
import * as Tensor from "@reelgraph/onnx/Tensor"
import * as TensorGraph from "@reelgraph/onnx/TensorGraph"
import { Effect } from "effect"

import * as VideoVae from "../src/VideoVae.ts"
import * as VideoVaeStream from "../src/VideoVaeStream.ts"
import { evaluate, io, maxDifference, noise, open, run, scattered, tolerance } from "./fixtures.ts"

const tiny = VideoVae.config({
  baseDim: 3,
  multipliers: [1, 1, 1, 1],
  resBlocks: 1,
  temporalDownsample: [false, true, true],
})

const cpu = { provider: "cpu" } as const

const tinyWeights = Effect.flatMap(open("wan-tiny-vae"), (file) => VideoVae.readWeights(tiny, file)).pipe(
  Effect.scoped,
)

/** Frames `from` to `to` of `[1, C, T, H, W]`. */
const frames = ({ data, shape }: Tensor.Tensor<"f32">, from: number, to: number): Tensor.Tensor<"f32"> => {
  const [, channels, count, height, width] = shape as [number, number, number, number, number]
  const size = height * width
  const kept = Array.from({ length: channels }, (_, c) => [
    ...data.subarray((c * count + from) * size, (c * count + to) * size),
  ])
  return Tensor.f32([1, channels, to - from, height, width], kept.flat())
}

/** The parts of a clip of n latent frames that a time factor of 4 makes. */
const parts = (latentFrames: number) =>
  Array.from({ length: latentFrames }, (_, i): readonly [from: number, to: number] =>
    i === 0 ? [0, 1] : [4 * i - 3, 4 * i + 1],
  )

describe("VideoVaeStream", () => {
  it.live("encodes by parts what the published autoencoder does", () =>
    run(
      Effect.gen(function* () {
        const encoder = yield* VideoVaeStream.openEncoder(
          tiny,
          { height: 16, width: 16 },
          yield* tinyWeights,
          cpu,
        )
        const pixels = yield* io("vae.9f16.in")
        const mean = yield* io("vae.9f16.mean")
        const logvar = yield* io("vae.9f16.logvar")
        let memory: VideoVaeStream.Memory | undefined
        for (const [i, [from, to]] of parts(3).entries()) {
          const made = yield* encoder.part(frames(pixels, from, to), memory)
          assert.isAtMost(maxDifference(made.mean, frames(mean, i, i + 1)), tolerance)
          assert.isAtMost(maxDifference(made.logvar, frames(logvar, i, i + 1)), tolerance)
          memory = made.memory
        }
      }),
    ),
  )

  it.live("decodes by parts what the published autoencoder does", () =>
    run(
      Effect.gen(function* () {
        const decoder = yield* VideoVaeStream.openDecoder(
          tiny,
          { height: 2, width: 2 },
          yield* tinyWeights,
          cpu,
        )
        const latents = yield* io("vae.9f16.mean")
        const pixels = yield* io("vae.9f16.dec")
        let memory: VideoVaeStream.Memory | undefined
        for (const [i, [from, to]] of parts(3).entries()) {
          const made = yield* decoder.part(frames(latents, i, i + 1), memory)
          assert.isAtMost(maxDifference(made.pixels, frames(pixels, from, to)), tolerance)
          memory = made.memory
        }
      }),
    ),
  )

  it.live("is the whole clip at once, for five latent frames of larger channels", () =>
    run(
      Effect.gen(function* () {
        const config = VideoVae.config({ ...tiny, baseDim: 4, multipliers: [1, 2, 2, 1] })
        const weights = scattered(VideoVae.weightSpecs(config), 2, 0.15)
        const pixels = noise([1, 3, 17, 8, 16], 1)
        const whole = yield* evaluate(
          VideoVae.boundEncoder(config, { frames: 17, height: 8, width: 16 }, weights),
          { pixels },
        )
        const shown = yield* evaluate(
          VideoVae.boundDecoder(config, { frames: 5, height: 1, width: 2 }, weights),
          { latents: whole.mean },
        )
        const encoder = yield* VideoVaeStream.openEncoder(config, { height: 8, width: 16 }, weights, cpu)
        const decoder = yield* VideoVaeStream.openDecoder(config, { height: 1, width: 2 }, weights, cpu)
        let encoded: VideoVaeStream.Memory | undefined
        let decoded: VideoVaeStream.Memory | undefined
        for (const [i, [from, to]] of parts(5).entries()) {
          const posterior = yield* encoder.part(frames(pixels, from, to), encoded)
          assert.isAtMost(maxDifference(posterior.mean, frames(whole.mean, i, i + 1)), 1e-4)
          const made = yield* decoder.part(frames(whole.mean, i, i + 1), decoded)
          assert.isAtMost(maxDifference(made.pixels, frames(shown.pixels, from, to)), 1e-4)
          encoded = posterior.memory
          decoded = made.memory
        }
      }),
    ),
  )

  it("what a part leaves is what the next one takes", () => {
    for (const { first, next } of [
      VideoVaeStream.encoderParts(tiny, { height: 16, width: 16 }),
      VideoVaeStream.decoderParts(tiny, { height: 2, width: 2 }),
    ]) {
      TensorGraph.verify(first)
      TensorGraph.verify(next)
      const left = (values: TensorGraph.Values, prefix: string) =>
        Object.entries(values)
          .filter(([key]) => key.startsWith(prefix))
          .map(([key, { shape }]) => `${key.slice(prefix.length)} ${shape.join()}`)
          .toSorted()
      const taken = left(next.inputs, "memory/")
      assert.isAbove(taken.length, 10)
      assert.deepStrictEqual(left(first.outputs, "next/"), taken)
      assert.deepStrictEqual(left(next.outputs, "next/"), taken)
      assert.deepStrictEqual(left(first.inputs, "memory/"), [])
    }
  })

  it("refuses sizes that the factors do not divide", () => {
    assert.throws(() => VideoVaeStream.encoderParts(tiny, { height: 12, width: 16 }), /multiples of 8/)
  })

  it.live("refuses weights of another configuration", () =>
    run(
      Effect.gen(function* () {
        const { "decoder.conv_in.bias": _, ...rest } = yield* tinyWeights
        const error = yield* Effect.flip(VideoVaeStream.openDecoder(tiny, { height: 2, width: 2 }, rest, cpu))
        assert.strictEqual(error._tag, "WeightsMismatch")
        assert.include(error.message, "decoder.conv_in.bias: expected f32 [3], found nothing")
      }),
    ),
  )
})
