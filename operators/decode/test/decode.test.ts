/** Decoding with random weights, against the decoder run directly. */
import { join } from "node:path"

import { assert, layer, vi } from "@effect/vitest"
import * as Gaussian from "@reelgraph/models/Gaussian"
import * as ModelFile from "@reelgraph/models/ModelFile"
import * as ShiftVae from "@reelgraph/models/ShiftVae"
import * as Half from "@reelgraph/onnx/Half"
import * as Onnx from "@reelgraph/onnx/Onnx"
import * as Safetensors from "@reelgraph/onnx/Safetensors"
import * as Session from "@reelgraph/onnx/Session"
import * as Tensor from "@reelgraph/onnx/Tensor"
import { Decode } from "@reelgraph/operators/decode"
import type { GeneratedFrames } from "@reelgraph/operators/ports"
import { BlobStore } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

import {
  folder,
  registered,
  run,
  store,
  vaeConfig,
  writeDenoiser,
  denoiserSpec,
  writeVae,
} from "../../models/test/fixtures.ts"
import * as shards from "@reelgraph/inference/LatentShards"

type Frames = (typeof GeneratedFrames)["record"]["Type"]

const bits = Half.fromFloat32("f16", Gaussian.normals({ k0: 1, k1: 2 }, 4 * 2 * 3 * 5))

const sampled = Effect.fnUntraced(function* (vae: string) {
  return {
    prompt: "a red ball rises",
    negative: "",
    sample: 2,
    name: "a red ball rises",
    captions: ["a red ball rises"],
    seconds: 5,
    latents: yield* shards.putRow("mean", Tensor.make("f16", [1, 4, 2, 3, 5], bits)),
    channels: 4,
    frames: 2,
    height: 3,
    width: 5,
    vae,
    denoiser: "d",
  }
})

const setting = Effect.gen(function* () {
  const path = join(yield* folder, "vae.safetensors")
  yield* writeVae(path)
  const vae = yield* registered(path, "vae.safetensors")
  return { path, vae, record: yield* sampled(vae.file.sha256) }
})

// Nothing waits for it: what decodes or runs models is slow where others work too.
vi.setConfig({ testTimeout: 120_000 })

layer(Layer.unwrap(Effect.map(folder, store)), { timeout: "2 minutes", excludeTestServices: true })(
  "Decode",
  (it) => {
    it.effect("gives the pixels that the decoder gives", () =>
      Effect.gen(function* () {
        const { path, record, vae } = yield* setting
        const { pixels, ...facts } = yield* run<Frames, any>(Decode(), record, { sides: { vae } })
        assert.deepStrictEqual(facts, {
          prompt: "a red ball rises",
          negative: "",
          sample: 2,
          name: "a red ball rises",
          captions: ["a red ball rises"],
          seconds: 5,
          frames: 8,
          height: 24,
          width: 40,
        })
        const found = yield* shards.row(pixels, "frames", "u8", [8, 24, 40, 3])

        const { weights } = yield* ModelFile.read("vae", path)
        const graph = ShiftVae.boundDecoder(vaeConfig, { frames: 2, height: 3, width: 5 }, weights)
        const latents = Tensor.make("f32", [1, 4, 2, 3, 5], Half.toFloat32("f16", bits))
        const direct = yield* Session.open(Onnx.model(graph), { provider: "cpu" }).pipe(
          Effect.flatMap((session) => session.run({ latents })),
          Effect.scoped,
          Effect.provide(Session.layer()),
        )
        const plane = 8 * 24 * 40
        for (const i of [0, 1, 999, plane - 1])
          for (const channel of [0, 1, 2]) {
            const value = direct.pixels.data[channel * plane + i]!
            assert.isAtMost(Math.abs(found[3 * i + channel]! - 127.5 * (value + 1)), 0.51)
          }
        assert.isAbove(new Set(found).size, 20)
      }).pipe(Effect.scoped),
    )

    it.effect("refuses another autoencoder, and a file of another kind", () =>
      Effect.gen(function* () {
        const { record, vae } = yield* setting
        const at = yield* folder
        yield* writeVae(join(at, "other.safetensors"), 2)
        const other = yield* registered(join(at, "other.safetensors"), "other.safetensors")
        const mismatch = yield* Effect.flip(run<Frames, any>(Decode(), record, { sides: { vae: other } }))
        assert.strictEqual(mismatch._tag, "LatentSpaceMismatch")
        assert.include(mismatch.message, vae.file.sha256)
        assert.include(mismatch.message, `other.safetensors has ${other.file.sha256}`)

        yield* writeDenoiser(join(at, "denoiser.safetensors"), denoiserSpec({}))
        const denoiser = yield* registered(join(at, "denoiser.safetensors"), "denoiser.safetensors")
        const kind = yield* Effect.flip(
          run<Frames, any>(Decode(), { ...record, vae: denoiser.file.sha256 }, { sides: { vae: denoiser } }),
        )
        assert.strictEqual(kind._tag, "ModelFileInvalid")
        assert.include(kind.message, "is not the file of a video autoencoder: it is the file of a denoiser")
      }).pipe(Effect.scoped),
    )

    it.effect("refuses shards that are not what the record says", () =>
      Effect.gen(function* () {
        const { record, vae } = yield* setting
        const decode = (change: object) =>
          Effect.flip(run<Frames, any>(Decode(), { ...record, ...change }, { sides: { vae } }))
        assert.strictEqual((yield* decode({ height: 4 }))._tag, "RowInvalid")
        const beyond = yield* decode({ latents: { ...record.latents, row: 1 } })
        assert.strictEqual(beyond._tag, "RowInvalid")
        const infinite = Tensor.make(
          "f16",
          [1, 4, 2, 3, 5],
          bits.map((bit, i) => (i === 7 ? 0x7c00 : bit)),
        )
        const notFinite = yield* decode({ latents: yield* shards.putRow("mean", infinite) })
        assert.strictEqual(notFinite._tag, "TensorMismatch")
        assert.include(notFinite.message, "not finite at element 7")
        const blobs = yield* BlobStore
        const text = yield* blobs.putBytes(new TextEncoder().encode("no shard"), "text/plain")
        assert.strictEqual((yield* decode({ latents: { shard: text, row: 0 } }))._tag, "SafetensorsInvalid")
        const empty = yield* blobs.putBytes(Safetensors.encode({ tensors: {} }), "text/plain")
        assert.strictEqual((yield* decode({ latents: { shard: empty, row: 0 } }))._tag, "TensorMissing")
      }).pipe(Effect.scoped),
    )
  },
)
