import { assert, describe, it } from "@effect/vitest"
import { Digest } from "@reelgraph/core"
import { Attributes, Measure, Outline, Render, Scene } from "@reelgraph/world"
import { clip, key, plain, scenes } from "./fixtures.ts"

/** A part of each frame of a clip, [frames, height, width, 3]. */
const crop = (pixels: Uint8Array, width: number, height: number, window: Render.Window): Uint8Array => {
  const frames = pixels.length / (width * height * 3)
  const rows: Array<Uint8Array> = []
  for (let f = 0; f < frames; f++)
    for (let i = 0; i < window.height; i++) {
      const start = ((f * height + window.y + i) * width + window.x) * 3
      rows.push(pixels.subarray(start, start + window.width * 3))
    }
  return new Uint8Array(Buffer.concat(rows))
}

/** Means of k x k pixels. */
const reduced = (pixels: Uint8Array, width: number, height: number, k: number): Float64Array => {
  const out = new Float64Array((width / k) * (height / k) * 3)
  for (let i = 0; i < height; i++)
    for (let j = 0; j < width; j++)
      for (let c = 0; c < 3; c++)
        out[(Math.floor(i / k) * (width / k) + Math.floor(j / k)) * 3 + c]! +=
          pixels[(i * width + j) * 3 + c]! / k ** 2
  return out
}

const mean = (values: ArrayLike<number>): number =>
  Array.from(values).reduce((sum, value) => sum + value, 0) / values.length

/** Whether a point is inside the star's ten corners, by counting crossings. */
const insideStar = (x: number, y: number): boolean => {
  const corners = Array.from({ length: 10 }, (_, k) => {
    const radius = 1.36 * (k % 2 ? 0.46 : 1)
    const angle = (k * Math.PI) / 5
    return [radius * Math.sin(angle), -radius * Math.cos(angle)] as const
  })
  return (
    corners.filter(([ax, ay], k) => {
      const [bx, by] = corners[(k + 1) % 10]!
      return ay > y !== by > y && x < ax + ((bx - ax) * (y - ay)) / (by - ay)
    }).length %
      2 ===
    1
  )
}

describe("Outline", () => {
  it("the folded star is the polygon", () => {
    for (let i = -60; i <= 60; i++)
      for (let j = -60; j <= 60; j++) {
        const [x, y] = [j / 40 + 0.003, i / 40 + 0.004]
        assert.strictEqual(Outline.distances.star(x, y) < 0, insideStar(x, y), `${x} ${y}`)
      }
  })

  it("distances change no faster than points move, and shapes reach as far as their extents", () => {
    for (const shape of Attributes.Shape.literals) {
      const extent = Outline.extents[shape]
      const distance = Outline.distances[shape]
      const reach = { side: 0, up: 0, down: 0 }
      let steepest = 0
      for (let i = -80; i <= 80; i++)
        for (let j = -80; j <= 80; j++) {
          const [x, y] = [j / 40, i / 40]
          const here = distance(x, y)
          steepest = Math.max(steepest, Math.abs(distance(x + 0.025, y) - here) / 0.025)
          if (here < 0) {
            reach.side = Math.max(reach.side, Math.abs(x))
            reach.up = Math.max(reach.up, -y)
            reach.down = Math.max(reach.down, y)
          }
        }
      assert.isAtMost(steepest, 1 + 1e-9)
      for (const way of ["side", "up", "down"] as const) {
        assert.isAtMost(reach[way], extent[way], `${shape} ${way}`)
        assert.isAtLeast(reach[way], extent[way] - 0.15, `${shape} ${way}`)
      }
    }
  })
})

