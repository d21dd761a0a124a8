/** Text encoders that stay open between calls, and their tokenizer. */
import * as TextModel from "@reelgraph/models/TextModel"
import type * as SentencePiece from "@reelgraph/onnx/SentencePiece"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"

import * as OpenModels from "./internal/openModels.ts"
import * as Sessions from "./Sessions.ts"

export class TextModels extends Context.Service<
  TextModels,
  {
    /** The encoder that is installed, for texts of up to so many tokens, on the CPU. */
    readonly open: (maxTokens: number) => Effect.Effect<TextModel.TextModel, TextModel.OpenError, Scope.Scope>
    /** Its tokenizer alone: nothing is run for it. */
    readonly tokenizer: Effect.Effect<SentencePiece.SentencePiece, TextModel.TextModelUnreadable, Scope.Scope>
  }
>()("reelgraph/inference/TextModels") {}

export const layer: Layer.Layer<TextModels> = Layer.effect(
  TextModels,
  Effect.gen(function* () {
    const open = yield* OpenModels.make((maxTokens: number) => TextModel.open({ provider: "cpu", maxTokens }))
    const tokenizer = yield* OpenModels.make(() => TextModel.tokenizer())
    return { open, tokenizer: tokenizer(null) }
  }),
).pipe(Layer.provide(Sessions.layer))
