import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { Pdq } from "../src/index.ts"

interface Case {
  readonly seed: number
  readonly width: number
  readonly height: number
  readonly hash: string
  readonly quality: number
}

const cases = JSON.parse(
  readFileSync(new URL("../../../test/oracle/pdq/hashes.json", import.meta.url), "utf8"),
) as ReadonlyArray<Case>

/** The picture of test/oracle/pdq/make.py. */
const picture = (width: number, height: number, seed: number): Pdq.Luma => {
  const data = new Uint8Array(width * height)
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const position =
        Math.imul(Math.floor(x / 9), 73856093) ^
        Math.imul(Math.floor(y / 7), 19349663) ^
        Math.imul(seed, 83492791)
      const block = Math.imul(position, 2654435761 | 0) >>> 24
      const ramp = Math.floor(
        (Math.floor((x * 255) / (width - 1)) + Math.floor((y * 255) / (height - 1))) / 2,
      )
      data[y * width + x] = Math.floor((block * (seed % 4) + ramp * 3) / (3 + (seed % 4)))
    }
  }
  return { width, height, data }
}

describe("Pdq", () => {
  it.each(cases)(
    "agrees with pdqhash on $width x $height, seed $seed",
    ({ seed, width, height, hash, quality }) => {
      const ours = Pdq.hash(picture(width, height, seed))
      // A smooth ramp has coefficients of zero, whose side of the median is a matter of rounding.
      if (quality >= 50) assert.isAtMost(Pdq.distance(ours.hash, hash), 2)
      assert.strictEqual(ours.quality, quality)
    },
  )

  it("filters and transforms as the definitions read", () => {
    for (const [width, height] of [
      [64, 64],
      [131, 97],
      [320, 180],
    ] as const) {
      const luma = picture(width, height, 3)
      const fast = Pdq.shrink(luma)
      const slow = Pdq.shrinkReference(luma)
      fast.forEach((value, i) => assert.closeTo(value, slow[i] as number, 2e-3))
      const a = Pdq.transform(slow)
      const b = Pdq.transformReference(slow)
      a.forEach((value, i) => assert.closeTo(value, b[i] as number, 1e-6))
    }
  })

  it("counts differing bits", () => {
    const zero = "0".repeat(64)
    assert.strictEqual(Pdq.distance(zero, zero), 0)
    assert.strictEqual(Pdq.distance(zero, "f".repeat(64)), 256)
    assert.strictEqual(Pdq.distance(`8${"0".repeat(63)}`, `${"0".repeat(63)}1`), 2)
  })

  it("matches clips frame by frame, in both directions, on usable frames only", () => {
    const frame = (digit: string, quality = 100): Pdq.FrameHash => ({
      seconds: 0,
      hash: digit.repeat(64),
      quality,
    })
    const a = [frame("0"), frame("f"), frame("3", 10)]
    assert.strictEqual(Pdq.matchFraction(a, a), 1)
    assert.strictEqual(Pdq.matchFraction(a, [frame("0")]), 0.5)
    assert.strictEqual(Pdq.matchFraction([frame("3", 10)], [frame("3", 10)]), 0)
    assert.strictEqual(Pdq.matchFraction([frame("0")], [frame("f")]), 0)
  })

  it("refuses a picture that is smaller than its grid", () => {
    assert.throws(
      () => Pdq.hash({ width: 63, height: 64, data: new Uint8Array(63 * 64) }),
      /at least 64 x 64/,
    )
  })
})
