/** Measures as a file, and windows made of them. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

import { assert, describe, it } from "@effect/vitest"
import { CounterRandom } from "@reelgraph/core"
import { type Measure, SeriesFile } from "@reelgraph/media"
import { SplitClips } from "@reelgraph/operators/filter"
import { BlobStore, BlobStoreFs, BlobStoreMemory } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { measured, run } from "./records.ts"

const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

const Seed = between(0, 0x7fffffff)

/** Random measures of `frames` frames, of which every `every`th is sampled. */
const randomSeries = (seed: number, frames: number, every: number): Measure.FrameSeries => {
  const numbers = (name: string, length = frames) =>
    CounterRandom.uniforms(CounterRandom.key(seed, name, "series"), length)
  const sampled = Array.from({ length: Math.ceil(frames / every) }, (_, i) => i * every)
  const blur = numbers("blur", sampled.length)
  return {
    frames,
    seconds: Float64Array.from({ length: frames }, (_, i) => i / 24),
    stepSeconds: 1 / 24,
    sceneScore: Float32Array.from(numbers("score")),
    luma: Float32Array.from(numbers("luma")),
    dark: Float32Array.from(numbers("dark")),
    difference: Float32Array.from(numbers("difference")),
    motion: Float32Array.from(numbers("motion")),
    samples: {
      frame: Uint32Array.from(sampled),
      // A frame without edges has no blur.
      blur: Float32Array.from(blur, (value) => (value < 0.2 ? Number.NaN : value)),
      interlaced: Int8Array.from(blur, (value) => Math.floor(value * 3) - 1),
      box: Uint16Array.from(numbers("box", sampled.length * 4), (value) => value * 65535),
    },
    codedWidth: 640,
    codedHeight: 360,
  }
}

describe("SeriesFile", () => {
  it.effect.prop(
    "reads back what it wrote",
    [Seed, between(1, 300), between(1, 50)],
    ([seed, frames, every]) =>
      Effect.gen(function* () {
        const series = randomSeries(seed, frames, every)
        const bytes = SeriesFile.encode(series)
        assert.deepStrictEqual(yield* SeriesFile.decode(bytes), series)
        assert.deepStrictEqual(SeriesFile.encode(series), bytes)
      }),
  )

  it.effect.prop(
    "refuses a part of a file",
    [Seed, Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 0.999 }))],
    ([seed, share]) =>
      Effect.gen(function* () {
        const bytes = SeriesFile.encode(randomSeries(seed, 50, 12))
        const error = yield* Effect.flip(
          SeriesFile.decode(bytes.subarray(0, Math.floor(bytes.length * share))),
        )
        assert.strictEqual(error._tag, "SeriesInvalid")
      }),
  )

  it.effect("refuses what is no such file", () =>
    Effect.gen(function* () {
      for (const bytes of [
        new Uint8Array(0),
        new TextEncoder().encode("PAR1 is how such a file begins and ends PAR1"),
        new Uint8Array(4096),
      ]) {
        assert.strictEqual((yield* Effect.flip(SeriesFile.decode(bytes)))._tag, "SeriesInvalid")
      }
    }),
  )
})

describe("SplitClips", () => {
  /** A series without cuts but at the given frames. */
  const filmed = (frames: number, cuts: ReadonlyArray<number>, box?: ReadonlyArray<number>) => {
    const series = randomSeries(1, frames, 12)
    return {
      ...series,
      sceneScore: Float32Array.from({ length: frames }, (_, i) => (cuts.includes(i) ? 40 : 0)),
      samples: {
        ...series.samples,
        box: Uint16Array.from(
          { length: series.samples.frame.length * 4 },
          (_, i) => (box ?? [0, 0, 640, 360])[i % 4]!,
        ),
      },
    } satisfies Measure.FrameSeries
  }

  const split = (series: Measure.FrameSeries, params: Parameters<typeof SplitClips>[0] = {}) =>
    Effect.gen(function* () {
      const blobs = yield* BlobStore
      const measures = yield* blobs.putBytes(SeriesFile.encode(series), "application/vnd.apache.parquet")
      return yield* run<BlobStore>(SplitClips(params), { ...measured, measures })
    }).pipe(Effect.provide(BlobStoreMemory.layer))

  const starts = (windows: ReadonlyArray<{ readonly window: { readonly startSeconds: number } }>) =>
    windows.map(({ window }) => window.startSeconds)

  it.effect("fills every shot with windows of five seconds", () =>
    Effect.gen(function* () {
      // Shots of 0 to 10.5 s, to 14 s, and to 20 s.
      const series = filmed(480, [252, 336])
      assert.deepStrictEqual(starts(yield* split(series)), [0, 5, 14])
      assert.deepStrictEqual(starts(yield* split(series, { maxPerShot: 1 })), [0, 14])
      assert.deepStrictEqual(starts(yield* split(series, { skipFirstSeconds: 1 })), [1, 14])
      assert.deepStrictEqual(starts(yield* split(series, { cutScore: 50 })), [0, 5, 10, 15])
    }),
  )

  it.effect("drops a video of short shots, and says how long the longest is", () =>
    Effect.gen(function* () {
      const drop = yield* Effect.flip(split(filmed(240, [119, 220])))
      assert.strictEqual(drop.reason, "no-shot-of-5s")
      assert.strictEqual(drop.detail, "the longest of 3 shots has 4.96 s")
    }),
  )

  it.effect("takes bars for bars, and dark scenery at one side for scenery", () =>
    Effect.gen(function* () {
      const cropOf = (box: ReadonlyArray<number>) =>
        Effect.map(split(filmed(120, [], box)), ([first]) => first.summary.crop)
      assert.deepStrictEqual(yield* cropOf([0, 40, 640, 280]), { x: 0, y: 40, width: 640, height: 280 })
      assert.deepStrictEqual(yield* cropOf([80, 0, 480, 360]), { x: 80, y: 0, width: 480, height: 360 })
      // A lit middle of a stage by night, and a lit corner.
      assert.isNull(yield* cropOf([180, 30, 370, 330]))
      assert.isNull(yield* cropOf([0, 180, 320, 180]))
      // Bars above and below, and darkness on the left.
      assert.deepStrictEqual(yield* cropOf([200, 40, 440, 280]), { x: 0, y: 40, width: 640, height: 280 })
    }),
  )

  // The Parquet reader may loop for ever on flipped bits (hyparquet 1.31.5): the store's digest stands before it.
  it.effect.prop(
    "never reads measures of which a bit has changed",
    [Seed, between(0, 1 << 20)],
    ([seed, at]) =>
      Effect.gen(function* () {
        const root = yield* Effect.acquireRelease(
          Effect.sync(() => mkdtempSync(join(tmpdir(), "reel-test-"))),
          (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true })),
        )
        const error = yield* Effect.gen(function* () {
          const bytes = SeriesFile.encode(randomSeries(seed, 50, 12))
          const blobs = yield* BlobStore
          const measures = yield* blobs.putBytes(bytes, "application/vnd.apache.parquet")
          const path = yield* blobs.localPath(measures)
          bytes[(at >> 3) % bytes.length]! ^= 1 << (at & 7)
          chmodSync(path, 0o600)
          writeFileSync(path, bytes)
          return yield* Effect.flip(run<BlobStore>(SplitClips(), { ...measured, measures }))
        }).pipe(Effect.provide(BlobStoreFs.layer(root, { durability: "none" })))
        assert.strictEqual(error._tag, "BlobCorrupt")
      }),
  )
})
