/** What the training operators have in common: a folder that survives, reports, and files for the store. */
import { writeFile } from "node:fs/promises"
import { join } from "node:path"

import type { Operator } from "@reelgraph/core"
import { BlobStore, Scratch, Unfinished } from "@reelgraph/store"
import { type KeptRun, LossCurve, type TrainingRun } from "@reelgraph/training"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** The loss became infinite or not a number; the last good state was kept as a file of the store. */
export class TrainingStopped extends Schema.TaggedError<TrainingStopped>()("TrainingStopped", {
  step: Schema.Int,
  loss: Schema.String,
  norm: Schema.String,
  /** sha256 of the last good checkpoint, when there was one. */
  checkpoint: Schema.optionalKey(Schema.String),
  /** Where it is. */
  path: Schema.optionalKey(Schema.String),
}) {
  override get message() {
    const kept =
      this.path === undefined
        ? "no checkpoint was written before it"
        : `the last good checkpoint is kept as ${this.path}: train on from it with a lower learningRate`
    return `step ${this.step} has loss ${this.loss} and gradient norm ${this.norm}; ${kept}`
  }
}

const reportOf = ({ remainingMillis, report, step, stepMillis, until }: TrainingRun.Window) => ({
  done: step,
  total: until,
  detail: `loss ${report["loss"]!.toPrecision(4)}, ${Math.round(stepMillis)} ms a step`,
  remainingMillis,
})

/** What a training tells and is told while it goes on. */
interface Watch {
  readonly onWindow: (window: TrainingRun.Window) => Effect.Effect<void>
  readonly stopping: Effect.Effect<boolean>
}

/**
 * Runs a training in the folder of a call, with its reports. When the call is to come to an end, it
 * saves and fails with `TrainingInterrupted`: another attempt goes on from there. The folder is not discarded: between that
 * and the commit of the result hours of work could be lost.
 */
export const longRun = <A, E, R>(
  call: Operator.Call<unknown>,
  run: (folder: string, watch: Watch) => Effect.Effect<A, E | KeptRun.TrainingDiverged, R>,
) =>
  Effect.gen(function* () {
    const folder = yield* Unfinished.use(({ use }) => use(call.key))
    const onWindow = (window: TrainingRun.Window) => call.progress(reportOf(window))
    return yield* run(folder, { onWindow, stopping: call.stopping })
  }).pipe(
    Effect.catchTag("TrainingDiverged", (diverged) => {
      const { checkpoint, loss, norm, step } = diverged as KeptRun.TrainingDiverged
      return Effect.gen(function* () {
        if (checkpoint === undefined) return yield* new TrainingStopped({ step, loss, norm })
        const blobs = yield* BlobStore
        const file = yield* blobs.putFile(checkpoint, "application/safetensors")
        const path = yield* Effect.scoped(blobs.localPath(file))
        return yield* new TrainingStopped({ step, loss, norm, checkpoint: file.sha256, path })
      })
    }),
  )

/** The curve of a run as two artifacts, and its last loss. */
export const curveOf = (title: string, rows: ReadonlyArray<LossCurve.Row>) =>
  Effect.gen(function* () {
    const blobs = yield* BlobStore
    const scratch = yield* Scratch.use(({ directory }) => directory)
    const put = (name: string, text: string, mediaType: string) =>
      Effect.andThen(
        Effect.promise(() => writeFile(join(scratch, name), text)),
        blobs.putFile(join(scratch, name), mediaType, { move: true }),
      )
    const all = rows.filter(({ bucket }) => bucket === "all")
    const last = all.slice(-Math.max(1, Math.round(all.length / 20)))
    return {
      loss: last.reduce((sum, { loss }) => sum + loss, 0) / Math.max(1, last.length),
      curveCsv: yield* put("curve.csv", LossCurve.toCsv(rows), "text/csv"),
      curveSvg: yield* put("curve.svg", LossCurve.toSvg(title, rows), "image/svg+xml"),
    }
  })
