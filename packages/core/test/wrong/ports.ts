/** Ports and operators that the wrong graphs of this folder are made of. */
import { drop, Graph, keep, Operator, Port, Tensor } from "@reelgraph/core"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"

const pixels = { dtype: "u8", space: "pixels", fps: 24, range: "limited" } as const

export const Clip = Port.make("Clip", {
  record: Schema.Struct({ id: Schema.String, seconds: Schema.Finite }),
  tensors: { video: Tensor.make({ ...pixels, shape: ["T", 3, 720, 1280] }) },
})
export const SmallClip = Port.make("SmallClip", {
  record: Schema.Struct({ id: Schema.String, seconds: Schema.Finite }),
  tensors: { video: Tensor.make({ ...pixels, shape: ["T", 3, 72, 128] }) },
})
const latentOf = <const Space extends string>(space: Space) =>
  Port.make("Latent", {
    record: Schema.Struct({ id: Schema.String }),
    tensors: { latent: Tensor.make({ dtype: "f32", shape: ["T/8", 16, "H/8", "W/8"], space }) },
  })
export const TinyLatent = latentOf("tiny-vae@1")
export const WanLatent = latentOf("wan-vae@2.1")
export const Caption = Port.make("Caption", {
  record: Schema.Struct({ id: Schema.String, text: Schema.String }),
})
export const Embedding = Port.make("Embedding", {
  record: Schema.Struct({ id: Schema.String }),
  tensors: { text: Tensor.make({ dtype: "f32", shape: ["L", 512] }) },
})
export const HalfLatent = Port.make("HalfLatent", {
  record: Schema.Struct({ id: Schema.String }),
  tensors: { latent: Tensor.make({ dtype: "f16", shape: ["T/8", 16, "H/8", "W/8"], space: "tiny-vae@1" }) },
})
export const Frame = Port.make("Frame", {
  record: Schema.Struct({ id: Schema.String, seconds: Schema.Finite }),
  tensors: { video: Tensor.make({ ...pixels, shape: [3, 720, 1280] }) },
})
export const FastClip = Port.make("FastClip", {
  record: Schema.Struct({ id: Schema.String, seconds: Schema.Finite }),
  tensors: { video: Tensor.make({ ...pixels, fps: 30, shape: ["T", 3, 720, 1280] }) },
})
export const FullRangeClip = Port.make("FullRangeClip", {
  record: Schema.Struct({ id: Schema.String, seconds: Schema.Finite }),
  tensors: { video: Tensor.make({ ...pixels, range: "full", shape: ["T", 3, 720, 1280] }) },
})
export const BareClip = Port.make("BareClip", {
  record: Schema.Struct({ id: Schema.String }),
  tensors: Clip.tensors,
})
export const TextClip = Port.make("TextClip", {
  record: Schema.Struct({ id: Schema.String, seconds: Schema.String }),
  tensors: Clip.tensors,
})
export const ScoredClip = Port.make("ScoredClip", {
  record: Schema.Struct({ id: Schema.String, seconds: Schema.Finite, score: Schema.Finite }),
  tensors: Clip.tensors,
})
export const Checkpoint = Port.make("Checkpoint", { record: Schema.Struct({ step: Schema.Int }) })

/** A service that a store gives. */
export class BlobStore extends Context.Service<BlobStore, { readonly get: (id: string) => string }>()(
  "test/BlobStore",
) {}

/** A service that a layer gives. */
export class Captioner extends Context.Service<
  Captioner,
  {
    readonly describe: (id: string) => Effect.Effect<string>
    readonly all: (
      clips: ReadonlyArray<{ readonly id: string }>,
    ) => Effect.Effect<ReadonlyArray<{ readonly id: string; readonly text: string }>>
  }
>()("test/Captioner") {}

export const captionerOf = (describe: (id: string) => string) =>
  Captioner.of({
    describe: (id) => Effect.succeed(describe(id)),
    all: (clips) => Effect.succeed(clips.map(({ id }) => ({ id, text: describe(id) }))),
  })

/** Gives the captioner, and needs the store for it. */
export const captionerOfStore = Layer.effect(
  Captioner,
  Effect.map(BlobStore, ({ get }) => captionerOf(get)),
)

const version = "1.0.0"
export const Encode = Operator.map("encode", {
  version,
  input: Clip,
  output: TinyLatent,
  run: (clip) => Effect.succeed({ id: clip.id }),
})
export const DecodeTiny = Operator.map("decode-tiny", {
  version,
  input: TinyLatent,
  output: Clip,
  run: (latent) => Effect.succeed({ id: latent.id, seconds: 5 }),
})
/** The video diffusion transformer: denoises latents of the tiny VAE under a text embedding. */
export const Dit = Operator.map("dit", {
  version,
  input: TinyLatent,
  output: TinyLatent,
  params: Schema.Struct({ steps: Schema.Int }),
  sides: { text: Operator.one(Embedding) },
  run: ({ id }) => Effect.succeed({ id }),
})
export const DecodeWan = Operator.map("decode", {
  version,
  input: WanLatent,
  output: Clip,
  run: (latent) => Effect.succeed({ id: latent.id, seconds: 5 }),
})
export const Train = Operator.collect("train", {
  version,
  input: TinyLatent,
  output: Checkpoint,
  params: Schema.Struct({ steps: Schema.Int }),
  sides: { text: Operator.all(Embedding) },
  run: (latents, { steps }) =>
    Effect.succeed([
      Operator.emit(
        { step: steps },
        latents.map((_, i) => i),
      ),
    ]),
})
export const Embed = Operator.map("embed", {
  version,
  input: Caption,
  output: Embedding,
  run: ({ id }) => Effect.succeed({ id }),
})
export const Short = Operator.filter("short", {
  version,
  input: Clip,
  run: (clip) => Effect.succeed(clip.seconds <= 5 ? keep : drop("long")),
})
export { Context, drop, Effect, Graph, keep, Layer, Operator, Port, Schema, Tensor }
