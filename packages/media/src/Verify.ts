/** Is a written clip what its target says? Answered by decoding all of it again. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { AVMEDIA_TYPE_AUDIO } from "node-av/constants"
import { avGetPixFmtName, Frame } from "node-av/lib"
import { matrixName, primariesName, rangeName, transferName } from "./internal/colour.ts"
import { fromAdapter, Pace, withCleanup } from "./internal/native.ts"
import { Reader, refineDecode } from "./internal/reader.ts"
import { ClipMismatch, type DecodeError, type Mismatch, Undecodable } from "./MediaError.ts"
import { geometryOf } from "./Probe.ts"
import { type Target } from "./Standardize.ts"

/** What decoding a clip shows. */
export const ClipFacts = Schema.Struct({
  frames: Schema.Int,
  width: Schema.Int,
  height: Schema.Int,
  /** Frames per second from the median step between time stamps. */
  fps: Schema.Finite,
  /** Every step is the same to within half a millisecond, and the first frame is at 0. */
  constantRate: Schema.Boolean,
  codec: Schema.String,
  pixelFormat: Schema.String,
  range: Schema.String,
  primaries: Schema.String,
  transfer: Schema.String,
  matrix: Schema.String,
  sampleAspectRatio: Schema.Tuple([Schema.Int, Schema.Int]),
  rotation: Schema.Int,
  audioStreams: Schema.Int,
  /** Frames marked as damaged and packets refused. */
  damagedFrames: Schema.Int,
})
export type ClipFacts = typeof ClipFacts.Type

const factsOf = (path: string, signal: AbortSignal): Promise<ClipFacts> =>
  withCleanup(async (cleanup) => {
    const reader = await Reader.open(path, cleanup, new Pace(signal))
    const { container, counts } = reader
    const frame = cleanup.add(new Frame(), (frame) => frame.free())
    frame.alloc()
    const stamps: Array<number> = []
    let shown: Omit<ClipFacts, "frames" | "fps" | "constantRate" | "damagedFrames"> | undefined
    await reader.decode(frame, (frame, pts) => {
      stamps.push(reader.seconds(pts))
      if (shown !== undefined) return true
      const pixelFormat = avGetPixFmtName(frame.format as never) ?? "unknown"
      const geometry = geometryOf(container)
      shown = {
        width: frame.width,
        height: frame.height,
        codec: container.codecName,
        pixelFormat,
        range: rangeName(frame.colorRange, pixelFormat),
        primaries: primariesName(frame.colorPrimaries),
        transfer: transferName(frame.colorTrc),
        matrix: matrixName(frame.colorSpace),
        sampleAspectRatio: geometry.sampleAspectRatio,
        rotation: geometry.rotation,
        audioStreams: container.format.streams.filter((s) => s.codecpar.codecType === AVMEDIA_TYPE_AUDIO)
          .length,
      }
      return true
    })
    if (shown === undefined) throw new Undecodable({ path, reason: "no frame could be decoded" })
    const steps = stamps.slice(1).map((stamp, i) => stamp - (stamps[i] as number))
    const median = [...steps].sort((a, b) => a - b)[steps.length >> 1] ?? 0
    return {
      ...shown,
      frames: stamps.length,
      fps: median > 0 ? 1 / median : 0,
      constantRate: Math.abs(stamps[0] ?? 1) < 5e-4 && steps.every((step) => Math.abs(step - median) < 5e-4),
      damagedFrames: counts.flagged + counts.errors,
    }
  })

/** Every fact that differs from the target, in words. Empty for a standard clip. */
export const mismatches = (facts: ClipFacts, target: Target): ReadonlyArray<Mismatch> => {
  const wanted: ReadonlyArray<readonly [string, unknown, unknown]> = [
    ["frames", target.frames, facts.frames],
    ["width", target.width, facts.width],
    ["height", target.height, facts.height],
    ["fps", target.fps.toFixed(2), facts.fps.toFixed(2)],
    ["constant rate", true, facts.constantRate],
    ["codec", "h264", facts.codec],
    ["pixel format", "yuv420p", facts.pixelFormat],
    ["range", "tv", facts.range],
    ["primaries", "bt709", facts.primaries],
    ["transfer", "bt709", facts.transfer],
    ["matrix", "bt709", facts.matrix],
    ["sample aspect ratio", "1:1", facts.sampleAspectRatio.join(":")],
    ["rotation", 0, facts.rotation],
    ["audio streams", 0, facts.audioStreams],
    ["damaged frames", 0, facts.damagedFrames],
  ]
  return wanted
    .filter(([, expected, got]) => expected !== got)
    .map(([fact, expected, got]) => ({ fact, expected: String(expected), got: String(got) }))
}

/** Decodes a clip and gives its facts; fails with `ClipMismatch` that lists all differences from the target. */
export const verifyClip = Effect.fn("Verify.verifyClip")(
  (path: string, target: Target): Effect.Effect<ClipFacts, DecodeError | ClipMismatch> =>
    fromAdapter((signal) => factsOf(path, signal), refineDecode(path)).pipe(
      Effect.flatMap((facts) => {
        const found = mismatches(facts, target)
        return found.length === 0
          ? Effect.succeed(facts)
          : Effect.fail(new ClipMismatch({ path, mismatches: found }))
      }),
    ),
)
