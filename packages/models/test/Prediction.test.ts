import { assert, describe, it } from "@effect/vitest"
import { CounterRandom } from "@reelgraph/core"
import {
  Gaussian,
  Guidance,
  NoiseSchedule,
  Prediction,
  SamplingError,
  TimestepEmbedding,
} from "@reelgraph/models"
import * as Schema from "effect/Schema"

const predictions = ["epsilon", "sample", "v", "flow"] as const
const key = CounterRandom.key(2, "item", "noise")
const x0 = Gaussian.normals(key, 33, 0)
const noise = Gaussian.normals(key, 33, 1)

const close = (got: Float32Array, expected: Float32Array, tolerance: number) => {
  assert.strictEqual(got.length, expected.length)
  const worst = got.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i]!)), 0)
  assert.isAtMost(worst, tolerance)
}

/** Sigmas at which neither data nor noise are lost in float32. */
const Sigma = Schema.Finite.check(Schema.isBetween({ minimum: 0.02, maximum: 0.98 }))

const levelsOf = (sigma: number): ReadonlyArray<Prediction.Level> => [
  { alpha: 1 - sigma, sigma },
  { alpha: Math.sqrt(1 - sigma ** 2), sigma },
]

describe("Prediction", () => {
  it.prop("a perfect prediction of noisy data gives back the data and the noise", [Sigma], ([sigma]) => {
    for (const level of levelsOf(sigma))
      for (const prediction of predictions) {
        const x = Prediction.addNoise(x0, noise, level)
        const output = Prediction.target(prediction, x0, noise, level)
        close(Prediction.toSample(prediction, x, output, level), x0, 1e-4)
        close(Prediction.toNoise(prediction, x, output, level), noise, 1e-4)
      }
  })

  it.prop("conversions there and back give the same prediction", [Sigma], ([sigma]) => {
    for (const level of levelsOf(sigma))
      for (const from of predictions)
        for (const to of predictions) {
          const x = Prediction.addNoise(x0, noise, level)
          // Any output will do: a conversion is a change of variables, not of quality.
          const there = Prediction.convert(from, to, x, x0, level)
          close(Prediction.convert(to, from, x, there, level), x0, 2e-3)
        }
  })

  it("v and flow still say the data where only noise is left", () => {
    const level = { alpha: 0, sigma: 1 }
    for (const prediction of ["v", "flow"] as const)
      close(
        Prediction.toSample(prediction, noise, Prediction.target(prediction, x0, noise, level), level),
        x0,
        1e-6,
      )
  })

  it("epsilon there is an error that says what to do", () => {
    assert.throws(
      () => Prediction.toSample("epsilon", noise, noise, { alpha: 0, sigma: 1 }),
      SamplingError.PredictionSingular,
      "a prediction of epsilon says nothing new at alpha 0, sigma 1; predict v or flow there",
    )
  })

  it("arrays of unlike lengths are an error", () => {
    assert.throws(
      () => Prediction.addNoise(x0, noise.subarray(1), { alpha: 1, sigma: 1 }),
      SamplingError.LengthMismatch,
      "the second array has 32 numbers where 33 were expected",
    )
  })

  it("results do not share memory with what the model gave", () => {
    const output = x0.slice()
    const level = { alpha: 0.6, sigma: 0.8 }
    const kept = [
      Prediction.toSample("sample", noise, output, level),
      Prediction.toNoise("epsilon", noise, output, level),
      Prediction.convert("v", "v", noise, output, level),
    ]
    output.fill(0)
    for (const result of kept) assert.deepStrictEqual(result, x0)
  })

  it("the targets are those of the literature", () => {
    const schedule = NoiseSchedule.discrete()
    const level = NoiseSchedule.levelAt(schedule, 400)
    const one = Float32Array.of(2)
    const n = Float32Array.of(-1)
    assert.deepStrictEqual(Prediction.target("epsilon", one, n, level), n)
    assert.deepStrictEqual(Prediction.target("sample", one, n, level), one)
    assert.approximately(Prediction.target("v", one, n, level)[0]!, -level.alpha - 2 * level.sigma, 1e-6)
    assert.deepStrictEqual(Prediction.target("flow", one, n, level), Float32Array.of(-3))
  })
})

