import { assert, describe, it } from "@effect/vitest"
import * as CounterRandom from "@reelgraph/core/CounterRandom"
import * as NoiseSchedule from "@reelgraph/models/NoiseSchedule"

import * as DiffusionBatches from "../src/DiffusionBatches.ts"
import { channels, set, tokens, width } from "./set.ts"

const items = 12
const clips: DiffusionBatches.Bucket = {
  name: "2x4x4",
  size: [2, 4, 4],
  batch: 4,
  share: 3,
  distribution: { kind: "uniform" },
}
const images: DiffusionBatches.Bucket = {
  name: "1x4x4",
  size: [1, 4, 4],
  batch: 8,
  share: 1,
  distribution: { kind: "uniform" },
}

const source = set(items)

const batches = (captionDropout = 0.25, run = "run") =>
  DiffusionBatches.make({
    set: source,
    denoiser: { channels, textDim: width },
    tokens,
    buckets: [clips, images],
    schedule: NoiseSchedule.flow(),
    prediction: "flow",
    captionDropout,
    key: CounterRandom.key(1, run, "train"),
  })

/** Draws between 0 and `count`, in no order. */
const draws = (count: number) => Array.from({ length: count }, (_, i) => (i * 7919) % count)

/** The share that came out is within four deviations of the one that was asked for. */
const assertShare = (found: number, count: number, share: number, what: string) =>
  assert.closeTo(found / count, share, 4 * Math.sqrt((share * (1 - share)) / count), what)

describe("DiffusionBatches", () => {
  it("is a function of key and draw, in whatever order", () => {
    const [one, other] = [batches(), batches()]
    const forwards = [0, 1, 2, 2 ** 31].map((draw) => one.batchOf(clips, draw))
    const backwards = [2 ** 31, 2, 1, 0].map((draw) => other.batchOf(clips, draw))
    assert.deepStrictEqual(forwards, backwards.toReversed())
    const kinds = ["latents", "noise", "timestep"] as const
    for (const kind of kinds) {
      assert.notDeepEqual(forwards[0]![kind]!.data, forwards[1]![kind]!.data, kind)
      assert.notDeepEqual(
        forwards[0]![kind]!.data,
        batches(0.25, "another").batchOf(clips, 0)[kind]!.data,
        kind,
      )
    }
  })

  it("chooses buckets by their shares", () => {
    const { bucketOf } = batches()
    const count = 4000
    const found = draws(count).filter((draw) => bucketOf(draw) === clips).length
    assertShare(found, count, 0.75, "clips")
  })

  it("leaves captions out as often as asked, picks items and captions alike", () => {
    const { batchOf } = batches()
    const count = 2000
    const seen = { dropped: 0, long: 0, items: new Map<number, number>() }
    const first = new Map(
      Array.from({ length: items }, (_, i) => {
        const out = new Float32Array(channels * 32)
        source.latents("2x4x4", i, out, 0)
        return [out[0]!, i]
      }),
    )
    for (const draw of draws(count / clips.batch)) {
      const { latents, mask, text } = batchOf(clips, draw)
      for (let b = 0; b < clips.batch; b++) {
        const length = mask!.data.slice(b * tokens, (b + 1) * tokens).reduce((a, x) => a + x, 0)
        if (length === 0) seen.dropped++
        if (length === 2) seen.long++
        // What the mask does not count is zero, what it counts is not.
        const states = text!.data.subarray(b * tokens * width, (b + 1) * tokens * width)
        assert.isTrue(states.subarray(length * width).every((value) => value === 0))
        assert.isTrue(states.subarray(0, length * width).every((value) => value !== 0))
        const item = first.get(Number(latents!.data[b * channels * 32]))!
        seen.items.set(item, (seen.items.get(item) ?? 0) + 1)
      }
    }
    assertShare(seen.dropped, count, 0.25, "captions left out")
    assertShare(seen.long, count, 0.375, "the second caption")
    for (let i = 0; i < items; i++) assertShare(seen.items.get(i) ?? 0, count, 1 / items, `item ${i}`)
  })

  it("never leaves out, or always, when told so", () => {
    const lengths = (dropout: number) => batches(dropout).batchOf(images, 1)["mask"]!.data
    assert.isTrue(Array.from({ length: images.batch }).every((_, b) => lengths(0)[b * tokens] === 1))
    assert.isTrue(lengths(1).every((value) => value === 0))
  })

  it("has the shapes of the bucket", () => {
    const batch = batches().batchOf(images, 0)
    assert.deepStrictEqual(
      Object.fromEntries(Object.entries(batch).map(([name, { shape }]) => [name, [...shape]])),
      {
        latents: [8, channels, 1, 4, 4],
        noise: [8, channels, 1, 4, 4],
        text: [8, tokens, width],
        mask: [8, tokens],
        timestep: [8],
        levels: [8, 4],
      },
    )
  })
})
