/** Reading the container of a video file. */
import { Operator } from "@reelgraph/core"
import { Probe as Media } from "@reelgraph/media"
import { BlobStore } from "@reelgraph/store"
import * as Effect from "effect/Effect"

import { ProbedVideo, SourceVideo } from "../ports/index.ts"
import { dropUnusable } from "./reasons.ts"

/** Adds the facts of the best video stream; drops what is not a video, has no video stream, or cannot be opened. */
export const Probe = Operator.map("probe", {
  version: "1.0.0",
  description: "Reads the container: size, frame rate, duration, rotation, colour",
  input: SourceVideo,
  output: ProbedVideo,
  worker: import.meta.url,
  timeoutMs: 120_000,
  needs: [BlobStore],
  run: (source) =>
    Effect.gen(function* () {
      const path = yield* BlobStore.use((blobs) => blobs.localPath(source.file))
      const video = yield* Media.probe(path).pipe(dropUnusable(path, source.name))
      return { ...source, video }
    }),
})
