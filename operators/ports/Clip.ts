/** Standard clips: what models are trained on. */
import { Port, Tensor } from "@reelgraph/core"
import { Pdq, Shots } from "@reelgraph/media"
import { Artifact } from "@reelgraph/store"
import * as Schema from "effect/Schema"

/** Fields of the record, for ports that add to it. */
export const fields = {
  /** Base name of the source file. */
  name: Schema.String,
  source: Artifact,
  window: Shots.Window,
  clip: Artifact,
  width: Schema.Int,
  height: Schema.Int,
  fps: Schema.Finite,
  frames: Schema.Int,
  /** Different source frames that are shown. */
  sourceFrames: Schema.Int,
  summary: Shots.ClipSummary,
  /** Perceptual hashes, one a second. */
  fingerprint: Pdq.Fingerprint,
}

/** What is behind it. */
export const tensors = {
  video: Tensor.make({
    dtype: "u8",
    shape: [120, 3, 720, 1280],
    space: "pixels",
    fps: 24,
    range: "limited",
  }),
}

/** 5 seconds of 1280 x 720 at 24 frames a second: H.264, BT.709, limited range, square pixels, no sound. */
export const Clip = Port.make("Clip", { record: Schema.Struct(fields), tensors })
