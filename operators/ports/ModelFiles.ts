/** Files of models: safetensors that say what they are (see `ModelFile` in packages/models). */
import { Port } from "@reelgraph/core"
import { Artifact } from "@reelgraph/store"
import * as Schema from "effect/Schema"

const record = Schema.Struct({ name: Schema.String, file: Artifact })

const files = {
  extensions: [".safetensors"],
  mediaType: "application/safetensors",
  record: (file: typeof Artifact.Type, name: string) => ({ name, file }),
}

/** A video autoencoder. */
export const Vae = Port.make("Vae", { record, files })

/** A denoiser: weights alone, or a training checkpoint. */
export const Denoiser = Port.make("Denoiser", { record, files })

/** What training gives: a file from which sampling starts and training goes on, and how it came to be. */
export const Checkpoint = Port.make("Checkpoint", {
  record: Schema.Struct({
    ...record.fields,
    /** Steps made from the beginning. */
    step: Schema.Int,
    /** Mean loss over the last steps. */
    loss: Schema.Finite,
    /** Loss, gradient norm, learning rate and time of every window of steps. */
    curveCsv: Artifact,
    curveSvg: Artifact,
  }),
})
