/** Filters on either side of each of their thresholds. */
import { assert, describe, it } from "@effect/vitest"
import { Black, Blurry, Damaged, IngestChecks, Jitter, Motion } from "@reelgraph/operators/filter"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { decision, measured, summary, windowOf } from "./records.ts"

const Share = Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 }))
const Amount = Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 100 }))
const Count = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1000 }))

const video = (change: Partial<typeof measured.video>) => ({
  ...measured,
  video: { ...measured.video, ...change },
})

const damage = (change: Partial<typeof measured.damage>) => ({
  ...measured,
  damage: { ...measured.damage, damaged: true, ...change },
})

describe("IngestChecks", () => {
  it.effect.each([
    [{}, "keep"],
    [{ width: 1280, height: 720 }, "keep"],
    [{ width: 1280, height: 719 }, "low-resolution"],
    [{ width: 719, height: 1280 }, "low-resolution"],
    [{ durationSeconds: 2 }, "keep"],
    [{ durationSeconds: 1.99 }, "too-short"],
    [{ fps: 16 }, "keep"],
    [{ fps: 15.98 }, "low-frame-rate"],
    [{ bitsPerPixel: 0.02 }, "keep"],
    [{ bitsPerPixel: 0.0199 }, "starved"],
    [{ width: 2160, height: 720 }, "keep"],
    [{ width: 2161, height: 720 }, "stretched"],
    [{ width: 720, height: 2161 }, "stretched"],
    [{ width: 0, height: 0 }, "low-resolution"],
  ] as const)("%j: %s", ([change, expected]) =>
    Effect.map(decision(IngestChecks(), video(change)), (decided) => assert.strictEqual(decided, expected)),
  )

  it.effect("says what it found and what it asks for", () =>
    Effect.gen(function* () {
      const { operator, value } = IngestChecks({ minShortSide: 480 })
      const drop = yield* operator.run(video({ width: 640, height: 360 }), value, undefined as never)
      assert.strictEqual(drop.detail, "640x360 has a short side below 480")
    }),
  )

  const Bounds = Schema.Struct({
    minShortSide: Count,
    minSeconds: Amount,
    minFps: Amount,
    minBitsPerPixel: Share,
    maxAspect: Amount,
  })

  it.effect.prop(
    "keeps exactly what is within all bounds, also upright",
    [Bounds, Count, Count, Amount, Amount, Share],
    ([bounds, width, height, durationSeconds, fps, bitsPerPixel]) =>
      Effect.gen(function* () {
        const given = { width, height, durationSeconds, fps, bitsPerPixel }
        const fits =
          width >= bounds.minShortSide &&
          height >= bounds.minShortSide &&
          durationSeconds >= bounds.minSeconds &&
          fps >= bounds.minFps &&
          bitsPerPixel >= bounds.minBitsPerPixel &&
          width <= bounds.maxAspect * Math.max(1, height) &&
          height <= bounds.maxAspect * Math.max(1, width)
        const decided = yield* decision(IngestChecks(bounds), video(given))
        assert.strictEqual(decided === "keep", fits)
        const upright = video({ ...given, width: height, height: width })
        assert.strictEqual(yield* decision(IngestChecks(bounds), upright), decided)
      }),
  )
})

describe("Damaged", () => {
  it.effect.each([
    [{ damaged: false }, 0, "keep"],
    // One frame of an edit list, which `measure` does not take for damage.
    [{ damaged: false, decodedFrames: 239 }, 0, "keep"],
    [{ decodedFrames: 238 }, 0, "damaged"],
    [{ flagged: 1 }, 0, "damaged"],
    [{ errors: 1 }, 0, "damaged"],
    [{ decodedFrames: 216 }, 0.1, "keep"],
    [{ decodedFrames: 215 }, 0.1, "damaged"],
    [{ flagged: 12, errors: 12 }, 0.1, "keep"],
    [{ decodedFrames: 239, flagged: 12, errors: 12 }, 0.1, "damaged"],
    // More frames than promised make up for nothing.
    [{ decodedFrames: 260, errors: 25 }, 0.1, "damaged"],
    [{ decodedFrames: 0 }, 1, "keep"],
    // All of it is no more than all of it.
    [{ decodedFrames: 1, errors: 239 }, 1, "keep"],
    [{ decodedFrames: 1, errors: 239 }, 0.99, "damaged"],
    [{ expectedFrames: 0, decodedFrames: 0, errors: 1 }, 0.5, "damaged"],
  ] as const)("%j with %d: %s", ([change, maxShare, expected]) =>
    Effect.map(decision(Damaged({ maxShare }), damage(change)), (decided) =>
      assert.strictEqual(decided, expected),
    ),
  )
})

describe("Jitter", () => {
  it.effect.each([
    [3, "keep"],
    [4, "jitter"],
  ] as const)("%d cuts in a second: %s", ([cutsPerSecond, expected]) =>
    Effect.map(decision(Jitter(), { ...measured, overview: { ...summary, cutsPerSecond } }), (decided) =>
      assert.strictEqual(decided, expected),
    ),
  )
})

describe("Black", () => {
  it.effect.each([
    [0.1, "keep"],
    [0.11, "black"],
  ] as const)("%d of the frames: %s", ([blackShare, expected]) =>
    Effect.map(decision(Black(), windowOf({ blackShare })), (decided) =>
      assert.strictEqual(decided, expected),
    ),
  )
})

describe("Blurry", () => {
  it.effect.each([
    [false, "keep"],
    [true, "blurry"],
  ] as const)("vote %s: %s", ([blurry, expected]) =>
    Effect.map(decision(Blurry(), windowOf({ blurry })), (decided) => assert.strictEqual(decided, expected)),
  )
})

describe("Motion", () => {
  it.effect.each([
    [{}, "keep"],
    [{ longestFreezeSeconds: 2 }, "keep"],
    [{ longestFreezeSeconds: 2.01 }, "static"],
    [{ staticShare: 0.8 }, "keep"],
    [{ staticShare: 0.81 }, "static"],
    [{ motionMedian: 0.25 }, "keep"],
    // Nothing but the noise of the camera: intel_bottle-detection.mp4, 0 to 5 s.
    [{ motionMedian: 0.228 }, "slow"],
    [{ motionLow: 40 }, "keep"],
    [{ motionLow: 40.1 }, "shaky"],
    // A still picture is static, not slow.
    [{ staticShare: 1, motionMedian: 0, longestFreezeSeconds: 5 }, "static"],
    // One sudden movement is no shaking.
    [{ motionHigh: 120 }, "keep"],
  ] as const)("%j: %s", ([change, expected]) =>
    Effect.map(decision(Motion(), windowOf(change)), (decided) => assert.strictEqual(decided, expected)),
  )

  const Bounds = Schema.Struct({
    maxFreezeSeconds: Amount,
    maxStaticShare: Share,
    minMotion: Amount,
    maxMotion: Amount,
  })

  it.effect.prop(
    "keeps exactly what is within all bounds",
    [Bounds, Amount, Share, Amount, Amount],
    ([bounds, longestFreezeSeconds, staticShare, motionMedian, motionLow]) =>
      Effect.gen(function* () {
        const fits =
          longestFreezeSeconds <= bounds.maxFreezeSeconds &&
          staticShare <= bounds.maxStaticShare &&
          motionMedian >= bounds.minMotion &&
          motionLow <= bounds.maxMotion
        const given = windowOf({ longestFreezeSeconds, staticShare, motionMedian, motionLow })
        assert.strictEqual((yield* decision(Motion(bounds), given)) === "keep", fits)
      }),
  )
})
