/** Video files whose container has been read. */
import { Port } from "@reelgraph/core"
import { Probe } from "@reelgraph/media"
import * as Schema from "effect/Schema"

import { SourceVideo } from "./SourceVideo.ts"

/** A video file with the facts of its best video stream. */
export const ProbedVideo = Port.make("ProbedVideo", {
  record: Schema.Struct({ ...SourceVideo.record.fields, video: Probe.VideoInfo }),
})
