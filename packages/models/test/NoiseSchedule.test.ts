import { assert, describe, it } from "@effect/vitest"
import { CounterRandom } from "@reelgraph/core"
import { NoiseSchedule, Timesteps } from "@reelgraph/models"
import * as Schema from "effect/Schema"

const key = CounterRandom.key(5, "item", "train")
const all = ["linear", "scaled-linear", "cosine"] as const

const Steps = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 200 }))

describe("NoiseSchedule.discrete", () => {
  it.each(all)("%s: data only fade, and variance is kept", (betas) => {
    const schedule = NoiseSchedule.discrete({ betas })
    schedule.alphasCumprod.forEach((bar, t) => {
      assert.isTrue(bar > 0 && bar < (schedule.alphasCumprod[t - 1] ?? 1))
      const { alpha, sigma } = NoiseSchedule.levelAt(schedule, t)
      assert.approximately(alpha ** 2 + sigma ** 2, 1, 1e-15)
    })
  })

  it.each(all)("%s rescaled to zero-terminal SNR ends at exactly 0 and starts where it did", (betas) => {
    const plain = NoiseSchedule.discrete({ betas })
    const rescaled = NoiseSchedule.discrete({ betas, zeroTerminalSnr: true })
    assert.strictEqual(rescaled.alphasCumprod.at(-1), 0)
    assert.strictEqual(NoiseSchedule.snr(NoiseSchedule.levelAt(rescaled, 999)), 0)
    assert.approximately(rescaled.alphasCumprod[0]!, plain.alphasCumprod[0]!, 1e-6)
    assert.isAbove(plain.alphasCumprod.at(-1)!, 0)
  })

  it.each([
    [{ trainSteps: 0 }, "NoiseSchedule.discrete: trainSteps is 0; give a whole number of at least 1"],
    [{ betaEnd: 2 }, "NoiseSchedule.discrete: betaEnd is 2; give a number from 0.0001 to 1"],
    [{ betas: "sigmoid" as "linear" }, `betas is "sigmoid"; give "linear", "scaled-linear" or "cosine"`],
  ])("refuses %j", (options, message) => {
    assert.throws(() => NoiseSchedule.discrete(options), message)
  })

  it("refuses timesteps it does not have", () => {
    assert.throws(
      () => NoiseSchedule.levelAt(NoiseSchedule.discrete(), 1000),
      "timestep is 1000; give a whole number from 0 to 999",
    )
  })
})

describe("NoiseSchedule.flow", () => {
  it("shifts keep the ends and the order, and undo one another", () => {
    for (const shift of [0.5, 1, 3, 5, 12]) {
      assert.strictEqual(NoiseSchedule.shiftSigma(0, shift), 0)
      assert.strictEqual(NoiseSchedule.shiftSigma(1, shift), 1)
      assert.approximately(
        NoiseSchedule.shiftSigma(NoiseSchedule.shiftSigma(0.3, shift), 1 / shift),
        0.3,
        1e-12,
      )
    }
    assert.isAbove(NoiseSchedule.shiftSigma(0.5, 3), 0.5)
  })

  it("the shift of tokens goes through FLUX's two points", () => {
    assert.approximately(Math.log(NoiseSchedule.shiftForTokens(256)), 0.5, 1e-12)
    assert.approximately(Math.log(NoiseSchedule.shiftForTokens(4096)), 1.15, 1e-12)
    // mu 0.63 for 1024 tokens, from FLUX's own calculate_shift.
    assert.approximately(Math.log(NoiseSchedule.shiftForTokens(1024)), 0.63, 1e-12)
  })

  it("refuses a shift of 0", () => {
    assert.throws(
      () => NoiseSchedule.flow({ shift: 0 }),
      "NoiseSchedule.flow: shift is 0; give a number above 0",
    )
  })
})

