/** Few small frames of a clip: as much of it as small models can learn from. */
import { Operator } from "@reelgraph/core"
import * as LatentShards from "@reelgraph/inference/LatentShards"
import { FrameReader } from "@reelgraph/media"
import * as Tensor from "@reelgraph/onnx/Tensor"
import { BlobStore } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { dropUnusable } from "../filter/reasons.ts"
import { CaptionedClip, Frames } from "../ports/index.ts"

const whole = (minimum: number, maximum: number, value: number) =>
  Schema.Int.check(Schema.isBetween({ minimum, maximum })).pipe(
    Schema.withDecodingDefaultKey(Effect.succeed(value)),
  )

/** Takes frames at even distances, the first and the last among them, cut to shape and scaled by area. */
export const SampleFrames = Operator.map("sample-frames", {
  version: "1.0.0",
  description: "Takes small frames at even distances from the first to the last",
  input: CaptionedClip,
  output: Frames,
  worker: import.meta.url,
  timeoutMs: 600_000,
  params: Schema.Struct({
    frames: whole(1, 256, 16),
    /** Pixels. */
    width: whole(8, 1280, 128),
    height: whole(8, 720, 72),
  }),
  needs: [BlobStore],
  run: ({ captions, clip, fps, frames: length, name }, { frames, height, width }) =>
    Effect.gen(function* () {
      const path = yield* BlobStore.use((blobs) => blobs.localPath(clip))
      const indices = FrameReader.spread(length, frames)
      const pixels = yield* FrameReader.read(path, { indices, width, height }).pipe(dropUnusable(path, name))
      const shard = yield* LatentShards.put({
        frames: Tensor.make("u8", [1, frames, height, width, 3], pixels),
      })
      return {
        name,
        captions,
        seconds: length / fps,
        pixels: { shard, row: 0 },
        frames,
        height,
        width,
      }
    }),
})
