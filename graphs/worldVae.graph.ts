/** The embedded autoencoder: trained on clips of the sample world. */
import { Graph } from "@reelgraph/core"
import { TrainVae } from "@reelgraph/operators/train"
import { RenderWorld, WorldScenes, WorldSet } from "@reelgraph/operators/world"

/** Draws sets of world clips, and trains an autoencoder on them. */
export const worldVae = Graph.make(
  "world-vae",
  { version: "1.1.0", description: "Clips of the sample world to a trained autoencoder" },
  (g) => {
    const sets = g.input("sets", WorldSet)
    return { checkpoint: sets.pipe(WorldScenes(), RenderWorld(), TrainVae()) }
  },
)

export default worldVae
