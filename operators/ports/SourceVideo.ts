/** Video files as they come in. */
import { Port } from "@reelgraph/core"
import { Artifact } from "@reelgraph/store"
import * as Schema from "effect/Schema"

/** Fields of the record, for ports that add to it. */
export const fields = {
  /** Base name of the file, for people. */
  name: Schema.String,
  file: Artifact,
}

/** A video file of any kind: its name and its bytes. */
export const SourceVideo = Port.make("SourceVideo", {
  record: Schema.Struct(fields),
  files: {
    extensions: [
      ".mp4",
      ".m4v",
      ".mov",
      ".mkv",
      ".webm",
      ".avi",
      ".mpg",
      ".mpeg",
      ".m2ts",
      ".mts",
      ".wmv",
      ".flv",
      ".3gp",
      ".ogv",
    ],
    mediaType: "video/*",
    record: (file, name) => ({ name, file }),
  },
})
