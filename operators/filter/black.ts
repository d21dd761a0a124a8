/** Windows of darkness. */
import { drop, keep, Operator } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { ClipWindow } from "../ports/index.ts"

/** Drops windows that are black for a good part. */
export const Black = Operator.filter("black", {
  version: "1.0.0",
  description: "Drops windows with black frames",
  input: ClipWindow,
  params: Schema.Struct({
    /** Share of frames that are black (blackdetect's definition). @default 0.1 */
    maxShare: Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 })).pipe(
      Schema.withDecodingDefaultKey(Effect.succeed(0.1)),
    ),
  }),
  run: ({ summary }, { maxShare }) =>
    Effect.succeed(
      summary.blackShare > maxShare
        ? drop("black", `${Math.round(summary.blackShare * 100)} % of the frames are black`)
        : keep,
    ),
})
