import { assert, describe, it } from "@effect/vitest"
import { CounterRandom } from "@reelgraph/core"
import { Measure, Render, Scene, Score } from "@reelgraph/world"
import { clip, key, scenes } from "./fixtures.ts"

const sizeOf = ({ height, width }: Scene.Scene, frames = 16): Measure.Size => ({ frames, width, height })

const compare = (
  scene: Scene.Scene,
  change: (pixels: Uint8Array, scene: Scene.Scene) => Uint8Array = (pixels) => pixels,
): Score.Comparison => ({
  attributes: scene.attributes,
  reading: Measure.read(change(clip(scene), scene), sizeOf(scene)),
})

const wrong = (comparisons: ReadonlyArray<Score.Comparison>): ReadonlyArray<Score.Comparison> =>
  comparisons.filter((comparison) => Score.of([comparison]).all < 1)

/** Blurs rows (stride 3) or columns (stride 3 * width) by [1 4 6 4 1] / 16, a deviation of 1. */
const blurred = (pixels: Uint8Array, stride: number, length: number): Uint8Array => {
  const out = new Uint8Array(pixels.length)
  for (let i = 0; i < out.length; i++) {
    const place = Math.floor(i / stride) % length
    const before = stride * Math.min(place, 1)
    const after = stride * Math.min(length - 1 - place, 1)
    const far =
      pixels[i - Math.min(2, place) * stride]! + pixels[i + Math.min(2, length - 1 - place) * stride]!
    out[i] = Math.round((far + 4 * (pixels[i - before]! + pixels[i + after]!) + 6 * pixels[i]!) / 16)
  }
  return out
}

/** Normal noise of deviation 6: twelve uniforms less their mean. */
const noise = (() => {
  const numbers = CounterRandom.uniforms(key("noise"), 12 * 4096)
  return Float64Array.from(
    { length: 4096 },
    (_, i) => 6 * numbers.subarray(12 * i, 12 * i + 12).reduce((sum, value) => sum + value, -6),
  )
})()

const degraded = (pixels: Uint8Array, { height, width }: Scene.Scene): Uint8Array => {
  const soft = blurred(blurred(pixels, 3, width), 3 * width, height)
  const out = new Uint8ClampedArray(soft.length)
  for (let i = 0; i < out.length; i++) out[i] = soft[i]! + noise[(i * 2657) % 4093]!
  return new Uint8Array(out.buffer)
}

describe("Measure", () => {
  it("reads every attribute of rendered scenes", () => {
    assert.deepStrictEqual(wrong(scenes(280).map((scene) => compare(scene))), [])
  }, 180_000)

  it("reads near scenes and other aspects", () => {
    for (const [width, height] of [
      [128, 72],
      [72, 128],
      [96, 72],
      [72, 72],
      [96, 96],
    ] as const)
      assert.deepStrictEqual(
        wrong(scenes(14, { width, height, positions: "near" }).map((scene) => compare(scene))),
        [],
      )
  })

  it("reads blurred and noisy pictures", () => {
    const score = Score.of(scenes(84).map((scene) => compare(scene, degraded)))
    for (const name of ["colour", "shape", "motion", "background", "found"] as const)
      assert.isAtLeast(score[name], 0.98, name)
    assert.isAtLeast(score.coherence, 0.98)
  }, 180_000)

  it("reads what is there, not what was to be there", () => {
    const scene = Scene.make(
      { colour: "red", shape: "star", motion: "left", background: "navy" },
      key("backwards"),
    )
    const size = scene.width * scene.height * 3
    const forwards = clip(scene)
    const backwards = new Uint8Array(
      Buffer.concat(
        Array.from({ length: 16 }, (_, f) => forwards.subarray((15 - f) * size, (16 - f) * size)),
      ),
    )
    assert.strictEqual(Measure.read(backwards, sizeOf(scene)).motion, "right")
    assert.strictEqual(Measure.read(forwards.slice(0, size), sizeOf(scene, 1)).motion, "still")
  })

  it("finds the shape where it is", () => {
    for (const scene of scenes(28))
      for (const { area, frame, x, y } of compare(scene).reading.track) {
        const place = Scene.at(scene, frame / 15)
        assert.isAtMost(Math.hypot(x - place.x, y - place.y), 0.5)
        assert.isAtMost(Math.abs(Math.sqrt(area) / place.radius - 1.64), 0.2)
      }
  })

  it("finds nothing on an empty background", () => {
    for (const scene of scenes(56)) {
      const reading = Measure.read(
        Render.frames({ ...scene, rgb: scene.backdrop.rgb, shading: 0 }, { frames: 4 }),
        sizeOf(scene, 4),
      )
      assert.isFalse(reading.found)
      assert.isUndefined(reading.shape)
      assert.strictEqual(reading.background, scene.attributes.background)
    }
  })

  it("two things are not coherent", () => {
    const attributes = { colour: "pink", shape: "circle", motion: "still", background: "black" } as const
    const [left, right] = [0.25, 0.75].map((share) => {
      const scene = Scene.make(attributes, key("two"))
      const place = { ...scene.track.from, x: scene.width * share }
      return clip({ ...scene, track: { ...scene.track, from: place, to: place } })
    })
    const both = left!.map((value, i) => Math.max(value, right![i]!))
    const { coherence } = Measure.read(both, { frames: 16, width: 128, height: 72 })
    assert.isAtMost(Math.abs(coherence - 0.5), 0.05)
  })
})

describe("Score", () => {
  it("counts each attribute, and what was read for what", () => {
    const scene = Scene.make(
      { colour: "cyan", shape: "square", motion: "up", background: "sand" },
      key("score"),
    )
    const { reading } = compare(scene)
    const right = { attributes: scene.attributes, reading }
    const other: Score.Comparison = {
      attributes: { ...scene.attributes, shape: "circle", motion: "down" },
      reading,
    }
    const lost: Score.Comparison = {
      attributes: scene.attributes,
      reading: {
        ...reading,
        found: false,
        colour: undefined,
        shape: undefined,
        motion: undefined,
        coherence: 0,
      },
    }
    const score = Score.of([right, right, other, lost])
    assert.deepStrictEqual(
      [score.count, score.colour, score.shape, score.motion, score.background, score.all, score.found],
      [4, 0.75, 0.5, 0.5, 1, 0.5, 0.75],
    )
    assert.closeTo(score.coherence, 0.75 * reading.coherence, 1e-12)
    assert.deepStrictEqual(score.confusion.shape, {
      square: { square: 2, none: 1 },
      circle: { square: 1 },
    })
  })
})
