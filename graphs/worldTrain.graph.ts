/** The embedded denoiser: trained on clips of the sample world. */
import { Graph } from "@reelgraph/core"
import { EmbedCaptions, EncodeLatents } from "@reelgraph/operators/encode"
import { Denoiser, Vae } from "@reelgraph/operators/ports"
import { Train } from "@reelgraph/operators/train"
import { RenderWorld, WorldScenes, WorldSet } from "@reelgraph/operators/world"

/** Draws sets of world clips, encodes them and their captions, and trains a denoiser on them. */
export const worldTrain = Graph.make(
  "world-train",
  { version: "1.1.0", description: "Clips of the sample world to a trained denoiser" },
  (g) => {
    const sets = g.input("sets", WorldSet)
    const vae = g.input("vae", Vae)
    const initial = g.input("initial", Denoiser)
    const frames = sets.pipe(WorldScenes(), RenderWorld())
    const items = frames.pipe(EncodeLatents().with({ vae }), EmbedCaptions())
    return { checkpoint: items.pipe(Train().with({ initial })) }
  },
)

export default worldTrain
