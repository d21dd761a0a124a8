/** Video files whose container has been read. */
import { Port } from "@reelgraph/core"
import { Probe } from "@reelgraph/media"
import * as Schema from "effect/Schema"

import * as SourceVideo from "./SourceVideo.ts"

/** Fields of the record, for ports that add to it. */
export const fields = { ...SourceVideo.fields, video: Probe.VideoInfo }

/** A video file with the facts of its best video stream. */
export const ProbedVideo = Port.make("ProbedVideo", {
  record: Schema.Struct(fields),
})
