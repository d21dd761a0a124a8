/** From world sets and captioned clips to training data in memory, made by worker processes. */
import { writeFileSync } from "node:fs"
import { join } from "node:path"

import { assert, it } from "@effect/vitest"
import { CounterRandom, Graph, type Port } from "@reelgraph/core"
import { Engine } from "@reelgraph/engine"
import { world } from "@reelgraph/graphs/world"
import { Standardize } from "@reelgraph/media"
import * as ModelFile from "@reelgraph/models/ModelFile"
import * as ShiftVae from "@reelgraph/models/ShiftVae"
import * as TextModel from "@reelgraph/models/TextModel"
import * as Half from "@reelgraph/onnx/Half"
import * as Onnx from "@reelgraph/onnx/Onnx"
import * as Safetensors from "@reelgraph/onnx/Safetensors"
import * as Session from "@reelgraph/onnx/Session"
import * as Tensor from "@reelgraph/onnx/Tensor"
import { EmbedCaptions, EncodeLatents, SampleFrames } from "@reelgraph/operators/encode"
import { CaptionFile, Clip, Frames, TrainingItem, Vae } from "@reelgraph/operators/ports"
import { RenderWorld, WorldScenes, WorldSet } from "@reelgraph/operators/world"
import { AttachCaptions } from "@reelgraph/operators/recaption"
import { BlobStore, Journal } from "@reelgraph/store"
import { LatentSet } from "@reelgraph/training"
import { Attributes, Measure, Render, Scene } from "@reelgraph/world"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

import { storeAndWorkers, temporaryFolder } from "./curation.ts"

const level = { width: 16, blocks: 1, expansion: 1 }

/** The factors of `ShiftVae.small`, in less. */
const config: ShiftVae.Config = {
  ...ShiftVae.small,
  encoder: { fine: level, coarse: level },
  decoder: { fine: level, coarse: level },
  latentsMean: ShiftVae.small.latentsMean.map((_, i) => i / 20),
  latentsStd: ShiftVae.small.latentsStd.map((_, i) => 0.5 + i / 10),
}

const size = { frames: 16, height: 72, width: 128 }

/** Clips with captions in text files, to training data; their frames beside it. */
const captioned = Graph.make("captioned", { version: "1.0.0" }, (g) => {
  const captions = g.input("captions", CaptionFile)
  const vae = g.input("vae", Vae)
  const frames = g.input("clips", Clip).pipe(AttachCaptions().with({ captions }), SampleFrames())
  return { frames, items: frames.pipe(EncodeLatents().with({ vae }), EmbedCaptions()) }
})

/** The part of `world` that makes frames: to see them, after it ran. */
const drawn = Graph.make("drawn", { version: "1.0.0" }, (g) => ({
  frames: g.input("sets", WorldSet).pipe(WorldScenes(), RenderWorld()),
}))

const attributes: Attributes.Attributes = {
  colour: "red",
  shape: "circle",
  motion: "right",
  background: "gray",
}
const caption = "a red ball moves to the right on a gray background"

/** 8-bit RGB to a film without compression: limited range 4:2:0 by ITU-R BT.601, as small films are read. */
const film = (pixels: Uint8Array, { frames, height, width }: typeof size): Uint8Array => {
  const header = Buffer.from(`YUV4MPEG2 W${width} H${height} F24:1 Ip A1:1 C420jpeg\n`)
  const area = width * height
  const planes = Array.from({ length: frames }, (_, f) => {
    const out = Buffer.alloc(area * 1.5)
    const at = (y: number, x: number, c: number) => pixels[((f * height + y) * width + x) * 3 + c]! / 255
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        const luma = 0.299 * at(y, x, 0) + 0.587 * at(y, x, 1) + 0.114 * at(y, x, 2)
        out[y * width + x] = Math.round(16 + 219 * luma)
        if (y % 2 === 1 || x % 2 === 1) continue
        const o = area + (y / 2) * (width / 2) + x / 2
        out[o] = Math.round(128 + (224 * (at(y, x, 2) - luma)) / 1.772)
        out[o + area / 4] = Math.round(128 + (224 * (at(y, x, 0) - luma)) / 1.402)
      }
    return [Buffer.from("FRAME\n"), out]
  })
  return Buffer.concat([header, ...planes.flat()])
}

