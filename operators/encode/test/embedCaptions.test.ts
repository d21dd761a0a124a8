/** Caption states in shards, against the text encoder itself. */
import { assert, describe, it } from "@effect/vitest"
import { Drop, type Port } from "@reelgraph/core"
import { TextModels } from "@reelgraph/inference"
import * as TextModel from "@reelgraph/models/TextModel"
import * as Half from "@reelgraph/onnx/Half"
import * as Session from "@reelgraph/onnx/Session"
import * as Tensor from "@reelgraph/onnx/Tensor"
import { EmbedCaptions } from "@reelgraph/operators/encode"
import type { Latents, TrainingItem } from "@reelgraph/operators/ports"
import { BlobStoreMemory } from "@reelgraph/store"
import * as Effect from "effect/Effect"

import { call, opened, memory } from "./calling.ts"

const shard = {
  _tag: "Artifact" as const,
  sha256: "a".repeat(64),
  bytes: 1000,
  mediaType: "application/octet-stream",
}

const clip = (name: string, captions: ReadonlyArray<string>): Port.RecordOf<typeof Latents> => ({
  name,
  captions,
  seconds: 5,
  latents: { shard, row: 0 },
  channels: 16,
  frames: 4,
  height: 9,
  width: 16,
  vae: "b".repeat(64),
})

const long = "a red ball and ".repeat(12)

const clips = [
  clip("first", ["a red ball rises", long, "a crimson orb lifts off on a white background"]),
  clip("second", [long]),
  clip("third", ["the star is blue and it is resting; the scene is gray"]),
  clip("fourth", [""]),
]

/** For what opens sessions. */
const limit = 180_000

describe("EmbedCaptions", () => {
  it.live(
    "keeps the states of every token, and leaves out what is too long",
    () =>
      Effect.gen(function* () {
        const made: ReadonlyArray<Port.RecordOf<typeof TrainingItem> | Drop> = yield* call(
          EmbedCaptions({ maxTokens: 24 }),
          clips,
        )
        const [first, second, third, fourth] = made
        assert.deepInclude(second, { reason: "caption-too-long" })
        assert.deepInclude(fourth, { reason: "no-caption" })
        if (first instanceof Drop || third instanceof Drop) throw new Error("these were to be kept")
        assert.deepStrictEqual(first!.captions, [clips[0]!.captions[0]!, clips[0]!.captions[2]!])
        assert.deepStrictEqual([first!.text.row, third!.text.row], [0, 2])
        assert.strictEqual(first!.text.shard.sha256, third!.text.shard.sha256)

        const model = yield* TextModel.open({ provider: "cpu", maxTokens: 24 })
        assert.strictEqual(first!.textEncoder, model.digest)
        const file = yield* opened(first!.text.shard)
        const offsets = yield* file.read("offsets", { dtype: "i64" })
        const states = yield* file.read("states", { dtype: "f16" })
        const captions = [...first!.captions, ...third!.captions]
        const expected = yield* model.encode(captions)
        assert.deepStrictEqual(
          Array.from(offsets.data, Number),
          expected.lengths.reduce((all, length) => [...all, all.at(-1)! + length], [0]),
        )
        captions.forEach((_, i) => {
          const [begin, end] = [Number(offsets.data[i]), Number(offsets.data[i + 1])]
          const rows = Uint16Array.from(states.data.slice(begin * 512, end * 512))
          const own = expected.states.data.slice(i * 24 * 512, i * 24 * 512 + rows.length)
          assert.deepStrictEqual(rows, Half.fromFloat32("f16", own))
        })
      }).pipe(Effect.scoped, Effect.provide([memory, Session.layer()])),
    limit,
  )

  it.effect("takes whatever text encoder it is given", () =>
    Effect.gen(function* () {
      const fake = {
        digest: "f".repeat(64),
        maxTokens: 8,
        tokenizer: { encode: (text: string) => Array.from(text.split(" "), (_, i) => i) },
        encode: (texts: ReadonlyArray<string>) =>
          Effect.succeed({
            states: Tensor.zeros("f32", [texts.length, 8, 2]),
            lengths: texts.map((text) => text.split(" ").length),
          }),
      }
      const models = { open: () => Effect.succeed(fake), tokenizer: Effect.succeed(fake.tokenizer) }
      const made: ReadonlyArray<Port.RecordOf<typeof TrainingItem>> = yield* call(
        EmbedCaptions({ maxTokens: 8 }),
        [clip("first", ["a red ball rises"])],
      ).pipe(Effect.provideService(TextModels.TextModels, models as never))
      assert.strictEqual(made[0]!.textEncoder, fake.digest)
      const states = yield* (yield* opened(made[0]!.text.shard)).read("states", { dtype: "f16" })
      assert.deepStrictEqual(states.shape, [4, 2])
    }).pipe(Effect.provide(BlobStoreMemory.layer)),
  )

  it.effect(
    "makes no shard of no captions",
    () =>
      Effect.gen(function* () {
        const made = yield* call(EmbedCaptions(), [clips[3]])
        assert.deepInclude(made[0], { reason: "no-caption" })
      }).pipe(Effect.provide(memory)),
    limit,
  )
})
