/** Stretches of videos that may become clips. */
import { Port } from "@reelgraph/core"
import { Shots } from "@reelgraph/media"
import * as Schema from "effect/Schema"

import * as ProbedVideo from "./ProbedVideo.ts"

/** A window inside one shot of a video, and what it looks like in numbers. */
export const ClipWindow = Port.make("ClipWindow", {
  record: Schema.Struct({ ...ProbedVideo.fields, window: Shots.Window, summary: Shots.ClipSummary }),
})
