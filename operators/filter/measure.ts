/** Decoding a video once, and measuring every frame. */
import { Operator } from "@reelgraph/core"
import { Measure as Media, SeriesFile, Shots } from "@reelgraph/media"
import { BlobStore } from "@reelgraph/store"
import * as Effect from "effect/Effect"

import { MeasuredVideo, ProbedVideo } from "../ports/index.ts"
import { dropUnusable } from "./reasons.ts"

/** Measures a video in one decode pass. The measures, frame by frame, become a Parquet file in the store. */
export const Measure = Operator.map("measure", {
  version: "1.0.0",
  description: "Decodes once: cuts, black, freeze, blur, motion, interlace, letterbox, damage",
  input: ProbedVideo,
  output: MeasuredVideo,
  worker: import.meta.url,
  timeoutMs: 3_600_000,
  needs: [BlobStore],
  run: (probed) =>
    Effect.gen(function* () {
      const blobs = yield* BlobStore
      const path = yield* blobs.localPath(probed.file)
      const { damage, series } = yield* Media.measure(path).pipe(dropUnusable(path, probed.name))
      const measures = yield* blobs.putBytes(SeriesFile.encode(series), "application/vnd.apache.parquet")
      const overview = Shots.summarize(series, { startSeconds: 0, endSeconds: Number.MAX_SAFE_INTEGER })
      return { ...probed, damage, overview, measures }
    }),
})
