/** Cutting videos into windows of equal length that do not cross a cut. */
import { drop, Operator } from "@reelgraph/core"
import { SeriesFile, Shots } from "@reelgraph/media"
import { BlobStore } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { ClipWindow, MeasuredVideo } from "../ports/index.ts"
import { nonNegative } from "./params.ts"

/**
 * Gives the windows of a video, one after the other inside every shot, with the statistics of each. Videos without
 * a shot that is long enough are dropped.
 *
 * Cuts are where scdet's score reaches 10, its default, and shots are at least 15 frames long (PySceneDetect).
 */
export const SplitClips = Operator.flatMap("split-clips", {
  version: "1.0.0",
  description: "Splits into windows of five seconds that do not cross a cut",
  input: MeasuredVideo,
  output: ClipWindow,
  worker: import.meta.url,
  timeoutMs: 300_000,
  params: Schema.Struct({
    /** scdet score, 0-100, from which a frame begins a shot. */
    cutScore: nonNegative(10),
    minShotFrames: Schema.Int.check(Schema.isGreaterThan(0)).pipe(
      Schema.withDecodingDefaultKey(Effect.succeed(15)),
    ),
    /** Seconds at the beginning of a video that are not used: titles and logos. */
    skipFirstSeconds: nonNegative(0),
    /** Most windows of one shot. */
    maxPerShot: Schema.optionalKey(Schema.Int.check(Schema.isGreaterThan(0))),
    /** Edge width in pixels above which a frame is blurry. */
    maxBlur: nonNegative(8),
  }),
  needs: [BlobStore],
  run: (
    { file, measures, name, video },
    { cutScore, maxBlur, maxPerShot, minShotFrames, skipFirstSeconds },
  ) =>
    Effect.gen(function* () {
      const bytes = yield* BlobStore.use((blobs) => blobs.get(measures))
      const series = yield* SeriesFile.decode(bytes)
      const shots = Shots.cuts(series, { threshold: cutScore, minShotFrames })
      const windows = Shots.windows(shots, {
        seconds: 5,
        skipFirstSeconds,
        ...(maxPerShot === undefined ? {} : { maxPerShot }),
      })
      if (windows.length === 0) {
        const longest = shots.reduce(
          (most, { endSeconds, startSeconds }) => Math.max(most, endSeconds - startSeconds),
          0,
        )
        return yield* drop(
          "no-shot-of-5s",
          `the longest of ${shots.length} shots has ${longest.toFixed(2)} s`,
        )
      }
      return windows.map((window) => ({
        name,
        file,
        video,
        window,
        summary: Shots.summarize(series, window, { maxBlur, threshold: cutScore }),
      }))
    }),
})
