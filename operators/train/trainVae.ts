/** Training a video autoencoder. */
import { join } from "node:path"

import { Operator } from "@reelgraph/core"
import * as Sessions from "@reelgraph/inference/Sessions"
import * as ModelFile from "@reelgraph/models/ModelFile"
import { Safetensors } from "@reelgraph/onnx"
import { BlobStore, Scratch, Unfinished } from "@reelgraph/store"
import { type Crops, Gang, TrainingMismatch, VaeRun } from "@reelgraph/training"
import * as Effect from "effect/Effect"

import { Frames, TrainedVae } from "../ports/index.ts"
import { curveOf, longRun } from "./longRun.ts"

type Item = typeof Frames.record.Type

/** The pixels of every clip, shard by shard. */
const load = (items: ReadonlyArray<Item>) =>
  Effect.gen(function* () {
    const blobs = yield* BlobStore
    const [{ frames, height, width }] = items as readonly [Item]
    const size = frames * height * width * 3
    const pixels: Array<Uint8Array> = []
    const shards = new Map<string, Uint8Array>()
    for (const item of items) {
      if (item.frames !== frames || item.height !== height || item.width !== width)
        return yield* new TrainingMismatch({
          what: "clips",
          expected: `${frames} frames of ${width}x${height}`,
          found: `${item.frames} frames of ${item.width}x${item.height}`,
        })
      const { row, shard } = item.pixels
      let all = shards.get(shard.sha256)
      if (all === undefined) {
        const file = yield* Safetensors.open(yield* blobs.localPath(shard))
        all = (yield* file.read("frames", { dtype: "u8" })).data
        shards.set(shard.sha256, all)
      }
      if ((row + 1) * size > all.length)
        return yield* new TrainingMismatch({
          what: `shard ${shard.sha256}`,
          expected: `a row ${row} of ${size} bytes`,
          found: `${all.length} bytes`,
        })
      pixels.push(all.subarray(row * size, (row + 1) * size))
    }
    return { frames, height, width, pixels } satisfies Crops.Clips
  })

/** Trains on crops of clips of one size, and measures the latents: the file can be used to encode at once. */
export const TrainVae = Operator.collect("train-vae", {
  version: "1.0.0",
  description: "Trains a video autoencoder on crops of clips",
  input: Frames,
  output: TrainedVae,
  worker: import.meta.url,
  seeded: true,
  resources: { cores: 2 },
  params: VaeRun.Settings,
  layer: Sessions.layer,
  needs: [BlobStore, Scratch, Unfinished],
  run: (items, settings, call) =>
    Effect.gen(function* () {
      yield* Gang.requireOneRank
      const blobs = yield* BlobStore
      const clips = yield* Effect.scoped(load(items))
      const { rows, spec, weights } = yield* longRun(call, (folder, watch) =>
        VaeRun.run({ clips, settings, key: call.random, folder, ...watch }),
      )
      const path = join(yield* Scratch.use(({ directory }) => directory), "vae.safetensors")
      yield* ModelFile.write(path, { spec, weights })
      const file = yield* blobs.putFile(path, "application/safetensors", { move: true })
      const curve = yield* curveOf("Training an autoencoder", rows)
      const step = rows.at(-1)?.step ?? 0
      const record = { name: `vae-${step}`, file, step, ...curve }
      return [
        Operator.emit(
          record,
          items.map((_, i) => i),
        ),
      ]
    }),
})