/** A standard clip of a world scene: 120 frames of 1280 x 720. */
const standardClip = (folder: string, scene: Scene.Scene) =>
  Effect.gen(function* () {
    const blobs = yield* BlobStore
    const path = join(folder, "ball.y4m")
    const whole = { ...size, frames: 120 }
    writeFileSync(path, film(Render.frames(scene, whole), whole))
    const source = yield* blobs.reference(path, "video/*")
    const { fingerprint, fps, frames, height, out, sourceFrames, width } = yield* Standardize.standardize({
      path,
      startSeconds: 0,
      out: join(folder, "ball.mp4"),
    })
    const clip = yield* blobs.reference(out, "video/mp4")
    const summary = {
      frames,
      blackShare: 0,
      longestFreezeSeconds: 0,
      staticShare: 0,
      motionLow: 1,
      motionMedian: 1,
      motionHigh: 1,
      blurMedian: 4,
      blurry: false,
      interlacedShare: 0,
      crop: null,
      cutsPerSecond: 0,
      lumaMean: 120,
    }
    const window = { shot: 0, startSeconds: 0, endSeconds: 5 }
    return {
      name: "ball.y4m",
      source,
      window,
      clip,
      width,
      height,
      fps,
      frames,
      sourceFrames,
      summary,
      fingerprint,
    } satisfies Port.RecordOf<typeof Clip>
  })

/** The records that a run gave, sorted by name. */
const given = <A extends { readonly name: string }>(
  report: Engine.Report,
  output: string,
  { record }: { readonly record: Port.RecordSchema<A> },
): Effect.Effect<ReadonlyArray<A>, never, Journal> =>
  Effect.map(Journal, (journal) => {
    const decode = Schema.decodeUnknownSync(Schema.fromJsonString(record))
    const ids = journal.runItems(journal.run(report.run)!.id, `out:${output}`)
    return ids.map((id) => decode(journal.item(id)!.record)).toSorted((a, b) => (a.name < b.name ? -1 : 1))
  })

type Item = Port.RecordOf<typeof TrainingItem>
type Clips = ReadonlyArray<Port.RecordOf<typeof Frames>>

/** A training item whose shards are files. */
const local = (item: Item) =>
  Effect.gen(function* () {
    const blobs = yield* BlobStore
    const latents = { path: yield* blobs.localPath(item.latents.shard), row: item.latents.row }
    const text = { path: yield* blobs.localPath(item.text.shard), row: item.text.row }
    return { ...item, latents, text } satisfies LatentSet.Item
  })

const pixelsOf = ({ pixels: { row, shard } }: Clips[number]) =>
  Effect.gen(function* () {
    const path = yield* BlobStore.use((blobs) => blobs.localPath(shard))
    const file = yield* Safetensors.open(path)
    const { data } = yield* file.read("frames", { dtype: "u8" })
    const length = size.frames * size.height * size.width * 3
    return Uint8Array.from(data.subarray(row * length, (row + 1) * length))
  })

/** Float32 to half precision and back. */
const rounded = (values: Float32Array): Float32Array => Half.toFloat32("f16", Half.fromFloat32("f16", values))

