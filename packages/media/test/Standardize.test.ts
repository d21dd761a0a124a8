import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, type Exit, Cause } from "effect"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { MediaError, Probe, Standardize, Verify } from "../src/index.ts"
import { film, grey, lumaPlanes, mean, realVideos, scratch, type Take } from "./films.ts"

const small: Standardize.Target = { width: 160, height: 90, fps: 24, frames: 48 }
const folder = scratch()
const at = (name: string): string => join(folder, name)

const failure = <A, E>(exit: Exit.Exit<A, E>): unknown => {
  assert.strictEqual(exit._tag, "Failure")
  const reason = exit._tag === "Failure" ? exit.cause.reasons[0] : undefined
  return reason !== undefined && Cause.isFailReason(reason) ? reason.error : reason
}

const run = (
  takes: ReadonlyArray<Take>,
  name: string,
  options: Partial<Standardize.StandardizeOptions> & { film?: Parameters<typeof film>[2] },
) =>
  Effect.gen(function* () {
    const path = yield* film(at(`${name}-source.mp4`), takes, options.film)
    const clip = yield* Standardize.standardize({
      path,
      startSeconds: 0,
      out: at(`${name}.mp4`),
      target: small,
      ...options,
    })
    yield* Verify.verifyClip(clip.out, options.target ?? small)
    return { clip, lumas: (yield* lumaPlanes(clip.out)).map(mean) }
  })

const run24 = (frames: number, paint: (i: number) => Take["paint"]): ReadonlyArray<Take> =>
  Array.from({ length: frames }, (_, i) => ({ at: i, paint: paint(i) }))

