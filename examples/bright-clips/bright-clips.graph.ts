import { drop, Graph, keep, Operator } from "@reelgraph/core"
import { Measure, Probe, SplitClips } from "@reelgraph/operators/filter"
import { ClipWindow, SourceVideo } from "@reelgraph/operators/ports"
import { Standardize } from "@reelgraph/operators/standardize"
import { Effect, Schema } from "effect"

/** An operator of one's own: keeps windows that are bright enough. */
export const Brightness = Operator.filter("brightness", {
  version: "1.0.0",
  input: ClipWindow,
  params: Schema.Struct({ min: Schema.Finite }),
  run: ({ summary }, { min }) =>
    Effect.succeed(
      summary.lumaMean >= min
        ? keep
        : drop("too-dark", `mean luma ${summary.lumaMean.toFixed(0)} below ${min}`),
    ),
})

export default Graph.make("bright-clips", { version: "1.0.0" }, (g) => {
  const videos = g.input("videos", SourceVideo)
  return { clips: videos.pipe(Probe(), Measure(), SplitClips(), Brightness({ min: 100 }), Standardize()) }
})
