/** Slideshows and flicker: many cuts in a second. */
import { drop, keep, Operator } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { MeasuredVideo } from "../ports/index.ts"

/** Drops videos with more cuts within one second than a film has (Movie Gen drops such as jittery). */
export const Jitter = Operator.filter("jitter", {
  version: "1.0.0",
  description: "Drops slideshows and flicker: too many cuts in one second",
  input: MeasuredVideo,
  params: Schema.Struct({
    /** @default 3 */
    maxCutsPerSecond: Schema.Int.check(Schema.isGreaterThan(0)).pipe(
      Schema.withDecodingDefaultKey(Effect.succeed(3)),
    ),
  }),
  run: ({ overview }, { maxCutsPerSecond }) =>
    Effect.succeed(
      overview.cutsPerSecond > maxCutsPerSecond
        ? drop("jitter", `${overview.cutsPerSecond} cuts within a second, more than ${maxCutsPerSecond}`)
        : keep,
    ),
})
