/** Training a denoiser. */
import { Operator } from "@reelgraph/core"
import { BlobStore, Unfinished } from "@reelgraph/store"
import { DenoiserRun, LatentSet, TrainingMismatch } from "@reelgraph/training"
import * as Effect from "effect/Effect"

import { Checkpoint, Denoiser, TrainingItem } from "../ports/index.ts"
import { curveOf, kept } from "./kept.ts"

/** The one value that all items agree on. */
const agreed = (what: string, values: ReadonlyArray<string>): Effect.Effect<string, TrainingMismatch> => {
  const [first, second] = [...new Set(values)]
  if (first !== undefined && second === undefined) return Effect.succeed(first)
  return new TrainingMismatch({
    what,
    expected: "the same for all items",
    found: first === undefined ? "no items" : `${first} and ${second}`,
  })
}

/** Words are listed in a model's file up to this many. */
const mostWords = 20_000

const vocabularyOf = (captions: ReadonlyArray<string>): ReadonlyArray<string> | undefined => {
  const words = new Set(captions.flatMap((caption) => caption.toLowerCase().match(/[\p{L}\p{N}'-]+/gu) ?? []))
  return words.size > mostWords ? undefined : [...words].toSorted()
}

/**
 * Trains on latents and captions: noise is added, the prediction of it is compared by mean squared error. An initial
 * model may be given (at most one): from a checkpoint of the same model training goes on, of plain weights it begins
 * anew. What gets killed goes on from its last checkpoint, with the same losses to the last bit.
 */
export const Train = Operator.collect("train", {
  version: "1.0.0",
  description: "Trains a video diffusion model on latents and captions",
  input: TrainingItem,
  sides: { initial: Operator.all(Denoiser) },
  output: Checkpoint,
  worker: import.meta.url,
  seeded: true,
  resources: { cores: 2 },
  params: DenoiserRun.Settings,
  run: (items, settings, call) =>
    Effect.gen(function* () {
      const blobs = yield* BlobStore
      const { initial } = call.sides
      if (initial.length > 1)
        return yield* new TrainingMismatch({
          what: "the initial model",
          expected: "one, or none",
          found: initial.map(({ name }) => name).join(", "),
        })
      const vae = yield* agreed("the autoencoder of the latents", items.map((item) => item.vae))
      const textEncoder = yield* agreed(
        "the text encoder of the captions",
        items.map((item) => item.textEncoder),
      )
      const set = yield* LatentSet.load(items, (shard) => blobs.localPath(shard))
      const initialPath = initial[0] === undefined ? undefined : yield* blobs.localPath(initial[0].file)
      const vocabulary = vocabularyOf(items.flatMap(({ captions }) => captions))
      const { checkpoint, rows } = yield* kept(call, (folder, onWindow) =>
        DenoiserRun.run({
          set,
          vae,
          textEncoder,
          tokens: set.tokens,
          settings,
          key: call.random,
          folder,
          onWindow,
          ...(initialPath === undefined ? {} : { initial: initialPath }),
          ...(vocabulary === undefined ? {} : { vocabulary }),
        }),
      )
      const file = yield* blobs.putFile(checkpoint, "application/octet-stream")
      const curve = yield* curveOf(`${call.sides.initial.length > 0 ? "Fine-tuning" : "Training"} a denoiser`, rows)
      const step = rows.at(-1)?.step ?? 0
      yield* Unfinished.use(({ discard }) => discard(call.key))
      const record = { name: `denoiser-${step}`, file, step, ...curve }
      return [Operator.emit(record, items.map((_, i) => i))]
    }),
})
