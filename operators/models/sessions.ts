/**
 * Models that stay open between the calls of one process. A call that needs a session asks here; the first one opens
 * it, and it is closed when nobody has used it for a minute or the process ends. The text encoder, which takes longer
 * to read than to run, is kept in the same way.
 */
import * as TextModel from "@reelgraph/models/TextModel"
import { Session } from "@reelgraph/onnx"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as RcMap from "effect/RcMap"
import type * as Scope from "effect/Scope"

type Opening = Effect.Effect<TextModel.TextModel, TextModel.OpenError, Session.Sessions | Scope.Scope>

/** Text encoders by how many tokens a text may have. */
class TextModels extends Context.Service<
  TextModels,
  RcMap.RcMap<number, TextModel.TextModel, TextModel.OpenError>
>()("reelgraph/operators/TextModels") {
  static readonly layer = Layer.effect(
    TextModels,
    RcMap.make({
      lookup: (maxTokens: number): Opening => TextModel.open({ provider: "cpu", maxTokens }),
      idleTimeToLive: "1 minute",
    }),
  )
}

type Kept = Session.Sessions | TextModels

let runtime: ManagedRuntime.ManagedRuntime<Kept, never> | undefined

/** Gives an effect the sessions and the text encoders of this process. */
export const withSessions = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
): Effect.Effect<A, E, Exclude<R, Kept>> =>
  Effect.suspend(() => {
    runtime ??= ManagedRuntime.make(Layer.provideMerge(TextModels.layer, Session.layer()))
    return Effect.flatMap(Effect.orDie(runtime.contextEffect), (context) =>
      Effect.provideContext(effect, context),
    )
  })

/** The text encoder of the process for texts of up to so many tokens. */
export const textModel = (
  maxTokens: number,
): Effect.Effect<TextModel.TextModel, TextModel.OpenError, TextModels | Scope.Scope> =>
  Effect.flatMap(TextModels, (models) =>
    // One that could not be opened is tried again.
    Effect.tapError(RcMap.get(models, maxTokens), () => RcMap.invalidate(models, maxTokens)),
  )
