/** Small clips as plain pixels: what models read and write. */
import { Port, Tensor } from "@reelgraph/core"
import * as Schema from "effect/Schema"

import { captioned, Row } from "./Rows.ts"

/** Frames at even distances from the first to the last: `frames` u8 `[N, F, H, W, 3]` of a shard, RGB. */
export const Frames = Port.make("Frames", {
  record: Schema.Struct({
    ...captioned,
    pixels: Row,
    frames: Schema.Int,
    height: Schema.Int,
    width: Schema.Int,
  }),
  tensors: {
    video: Tensor.make({ dtype: "u8", shape: ["F", "H", "W", 3], space: "pixels", range: "full" }),
  },
})
