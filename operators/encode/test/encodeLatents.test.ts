/** Latents in shards, against encoding by hand. */
import { writeFileSync } from "node:fs"
import { join } from "node:path"

import { assert, describe, it } from "@effect/vitest"
import { Drop, type Port } from "@reelgraph/core"
import * as ShiftVae from "@reelgraph/models/ShiftVae"
import * as Half from "@reelgraph/onnx/Half"
import * as Onnx from "@reelgraph/onnx/Onnx"
import * as Session from "@reelgraph/onnx/Session"
import * as Tensor from "@reelgraph/onnx/Tensor"
import { EncodeLatents } from "@reelgraph/operators/encode"
import { RenderWorld } from "@reelgraph/operators/world"
import type { Latents } from "@reelgraph/operators/ports"
import { BlobStore } from "@reelgraph/store"
import * as Effect from "effect/Effect"

import * as shards from "@reelgraph/inference/LatentShards"
import { call, type FramesRecord, opened, temporaryFolder, tiny, vaeFile, memory } from "./calling.ts"

type LatentsRecord = Port.RecordOf<typeof Latents>

const part = (frames: number, count: number, images = 0) => ({
  name: "test",
  seed: 3,
  split: "trained",
  positions: 1,
  frames,
  width: 32,
  height: 24,
  seconds: 5,
  captionsPerClip: 1,
  images,
  from: 0,
  to: count,
})

const rendered = (
  frames: number,
  count: number,
  images?: number,
): Effect.Effect<ReadonlyArray<FramesRecord>, any, BlobStore> =>
  call(RenderWorld(), part(frames, count, images))

const meanOf = ({ latents: { row, shard } }: LatentsRecord) =>
  Effect.map(
    Effect.flatMap(opened(shard), (file) => file.read("mean", { dtype: "f16" })),
    ({ data, shape }) => {
      const size = shape.slice(1).reduce((product, dim) => product * dim, 1)
      return { shape: shape.slice(1), data: Uint16Array.from(data.slice(row * size, (row + 1) * size)) }
    },
  )

/** Encodes a record's pixels in a session of their own. */
const encoded = (record: FramesRecord, weights: ReturnType<typeof ShiftVae.initialize>) =>
  Effect.gen(function* () {
    const { frames, height, pixels, width } = record
    const [data] = yield* shards.rows([{ at: pixels, shape: [frames, height, width, 3] }], "frames", "u8")
    const plane = data!.length / 3
    const values = Float32Array.from(
      { length: 3 * plane },
      (_, i) => data![(i % plane) * 3 + Math.floor(i / plane)]! / 127.5 - 1,
    )
    const graph = ShiftVae.boundEncoder(tiny, { batch: 1, frames, height, width }, weights)
    const session = yield* Session.open(Onnx.model(graph), { provider: "cpu" })
    const { mean } = yield* session.run({ pixels: Tensor.make("f32", [1, 3, frames, height, width], values) })
    return mean
  }).pipe(Effect.scoped, Effect.provide(Session.layer()))

const test = <A, E>(effect: Effect.Effect<A, E, BlobStore | import("effect/Scope").Scope>) =>
  effect.pipe(Effect.scoped, Effect.provide(memory))

/** For what opens sessions. */
const limit = 180_000

describe("EncodeLatents", () => {
  it.live(
    "gives the normalised means in half precision, of clips and of images",
    () =>
      test(
        Effect.gen(function* () {
          const { vae, weights } = yield* vaeFile()
          const frames = yield* rendered(4, 11, 0.4)
          const made: ReadonlyArray<LatentsRecord> = yield* call(EncodeLatents(), frames, { vae })
          assert.sameMembers([...new Set(frames.map(({ frames }) => frames))], [1, 4])
          for (const i of [0, 5, 9, 10]) {
            const record = frames[i]!
            const { captions, name, seconds } = record
            const clip = made[i]!
            const sizes = { channels: 3, frames: record.frames === 1 ? 1 : 2, height: 6, width: 8 }
            assert.deepInclude(clip, { name, captions, seconds, vae: vae.file.sha256, ...sizes })
            const mean = yield* meanOf(clip)
            assert.deepStrictEqual(mean.shape, [3, sizes.frames, 6, 8])
            assert.deepStrictEqual(mean.data, Half.fromFloat32("f16", (yield* encoded(record, weights)).data))
          }
        }),
      ),
    limit,
  )

  it.live(
    "gives the same bits whatever else is in the batch",
    () =>
      test(
        Effect.gen(function* () {
          const { vae } = yield* vaeFile()
          const frames = yield* rendered(4, 19)
          const together: ReadonlyArray<LatentsRecord> = yield* call(EncodeLatents(), frames, { vae })
          const some = [frames[17]!, frames[3]!, frames[9]!]
          const apart: ReadonlyArray<LatentsRecord> = yield* call(EncodeLatents(), some, { vae })
          for (const [i, at] of [17, 3, 9].entries())
            assert.deepStrictEqual(yield* meanOf(apart[i]!), yield* meanOf(together[at]!))
        }),
      ),
    limit,
  )

  it.live(
    "drops what the factors do not divide, and says which they are",
    () =>
      test(
        Effect.gen(function* () {
          const { vae } = yield* vaeFile()
          const [good] = yield* rendered(4, 1)
          const odd = { ...good!, frames: 3 }
          const narrow = { ...good!, width: 30 }
          const made = yield* call(EncodeLatents(), [odd, good, narrow], { vae })
          assert.instanceOf(made[0], Drop)
          assert.strictEqual(made[0].reason, "size")
          assert.strictEqual(
            made[0].detail,
            "3 frames of 32x24: the autoencoder takes 1 frame or a multiple of 2, and sides that are multiples of 4",
          )
          assert.strictEqual(made[1].name, good!.name)
          assert.strictEqual(made[2].reason, "size")
        }),
      ),
    limit,
  )

  it.live(
    "refuses rows that are not what records say, and files that are no autoencoder",
    () =>
      test(
        Effect.gen(function* () {
          const { vae } = yield* vaeFile()
          const [good] = yield* rendered(4, 1)
          const failing = (record: unknown, side: unknown = vae): Effect.Effect<any, any, BlobStore> =>
            Effect.flip(call(EncodeLatents(), [record], { vae: side }))
          assert.strictEqual(
            (yield* failing({ ...good, pixels: { ...good!.pixels, row: 1 } }))._tag,
            "RowInvalid",
          )
          assert.strictEqual((yield* failing({ ...good, height: 28 }))._tag, "RowInvalid")
          const path = join(yield* temporaryFolder, "notes.safetensors")
          writeFileSync(path, "no model at all")
          const file = yield* BlobStore.use((blobs) => blobs.reference(path, "application/octet-stream"))
          assert.strictEqual((yield* failing(good, { name: "notes", file }))._tag, "SafetensorsInvalid")
          assert.strictEqual(
            (yield* failing(good, { name: "shard", file: good!.pixels.shard }))._tag,
            "ModelFileInvalid",
          )
          const wild = yield* vaeFile({ ...tiny, latentsStd: [1e-9, 1, 1] })
          assert.strictEqual((yield* failing(good, wild.vae))._tag, "LatentsNotFinite")
        }),
      ),
    limit,
  )
})