describe("NoiseSchedule.trainingTimesteps", () => {
  const n = 20_000
  const mean = (numbers: Float64Array) => numbers.reduce((sum, x) => sum + x, 0) / numbers.length

  it("uniform on a discrete schedule: whole numbers, each timestep as likely", () => {
    const drawn = NoiseSchedule.trainingTimesteps(NoiseSchedule.discrete({ trainSteps: 10 }), key, n)
    const counts = new Uint32Array(10)
    for (const t of drawn) counts[t]!++
    assert.strictEqual(
      counts.reduce((sum, count) => sum + count, 0),
      n,
    )
    // Five standard deviations of a binomial count: 5 sqrt(n 0.1 0.9).
    counts.forEach((count) => assert.approximately(count, n / 10, 5 * Math.sqrt(n * 0.09)))
  })

  it("logit-normal on a flow: the logit has the mean and deviation asked for", () => {
    const schedule = NoiseSchedule.flow()
    const distribution = { kind: "logit-normal", mean: 1.3, std: 0.8 } as const
    const logits = NoiseSchedule.trainingTimesteps(schedule, key, n, { distribution }).map((t) =>
      Math.log(t / (1000 - t)),
    )
    const middle = mean(logits)
    assert.approximately(middle, 1.3, (5 * 0.8) / Math.sqrt(n))
    assert.approximately(
      Math.sqrt(mean(logits.map((logit) => (logit - middle) ** 2))),
      0.8,
      (5 * 0.8) / Math.sqrt(2 * n),
    )
  })

  it("a shift moves training towards noise by its logarithm in the logit", () => {
    const distribution = { kind: "logit-normal", mean: 0, std: 1 } as const
    const plain = NoiseSchedule.trainingTimesteps(NoiseSchedule.flow(), key, 100, { distribution })
    const shifted = NoiseSchedule.trainingTimesteps(NoiseSchedule.flow({ shift: 3 }), key, 100, {
      distribution,
    })
    shifted.forEach((t, i) =>
      assert.approximately(
        Math.log(t / (1000 - t)) - Math.log(plain[i]! / (1000 - plain[i]!)),
        Math.log(3),
        1e-9,
      ),
    )
  })

  it.prop("draws depend on key, stream and position alone", [Steps, Steps], ([count, stream]) => {
    for (const distribution of [{ kind: "uniform" }, { kind: "logit-normal", mean: 0, std: 1 }] as const) {
      const draw = (length: number, at: number) =>
        NoiseSchedule.trainingTimesteps(NoiseSchedule.flow(), key, length, { distribution, stream: at })
      assert.deepStrictEqual([...draw(count, stream)], [...draw(count + 7, stream).subarray(0, count)])
      assert.notDeepEqual([...draw(count, stream)], [...draw(count, stream + 1)])
    }
  })
})

describe("Timesteps.spaced", () => {
  it.each([
    ["linspace", false, [999, 888, 777, 666, 555, 444, 333, 222, 111, 0]],
    ["leading", false, [900, 800, 700, 600, 500, 400, 300, 200, 100, 0]],
    ["trailing", false, [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]],
    ["linspace", true, [999, 899, 799, 699, 599, 500, 400, 300, 200, 100]],
    ["leading", true, [900, 810, 720, 630, 540, 450, 360, 270, 180, 90]],
    ["trailing", true, [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]],
  ] as const)("%s, clean end %s", (spacing, cleanEnd, expected) => {
    assert.deepStrictEqual(Timesteps.spaced(1000, 10, { spacing, cleanEnd }), expected)
  })

  it("rounds halves to the even number, as numpy does", () => {
    assert.deepStrictEqual([0.5, 1.5, 2.5, 2.4, 2.6].map(Timesteps.roundHalfEven), [0, 2, 2, 2, 3])
    // 20 - 2.5 i ends in a half at every other step.
    assert.deepStrictEqual(Timesteps.spaced(20, 8, { spacing: "trailing" }), [19, 17, 14, 11, 9, 7, 4, 1])
  })

  it.prop("falls and stays inside, for every number of steps", [Steps], ([steps]) => {
    for (const spacing of ["linspace", "leading", "trailing"] as const)
      for (const cleanEnd of [false, true]) {
        const timesteps = Timesteps.spaced(250, steps, { spacing, cleanEnd })
        assert.strictEqual(timesteps.length, steps)
        timesteps.forEach((t, i) =>
          assert.isTrue(Number.isInteger(t) && t >= 0 && t < (timesteps[i - 1] ?? 250), `${spacing} ${t}`),
        )
      }
  })

  it("refuses more steps than there are, and offsets past the end", () => {
    assert.throws(
      () => Timesteps.spaced(10, 11, { spacing: "leading" }),
      "timesteps: steps is 11; give a whole number from 1 to 10",
    )
    assert.throws(
      () => Timesteps.spaced(10, 5, { spacing: "leading", offset: 3 }),
      "offset is 3; give at most 1",
    )
  })
})
