/**
 * The ways in which reading, measuring and writing video can fail: one tagged error per way.
 *
 * Every error names the file and carries its facts as fields, so that a caller can drop the item with a
 * reason (`NotAVideo`, `NoVideoStream`, `EndsEarly`, ...) or retry it (`Unwritable`).
 */
import * as Schema from "effect/Schema"

/** The file does not exist, is a folder, or may not be read. */
export class FileUnreadable extends Schema.TaggedError<FileUnreadable>()("FileUnreadable", {
  path: Schema.String,
  reason: Schema.String,
}) {
  override get message(): string {
    return `cannot read ${this.path}: ${this.reason}; check the path and its permissions`
  }
}

/** The bytes are not a video container that is allowed here: text, an empty file, a playlist, noise. */
export class NotAVideo extends Schema.TaggedError<NotAVideo>()("NotAVideo", {
  path: Schema.String,
  reason: Schema.String,
}) {
  override get message(): string {
    return `${this.path} is not a readable video file: ${this.reason}; remove it from the input or fetch it again`
  }
}

/** The container is readable but has no moving picture: audio only, or only a cover picture. */
export class NoVideoStream extends Schema.TaggedError<NoVideoStream>()("NoVideoStream", {
  path: Schema.String,
  container: Schema.String,
  streams: Schema.Int,
}) {
  override get message(): string {
    return `${this.path} (${this.container}, ${this.streams} streams) has no video stream; remove it from the input`
  }
}

/** No decoder for the codec of the video stream is built in. */
export class UnsupportedCodec extends Schema.TaggedError<UnsupportedCodec>()("UnsupportedCodec", {
  path: Schema.String,
  codec: Schema.String,
}) {
  override get message(): string {
    return `${this.path}: no decoder for the codec ${this.codec}; convert the file to another codec first`
  }
}

/** A size that the file claims is beyond what is decoded: a bound against damaged and hostile files. */
export class TooLarge extends Schema.TaggedError<TooLarge>()("TooLarge", {
  path: Schema.String,
  what: Schema.Literals(["width", "height", "pixels", "frames"]),
  limit: Schema.Finite,
  got: Schema.Finite,
}) {
  override get message(): string {
    return `${this.path}: ${this.got} ${this.what}, more than the limit of ${this.limit}; the file is damaged or must be split first`
  }
}

/** The stream is there and its codec is known, but no frame comes out of it. */
export class Undecodable extends Schema.TaggedError<Undecodable>()("Undecodable", {
  path: Schema.String,
  reason: Schema.String,
}) {
  override get message(): string {
    return `${this.path} cannot be decoded: ${this.reason}; the file is damaged, fetch it again`
  }
}

/** The source has fewer frames in the window than the clip needs. `expected` and `got` count clip frames. */
export class EndsEarly extends Schema.TaggedError<EndsEarly>()("EndsEarly", {
  path: Schema.String,
  startSeconds: Schema.Finite,
  expected: Schema.Int,
  got: Schema.Int,
}) {
  override get message(): string {
    return `${this.path} ends early: the window at ${this.startSeconds} s gave ${this.got} of ${this.expected} frames; choose an earlier or shorter window`
  }
}

/** The encoder or the muxer refused its parameters or a frame. */
export class EncoderFailed extends Schema.TaggedError<EncoderFailed>()("EncoderFailed", {
  path: Schema.String,
  reason: Schema.String,
}) {
  override get message(): string {
    return `cannot encode ${this.path}: ${this.reason}; check the encoder's preset and crf and the target size`
  }
}

/** The output file cannot be created or written. `code` is the system's: ENOSPC when the disk is full. */
export class Unwritable extends Schema.TaggedError<Unwritable>()("Unwritable", {
  path: Schema.String,
  code: Schema.String,
}) {
  override get message(): string {
    return this.code === "ENOSPC"
      ? `cannot write ${this.path}: the disk is full; free some space and run again`
      : `cannot write ${this.path}: ${this.code}; check that the folder exists and may be written`
  }
}

/** One fact of a clip that is not as the target says. */
export const Mismatch = Schema.Struct({
  fact: Schema.String,
  expected: Schema.String,
  got: Schema.String,
})
export type Mismatch = typeof Mismatch.Type

/** A written clip is not what its target says. Lists every mismatch, not only the first. */
export class ClipMismatch extends Schema.TaggedError<ClipMismatch>()("ClipMismatch", {
  path: Schema.String,
  mismatches: Schema.Array(Mismatch),
}) {
  override get message(): string {
    const list = this.mismatches.map((m) => `${m.fact} is ${m.got}, expected ${m.expected}`).join("; ")
    return `${this.path} is not a standard clip: ${list}; write it again`
  }
}

/** What opening a source can fail with. */
export type OpenError = FileUnreadable | NotAVideo | NoVideoStream | UnsupportedCodec | TooLarge

/** What decoding a source can fail with. */
export type DecodeError = OpenError | Undecodable

/** What writing a clip can fail with, besides the source. */
export type EncodeError = EncoderFailed | Unwritable
