/** Decoders of video autoencoders that stay open between calls, as sessions for latents of one size. */
import * as ModelFile from "@reelgraph/models/ModelFile"
import * as ShiftVae from "@reelgraph/models/ShiftVae"
import * as Onnx from "@reelgraph/onnx/Onnx"
import * as Session from "@reelgraph/onnx/Session"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"

import * as OpenModels from "./internal/openModels.ts"
import * as Sessions from "./Sessions.ts"

/** A model file, and the size of the latents that are to be decoded. */
export interface Wanted extends Session.Options {
  readonly sha256: string
  readonly path: string
  readonly frames: number
  readonly height: number
  readonly width: number
}

const open = Effect.fnUntraced(function* ({ frames, height, path, provider, threads = 1, width }: Wanted) {
  const { spec, weights } = yield* ModelFile.read("vae", path)
  const graph = ShiftVae.boundDecoder(spec.config, { batch: 1, frames, height, width }, weights)
  return yield* Session.open(Onnx.model(graph), { provider, threads })
})

/** Takes `latents` `[1, C, T, H, W]`, gives `pixels` `[1, 3, F, H, W]` in [-1, 1]. */
export type Decoder = Effect.Success<ReturnType<typeof open>>

export type OpenError = Effect.Error<ReturnType<typeof open>>

export class VaeDecoders extends Context.Service<
  VaeDecoders,
  {
    /** The decoder of a file, for latents of one size. */
    readonly open: (wanted: Wanted) => Effect.Effect<Decoder, OpenError, Scope.Scope>
  }
>()("reelgraph/inference/VaeDecoders") {}

export const layer: Layer.Layer<VaeDecoders> = Layer.effect(
  VaeDecoders,
  Effect.map(OpenModels.make(open), (open) => ({ open })),
).pipe(Layer.provide(Sessions.layer))
