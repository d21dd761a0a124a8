/** Clips that look the same: one is kept. */
import { drop, Operator } from "@reelgraph/core"
import { Neighbours, Pdq } from "@reelgraph/media"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { Clip } from "../ports/index.ts"
import { precedes } from "./precedence.ts"

/**
 * Keeps one of the clips that match in most of their frames (vPDQ), and drops the others naming it.
 *
 * Matching is made transitive: of a chain of clips, each like the next, one is kept. That is the one from the source
 * of the most distinct frames, then the shortest name and the earliest time.
 */
export const NearDuplicates = Operator.collect("near-duplicates", {
  version: "1.0.0",
  description: "Keeps one of the clips that look the same (vPDQ)",
  input: Clip,
  output: Clip,
  params: Schema.Struct({
    /** Most bits of 256 in which two frames that match differ. */
    maxDistance: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 256 })).pipe(
      Schema.withDecodingDefaultKey(Effect.succeed(31)),
    ),
    /** Hashes of a lower quality (0-100) are left out: flat pictures look alike. */
    minQuality: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 100 })).pipe(
      Schema.withDecodingDefaultKey(Effect.succeed(50)),
    ),
    /** Share of frames that must match. Of none, every clip would match every other. */
    minShare: Schema.Finite.check(Schema.isGreaterThan(0), Schema.isLessThanOrEqualTo(1)).pipe(
      Schema.withDecodingDefaultKey(Effect.succeed(Pdq.MATCH_SHARE)),
    ),
  }),
  run: (clips, { maxDistance, minQuality, minShare }) =>
    Effect.sync(() => {
      const groups = Neighbours.groups(
        clips.map(({ fingerprint }) => fingerprint),
        { maxDistance, minQuality, minShare },
      )
      const kept = new Map<number, number>()
      clips.forEach((clip, at) => {
        const best = kept.get(groups[at]!)
        if (best === undefined || better(clip, clips[best]!)) kept.set(groups[at]!, at)
      })
      return clips.map((clip, at) => {
        const best = kept.get(groups[at]!)!
        if (best === at) return Operator.pass(at)
        const share = Pdq.matchFraction(clip.fingerprint, clips[best]!.fingerprint, {
          maxDistance,
          minQuality,
        })
        const like = `${clips[best]!.name} at ${clips[best]!.window.startSeconds.toFixed(2)} s (${Math.round(share * 100)} % of frames match)`
        return Operator.dropAt(at, drop("near-duplicate", `looks like ${like}`))
      })
    }),
})

type ClipRecord = Pick<(typeof Clip)["record"]["Type"], "sourceFrames" | "name" | "window">

const better = (a: ClipRecord, b: ClipRecord): boolean => {
  if (a.sourceFrames !== b.sourceFrames) return a.sourceFrames > b.sourceFrames
  if (a.name !== b.name) return precedes(a.name, b.name)
  return a.window.startSeconds < b.window.startSeconds
}
