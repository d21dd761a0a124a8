/** Models that do not belong together, although each is whole. */
import * as Schema from "effect/Schema"

/** Latents of one autoencoder mean nothing to another. */
export class LatentSpaceMismatch extends Schema.TaggedError<LatentSpaceMismatch>()("LatentSpaceMismatch", {
  /** What was made for one autoencoder. */
  of: Schema.String,
  /** sha256 of the autoencoder's file. */
  expected: Schema.String,
  /** The file that is there. */
  file: Schema.String,
  found: Schema.String,
}) {
  override get message() {
    return `${this.of} needs the autoencoder with the sha256 ${this.expected}; ${this.file} has ${this.found}`
  }
}

/** A denoiser was trained on the states of another text encoder. */
export class TextEncoderMismatch extends Schema.TaggedError<TextEncoderMismatch>()("TextEncoderMismatch", {
  denoiser: Schema.String,
  expected: Schema.String,
  found: Schema.String,
}) {
  override get message() {
    return `${this.denoiser} was trained with the text encoder ${this.expected}; the one installed is ${this.found}`
  }
}
