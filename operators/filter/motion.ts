/** Windows that hardly move, or shake wildly. */
import { drop, keep, Operator } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { ClipWindow } from "../ports/index.ts"
import { nonNegative } from "./params.ts"

/**
 * Drops both tails of a motion score (as Open-Sora, NeMo Curator and Movie Gen do): frozen and static windows, slow
 * motion, and wild shaking. Motion is the mean luma difference in levels of 0-255 per 1/24 s.
 *
 * Defaults from real files: five seconds of a resting scene, before a fixed camera that adds its noise, have a median
 * motion up to 0.23; somebody who turns around on the spot has 0.29, somebody who walks 0.5, and a hand-held camera
 * 5 at its calmest.
 */
export const Motion = Operator.filter("motion", {
  version: "1.0.0",
  description: "Drops frozen, static, slow and wildly shaking windows",
  input: ClipWindow,
  params: Schema.Struct({
    /** Longest stretch without any change, in seconds. */
    maxFreezeSeconds: nonNegative(2),
    /** Share of frames that repeat the one before; slower sources repeat some by nature. */
    maxStaticShare: nonNegative(0.8),
    /** Median motion below which a window is slow. */
    minMotion: nonNegative(0.25),
    /** 5th percentile of motion above which a window shakes from beginning to end. */
    maxMotion: nonNegative(40),
  }),
  run: ({ summary }, { maxFreezeSeconds, maxMotion, maxStaticShare, minMotion }) => {
    const { longestFreezeSeconds, motionLow, motionMedian, staticShare } = summary
    const decide = () => {
      if (longestFreezeSeconds > maxFreezeSeconds)
        return drop("static", `nothing moves for ${longestFreezeSeconds.toFixed(2)} s`)
      if (staticShare > maxStaticShare)
        return drop("static", `${Math.round(staticShare * 100)} % of the frames repeat the one before`)
      if (motionMedian < minMotion)
        return drop("slow", `median motion ${motionMedian.toFixed(3)} below ${minMotion}`)
      if (motionLow > maxMotion)
        return drop("shaky", `motion is hardly ever below ${motionLow.toFixed(1)}, more than ${maxMotion}`)
      return keep
    }
    return Effect.succeed(decide())
  },
})
