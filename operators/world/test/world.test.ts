/** Clips of the sample world: how often everything is shown, and that scenes depend on nothing else. */
import { assert, describe, it } from "@effect/vitest"
import type { Port } from "@reelgraph/core"
import { RenderWorld, WorldScenes, WorldSet } from "@reelgraph/operators/world"
import { Attributes, Captions, Render } from "@reelgraph/world"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import * as worldScene from "../worldScene.ts"
import { call, type FramesRecord, opened, memory } from "../../encode/test/calling.ts"

const decode = Schema.decodeUnknownSync(WorldSet.record)

const set = (given: { readonly [field: string]: unknown } = {}): Port.RecordOf<typeof WorldSet> =>
  decode({ name: "world", seed: 1, count: 130, ...given })

const range = (given: { readonly [field: string]: unknown }, from: number, to: number) =>
  worldScene.range(set(given), from, to)

const attributesOf = (scenes: ReadonlyArray<worldScene.WorldScene>) =>
  scenes.map(({ scene }) => Attributes.index(scene.attributes))

describe("WorldSet", () => {
  it("needs a name, a seed and a count", () => {
    assert.deepStrictEqual(set(), {
      name: "world",
      seed: 1,
      count: 130,
      split: "trained",
      positions: 1,
      frames: 16,
      width: 128,
      height: 72,
      seconds: 5,
      captionsPerClip: 2,
      images: 0,
    })
  })

  it("has bounds", () => {
    for (const given of [
      { count: 0 },
      { count: 1_000_001 },
      { name: "a/b" },
      { positions: 1.1 },
      { frames: 0 },
      { width: 8 },
      { frames: 256, width: 1024, height: 1024 },
      { captionsPerClip: 17 },
      { split: "test" },
    ])
      assert.throws(() => set(given), undefined, undefined, JSON.stringify(given))
  })
})

describe("scenes of a set", () => {
  it.each([
    ["held-out", Attributes.heldOut],
    ["trained", Attributes.trained],
    ["all", Attributes.all],
  ] as const)(
    "show every combination of %s equally often, each time round in another order",
    (split, list) => {
      const indices = attributesOf(range({ split }, 0, 2 * list.length))
      const sorted = list.map(Attributes.index).toSorted((a, b) => a - b)
      const rounds = [indices.slice(0, list.length), indices.slice(list.length)]
      for (const one of rounds)
        assert.deepStrictEqual(
          one.toSorted((a, b) => a - b),
          sorted,
        )
      assert.notDeepEqual(rounds[0], rounds[1])
      assert.notDeepEqual(rounds[0], sorted)
    },
  )

  it("depend on the set's name, seed and look, and on their number alone", () => {
    const scenes = range({ split: "held-out", images: 0.3 }, 0, 240)
    assert.deepStrictEqual(
      range({ split: "held-out", images: 0.3, count: 999 }, 100, 130),
      scenes.slice(100, 130),
    )
    const other = range({ split: "held-out", images: 0.3, seed: 2 }, 0, 240)
    assert.notDeepEqual(attributesOf(other), attributesOf(scenes))
    assert.notDeepEqual(other[0]!.scene.rgb, scenes[0]!.scene.rgb)
    assert.notDeepEqual(range({ split: "held-out", name: "other" }, 0, 9), range({ split: "held-out" }, 0, 9))
  })

  it("have different captions of known words, and images as often as asked", () => {
    const scenes = range({ captionsPerClip: 3, images: 0.25 }, 0, 1000)
    for (const { captions } of scenes) {
      assert.lengthOf(captions, 3)
      for (const word of captions.flatMap(Captions.words)) assert.isTrue(Captions.vocabulary.has(word), word)
    }
    assert.isAbove(new Set(scenes.flatMap(({ captions }) => captions)).size, 2900)
    // Within three standard deviations of 250.
    assert.closeTo(scenes.filter(({ frames }) => frames === 1).length, 250, 41)
    assert.isTrue(range({}, 0, 64).every(({ frames }) => frames === 16))
  })
})

describe("WorldScenes", () => {
  it.effect("gives parts of 64, which stay when the set grows", () =>
    Effect.gen(function* () {
      const parts = yield* call(WorldScenes(), set())
      assert.deepStrictEqual(
        parts.map(({ from, to }: { from: number; to: number }) => [from, to]),
        [
          [0, 64],
          [64, 128],
          [128, 130],
        ],
      )
      const more = yield* call(WorldScenes(), set({ count: 500 }))
      assert.deepStrictEqual(more.slice(0, 2), parts.slice(0, 2))
    }).pipe(Effect.provide(memory)),
  )
})

describe("RenderWorld", () => {
  it.effect("draws scenes into the rows that the records say, images apart", () =>
    Effect.gen(function* () {
      const given = { images: 0.4, frames: 3, width: 32, height: 24 }
      const part = { ...set(given), from: 10, to: 22 }
      const records: ReadonlyArray<FramesRecord> = yield* call(RenderWorld(), part)
      const scenes = range(given, 10, 22)
      assert.sameMembers(
        records.map(({ name }) => name),
        scenes.map(({ name }) => name),
      )
      assert.strictEqual(new Set(records.map(({ pixels }) => pixels.shard.sha256)).size, 2)
      for (const record of records) {
        const { captions, frames, scene } = scenes.find(({ name }) => name === record.name)!
        assert.deepInclude(record, { captions, frames, width: 32, height: 24, seconds: 5 })
        const { data, shape } = yield* (yield* opened(record.pixels.shard)).read("frames", { dtype: "u8" })
        const size = frames * 24 * 32 * 3
        assert.deepStrictEqual(shape.slice(1), [frames, 24, 32, 3])
        const { row } = record.pixels
        assert.deepStrictEqual(
          Buffer.from(data.slice(row * size, (row + 1) * size)),
          Buffer.from(Render.frames(scene, { frames })),
        )
      }
    }).pipe(Effect.provide(memory)),
  )
})
