/** From a folder of videos with captions to a denoiser. */
import { Graph } from "@reelgraph/core"
import { EmbedCaptions, EncodeLatents, SampleFrames } from "@reelgraph/operators/encode"
import { CaptionFile, Denoiser, SourceVideo, Vae } from "@reelgraph/operators/ports"
import { AttachCaptions } from "@reelgraph/operators/recaption"
import { Train } from "@reelgraph/operators/train"

import { curated } from "./curate.graph.ts"

/**
 * Curates videos as `curate` does, gives the clips their captions (`beach.txt` beside `beach.mp4`), encodes both, and
 * trains. With an initial model training goes on from it; `--input initial=` trains from nothing.
 */
export const train = Graph.make(
  "train",
  { version: "1.0.0", description: "Videos with captions to a trained denoiser" },
  (g) => {
    const videos = g.input("videos", SourceVideo)
    const captions = g.input("captions", CaptionFile)
    const vae = g.input("vae", Vae)
    const initial = g.input("initial", Denoiser)
    const clips = curated(videos)
    const frames = clips.pipe(AttachCaptions().with({ captions }), SampleFrames())
    const items = frames.pipe(EncodeLatents().with({ vae }), EmbedCaptions())
    return { clips, checkpoint: items.pipe(Train().with({ initial })) }
  },
)

export default train