it.live(
  "makes training data of world scenes and of captioned clips",
  () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      yield* Effect.gen(function* () {
        const blobs = yield* BlobStore
        const path = join(folder, "vae.safetensors")
        const weights = ShiftVae.initialize(config, 1)
        yield* ModelFile.write(path, { spec: { kind: "vae", model: "ShiftVae", config }, weights }, "f32")
        const vae = Stream.make({
          name: "vae.safetensors",
          file: yield* blobs.reference(path, "application/octet-stream"),
        })
        const set = Schema.decodeUnknownSync(WorldSet.record)({ name: "world", seed: 1, count: 20 })
        const made = yield* Engine.run(world, { sets: Stream.make(set), vae })
        assert.deepStrictEqual(made.outputs, { items: 20 })

        const scene = Scene.make(attributes, CounterRandom.key(5, "ball", "test"))
        const captionPath = join(folder, "ball.txt")
        writeFileSync(captionPath, `${caption}\n`)
        const text = { name: "ball.txt", file: yield* blobs.reference(captionPath, "text/plain") }
        const clip = yield* standardClip(folder, scene)
        const filmed = yield* Engine.run(captioned, {
          clips: Stream.make(clip, { ...clip, name: "nothing-said.y4m" }),
          captions: Stream.make(text),
          vae,
        })
        assert.deepStrictEqual(filmed.outputs, { frames: 1, items: 1 })
        assert.deepStrictEqual(filmed.ledger["attach-captions"]!.dropped, { "no-caption": 1 })

        const [ball] = yield* given(filmed, "frames", Frames)
        assert.deepInclude(ball!, { ...size, captions: [caption], seconds: 5 })
        const shown = yield* pixelsOf(ball!)
        assert.deepInclude(Measure.read(shown, size), attributes)
        // Twice scaled and encoded, but the same picture: first and last frame among them.
        const expected = Render.frames(scene, size)
        const frame = size.height * size.width * 3
        for (const f of [0, 15]) {
          const difference = Array.from(shown.subarray(f * frame, (f + 1) * frame), (value, i) =>
            Math.abs(value - expected[f * frame + i]!),
          )
          assert.isBelow(difference.reduce((sum, each) => sum + each, 0) / frame, 3)
        }

        const again = yield* Engine.run(drawn, { sets: Stream.make(set) })
        assert.strictEqual(again.ledger["render-world"]!.cached, 1)
        const clips: Clips = [ball!, ...(yield* given(again, "frames", Frames))]
        const items: ReadonlyArray<Item> = [
          ...(yield* given(filmed, "items", TrainingItem)),
          ...(yield* given(made, "items", TrainingItem)),
        ]
        assert.deepStrictEqual(
          items.map(({ captions, name }) => [name, captions]),
          clips.map(({ captions, name }) => [name, captions]),
        )

        const set21 = yield* LatentSet.load(yield* Effect.forEach(items, local), { tokens: 32 })
        assert.deepStrictEqual(set21.buckets, [{ name: "4x9x16", sizes: [4, 9, 16], count: 21 }])
        const graph = ShiftVae.boundEncoder(config, size, weights)
        const session = yield* Session.open(Onnx.model(graph), { provider: "cpu" })
        const model = yield* TextModel.open({ provider: "cpu" })
        assert.deepInclude(set21, { channels: 16, width: 512, textEncoder: model.digest })
        const latents = new Float32Array(16 * 4 * 9 * 16)
        const states = new Float32Array(32 * 512)
        const plane = size.frames * size.height * size.width
        for (const i of [0, 1, 7, 20]) {
          const pixels = yield* pixelsOf(clips[i]!)
          const values = Float32Array.from(
            { length: 3 * plane },
            (_, o) => pixels[(o % plane) * 3 + Math.floor(o / plane)]! / 127.5 - 1,
          )
          const shape = [1, 3, size.frames, size.height, size.width]
          const { mean } = yield* session.run({ pixels: Tensor.make("f32", shape, values) })
          set21.latents("4x9x16", i, latents, 0)
          assert.deepStrictEqual(latents, rounded(mean.data))
          const encoded = yield* model.encode(clips[i]!.captions)
          clips[i]!.captions.forEach((spoken, which) => {
            assert.strictEqual(set21.caption("4x9x16", i, which), spoken)
            const tokens = set21.states("4x9x16", i, which, states, 0)
            assert.strictEqual(tokens, encoded.lengths[which])
            const [begin, length] = [which * 32 * 512, tokens * 512]
            const own = encoded.states.data.slice(begin, begin + length)
            assert.deepStrictEqual(states.slice(0, length), rounded(own))
            assert.isTrue(states.subarray(length).every((value) => value === 0))
          })
        }
      }).pipe(Effect.provide(storeAndWorkers(join(folder, "store"))))
    }).pipe(Effect.scoped, Effect.provide(Session.layer())),
  180_000,
)
