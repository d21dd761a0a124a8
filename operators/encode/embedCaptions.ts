/** From captions to what a text encoder makes of them. */
import { type Drop, drop, Operator, type Port } from "@reelgraph/core"
import * as LatentShards from "@reelgraph/inference/LatentShards"
import * as TextModels from "@reelgraph/inference/TextModels"
import type * as TextModel from "@reelgraph/models/TextModel"
import * as Half from "@reelgraph/onnx/Half"
import * as Tensor from "@reelgraph/onnx/Tensor"
import { type Artifact, BlobStore } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { Latents, TrainingItem } from "../ports/index.ts"

type TrainingRecord = Port.RecordOf<typeof TrainingItem>

/** The states of the captions, one after the other without padding, and where each begins. */
const encode = Effect.fnUntraced(function* (model: TextModel.TextModel, captions: ReadonlyArray<string>) {
  const { lengths, states } = yield* model.encode(captions)
  const [, tokens, width] = states.shape as [number, number, number]
  const offsets = [0]
  for (const length of lengths) offsets.push(offsets.at(-1)! + length)
  const total = offsets.at(-1)!
  const halves = new Uint16Array(total * width)
  lengths.forEach((length, i) => {
    const from = i * tokens * width
    const into = halves.subarray(offsets[i]! * width, offsets[i + 1]! * width)
    Half.fromFloat32("f16", states.data.subarray(from, from + length * width), into)
  })
  return yield* LatentShards.put({
    offsets: Tensor.i64([offsets.length], offsets),
    states: Tensor.make("f16", [total, width], halves),
  })
})

/**
 * Adds the token states of every caption. Captions with more tokens than `maxTokens`, or none, are left out; an item
 * without any other is dropped.
 */
export const EmbedCaptions = Operator.batch("embed-captions", {
  version: "1.0.0",
  description: "Encodes captions by the text encoder",
  input: Latents,
  output: TrainingItem,
  size: 64,
  worker: import.meta.url,
  timeoutMs: 1_800_000,
  params: Schema.Struct({
    maxTokens: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 128 })).pipe(
      Schema.withDecodingDefaultKey(Effect.succeed(32)),
    ),
  }),
  layer: TextModels.layer,
  needs: [BlobStore],
  run: (records, { maxTokens }) =>
    Effect.scoped(
      Effect.gen(function* () {
        const models = yield* TextModels.TextModels
        const model = yield* models.open(maxTokens)
        const measured = records.map(({ captions }) =>
          captions.map((caption) => ({ caption, tokens: model.tokenizer.encode(caption).length })),
        )
        const kept = measured.map((captions) =>
          captions.filter(({ tokens }) => tokens > 0 && tokens <= maxTokens).map(({ caption }) => caption),
        )
        const all = kept.flat()
        const shard: Artifact | undefined = all.length === 0 ? undefined : yield* encode(model, all)
        let row = 0
        return records.map((record, i): TrainingRecord | Drop => {
          const captions = kept[i]!
          if (shard === undefined || captions.length === 0) {
            const longest = measured[i]!.reduce((most, { tokens }) => Math.max(most, tokens), 0)
            return longest === 0
              ? drop("no-caption", "no caption has any token")
              : drop("caption-too-long", `no caption has at most ${maxTokens} tokens; one has ${longest}`)
          }
          const text = { shard, row }
          row += captions.length
          return { ...record, captions, text, textEncoder: model.digest }
        })
      }),
    ),
})
