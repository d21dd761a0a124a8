/** Windows out of focus. */
import { drop, keep, Operator } from "@reelgraph/core"
import * as Effect from "effect/Effect"

import { ClipWindow } from "../ports/index.ts"

/** Drops windows of which most sampled frames are blurry. What counts as blurry is a param of `split-clips`. */
export const Blurry = Operator.filter("blurry", {
  version: "1.0.0",
  description: "Drops windows out of focus, by majority of sampled frames",
  input: ClipWindow,
  run: ({ summary }) =>
    Effect.succeed(
      summary.blurry ? drop("blurry", `median edge width ${summary.blurMedian.toFixed(1)} pixels`) : keep,
    ),
})