describe("Render", () => {
  it("draws each pixel with the share that the shape covers", () => {
    for (const shape of Attributes.Shape.literals)
      for (const scale of [1, 3]) {
        const scene = plain(
          Scene.make({ colour: "pink", shape, motion: "orbit", background: "black" }, key(shape)),
        )
        const { radius, x, y } = Scene.at(scene, 0.3)
        const pixels = Render.frame(scene, 0.3, { scale })
        const width = scene.width * scale
        let worst = 0
        for (let p = 0; p < pixels.length / 3; p++) {
          const dx = ((p % width) + 0.5) / scale - x
          const dy = (Math.floor(p / width) + 0.5) / scale - y
          const d = Outline.distances[shape](dx / radius, dy / radius) * radius * scale
          const covered = Math.min(1, Math.max(0, 0.5 - d))
          for (let c = 0; c < 3; c++) {
            const back = Math.round(scene.backdrop.rgb[c]!)
            const expected = back + covered * (Math.min(255, scene.rgb[c]!) - back)
            worst = Math.max(worst, Math.abs(pixels[3 * p + c]! - expected))
          }
        }
        assert.isAtMost(worst, 0.51)
      }
  })

  it("a painter paints over the picture before, into a part of an array too", () => {
    const [scene] = scenes(1) as [Scene.Scene]
    const options = { scale: 2, window: { x: 20, y: 10, width: 200, height: 120 } }
    const paint = Render.painter(scene, options)
    const size = 200 * 120 * 3
    const into = new Uint8Array(size + 6).fill(7)
    for (const u of [0, 0.4, 1]) {
      paint(u, into.subarray(3, size + 3))
      assert.deepStrictEqual(into.slice(3, size + 3), Render.frame(scene, u, options))
    }
    assert.deepStrictEqual([...into.slice(0, 3), ...into.slice(-3)], Array<number>(6).fill(7))
  })

  it("a window holds the bytes of that part of the picture", () => {
    for (const [i, scene] of scenes(28).entries())
      for (const scale of [1, 2.5]) {
        const [width, height] = [scene.width * scale, scene.height * scale]
        const whole = Render.frames(scene, { frames: 4, scale })
        const window = { x: (i * 7) % 64, y: (i * 5) % 32, width: 64, height: 40 }
        const part = Render.frames(scene, { frames: 4, scale, window })
        assert.deepStrictEqual(part, crop(whole, width, height, window))
      }
  })

  it("a larger picture, made smaller, is the small picture", () => {
    for (const scene of scenes(14)) {
      const small = Render.frame(scene, 0.4)
      const large = reduced(Render.frame(scene, 0.4, { scale: 4 }), 512, 288, 4)
      const differences = small.map((value, i) => Math.abs(value - large[i]!))
      // Grain of one picture's pixels is a blend of the other's.
      assert.isAtMost(mean(differences), 2)
      assert.isAtMost(Math.abs(mean(small) - mean(large)), 0.2)
      const centre = (scale: number) =>
        Measure.read(Render.frame(scene, 0.4, { scale }), {
          frames: 1,
          width: 128 * scale,
          height: 72 * scale,
        }).track[0]!
      const [a, b] = [centre(1), centre(4)]
      assert.isAtMost(Math.hypot(a.x - b.x, a.y - b.y), 0.15)
    }
  })

  it("grain has its deviation at every scale", () => {
    const scene = plain(Scene.make({ ...Attributes.all[2]!, background: "gray" }, key("grain")))
    const grain = { deviation: 8, seed: 77 }
    for (const scale of [1, 2, 5]) {
      const pixels = Render.frame(
        { ...scene, rgb: scene.backdrop.rgb, backdrop: { ...scene.backdrop, grain } },
        0,
        {
          scale,
          window: { x: 0, y: 0, width: 128 * scale, height: 10 * scale },
        },
      )
      const middle = mean(pixels)
      const deviation = Math.sqrt(mean(Float64Array.from(pixels, (value) => (value - middle) ** 2)))
      assert.isAtMost(Math.abs(deviation - 8), 1, `scale ${scale}`)
    }
  })

  it("frames are spread evenly from u = 0 to 1, and a single one is at 0.5", () => {
    const scene = Scene.make({ ...Attributes.all[0]!, motion: "left" }, key("times"))
    const size = 128 * 72 * 3
    const five = Render.frames(scene, { frames: 5 })
    for (let f = 0; f < 5; f++)
      assert.deepStrictEqual(five.slice(f * size, (f + 1) * size), Render.frame(scene, f / 4))
    assert.deepStrictEqual(Render.frames(scene, { frames: 1 }), Render.frame(scene, 0.5))
  })

  it("pixels stay the same: weights are trained on them", () => {
    const bytes = Buffer.concat(scenes(12).map(clip))
    assert.strictEqual(
      Digest.ofBytes(bytes),
      "47861bdba4a57e5e1061dc73de59477b5b6d47e9edc4364ee534b8f1cf21f026",
    )
  })
})
