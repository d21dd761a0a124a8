/** From pixels to what a video autoencoder makes of them. */
import { type Drop, drop, Operator, type Port } from "@reelgraph/core"
import * as LatentShards from "@reelgraph/inference/LatentShards"
import * as Sessions from "@reelgraph/inference/Sessions"
import * as ModelFile from "@reelgraph/models/ModelFile"
import * as ShiftVae from "@reelgraph/models/ShiftVae"
import * as Half from "@reelgraph/onnx/Half"
import * as Onnx from "@reelgraph/onnx/Onnx"
import * as Session from "@reelgraph/onnx/Session"
import * as Tensor from "@reelgraph/onnx/Tensor"
import { BlobStore } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { Frames, Latents, Vae } from "../ports/index.ts"

type FramesRecord = Port.RecordOf<typeof Frames>
type LatentsRecord = Port.RecordOf<typeof Latents>

/** Clips in a run of the model: more are no faster. */
const runSize = 8

/** The autoencoder made numbers that are not finite, or too large for half precision. */
export class LatentsNotFinite extends Schema.TaggedError<LatentsNotFinite>()("LatentsNotFinite", {
  name: Schema.String,
  vae: Schema.String,
}) {
  override get message() {
    return `the latents of ${this.name} by the autoencoder ${this.vae} are not finite in half precision; its weights or the statistics of its latents are wrong`
  }
}

/** 8 bits to [-1, 1]. */
const levels = Float32Array.from({ length: 256 }, (_, value) => value / 127.5 - 1)

/** Pixels `[F, H, W, 3]` to `[3, F, H, W]` at `offset` of `out`. */
const planes = (pixels: Uint8Array, out: Float32Array, offset: number): void => {
  const plane = pixels.length / 3
  for (let i = 0, at = 0, o = offset; i < plane; i++, at += 3, o++) {
    out[o] = levels[pixels[at]!]!
    out[o + plane] = levels[pixels[at + 1]!]!
    out[o + 2 * plane] = levels[pixels[at + 2]!]!
  }
}

const isFinite = (halves: Uint16Array): boolean => halves.every((bits) => (bits & 0x7c00) !== 0x7c00)

/** Records of one size, with their places among those of the call. */
type Group = ReadonlyArray<readonly [at: number, record: FramesRecord]>

/** Encodes clips of one size into one shard. */
const encodeGroup = Effect.fnUntraced(function* (
  group: Group,
  { spec, weights }: ModelFile.Model<"vae">,
  vae: string,
) {
  const { frames, height, width } = group[0]![1]
  const { space, time } = ShiftVae.factors(spec.config)
  const shape = [spec.config.zDim, Math.ceil(frames / time), height / space, width / space] as const
  const encoder = ShiftVae.boundEncoder(spec.config, { frames, height, width }, weights)
  const session = yield* Session.open(Onnx.model(encoder), { provider: "cpu" })
  const pixels = yield* LatentShards.rows(
    group.map(([, { pixels }]) => ({ at: pixels, shape: [frames, height, width, 3] })),
    "frames",
    "u8",
  )
  const size = shape.reduce((product, dim) => product * dim, 1)
  const halves = new Uint16Array(group.length * size)
  for (let from = 0; from < group.length; from += runSize) {
    const clips = pixels.slice(from, from + runSize)
    const values = new Float32Array(clips.length * clips[0]!.length)
    clips.forEach((clip, i) => planes(clip, values, i * clip.length))
    const feed = Tensor.make("f32", [clips.length, 3, frames, height, width], values)
    const { mean } = yield* session.run({ pixels: feed }, { transfer: true })
    Half.fromFloat32("f16", mean.data, halves.subarray(from * size, (from + clips.length) * size))
  }
  const bad = group.findIndex((_, row) => !isFinite(halves.subarray(row * size, (row + 1) * size)))
  if (bad >= 0) return yield* new LatentsNotFinite({ name: group[bad]![1].name, vae })
  const shard = yield* LatentShards.put({ mean: Tensor.make("f16", [group.length, ...shape], halves) })
  const [channels, ...sizes] = shape
  return group.map(
    ([at, { captions, name, seconds }], row) =>
      [
        at,
        {
          name,
          captions,
          seconds,
          latents: { shard, row },
          channels,
          frames: sizes[0],
          height: sizes[1],
          width: sizes[2],
          vae,
        } satisfies LatentsRecord,
      ] as const,
  )
}, Effect.scoped)

/** Why clips of this size cannot be encoded. */
const misfit = (
  { space, time }: ReturnType<typeof ShiftVae.factors>,
  { frames, height, width }: FramesRecord,
): Drop | undefined =>
  (frames === 1 || frames % time === 0) && height % space === 0 && width % space === 0
    ? undefined
    : drop(
        "size",
        `${frames} frames of ${width}x${height}: the autoencoder takes 1 frame or a multiple of ${time}, and sides that are multiples of ${space}`,
      )

/**
 * Gives the means of the latents' distributions, normalised by channel, in half precision. One frame is an image.
 * Latents do not depend on what else is in the batch; clips whose size the autoencoder does not take are dropped.
 */
export const EncodeLatents = Operator.batch("encode-latents", {
  version: "1.0.0",
  description: "Encodes frames by a video autoencoder",
  input: Frames,
  output: Latents,
  size: 64,
  worker: import.meta.url,
  timeoutMs: 1_800_000,
  sides: { vae: Operator.one(Vae) },
  layer: Sessions.layer,
  needs: [BlobStore],
  run: (records, _, { sides }) =>
    Effect.gen(function* () {
      const { sha256 } = sides.vae.file
      const path = yield* BlobStore.use((blobs) => blobs.localPath(sides.vae.file))
      const model = yield* ModelFile.read("vae", path)
      const factors = ShiftVae.factors(model.spec.config)
      const results: Array<LatentsRecord | Drop> = []
      const groups = new Map<string, Array<readonly [number, FramesRecord]>>()
      records.forEach((record, at) => {
        const problem = misfit(factors, record)
        if (problem !== undefined) return void (results[at] = problem)
        const size = `${record.frames}x${record.height}x${record.width}`
        groups.set(size, [...(groups.get(size) ?? []), [at, record]])
      })
      for (const group of groups.values())
        for (const [at, made] of yield* encodeGroup(group, model, sha256)) results[at] = made
      return results
    }),
})
