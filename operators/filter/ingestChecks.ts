/** Checks that need no decoding. */
import { drop, keep, Operator } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { ProbedVideo } from "../ports/index.ts"
import { nonNegative } from "./params.ts"

/**
 * Drops videos that are too small, too short, too slow, starved of bits, or too wide or tall for their other side.
 *
 * Defaults: a short side of 720 (Movie Gen's high-resolution set), 2 s, 0.02 bits per pixel, 16 frames a second and
 * an aspect within [1/3, 3] (Open-Sora 2).
 */
export const IngestChecks = Operator.filter("ingest-checks", {
  version: "1.0.0",
  description: "Drops videos that are too small, short, slow, starved or stretched",
  input: ProbedVideo,
  params: Schema.Struct({
    /** Pixels, as shown. */
    minShortSide: nonNegative(720),
    minSeconds: nonNegative(2),
    minFps: nonNegative(16),
    minBitsPerPixel: nonNegative(0.02),
    /** Longer side over shorter side. */
    maxAspect: nonNegative(3),
  }),
  run: ({ video }, { maxAspect, minBitsPerPixel, minFps, minSeconds, minShortSide }) => {
    const { bitsPerPixel, durationSeconds, fps, height, width } = video
    const short = Math.min(width, height)
    const aspect = Math.max(width, height) / Math.max(1, short)
    const decide = () => {
      if (short < minShortSide)
        return drop("low-resolution", `${width}x${height} has a short side below ${minShortSide}`)
      if (durationSeconds < minSeconds)
        return drop("too-short", `${durationSeconds.toFixed(2)} s of ${minSeconds}`)
      if (fps < minFps) return drop("low-frame-rate", `${fps.toFixed(2)} frames a second of ${minFps}`)
      if (bitsPerPixel < minBitsPerPixel)
        return drop("starved", `${bitsPerPixel.toFixed(4)} bits per pixel of ${minBitsPerPixel}`)
      if (aspect > maxAspect)
        return drop("stretched", `${width}x${height} is ${aspect.toFixed(2)} to 1, more than ${maxAspect}`)
      return keep
    }
    return Effect.succeed(decide())
  },
})
