/** Frames become videos of the standard's rate and of their own aspect. */
import { assert, layer, vi } from "@effect/vitest"
import { Measure, Verify } from "@reelgraph/media"
import * as Tensor from "@reelgraph/onnx/Tensor"
import type { GeneratedVideo } from "@reelgraph/operators/ports"
import { Interpolate } from "@reelgraph/operators/super-resolve"
import { BlobStore } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

import * as shards from "@reelgraph/inference/LatentShards"
import { folder, run, store } from "../../models/test/fixtures.ts"

type Video = (typeof GeneratedVideo)["record"]["Type"]

/** Frames of one grey each, in a record. */
const greys = Effect.fnUntraced(function* (
  levels: ReadonlyArray<number>,
  height: number,
  width: number,
  seconds = 1,
) {
  const data = new Uint8Array(levels.length * height * width * 3)
  levels.forEach((level, i) => data.fill(level, i * height * width * 3, (i + 1) * height * width * 3))
  return {
    prompt: "grey",
    negative: "",
    sample: 0,
    name: "grey",
    captions: ["grey"],
    seconds,
    pixels: yield* shards.putRow("frames", Tensor.make("u8", [1, levels.length, height, width, 3], data)),
    frames: levels.length,
    height,
    width,
  }
})

const written = Effect.fnUntraced(function* (record: unknown, params: Parameters<typeof Interpolate>[0]) {
  const video = yield* run<Video, any>(Interpolate(params), record)
  const path = yield* BlobStore.use((blobs) => blobs.localPath(video.video))
  const facts = yield* Verify.verifyClip(path, video)
  return { video, facts, path }
})

/** Mean luma of every frame, 0 (black) to 255 (white). */
const lumas = (path: string) => Effect.map(Measure.measure(path), ({ series }) => series.luma)

// Nothing waits for it: what decodes or runs models is slow where others work too.
vi.setConfig({ testTimeout: 120_000 })

layer(Layer.unwrap(Effect.map(folder, store)), { timeout: "2 minutes", excludeTestServices: true })(
  "Interpolate",
  (it) => {
    it.effect.each([
      [72, 128, 5, {}, [1280, 720, 120]],
      [80, 144, 1, {}, [1280, 712, 24]],
      [96, 96, 1, {}, [720, 720, 24]],
      [128, 72, 0.5, {}, [406, 720, 12]],
      [72, 128, 2.5, { width: 320, height: 320, fps: 10 }, [320, 180, 25]],
      [16, 16, 0.1, { width: 33, height: 17 }, [16, 16, 2]],
    ] as const)("makes of %d x %d pixels and %d s with %j: %j", ([height, width, seconds, params, size]) =>
      Effect.gen(function* () {
        const { facts, video } = yield* written(yield* greys([20, 200], height, width, seconds), params)
        assert.deepStrictEqual([video.width, video.height, video.frames], [...size])
        assert.strictEqual(facts.frames, size[2])
      }).pipe(Effect.scoped),
    )

    it.effect("moves linearly from the first frame to the last, and gives the same bytes again", () =>
      Effect.gen(function* () {
        const record = yield* greys([0, 100, 200], 16, 16)
        const { path, video } = yield* written(record, { width: 64, height: 64, fps: 25 })
        const again = yield* written(record, { width: 64, height: 64, fps: 25 })
        assert.strictEqual(again.video.video.sha256, video.video.sha256)
        const means = yield* lumas(path)
        means.forEach((luma, i) => assert.closeTo(luma, (200 * i) / 24, 2))
      }).pipe(Effect.scoped),
    )

    it.effect("shows a single frame for as long as asked", () =>
      Effect.gen(function* () {
        const { path } = yield* written(yield* greys([120], 16, 16), { width: 64, height: 64 })
        for (const luma of yield* lumas(path)) assert.closeTo(luma, 120, 2)
      }).pipe(Effect.scoped),
    )
  },
)
