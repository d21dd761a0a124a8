/** The sampling loop around a denoiser that is a formula. */
import { assert, describe, it } from "@effect/vitest"
import { CounterRandom } from "@reelgraph/core"
import * as NoiseSchedule from "@reelgraph/models/NoiseSchedule"
import * as Sampler from "@reelgraph/models/Sampler"
import * as Tensor from "@reelgraph/onnx/Tensor"
import * as Effect from "effect/Effect"

import * as denoising from "@reelgraph/inference/Denoising"

/** The key of what a record of this number draws. */
const keyOf = (seed: number) => CounterRandom.key(seed, "item", "sample")

const latents = [2, 1, 2, 2]
const size = 8
const tokens = 3
const textDim = 2

type Feeds = Parameters<denoising.Predictor["run"]>[0]

/** Says half of what it is given, and the sum of the states that the mask lets through. */
const formula = (feeds: Feeds, badBelow = 0) => {
  const [batch] = feeds.latents.shape as [number]
  const out = new Float32Array(batch * size)
  for (let b = 0; b < batch; b++) {
    let sum = 0
    for (let l = 0; l < tokens; l++)
      for (let d = 0; d < textDim; d++)
        sum += feeds.mask.data[b * tokens + l]! * feeds.text.data[(b * tokens + l) * textDim + d]!
    for (let i = 0; i < size; i++) out[b * size + i] = 0.5 * feeds.latents.data[b * size + i]! + sum
  }
  return feeds.timestep.data[0]! < badBelow ? out.fill(Number.NaN) : out
}

const text = (value: number): denoising.Text => ({
  states: new Float32Array(tokens * textDim).fill(value),
  mask: Float32Array.of(1, 1, 0),
})
const nothing: denoising.Text = {
  states: new Float32Array(tokens * textDim),
  mask: new Float32Array(tokens),
}

const run = (
  count: number,
  change: Partial<denoising.Options> & { readonly badBelow?: number; readonly said?: Array<Feeds> } = {},
) => {
  const session = {
    run: (feeds: Feeds) => {
      change.said?.push(feeds)
      const data = formula(feeds, change.badBelow)
      return Effect.succeed({ prediction: Tensor.make("f32", feeds.latents.shape, data) })
    },
  } as unknown as denoising.Predictor
  const plan = Sampler.plan("flow-euler", NoiseSchedule.flow({ shift: 3 }), 4)
  return denoising.denoise(
    { session, together: 1, latents, tokens, textDim, scale: 3, ...change },
    Array.from({ length: count }, (_, i) => ({
      key: keyOf(i),
      plan,
      positive: text(i / 10),
      negative: nothing,
    })),
  )
}

describe("denoising", () => {
  it.effect("asks about a sample twice with guidance, and once without", () =>
    Effect.gen(function* () {
      const said: Array<Feeds> = []
      yield* run(1, { said })
      assert.deepStrictEqual(
        said.map(({ latents }) => latents.shape[0]),
        [2, 2, 2, 2],
      )
      const [{ mask, text }] = said as [Feeds]
      assert.deepStrictEqual([...mask.data], [1, 1, 0, 0, 0, 0])
      assert.isTrue(text.data.subarray(tokens * textDim).every((value) => value === 0))
      said.length = 0
      yield* run(1, { said, scale: 1 })
      assert.deepStrictEqual(
        said.map(({ latents }) => latents.shape[0]),
        [1, 1, 1, 1],
      )
    }),
  )

  it.effect("is guided away from the negative text", () =>
    Effect.gen(function* () {
      // The text adds s to the prediction, so guidance g adds g s: without noise that is all that differs.
      const [plain] = yield* run(2, { scale: 1 }).pipe(Effect.map((all) => all.slice(1)))
      const [guided] = yield* run(2, { scale: 3 }).pipe(Effect.map((all) => all.slice(1)))
      const apart = plain!.map((value, i) => guided![i]! - value)
      assert.isTrue(apart.every((value) => Math.abs(value - apart[0]!) < 1e-5))
      assert.isBelow(apart[0]!, -0.1)
    }),
  )

  it.effect.each([1, 2, 3, 8])("gives the same when %d go together, padded or not", (together) =>
    Effect.gen(function* () {
      const alone = yield* run(5)
      const said: Array<Feeds> = []
      assert.deepStrictEqual(yield* run(5, { together, said }), alone)
      assert.isTrue(said.every(({ latents }) => latents.shape[0] === 2 * together))
    }),
  )

  it.effect("names the step at which a prediction is no number", () =>
    Effect.gen(function* () {
      const { timesteps } = Sampler.plan("flow-euler", NoiseSchedule.flow({ shift: 3 }), 4)
      const error = yield* Effect.flip(run(1, { badBelow: timesteps[1]! }))
      assert.strictEqual(error._tag, "SamplingDiverged")
      assert.include(error.message, "step 3 of 4 (flow-euler): expected finite numbers, found NaN")
    }),
  )
})
