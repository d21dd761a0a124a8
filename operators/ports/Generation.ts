/** From prompts to videos. */
import { Port, Tensor } from "@reelgraph/core"
import { Artifact } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import * as Latents from "./Latents.ts"
import { Row } from "./Rows.ts"

const prompt = {
  prompt: Schema.String,
  /** What the video is pushed away from; empty for none. */
  negative: Schema.String.pipe(Schema.withDecodingDefaultKey(Effect.succeed(""))),
  /** Tells samples of one prompt from each other. */
  sample: Schema.Int.pipe(Schema.withDecodingDefaultKey(Effect.succeed(0))),
}

/** What is asked for: `{"prompt": "a red ball rises on a white background"}`. */
export const Prompt = Port.make("Prompt", { record: Schema.Struct(prompt) })

/** Latents that a denoiser made: a `Latents` whose caption is the prompt. */
export const SampledLatents = Port.make("SampledLatents", {
  record: Schema.Struct({ ...Latents.fields, ...prompt, denoiser: Schema.String }),
  tensors: { latents: Tensor.make({ dtype: "f16", shape: ["C", "T", "H", "W"], space: "latents" }) },
})

/** Its pixels. */
export const GeneratedFrames = Port.make("GeneratedFrames", {
  record: Schema.Struct({
    ...prompt,
    name: Schema.String,
    captions: Schema.Array(Schema.String),
    seconds: Schema.Finite,
    pixels: Row,
    frames: Schema.Int,
    height: Schema.Int,
    width: Schema.Int,
  }),
  tensors: {
    video: Tensor.make({ dtype: "u8", shape: ["F", "H", "W", 3], space: "pixels", range: "full" }),
  },
})

/** H.264 in MP4, BT.709, limited range. */
export const GeneratedVideo = Port.make("GeneratedVideo", {
  record: Schema.Struct({
    ...prompt,
    name: Schema.String,
    video: Artifact,
    width: Schema.Int,
    height: Schema.Int,
    fps: Schema.Finite,
    frames: Schema.Int,
  }),
  tensors: {
    video: Tensor.make({ dtype: "u8", shape: ["F", 3, "H", "W"], space: "pixels", range: "limited" }),
  },
})
