import { assert, describe, it, vi } from "@effect/vitest"
import * as Ops from "@reelgraph/onnx/Ops"
import * as Reference from "@reelgraph/onnx/Reference"
import * as Tensor from "@reelgraph/onnx/Tensor"
import * as TensorGraph from "@reelgraph/onnx/TensorGraph"
import { Effect, Schema } from "effect"

import * as ShiftVae from "../src/ShiftVae.ts"
import * as VideoVae from "../src/VideoVae.ts"
import { checkGradients, evaluate, maxDifference, noise, run, scattered } from "./fixtures.ts"

// Nothing waits for it: what opens models is slow where others work too.
vi.setConfig({ testTimeout: 60_000 })

const level = { width: 8, blocks: 1, expansion: 1 }

/** 4 x 4 x 2 pixels to 3 numbers. */
const tiny: ShiftVae.Config = Schema.decodeSync(ShiftVae.Config)({
  zDim: 3,
  fine: 2,
  space: 4,
  time: 2,
  encoder: { fine: level, coarse: level },
  decoder: { fine: level, coarse: level },
  latentsMean: [0.5, -1, 2],
  latentsStd: [2, 0.25, 1],
})

const weights = scattered(ShiftVae.weightSpecs(tiny), 1)

const encoded = (pixels: Tensor.Tensor<"f32">) => {
  const [batch, , frames, height, width] = pixels.shape as [number, number, number, number, number]
  return evaluate(ShiftVae.boundEncoder(tiny, { batch, frames, height, width }, weights), { pixels })
}

const decoded = (latents: Tensor.Tensor<"f32">) => {
  const [batch, , frames, height, width] = latents.shape as [number, number, number, number, number]
  return evaluate(ShiftVae.boundDecoder(tiny, { batch, frames, height, width }, weights), { latents })
}

/** Part of `[B, C, T, H, W]`: rows and columns from `y` and `x` on. */
const window = (
  { data, shape }: Tensor.Tensor<"f32">,
  [y, x]: readonly [number, number],
  [rows, columns]: readonly [number, number],
) => {
  const [batch, channels, frames, height, width] = shape as [number, number, number, number, number]
  const planes = Array.from({ length: batch * channels * frames }, (_, plane) =>
    Array.from({ length: rows }, (_, i) => {
      const at = (plane * height + y + i) * width + x
      return [...data.subarray(at, at + columns)]
    }),
  )
  return Tensor.f32([batch, channels, frames, rows, columns], planes.flat(2))
}

