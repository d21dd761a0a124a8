/** Clips as the autoencoder sees them, and with what the text encoder makes of their captions. */
import { Port, Tensor } from "@reelgraph/core"
import * as Schema from "effect/Schema"

import { captioned, Row } from "./Rows.ts"

/** Fields of the record, for ports that add to it. */
export const fields = {
  ...captioned,
  /** `mean` f16 `[N, C, T, H, W]` of a shard: the mean of the posterior, normalised by channel. */
  latents: Row,
  channels: Schema.Int,
  /** Of latents. */
  frames: Schema.Int,
  height: Schema.Int,
  width: Schema.Int,
  /** sha256 of the autoencoder's file: latents of another one mean something else. */
  vae: Schema.String,
}

const tensors = {
  latents: Tensor.make({ dtype: "f16", shape: ["C", "T", "H", "W"], space: "latents" }),
}

export const Latents = Port.make("Latents", { record: Schema.Struct(fields), tensors })

/** What a denoiser is trained on. */
export const TrainingItem = Port.make("TrainingItem", {
  record: Schema.Struct({
    ...fields,
    /**
     * The captions' token states: rows `row` to `row + captions.length - 1` of a shard that has `offsets` i64 `[M + 1]`
     * and `states` f16 `[all tokens, D]`; caption i has the states `offsets[i]` to `offsets[i + 1]`.
     */
    text: Row,
    /** Digest of the text encoder. */
    textEncoder: Schema.String,
  }),
  tensors: {
    ...tensors,
    text: Tensor.make({ dtype: "f16", shape: ["L", "D"], space: "text" }),
  },
})
