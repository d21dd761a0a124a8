/** From latents to pixels. */
import { Operator } from "@reelgraph/core"
import * as LatentShards from "@reelgraph/inference/LatentShards"
import { LatentSpaceMismatch } from "@reelgraph/inference/ModelMismatch"
import * as VaeDecoders from "@reelgraph/inference/VaeDecoders"
import * as Half from "@reelgraph/onnx/Half"
import * as Tensor from "@reelgraph/onnx/Tensor"
import { BlobStore } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { running } from "../models/params.ts"
import { GeneratedFrames, SampledLatents, Vae } from "../ports/index.ts"

/** Pixels `[3, F, H, W]` in [-1, 1] to `[F, H, W, 3]` in 0 to 255. */
const toBytes = (pixels: Float32Array): Uint8Array => {
  const plane = pixels.length / 3
  const out = new Uint8Array(pixels.length)
  for (let channel = 0; channel < 3; channel++)
    for (let i = 0; i < plane; i++)
      out[3 * i + channel] = Math.min(
        Math.max(Math.round((pixels[channel * plane + i]! + 1) * 127.5), 0),
        255,
      )
  return out
}

/** Decodes latents with the autoencoder that they are of. */
export const Decode = Operator.map("decode", {
  version: "1.0.0",
  description: "Latents to RGB frames, by the decoder of an autoencoder",
  input: SampledLatents,
  output: GeneratedFrames,
  sides: { vae: Operator.one(Vae) },
  worker: import.meta.url,
  timeoutMs: 1_800_000,
  params: Schema.Struct(running),
  layer: VaeDecoders.layer,
  needs: [BlobStore],
  run: (record, { provider, threads }, { sides: { vae } }) =>
    Effect.gen(function* () {
      const { captions, channels, frames, height, name, negative, prompt, sample, seconds, width } = record
      if (vae.file.sha256 !== record.vae)
        return yield* new LatentSpaceMismatch({
          of: name,
          expected: record.vae,
          file: vae.name,
          found: vae.file.sha256,
        })
      const blobs = yield* BlobStore
      const path = yield* blobs.localPath(vae.file)
      const decoders = yield* VaeDecoders.VaeDecoders
      const session = yield* decoders.open({
        sha256: vae.file.sha256,
        path,
        frames,
        height,
        width,
        provider,
        threads,
      })
      const shape = [channels, frames, height, width]
      const bits = yield* LatentShards.row(record.latents, "mean", "f16", shape)
      const latents = Tensor.make("f32", [1, ...shape], Half.toFloat32("f16", bits))
      const { pixels } = yield* session.run({ latents }, { transfer: true })
      const [, , F, H, W] = pixels.shape as [number, number, number, number, number]
      return {
        prompt,
        negative,
        sample,
        name,
        captions,
        seconds,
        pixels: yield* LatentShards.putRow(
          "frames",
          Tensor.make("u8", [1, F, H, W, 3], toBytes(pixels.data)),
        ),
        frames: F,
        height: H,
        width: W,
      }
    }),
})
