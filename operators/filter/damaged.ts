/** Videos of which a part is missing or broken. */
import { drop, keep, Operator } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { MeasuredVideo } from "../ports/index.ts"

/** Drops videos that end before they should, or whose decoder complained. */
export const Damaged = Operator.filter("damaged", {
  version: "1.0.0",
  description: "Drops truncated and damaged videos",
  input: MeasuredVideo,
  params: Schema.Struct({
    /** Share of missing or damaged frames that is still taken. @default 0 */
    maxShare: Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 })).pipe(
      Schema.withDecodingDefaultKey(Effect.succeed(0)),
    ),
  }),
  run: ({ damage }, { maxShare }) => {
    const { decodedFrames, errors, expectedFrames, flagged } = damage
    const missing = Math.max(0, expectedFrames - decodedFrames)
    // A frame may be missing and its packet refused: it counts for both, but no share is more than all.
    const share = Math.min(1, (missing + flagged + errors) / Math.max(1, expectedFrames))
    return Effect.succeed(
      damage.damaged && share > maxShare
        ? drop(
            "damaged",
            `${decodedFrames} of ${expectedFrames} frames decode, ${flagged} of them damaged, ${errors} errors`,
          )
        : keep,
    )
  },
})
