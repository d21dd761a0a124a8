/** Video files that have been decoded once and measured. */
import { Port } from "@reelgraph/core"
import { Measure, Shots } from "@reelgraph/media"
import { Artifact } from "@reelgraph/store"
import * as Schema from "effect/Schema"

import * as ProbedVideo from "./ProbedVideo.ts"

/** A decoded video: how whole it is, statistics of all of it, and its measures frame by frame (Parquet). */
export const MeasuredVideo = Port.make("MeasuredVideo", {
  record: Schema.Struct({
    ...ProbedVideo.fields,
    damage: Measure.Damage,
    overview: Shots.ClipSummary,
    measures: Artifact,
  }),
})
