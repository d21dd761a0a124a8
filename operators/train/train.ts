/** Training a denoiser. */
import { Operator } from "@reelgraph/core"
import * as Sessions from "@reelgraph/inference/Sessions"
import { BlobStore, Scratch, Unfinished } from "@reelgraph/store"
import { DenoiserRun, Gang, LatentSet, TrainingMismatch } from "@reelgraph/training"
import * as Effect from "effect/Effect"

import { Checkpoint, Denoiser, TrainingItem } from "../ports/index.ts"
import type { Row } from "../ports/Rows.ts"
import { curveOf, longRun } from "./longRun.ts"

/** Words are listed in a model's file up to this many. */
const mostWords = 20_000

/** The items with paths of their shards, which are good until the scope closes. */
const rowsOf = (items: ReadonlyArray<typeof TrainingItem.record.Type>) =>
  Effect.gen(function* () {
    const blobs = yield* BlobStore
    const paths = new Map<string, string>()
    for (const { latents, text } of items)
      for (const { shard } of [latents, text])
        if (!paths.has(shard.sha256)) paths.set(shard.sha256, yield* blobs.localPath(shard))
    const local = ({ row, shard }: typeof Row.Type) => ({ row, path: paths.get(shard.sha256)! })
    return items.map((item) => ({ ...item, latents: local(item.latents), text: local(item.text) }))
  })

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
  layer: Sessions.layer,
  needs: [BlobStore, Scratch, Unfinished],
  run: (items, settings, call) =>
    Effect.gen(function* () {
      yield* Gang.requireOneRank
      const blobs = yield* BlobStore
      const { initial } = call.sides
      if (initial.length > 1)
        return yield* new TrainingMismatch({
          what: "the initial model",
          expected: "one, or none",
          found: initial.map(({ name }) => name).join(", "),
        })
      const local = yield* rowsOf(items)
      const set = yield* LatentSet.load(local, { tokens: settings.tokens })
      const initialPath = initial[0] === undefined ? undefined : yield* blobs.localPath(initial[0].file)
      const vocabulary = vocabularyOf(items.flatMap(({ captions }) => captions))
      const { checkpoint, rows } = yield* longRun(call, (folder, watch) =>
        DenoiserRun.run({
          set,
          vae: set.vae,
          textEncoder: set.textEncoder,
          settings,
          key: call.random,
          folder,
          ...watch,
          ...(initialPath === undefined ? {} : { initial: initialPath }),
          ...(vocabulary === undefined ? {} : { vocabulary }),
        }),
      )
      const file = yield* blobs.putFile(checkpoint, "application/safetensors")
      const curve = yield* curveOf(
        `${call.sides.initial.length > 0 ? "Fine-tuning" : "Training"} a denoiser`,
        rows,
      )
      const step = rows.at(-1)?.step ?? 0
      const record = { name: `denoiser-${step}`, file, step, ...curve }
      return [
        Operator.emit(
          record,
          items.map((_, i) => i),
        ),
      ]
    }),
})
