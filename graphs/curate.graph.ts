/** From a folder of videos to standard clips. */
import { type Edge, Graph } from "@reelgraph/core"
import {
  Black,
  Blurry,
  Damaged,
  ExactDuplicates,
  IngestChecks,
  Jitter,
  Measure,
  Motion,
  NearDuplicates,
  Probe,
  SplitClips,
} from "@reelgraph/operators/filter"
import { SourceVideo } from "@reelgraph/operators/ports"
import { Standardize } from "@reelgraph/operators/standardize"

/** The nodes of {@link curate}, for graphs that begin with them: what ran in one graph is not run again in another. */
export const curated = (videos: Edge.Edge<typeof SourceVideo, string>) => {
  const usable = videos.pipe(ExactDuplicates(), Probe(), IngestChecks({ minShortSide: 480 }))
  const windows = usable.pipe(Measure(), Damaged(), Jitter(), SplitClips())
  const good = windows.pipe(Black(), Motion(), Blurry())
  return good.pipe(Standardize(), NearDuplicates())
}

/**
 * Curates videos: what is broken, small, short, dark, still, blurry or there twice is dropped with its reason; the
 * rest is split at its cuts into five seconds each and brought to one standard.
 *
 * Takes standard definition (a short side of 480); for a high-resolution set, `--set ingest-checks.minShortSide=720`.
 */
export const curate = Graph.make(
  "curate",
  { version: "1.0.0", description: "Videos to standard five-second clips" },
  (g) => {
    const videos = g.input("videos", SourceVideo)
    return { clips: curated(videos) }
  },
)

export default curate
