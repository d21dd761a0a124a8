import { assert, describe, it } from "@effect/vitest"
import * as CounterRandom from "@reelgraph/core/CounterRandom"
import type * as Tensor from "@reelgraph/onnx/Tensor"

import * as Crops from "../src/Crops.ts"

const [frames, height, width] = [2, 12, 20]
const key = CounterRandom.key(1, "crops", "test")

/** Red is the column, blue the row, green what is asked. */
const clip = (index: number, green: (y: number, x: number) => number): Uint8Array =>
  Uint8Array.from({ length: frames * height * width * 3 }, (_, at) => {
    const pixel = Math.floor(at / 3)
    const [y, x] = [Math.floor(pixel / width) % height, pixel % width]
    return [10 * x, green(y, x), 100 * index + y][at % 3]!
  })

const clips = (green: (y: number, x: number) => number): Crops.Clips => ({
  frames,
  height,
  width,
  pixels: [clip(0, green), clip(1, green)],
})

/** A channel's value of a batch's item, in 0..255. */
const byteAt = (
  { data, shape }: Tensor.Tensor<"f32">,
  [b, c, f, y, x]: readonly [number, number, number, number, number],
): number => {
  const [, channels, count, rows, columns] = shape as [number, number, number, number, number]
  return Math.round((data[(((b * channels + c) * count + f) * rows + y) * columns + x]! + 1) * 127.5)
}

/** Where an item was cut, by what its first pixel says. */
const placeOf = (batch: Tensor.Tensor<"f32">, b: number) => {
  const blue = byteAt(batch, [b, 2, 0, 0, 0])
  return { clip: Math.floor(blue / 100), y: blue % 100, x: byteAt(batch, [b, 0, 0, 0, 0]) / 10 }
}

describe("Crops", () => {
  const options = { batch: 64, height: 4, width: 8, candidates: 1, grid: 2 }

  it("cuts windows of every clip at places of the grid, whole and in order", () => {
    const batch = Crops.batch(
      clips((y, x) => y * width + x),
      key,
      3,
      options,
    )
    assert.deepStrictEqual([...batch.shape], [64, 3, 2, 4, 8])
    const places = Array.from({ length: 64 }, (_, b) => placeOf(batch, b))
    places.forEach(({ clip, x, y }, b) => {
      assert.isTrue(x % 2 === 0 && y % 2 === 0 && x <= width - 8 && y <= height - 4)
      for (const [f, i, j] of [
        [0, 0, 0],
        [1, 3, 7],
        [1, 2, 5],
      ] as const) {
        assert.strictEqual(byteAt(batch, [b, 0, f, i, j]), 10 * (x + j))
        assert.strictEqual(byteAt(batch, [b, 1, f, i, j]), (y + i) * width + x + j)
        assert.strictEqual(byteAt(batch, [b, 2, f, i, j]), 100 * clip + y + i)
      }
    })
    // 7 columns, 5 rows and 2 clips: the ends of each are reached.
    const reached = (of: (place: (typeof places)[number]) => number) => [
      Math.min(...places.map(of)),
      Math.max(...places.map(of)),
    ]
    assert.deepStrictEqual(
      [reached(({ x }) => x), reached(({ y }) => y), reached(({ clip }) => clip)],
      [
        [0, 12],
        [0, 8],
        [0, 1],
      ],
    )
  })

  it("is a function of key and stream", () => {
    const plain = clips(() => 0)
    const data = (stream: number, own = key) => Crops.batch(plain, own, stream, options).data
    assert.deepStrictEqual(data(5), data(5))
    assert.notDeepEqual(data(5), data(6))
    assert.notDeepEqual(data(5), data(5, CounterRandom.key(2, "crops", "test")))
  })

  it("prefers windows with contrast", () => {
    // Only the last four columns have any.
    const edge = clips((y, x) => (x >= 16 && y % 8 === 0 ? 255 : 0))
    const withContrast = (candidates: number) => {
      const batch = Crops.batch(edge, key, 1, { ...options, candidates })
      return Array.from({ length: 64 }, (_, b) => placeOf(batch, b)).filter(({ x }) => x > 8).length
    }
    assert.isAbove(withContrast(8), 1.5 * withContrast(1))
  })

  it("gives whole clips in [-1, 1], one after the other", () => {
    const batch = Crops.whole(
      clips((y) => (y === 0 ? 0 : 255)),
      0,
      2,
    )
    assert.deepStrictEqual([...batch.shape], [2, 3, frames, height, width])
    assert.deepStrictEqual([placeOf(batch, 0).clip, placeOf(batch, 1).clip], [0, 1])
    const plane = frames * height * width
    assert.deepStrictEqual([batch.data[plane], batch.data[plane + width]], [-1, 1])
    assert.strictEqual(byteAt(batch, [1, 0, 1, 11, 19]), 190)
    assert.deepStrictEqual(
      Crops.whole(
        clips(() => 7),
        1,
        1,
      ).data,
      Crops.whole(
        clips(() => 7),
        0,
        2,
      ).data.slice(3 * plane),
    )
  })
})