describe("Standardize", () => {
  it.live.each([
    [24, 1],
    [24000, 1001],
    [25, 1],
    [30000, 1001],
    [30, 1],
    [50, 1],
    [60, 1],
    [10, 1],
  ] as ReadonlyArray<readonly [number, number]>)(
    "shows no frame of the shot after the window, nor of the one before, from %s/%s fps",
    ([num, den]) =>
      Effect.gen(function* () {
        // Dark, then 2 s of grey, then bright: the window is exactly the grey shot.
        const fps = num / den
        const from = Math.ceil(fps * 0.7)
        const to = Math.ceil(from + fps * 2 - 1e-6)
        const takes = run24(to + Math.ceil(fps), (i) => grey(i < from ? 40 : i < to ? 120 : 220))
        const { clip, lumas } = yield* run(takes, `cut-${num}-${den}`, {
          startSeconds: from / fps,
          endSeconds: from / fps + 2,
          film: { rate: [num, den] },
        })
        assert.strictEqual(lumas.length, 48)
        lumas.forEach((luma, k) => assert.closeTo(luma, 120, 3, `clip frame ${k}`))
        assert.strictEqual(clip.endSeconds, clip.startSeconds + 2)
      }),
  )

  it.live("starts at the exact frame, far from a keyframe", () =>
    Effect.gen(function* () {
      const { clip, lumas } = yield* run(
        run24(180, (i) => grey(30 + i)),
        "ramp",
        {
          startSeconds: 77 / 24,
          film: { gop: 250 },
        },
      )
      lumas.forEach((luma, k) => assert.closeTo(luma, 30 + 77 + k, 0.8, `clip frame ${k}`))
      assert.strictEqual(clip.sourceFrames, 48)
    }),
  )

  it.live("keeps the timing of a variable frame rate", () =>
    Effect.gen(function* () {
      const takes = [0, 400, 450, 1300, 1900, 2500].map((at, i) => ({ at, paint: grey(40 + 30 * i) }))
      const { clip, lumas } = yield* run(takes, "vfr", { film: { rate: [1000, 1] } })
      lumas.forEach((luma, k) => {
        const shown = takes.findLastIndex((take) => take.at / 1000 <= k / 24 + 0.001)
        assert.closeTo(luma, 40 + 30 * shown, 3, `clip frame ${k}`)
      })
      assert.strictEqual(clip.sourceFrames, 5)
    }),
  )

  it.live("turns the picture upright", () =>
    Effect.gen(function* () {
      // Coded: white at the left. A quarter turn clockwise brings the left edge to the top.
      const paint: Take["paint"] = (picture) => {
        grey(40)(picture)
        for (let y = 0; y < picture.height; y++)
          picture.y.fill(220, y * picture.width, y * picture.width + 80)
      }
      const { clip } = yield* run(
        run24(60, () => paint),
        "turned",
        { film: { rotation: 90 } },
      )
      const info = yield* Probe.probe(at("turned-source.mp4"))
      assert.deepStrictEqual([info.rotation, info.width, info.height], [90, 96, 160])
      const [plane = new Uint8Array()] = yield* lumaPlanes(clip.out)
      assert.closeTo(mean(plane.subarray(0, 160 * 30)), 220, 4)
      assert.closeTo(mean(plane.subarray(160 * 60)), 40, 4)
    }),
  )

  it.live("brings full range to limited range", () =>
    Effect.gen(function* () {
      const { lumas } = yield* run(
        run24(60, (i) => grey(i % 2 === 0 ? 255 : 0)),
        "full",
        { film: { range: "pc" } },
      )
      lumas.forEach((luma, k) => assert.closeTo(luma, k % 2 === 0 ? 235 : 16, 2.5, `clip frame ${k}`))
    }),
  )

  it.live("cuts off the bars that it is told of, and nothing else", () =>
    Effect.gen(function* () {
      const paint: Take["paint"] = (picture) => {
        grey(180)(picture)
        picture.y.fill(16, 0, 160 * 12)
        picture.y.fill(16, 160 * 84)
      }
      const crop = { x: 0, y: 12, width: 160, height: 72 }
      const { clip } = yield* run(
        run24(60, () => paint),
        "bars",
        { crop },
      )
      for (const plane of yield* lumaPlanes(clip.out)) assert.isAbove(Math.min(...plane), 170)
    }),
  )

  it.live("writes the same bytes every time", () =>
    Effect.gen(function* () {
      const takes = run24(60, (i) => grey(60 + i))
      yield* run(takes, "same-a", {})
      yield* run(takes, "same-b", {})
      assert.isTrue(readFileSync(at("same-a.mp4")).equals(readFileSync(at("same-b.mp4"))))
    }),
  )

  it.live("says how many frames there were when the source ends early, and leaves no file", () =>
    Effect.gen(function* () {
      const path = yield* film(
        at("brief.mp4"),
        run24(40, () => grey(90)),
      )
      const out = at("brief-out.mp4")
      const error = failure(
        yield* Effect.exit(Standardize.standardize({ path, startSeconds: 0, out, target: small })),
      )
      assert.instanceOf(error, MediaError.EndsEarly)
      assert.deepInclude(error, { expected: 48, got: 40 })
      assert.isFalse(existsSync(out))
      const narrow = failure(
        yield* Effect.exit(
          Standardize.standardize({ path, startSeconds: 0, endSeconds: 1, out, target: small }),
        ),
      )
      assert.deepInclude(narrow, { expected: 48, got: 24 })
    }),
  )

  it.live("says why it cannot write", () =>
    Effect.gen(function* () {
      const path = yield* film(
        at("plain.mp4"),
        run24(60, () => grey(90)),
      )
      const missing = failure(
        yield* Effect.exit(
          Standardize.standardize({ path, startSeconds: 0, out: at("no/such/folder.mp4"), target: small }),
        ),
      )
      assert.instanceOf(missing, MediaError.Unwritable)
      assert.strictEqual(missing.code, "ENOENT")
      if (!existsSync("/dev/full")) return
      const full = failure(
        yield* Effect.exit(
          Standardize.standardize({ path, startSeconds: 0, out: "/dev/full", target: small }),
        ),
      )
      assert.instanceOf(full, MediaError.Unwritable)
      assert.strictEqual(full.code, "ENOSPC")
      assert.match(full.message, /disk is full/)
      assert.isTrue(existsSync("/dev/full"))
    }),
  )

  it.live("stops when interrupted, closes every file and removes what it began", () =>
    Effect.gen(function* () {
      const path = yield* film(
        at("long.mp4"),
        run24(300, (i) => grey(40 + (i % 100))),
      )
      const descriptors = () => (existsSync("/proc/self/fd") ? readdirSync("/proc/self/fd").length : 0)
      const out = at("interrupted.mp4")
      const target = { width: 1280, height: 720, fps: 24, frames: 240 }
      const before = descriptors()
      const fiber = yield* Effect.forkChild(Standardize.standardize({ path, startSeconds: 0, out, target }))
      while (!existsSync(out)) yield* Effect.sleep("2 millis")
      yield* Fiber.interrupt(fiber)
      assert.isFalse(existsSync(out))
      assert.strictEqual(descriptors(), before)
    }),
  )

  describe.skipIf(realVideos === undefined)("on the real files (REEL_TEST_VIDEOS)", () => {
    const real = (name: string): string => join(realVideos ?? "", name)
    it.live.each([
      ["ax_portrait_4k60.mp4", 0, 7],
      ["ax_hdr10-av1.mp4", 0.5, 12],
      ["mb_sar_2x1.mp4", 1, 24],
      ["mb_cursed-vfr.mp4", 2, 24],
      ["intel_asl_walk.mkv", 0.5, 24],
      ["mdn_crystal.mp4", 3, 24],
      ["mpy_no_duration.webm", 1, 24],
      ["tc_nasa_13013.mp4", 9, 24],
      ["mdn_rabbit320.webm", 4, 24],
    ] as ReadonlyArray<readonly [string, number, number]>)(
      "makes a standard clip of %s",
      ([name, startSeconds, frames]) =>
        Effect.gen(function* () {
          const target = { width: 1280, height: 720, fps: 24, frames }
          const out = at(`real-${name}.mp4`)
          yield* Standardize.standardize({ path: real(name), startSeconds, out, target })
          yield* Verify.verifyClip(out, target)
        }),
    )
  })
})
