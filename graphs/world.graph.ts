/** From nothing but numbers to training data: clips of the sample world, as models see them. */
import { Graph } from "@reelgraph/core"
import { EmbedCaptions, EncodeLatents } from "@reelgraph/operators/encode"
import { Vae } from "@reelgraph/operators/ports"
import { RenderWorld, WorldScenes, WorldSet } from "@reelgraph/operators/world"

/** Draws sets of world clips, and encodes them and their captions: what a denoiser is trained on. */
export const world = Graph.make(
  "world",
  { version: "1.1.0", description: "Clips of the sample world to training data" },
  (g) => {
    const sets = g.input("sets", WorldSet)
    const vae = g.input("vae", Vae)
    const frames = sets.pipe(WorldScenes(), RenderWorld())
    return { items: frames.pipe(EncodeLatents().with({ vae }), EmbedCaptions()) }
  },
)

export default world
