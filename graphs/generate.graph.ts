/** From prompts to videos. */
import { Graph } from "@reelgraph/core"
import { Decode } from "@reelgraph/operators/decode"
import { Denoiser, Prompt, Vae } from "@reelgraph/operators/ports"
import { CheckPrompt } from "@reelgraph/operators/safety"
import { Sample } from "@reelgraph/operators/sample"
import { Interpolate } from "@reelgraph/operators/super-resolve"

/** Makes a video for every prompt, with a denoiser and the autoencoder that it was trained with. */
export const generate = Graph.make(
  "generate",
  { version: "1.0.0", description: "Prompts to videos of five seconds" },
  (g) => {
    const prompts = g.input("prompts", Prompt)
    const denoiser = g.input("denoiser", Denoiser)
    const vae = g.input("vae", Vae)
    return {
      videos: prompts.pipe(
        CheckPrompt().with({ denoiser }),
        Sample().with({ denoiser, vae }),
        Decode().with({ vae }),
        Interpolate(),
      ),
    }
  },
)

export default generate
