/** Frames that are read, against what was drawn. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { join } from "node:path"
import { FrameReader } from "../src/index.ts"
import type { Picture } from "../src/internal/scenery.ts"
import { film, grey, scratch } from "./films.ts"

const folder = scratch()
const at = (name: string): string => join(folder, name)

type Rgb = readonly [number, number, number]

/** Luma and chroma of limited range (ITU-R BT.709, 8 bits). */
const yuvOf = ([red, green, blue]: Rgb): Rgb => {
  const y = (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255
  return [
    Math.round(16 + 219 * y),
    Math.round(128 + (224 * (blue / 255 - y)) / 1.8556),
    Math.round(128 + (224 * (red / 255 - y)) / 1.5748),
  ]
}

const flat =
  (rgb: Rgb) =>
  (picture: Picture): void => {
    const [y, u, v] = yuvOf(rgb)
    picture.y.fill(y)
    picture.u.fill(u)
    picture.v.fill(v)
  }

const colours: ReadonlyArray<Rgb> = [
  [220, 40, 40],
  [40, 165, 70],
  [50, 90, 225],
  [240, 215, 45],
  [14, 14, 16],
  [242, 242, 240],
  [128, 128, 130],
  [20, 28, 78],
]

const worst = (pixels: Uint8Array, expected: (i: number) => number): number =>
  pixels.reduce((most, value, i) => Math.max(most, Math.abs(value - expected(i))), 0)

describe("FrameReader", () => {
  it.live("gives colours back as they were drawn", () =>
    Effect.gen(function* () {
      const path = yield* film(
        at("colours.mp4"),
        colours.map((colour, i) => ({ at: i, paint: flat(colour) })),
        { width: 1280, height: 720 },
      )
      const pixels = yield* FrameReader.read(path, {
        indices: colours.map((_, i) => i),
        width: 128,
        height: 72,
      })
      const size = 128 * 72 * 3
      colours.forEach((colour, i) => {
        const picture = pixels.subarray(i * size, (i + 1) * size)
        assert.isAtMost(
          worst(picture, (o) => colour[o % 3]!),
          3,
          colour.join(),
        )
      })
    }),
  )

  it.live("takes the frames that are asked for, as often as they are", () =>
    Effect.gen(function* () {
      const path = yield* film(
        at("steps.mp4"),
        Array.from({ length: 30 }, (_, i) => ({ at: i, paint: grey(20 + 7 * i) })),
      )
      const indices = [0, 3, 3, 4, 17, 29]
      const pixels = yield* FrameReader.read(path, { indices, width: 1, height: 1 })
      assert.strictEqual(pixels.length, 3 * indices.length)
      assert.isAtMost(
        worst(pixels, (o) => ((4 + 7 * indices[Math.floor(o / 3)]!) * 255) / 219),
        2,
      )
    }),
  )

  it.live("scales by the mean of an area, after cutting to shape at the centre", () =>
    Effect.gen(function* () {
      // Columns of two pixels, dark and bright, but for bars of 16 pixels that a wide picture loses.
      const striped = (picture: Picture) => {
        picture.u.fill(128)
        picture.v.fill(128)
        picture.y.forEach((_, i) => {
          const x = i % 192
          picture.y[i] = x < 16 || x >= 176 ? 235 : x % 8 < 4 ? 16 : x < 96 ? 60 : 180
        })
      }
      const path = yield* film(at("stripes.mp4"), [{ at: 0, paint: striped }], { width: 192, height: 96 })
      const pixels = yield* FrameReader.read(path, { indices: [0], width: 20, height: 12 })
      const level = (y: number) => ((y - 16) * 255) / 219
      assert.isAtMost(
        worst(pixels, (o) => level(Math.floor(o / 3) % 20 < 10 ? 38 : 98)),
        4,
      )
    }),
  )

  it.live("says when there are not as many frames, and what cannot be asked for", () =>
    Effect.gen(function* () {
      const path = yield* film(
        at("short.mp4"),
        Array.from({ length: 5 }, (_, i) => ({ at: i, paint: grey(100) })),
      )
      const failing = (indices: ReadonlyArray<number>, width = 8) =>
        Effect.flip(FrameReader.read(path, { indices, width, height: 8 }))
      assert.deepInclude(yield* failing([0, 5]), { _tag: "EndsEarly", expected: 6, got: 5 })
      for (const [indices, width] of [
        [[1, 0], 8],
        [[0.5], 8],
        [[-1], 8],
        [[0], 0],
        [[0], 5000],
        [Array.from({ length: 3000 }, () => 0), 4000],
      ] as const)
        assert.strictEqual((yield* failing(indices, width))._tag, "FramesInvalid")
      assert.strictEqual(
        (yield* Effect.flip(FrameReader.read(at("none.mp4"), { indices: [0], width: 8, height: 8 })))._tag,
        "FileUnreadable",
      )
    }),
  )

  it("spreads indices from the first to the last", () => {
    assert.deepStrictEqual(FrameReader.spread(120, 5), [0, 30, 60, 89, 119])
    assert.deepStrictEqual(FrameReader.spread(2, 4), [0, 0, 1, 1])
    assert.deepStrictEqual(FrameReader.spread(7, 1), [3])
    assert.lengthOf(FrameReader.spread(120, 16), 16)
  })
})
