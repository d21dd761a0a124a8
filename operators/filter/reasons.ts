/** What media errors mean for an item: a fact about the file is a drop with a reason, the rest is a failure. */
import { type Drop, drop } from "@reelgraph/core"
import * as Effect from "effect/Effect"

const reasons = {
  NotAVideo: "not-a-video",
  NoVideoStream: "no-video-stream",
  UnsupportedCodec: "unsupported-codec",
  TooLarge: "too-large",
  Undecodable: "undecodable",
  EndsEarly: "ends-early",
} as const

type AboutTheFile = keyof typeof reasons

const isAboutTheFile = (error: {
  readonly _tag: string
}): error is { readonly _tag: AboutTheFile; readonly message: string } => error._tag in reasons

/** Turns errors that are facts about a file into drops, which speak of it by its name. */
export const dropUnusable =
  (path: string, name: string) =>
  <A, E extends { readonly _tag: string; readonly message: string }, R>(
    effect: Effect.Effect<A, E, R>,
  ): Effect.Effect<A, Exclude<E, { readonly _tag: AboutTheFile }> | Drop, R> =>
    Effect.mapError(effect, (error) =>
      isAboutTheFile(error)
        ? drop(reasons[error._tag], error.message.replaceAll(path, name))
        : (error as Exclude<E, { readonly _tag: AboutTheFile }>),
    )
