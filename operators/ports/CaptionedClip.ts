/** Standard clips that say what they show. */
import { Port } from "@reelgraph/core"
import { Artifact } from "@reelgraph/store"
import * as Schema from "effect/Schema"

import * as Clip from "./Clip.ts"

/** A text file beside a video: `beach.txt` has the caption of `beach.mp4`, or one caption in each line. */
export const CaptionFile = Port.make("CaptionFile", {
  record: Schema.Struct({ name: Schema.String, file: Artifact }),
  files: { extensions: [".txt"], mediaType: "text/plain", record: (file, name) => ({ name, file }) },
})

export const CaptionedClip = Port.make("CaptionedClip", {
  record: Schema.Struct({ ...Clip.fields, captions: Schema.Array(Schema.String) }),
  tensors: Clip.tensors,
})
