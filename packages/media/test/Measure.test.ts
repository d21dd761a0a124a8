import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { join } from "node:path"
import { combing, contentBox } from "../src/internal/luma.ts"
import { MediaError, Measure, Shots } from "../src/index.ts"
import { film, grey, realVideos, scratch, type Take } from "./films.ts"

const folder = scratch()
const at = (name: string): string => join(folder, name)

/** A texture that moves `speed` pixels a second to the right. */
const moving =
  (fps: number, speed: number) =>
  (i: number): Take => ({
    at: i,
    paint: (picture) => {
      grey(128)(picture)
      const shift = (i * speed) / fps
      for (let y = 0; y < picture.height; y++) {
        for (let x = 0; x < picture.width; x++) {
          picture.y[y * picture.width + x] = 128 + 60 * Math.sin((x - shift) / 9) * Math.sin(y / 7)
        }
      }
    },
  })

describe("Measure", () => {
  it.live("measures brightness on a scale of full range, whatever the file's range", () =>
    Effect.gen(function* () {
      const takes = [16, 126, 235].map((y, i) => ({ at: i, paint: grey(y) }))
      const tv = yield* Measure.measure(yield* film(at("tv.mp4"), takes))
      ;[0, 128, 255].forEach((luma, i) => assert.closeTo(tv.series.luma[i] as number, luma, 2.5))
      const pc = yield* Measure.measure(yield* film(at("pc.mp4"), takes, { range: "pc" }))
      ;[16, 126, 235].forEach((luma, i) => assert.closeTo(pc.series.luma[i] as number, luma, 2.5))
      assert.deepStrictEqual([...tv.series.dark], [1, 0, 0])
    }),
  )

  it.live("gives the same motion for the same movement at 24, 30 and 60 frames a second", () =>
    Effect.gen(function* () {
      const medians: Array<number> = []
      for (const fps of [24, 30, 60]) {
        const takes = Array.from({ length: 2 * fps }, (_, i) => moving(fps, 48)(i))
        const { series } = yield* Measure.measure(
          yield* film(at(`motion-${fps}.mp4`), takes, { rate: [fps, 1] }),
        )
        medians.push(Shots.summarize(series, { startSeconds: 0, endSeconds: 2 }).motionMedian)
      }
      assert.isAbove(medians[0] as number, 2)
      for (const median of medians) assert.closeTo(median / (medians[0] as number), 1, 0.15)
    }),
  )

  it.live("refuses more frames than the limit", () =>
    Effect.gen(function* () {
      const path = yield* film(
        at("many.mp4"),
        Array.from({ length: 12 }, (_, i) => ({ at: i, paint: grey(60) })),
      )
      const error = yield* Effect.flip(Measure.measure(path, { maxFrames: 10 }))
      assert.instanceOf(error, MediaError.TooLarge)
      assert.deepInclude(error, { what: "frames", limit: 10 })
    }),
  )

  it("finds the content inside bars, and none in a black frame", () => {
    const plane = new Uint8Array(64 * 48)
    assert.isUndefined(contentBox(plane, 64, 48, 10))
    for (let y = 6; y < 40; y++) plane.fill(120, y * 64 + 8, y * 64 + 60)
    assert.deepStrictEqual(contentBox(plane, 64, 48, 10), { x: 8, y: 6, width: 52, height: 34 })
  })

  it("knows woven fields from a picture and from noise", () => {
    const [width, height] = [128, 96]
    const texture = (x: number, y: number) => 128 + 80 * Math.sin(x / 5) * Math.cos(y / 6)
    const make = (value: (x: number, y: number) => number) =>
      Uint8Array.from({ length: width * height }, (_, i) => value(i % width, Math.floor(i / width)))
    assert.strictEqual(combing(make(texture), width, height), 0)
    assert.strictEqual(
      combing(
        make((x, y) => texture(x + (y % 2) * 9, y)),
        width,
        height,
      ),
      1,
    )
    assert.strictEqual(
      combing(
        make((x, y) => Math.imul(x * 31 + y * 977, 0x9e3779b1) >>> 24),
        width,
        height,
      ),
      0,
    )
    assert.strictEqual(
      combing(
        make(() => 90),
        width,
        height,
      ),
      -1,
    )
  })

  describe.skipIf(realVideos === undefined)("on the real files (REEL_TEST_VIDEOS)", () => {
    const real = (name: string): string => join(realVideos ?? "", name)
    it.live("finds the published cuts of skv_bikes.mp4", () =>
      Effect.gen(function* () {
        const { series, damage } = yield* Measure.measure(real("skv_bikes.mp4"))
        const shots = Shots.cuts(series, { threshold: 10 })
        assert.deepStrictEqual(
          shots.map((shot) => shot.startFrame),
          [0, 30, 76, 137, 187, 242],
        )
        assert.strictEqual(shots.at(-1)?.endSeconds, 10)
        assert.deepInclude(damage, { expectedFrames: 250, decodedFrames: 250, damaged: false })
      }),
    )
    it.live("sees that 48 of the 50 frames of dec_corrupted.mp4 are whole", () =>
      Effect.gen(function* () {
        const { damage } = yield* Measure.measure(real("dec_corrupted.mp4"))
        assert.strictEqual(damage.expectedFrames, 50)
        assert.strictEqual(damage.decodedFrames - damage.flagged, 48)
        assert.isTrue(damage.damaged)
      }),
    )
    it.live("sees that the others are whole and progressive", () =>
      Effect.gen(function* () {
        for (const name of [
          "intel_asl_walk.mkv",
          "mdn_rabbit320.webm",
          "mpy_no_duration.webm",
          "tc_nasa_13013.mp4",
          "mb_cursed-vfr.mp4",
          "ax_portrait_4k60.mp4",
          "mb_sar_2x1.mp4",
        ]) {
          const { damage, series } = yield* Measure.measure(real(name))
          assert.isFalse(damage.damaged, name)
          assert.notInclude([...series.samples.interlaced], 1, name)
        }
      }),
    )
  })
})
