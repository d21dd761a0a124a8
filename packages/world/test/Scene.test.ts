import { assert, describe, it } from "@effect/vitest"
import { Attributes, Outline, Scene } from "@reelgraph/world"
import { key, scenes } from "./fixtures.ts"

const sizes = [
  [128, 72],
  [72, 128],
  [96, 72],
  [72, 72],
  [96, 96],
] as const

const times = Array.from({ length: 33 }, (_, i) => i / 32)

/** The least distance of the shape from the edges of the picture over time, in units. */
const clearance = (scene: Scene.Scene): number => {
  const { down, side, up } = Outline.extents[scene.attributes.shape]
  const unit = Scene.pixelsPerUnit(scene)
  return Math.min(
    ...times
      .map((u) => Scene.at(scene, u))
      .flatMap(({ radius, x, y }) => [
        x - side * radius,
        y - up * radius,
        scene.width / unit - x - side * radius,
        scene.height / unit - y - down * radius,
      ]),
  )
}

describe("Scene", () => {
  it("the shape stays inside the picture, of any aspect, anywhere", () => {
    for (const [width, height] of sizes)
      for (const positions of ["near", 0.5, "free"] as const)
        for (const scene of scenes(280, { width, height, positions }))
          assert.isAtLeast(clearance(scene), 1 - 1e-9, JSON.stringify(scene.attributes))
  })

  it("free positions use all of the picture", () => {
    const still = Array.from({ length: 400 }, (_, i) =>
      Scene.make({ ...Attributes.all[0]!, motion: "still" }, key(`free ${i}`)),
    )
    const xs = still.map((scene) => Scene.at(scene, 0).x)
    const ys = still.map((scene) => Scene.at(scene, 0).y)
    // A circle of radius 15.5 has its centre in [16.5, 111.5] and [16.5, 55.5].
    for (const [places, low, high] of [
      [xs, 16.5, 111.5],
      [ys, 16.5, 55.5],
    ] as const)
      for (let fifth = 0; fifth < 5; fifth++) {
        const from = low + ((high - low) * fifth) / 5
        const inside = places.filter((place) => place >= from && place < from + (high - low) / 5)
        assert.isAtLeast(inside.length, 50)
      }
  })

  it("near positions are around the middle", () => {
    for (const scene of scenes(280, { positions: "near" })) {
      const [from, to] = [Scene.at(scene, 0), Scene.at(scene, 1)]
      assert.isAtMost(Math.abs((from.x + to.x) / 2 - 64), scene.track.orbit.radius * 0.3 + 8)
      // A star in the middle has its centre lower by up to 2.3, a triangle by up to 5.8.
      if (scene.attributes.motion !== "orbit") assert.isAtMost(Math.abs((from.y + to.y) / 2 - 36), 4 + 5.8)
    }
  })

  it("a small change of positions changes a scene little", () => {
    for (const attributes of Attributes.trained.slice(0, 100)) {
      const [a, b] = [0.5, 0.501].map((positions) =>
        Scene.at(Scene.make(attributes, key("curriculum"), { positions }), 0.3),
      )
      assert.isAtMost(Math.hypot(a!.x - b!.x, a!.y - b!.y), 0.2)
    }
  })

  it("motions go where they say, far enough to be measured", () => {
    for (const scene of sizes.flatMap(([width, height]) => scenes(280, { width, height }))) {
      const [from, half, to] = [Scene.at(scene, 0), Scene.at(scene, 0.5), Scene.at(scene, 1)]
      const [dx, dy] = [to.x - from.x, to.y - from.y]
      const away = Math.hypot(half.x - from.x, half.y - from.y)
      switch (scene.attributes.motion) {
        case "left":
          assert.isAtMost(dx, -30 + 1e-9)
          break
        case "right":
          assert.isAtLeast(dx, 30 - 1e-9)
          break
        case "up":
          assert.isAtMost(dy, -20 + 1e-9)
          break
        case "down":
          assert.isAtLeast(dy, 20 - 1e-9)
          break
        case "orbit":
          assert.isAtLeast(away, 16)
          assert.isAtMost(Math.hypot(dx, dy), 1e-9)
          break
        default:
          assert.strictEqual(away, 0)
      }
      const growth = to.radius / from.radius
      if (scene.attributes.motion === "grow") assert.isAtLeast(growth, 1.7)
      else assert.strictEqual(growth, 1)
    }
  })

  it("the same key makes the same scene, another key another one", () => {
    const attributes = Attributes.all[7]!
    assert.deepStrictEqual(Scene.make(attributes, key("a")), Scene.make(attributes, key("a")))
    assert.notDeepEqual(Scene.make(attributes, key("a")), Scene.make(attributes, key("b")))
  })
})
