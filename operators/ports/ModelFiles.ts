/** Files of models: safetensors that say what they are (see `ModelFile` in packages/models). */
import { Port, Tensor } from "@reelgraph/core"
import { Artifact } from "@reelgraph/store"
import * as Schema from "effect/Schema"

const record = Schema.Struct({ name: Schema.String, file: Artifact })

const files = {
  extensions: [".safetensors"],
  mediaType: "application/safetensors",
  record: (file: typeof Artifact.Type, name: string) => ({ name, file }),
}

/** What keeps one kind of model from where another belongs, before anything is read. */
const ofVae = { weights: Tensor.make({ dtype: "f32", shape: ["V"], space: "weights of a vae" }) }
const ofDenoiser = { weights: Tensor.make({ dtype: "f32", shape: ["N"], space: "weights of a denoiser" }) }

/** A video autoencoder. */
export const Vae = Port.make("Vae", { record, files, tensors: ofVae })

/** A denoiser: weights alone, or a training checkpoint. */
export const Denoiser = Port.make("Denoiser", { record, files, tensors: ofDenoiser })

/** How a file that training gave came to be. */
const trained = Schema.Struct({
  ...record.fields,
  /** Steps made from the beginning. */
  step: Schema.Int,
  /** Mean loss over the last steps. */
  loss: Schema.Finite,
  /** Loss, gradient norm, learning rate and time of every window of steps. */
  curveCsv: Artifact,
  curveSvg: Artifact,
})

/** A denoiser from which sampling starts and training goes on. */
export const Checkpoint = Port.make("Checkpoint", { record: trained, tensors: ofDenoiser })

/** An autoencoder that can be used at once. */
export const TrainedVae = Port.make("TrainedVae", { record: trained, tensors: ofVae })
