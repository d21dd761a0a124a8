/** From small clips of few frames to videos of the usual size and rate, without a model. */
import { join } from "node:path"

import { Operator } from "@reelgraph/core"
import * as LatentShards from "@reelgraph/inference/LatentShards"
import { FrameWriter } from "@reelgraph/media"
import { BlobStore, Scratch } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { GeneratedFrames, GeneratedVideo } from "../ports/index.ts"

const Pixels = Schema.Int.check(Schema.isBetween({ minimum: 16, maximum: 4096 }))

/** The largest even size of an aspect inside of another size. */
const fitted = (
  frames: { readonly width: number; readonly height: number },
  within: { readonly width: number; readonly height: number },
): { readonly width: number; readonly height: number } => {
  const [width, height] = [within.width - (within.width % 2), within.height - (within.height % 2)]
  const scale = Math.min(width / frames.width, height / frames.height)
  const even = (size: number) => Math.max(2, 2 * Math.round((size * scale) / 2))
  return { width: even(frames.width), height: even(frames.height) }
}

/** Writes the picture at a place between frames, which are `size` bytes each, as a mixture of its two neighbours. */
const blend = (pixels: Uint8Array, size: number, place: number, into: Uint8Array): void => {
  const first = Math.floor(place)
  const share = place - first
  const before = pixels.subarray(first * size, (first + 1) * size)
  if (share === 0) return into.set(before)
  const after = pixels.subarray((first + 1) * size, (first + 2) * size)
  for (let i = 0; i < size; i++) into[i] = Math.round(before[i]! + share * (after[i]! - before[i]!))
}

/**
 * Writes frames as a video: between frames by mixing neighbours, between pixels by bicubic interpolation. The first
 * and the last frame are the video's own.
 */
export const Interpolate = Operator.map("interpolate", {
  version: "1.0.0",
  description: "Frames to H.264 video, linear in time and bicubic in space",
  input: GeneratedFrames,
  output: GeneratedVideo,
  worker: import.meta.url,
  timeoutMs: 1_800_000,
  params: Schema.Struct({
    /** The video is as large as its aspect allows within this. */
    width: Pixels.pipe(Schema.withDecodingDefaultKey(Effect.succeed(1280))),
    height: Pixels.pipe(Schema.withDecodingDefaultKey(Effect.succeed(720))),
    fps: Schema.Finite.check(Schema.isBetween({ minimum: 1, maximum: 240 })).pipe(
      Schema.withDecodingDefaultKey(Effect.succeed(24)),
    ),
  }),
  needs: [BlobStore, Scratch],
  run: ({ frames, height, name, negative, pixels, prompt, sample, seconds, width }, params) =>
    Effect.gen(function* () {
      const source = yield* LatentShards.row(pixels, "frames", "u8", [frames, height, width, 3])
      const size = fitted({ width, height }, params)
      const target = { ...size, fps: params.fps, frames: Math.max(1, Math.round(seconds * params.fps)) }
      const step = target.frames === 1 ? 0 : (frames - 1) / (target.frames - 1)
      const scratch = yield* Scratch.use(({ directory }) => directory)
      const { out } = yield* FrameWriter.write(
        { out: join(scratch, "video.mp4"), width, height, target },
        (index, into) => blend(source, height * width * 3, Math.min(index * step, frames - 1), into),
      )
      const blobs = yield* BlobStore
      const video = yield* blobs.putFile(out, "video/mp4", { move: true })
      return { prompt, negative, sample, name, video, ...target }
    }),
})