describe("Gaussian", () => {
  const n = 100_000
  const numbers = Gaussian.normals(key, n, 3)
  const moment = (power: number) => numbers.reduce((sum, x) => sum + x ** power, 0) / n

  it("has the first four moments of a standard normal", () => {
    // Five standard errors each: sqrt of 1, 2, 15 and 96 over n.
    assert.approximately(moment(1), 0, 5 * Math.sqrt(1 / n))
    assert.approximately(moment(2), 1, 5 * Math.sqrt(2 / n))
    assert.approximately(moment(3), 0, 5 * Math.sqrt(15 / n))
    assert.approximately(moment(4), 3, 5 * Math.sqrt(96 / n))
  })

  it("neighbours, pairs and streams are uncorrelated", () => {
    const other = Gaussian.normals(key, n, 4)
    for (const lag of [1, 2, 3]) {
      let sum = 0
      for (let i = lag; i < n; i++) sum += numbers[i]! * numbers[i - lag]!
      assert.approximately(sum / n, 0, 5 / Math.sqrt(n))
    }
    assert.approximately(numbers.reduce((sum, x, i) => sum + x * other[i]!, 0) / n, 0, 5 / Math.sqrt(n))
  })

  it("a shorter draw is the start of a longer one", () => {
    for (let length = 0; length < 12; length++)
      assert.deepStrictEqual(Gaussian.normals(key, length, 3), numbers.slice(0, length))
  })

  it("is Box and Muller on CounterRandom's uniforms", () => {
    const [u1, u2] = CounterRandom.uniforms(key, 2) as unknown as [number, number]
    const radius = Math.sqrt(-2 * Math.log(1 - u1))
    assert.deepStrictEqual(
      Gaussian.normals(key, 2),
      Float32Array.of(radius * Math.cos(2 * Math.PI * u2), radius * Math.sin(2 * Math.PI * u2)),
    )
  })
})

describe("Guidance", () => {
  const deviation = (x: Float32Array) => {
    const mean = x.reduce((sum, value) => sum + value, 0) / x.length
    return Math.sqrt(x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (x.length - 1))
  }

  it("at scale 1 is the prompt's prediction, at 0 the negative one", () => {
    close(Guidance.apply(x0, noise, { scale: 1 }), x0, 1e-6)
    close(Guidance.apply(x0, noise, { scale: 0 }), noise, 0)
  })

  it("goes on beyond the prompt's prediction, away from the negative one", () => {
    assert.deepStrictEqual(
      Guidance.apply(Float32Array.of(2), Float32Array.of(1), { scale: 5 }),
      Float32Array.of(6),
    )
  })

  it("rescaled in whole has the deviation of the prompt's prediction, in part one between", () => {
    const scale = 7.5
    const plain = deviation(Guidance.apply(x0, noise, { scale }))
    assert.approximately(deviation(Guidance.apply(x0, noise, { scale, rescale: 1 })), deviation(x0), 1e-5)
    const part = deviation(Guidance.apply(x0, noise, { scale, rescale: 0.7 }))
    assert.approximately(part, 0.7 * deviation(x0) + 0.3 * plain, 1e-5)
  })

  it("refuses what cannot be", () => {
    assert.throws(
      () => Guidance.apply(x0, noise, { scale: -1 }),
      "guidance: scale is -1; give a number of 0 or more",
    )
    assert.throws(
      () => Guidance.apply(x0, noise, { scale: 2, rescale: 2 }),
      "rescale is 2; give a number from 0 to 1",
    )
    assert.throws(() => Guidance.apply(x0, noise.subarray(3), { scale: 2 }), SamplingError.LengthMismatch)
  })
})

describe("TimestepEmbedding", () => {
  it("cosines first without downscale is Wan's", () => {
    const row = TimestepEmbedding.sinusoid([500], 256, { cosineFirst: true, downscale: 0 })
    for (const i of [0, 1, 64, 127]) {
      assert.approximately(row[i]!, Math.cos(500 * 10_000 ** (-i / 128)), 1e-6)
      assert.approximately(row[128 + i]!, Math.sin(500 * 10_000 ** (-i / 128)), 1e-6)
    }
  })

  it("an odd width ends with 0, and rows follow one another", () => {
    const both = TimestepEmbedding.sinusoid([3, 9], 7)
    assert.strictEqual(both[6], 0)
    assert.deepStrictEqual(both.slice(7), TimestepEmbedding.sinusoid([9], 7))
  })

  it("refuses a width too small", () => {
    assert.throws(
      () => TimestepEmbedding.sinusoid([1], 2),
      "timestep embedding: width is 2; give a whole number of at least 4",
    )
  })
})