describe("ShiftVae", () => {
  it.live("takes any size and aspect that its factors divide", () =>
    run(
      Effect.forEach(
        [
          [2, 8, 8],
          [4, 4, 12],
          [6, 12, 4],
        ] as const,
        ([frames, height, width]) =>
          Effect.gen(function* () {
            const { logvar, mean } = yield* encoded(noise([2, 3, frames, height, width], 1))
            assert.deepStrictEqual([...mean.shape], [2, 3, frames / 2, height / 4, width / 4])
            assert.deepStrictEqual(logvar.shape, mean.shape)
            const { pixels } = yield* decoded(mean)
            assert.deepStrictEqual([...pixels.shape], [2, 3, frames, height, width])
            assert.isTrue(pixels.data.every((value) => value >= -1 && value <= 1))
          }),
      ),
    ),
  )

  it.live("an image is a clip of equal frames", () =>
    run(
      Effect.gen(function* () {
        const { data } = noise([1, 3, 1, 8, 8], 2)
        const image = yield* encoded(Tensor.f32([1, 3, 1, 8, 8], [...data]))
        const twice = Array.from({ length: 3 }, (_, c) => {
          const plane = [...data.subarray(64 * c, 64 * (c + 1))]
          return [...plane, ...plane]
        })
        const still = yield* encoded(Tensor.f32([1, 3, 2, 8, 8], twice.flat()))
        assert.deepStrictEqual(image, still)
        const other = yield* encoded(noise([1, 3, 2, 8, 8], 3))
        assert.isAbove(maxDifference(image.mean, other.mean), 0.01)
      }),
    ),
  )

  it.live("a crop decodes as that part of the whole, away from its borders", () =>
    run(
      Effect.gen(function* () {
        const latents = noise([1, 3, 1, 6, 6], 4)
        const whole = yield* decoded(latents)
        const part = yield* decoded(window(latents, [1, 1], [5, 5]))
        const inWhole = window(whole.pixels, [4, 4], [20, 20])
        // One block on each grid looks one cell far: a latent and a fine cell, 4 + 2 pixels.
        const inside = (pixels: Tensor.Tensor<"f32">) => window(pixels, [6, 6], [14, 14])
        assert.isAtMost(maxDifference(inside(part.pixels), inside(inWhole)), 1e-5)
        assert.isAbove(maxDifference(part.pixels, inWhole), 0.01)
      }),
    ),
  )

  it("normalises by channel, and back", () => {
    const graph = TensorGraph.make("latents", { z: TensorGraph.spec("f32", [1, 3, 1, 1, 2]) }, ({ z }) => {
      const normal = ShiftVae.normalize(tiny, z)
      return { normal, back: ShiftVae.denormalize(tiny, normal) }
    })
    const values = [1, 2, 3, 4, 5, 6]
    const { back, normal } = Reference.evaluate(graph, { z: Reference.elements([1, 3, 1, 1, 2], values) })
    const expected = [0.25, 0.75, 16, 20, 3, 4]
    expected.forEach((value, i) => assert.closeTo(normal!.data[i]!, value, 1e-6))
    values.forEach((value, i) => assert.closeTo(back!.data[i]!, value, 1e-6))
  })

  it.live("bound graphs speak of normalised latents", () =>
    run(
      Effect.gen(function* () {
        const plain = { ...tiny, latentsMean: [0, 0, 0], latentsStd: [1, 1, 1] }
        const pixels = noise([1, 3, 2, 4, 4], 5)
        const sizes = { batch: 1, frames: 2, height: 4, width: 4 }
        const raw = yield* evaluate(ShiftVae.boundEncoder(plain, sizes, weights), { pixels })
        const { logvar, mean } = yield* encoded(pixels)
        tiny.latentsStd.forEach((std, z) => {
          assert.closeTo(mean.data[z]!, (raw.mean.data[z]! - tiny.latentsMean[z]!) / std, 1e-4)
          assert.closeTo(logvar.data[z]!, raw.logvar.data[z]! - 2 * Math.log(std), 1e-5)
        })
      }),
    ),
  )

  it("refuses sizes that its factors do not divide", () => {
    const encoder = (frames: number, height: number, width: number) => () =>
      ShiftVae.boundEncoder(tiny, { batch: 1, frames, height, width }, weights)
    for (const [frames, height, width] of [
      [3, 8, 8],
      [2, 6, 8],
      [2, 8, 10],
    ] as const)
      assert.throws(encoder(frames, height, width), RangeError, /multiple of 2 and H and W multiples of 4/)
    assert.doesNotThrow(encoder(1, 8, 8))
  })

  it("refuses configurations whose parts do not fit", () => {
    const decode = Schema.decodeUnknownSync(ShiftVae.Config)
    assert.throws(() => decode({ ...tiny, fine: 3 }), /multiple of fine/)
    assert.throws(() => decode({ ...tiny, latentsStd: [1] }), /one for each of 3 channels/)
    assert.throws(() => decode({ ...tiny, latentsStd: [1, 0, 1] }))
  })

  it("has the gradients of its finite differences", () => {
    const specs = ShiftVae.weightSpecs(tiny)
    checkGradients(
      specs,
      { pixels: noise([1, 3, 4, 8, 4], 1) },
      ({ pixels }, own) => {
        const posterior = ShiftVae.encode(tiny, pixels!, own)
        const z = VideoVae.sample(posterior, Ops.fullLike(posterior.mean, 0.5))
        return ShiftVae.decode(tiny, z, own, { clamp: false })
      },
      [
        "encoder.conv_in.weight",
        "encoder.fine_blocks.0.norm.weight",
        "encoder.fine_blocks.0.proj_in.weight",
        "encoder.down.weight",
        "encoder.coarse_blocks.0.proj_out.bias",
        "encoder.norm_out.bias",
        "encoder.conv_out.weight",
        "decoder.conv_in.bias",
        "decoder.coarse_blocks.0.proj_in.weight",
        "decoder.norm_up.weight",
        "decoder.up.weight",
        "decoder.fine_blocks.0.proj_out.weight",
        "decoder.conv_out.bias",
      ],
    )
  })
})
