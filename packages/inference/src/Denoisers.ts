/** Denoisers that stay open between calls, as sessions for latents of one size. */
import * as Denoiser from "@reelgraph/models/Denoiser"
import * as ModelFile from "@reelgraph/models/ModelFile"
import * as Onnx from "@reelgraph/onnx/Onnx"
import * as Session from "@reelgraph/onnx/Session"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"

import type * as Denoising from "./Denoising.ts"
import * as OpenModels from "./internal/openModels.ts"
import * as Sessions from "./Sessions.ts"

/** The denoiser cannot take latents of this size. */
export class LatentSizeInvalid extends Schema.TaggedError<LatentSizeInvalid>()("LatentSizeInvalid", {
  frames: Schema.Int,
  rows: Schema.Int,
  columns: Schema.Int,
  problem: Schema.String,
}) {
  override get message() {
    return `the denoiser takes no latents of ${this.frames} frames, ${this.rows} rows and ${this.columns} columns: ${this.problem}`
  }
}

/** A model file, and what it is to be run on. */
export interface Wanted extends Session.Options {
  readonly sha256: string
  readonly path: string
  readonly batch: number
  /** Frames, rows and columns. */
  readonly latents: readonly [number, number, number]
}

const open = Effect.fnUntraced(function* ({ batch, latents, path, provider, threads = 1 }: Wanted) {
  const { spec, weights } = yield* ModelFile.read("denoiser", path)
  const [frames, height, width] = latents
  const sizes = { batch, frames, height, width, tokens: spec.tokens }
  const model = yield* Effect.try({
    try: () => Onnx.model(Denoiser.boundGraph(ModelFile.denoiserOf(spec), sizes, weights)),
    catch: (cause) =>
      new LatentSizeInvalid({ frames, rows: height, columns: width, problem: (cause as Error).message }),
  })
  return yield* Session.open(model, { provider, threads })
})

export type OpenError = Effect.Error<ReturnType<typeof open>>

export class Denoisers extends Context.Service<
  Denoisers,
  {
    /** The model of a file, for one size of latents and so many samples in a run. */
    readonly open: (wanted: Wanted) => Effect.Effect<Denoising.Predictor, OpenError, Scope.Scope>
  }
>()("reelgraph/inference/Denoisers") {}

export const layer: Layer.Layer<Denoisers> = Layer.effect(
  Denoisers,
  Effect.map(OpenModels.make(open), (open) => ({ open })),
).pipe(Layer.provide(Sessions.layer))
