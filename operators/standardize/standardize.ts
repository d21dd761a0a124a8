/** Making standard clips of windows. */
import { join } from "node:path"

import { Operator } from "@reelgraph/core"
import { Standardize as Media } from "@reelgraph/media"
import { BlobStore, Scratch } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { dropUnusable } from "../filter/reasons.ts"
import { Clip, ClipWindow } from "../ports/index.ts"

/** Share of interlaced frames from which a window is deinterlaced. */
const interlaced = 0.5

/**
 * Writes a window as a standard clip: 120 frames of 1280 x 720 at 24 a second, upright, cropped to fill, tone-mapped
 * to SDR BT.709, limited range, without sound. The same window always gives the same bytes.
 */
export const Standardize = Operator.map("standardize", {
  version: "1.0.0",
  description: "Re-encodes to 5 s, 24 fps, 1280x720, SDR BT.709, H.264",
  input: ClipWindow,
  output: Clip,
  worker: import.meta.url,
  timeoutMs: 1_800_000,
  params: Schema.Struct({
    /** x264's speed against size. */
    preset: Media.EncoderSettings.fields.preset.pipe(
      Schema.withDecodingDefaultKey(Effect.succeed(Media.standardEncoder.preset)),
    ),
    /** Constant rate factor: 0 lossless, 18 visually lossless, 51 worst. */
    crf: Media.EncoderSettings.fields.crf.pipe(
      Schema.withDecodingDefaultKey(Effect.succeed(Media.standardEncoder.crf)),
    ),
  }),
  needs: [BlobStore, Scratch],
  run: ({ file, name, summary, window }, { crf, preset }) =>
    Effect.gen(function* () {
      const blobs = yield* BlobStore
      const path = yield* blobs.localPath(file)
      const scratch = yield* Scratch.use(({ directory }) => directory)
      const { fingerprint, fps, frames, height, out, sourceFrames, width } = yield* Media.standardize({
        path,
        startSeconds: window.startSeconds,
        endSeconds: window.endSeconds,
        crop: summary.crop,
        deinterlace: summary.interlacedShare >= interlaced,
        out: join(scratch, "clip.mp4"),
        encoder: { preset, crf },
      }).pipe(dropUnusable(path, name))
      const clip = yield* blobs.putFile(out, "video/mp4", { move: true })
      return {
        name,
        source: file,
        window,
        clip,
        width,
        height,
        fps,
        frames,
        sourceFrames,
        summary,
        fingerprint,
      }
    }),
})
