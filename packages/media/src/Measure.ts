/**
 * One decode pass over a video: a series of numbers per frame, and the state of the file.
 *
 * Every frame is scaled to about 57,600 luma samples (320 x 180) for the scene score, brightness, darkness,
 * freezes and motion; this does not change the decisions, because all of them are means over the picture. Twice a
 * second a frame is looked at in full: letterbox, blur and interlacing. No frame
 * is kept, so memory is some 40 bytes a frame.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { Frame } from "node-av/lib"
import type { FrameSeries } from "./FrameSeries.ts"
import { Meter } from "./internal/meter.ts"
import { fromAdapter, Pace, withCleanup } from "./internal/native.ts"
import { claimedDuration, ratio, Reader, refineDecode } from "./internal/reader.ts"
import { type DecodeError, TooLarge, Undecodable } from "./MediaError.ts"

export type { FrameSeries } from "./FrameSeries.ts"

/** How many frames were expected, how many came, and what the decoder said on the way. */
export const Damage = Schema.Struct({
  /** Frames that should have come. */
  expectedFrames: Schema.Int,
  /** What that rests on: the container's frame count, its duration times the frame rate, or packets read. */
  basis: Schema.Literals(["container", "duration", "packets"]),
  decodedFrames: Schema.Int,
  /** Frames that the decoder marked as damaged. */
  flagged: Schema.Int,
  /** Packets refused and read errors. */
  errors: Schema.Int,
  /** True when frames are missing or any was flagged or refused. */
  damaged: Schema.Boolean,
})
export type Damage = typeof Damage.Type

/** What a measurement gives. */
export interface Measurement {
  readonly series: FrameSeries
  readonly damage: Damage
  /** First and last time stamps in seconds. */
  readonly firstSeconds: number
  readonly lastSeconds: number
}

export interface MeasureOptions {
  /** Seconds between the frames that are looked at in full. @default 0.5 */
  readonly sampleSeconds?: number
  /** Most frames that are measured; more is `TooLarge`. @default 2_000_000 (18 hours at 30 frames a second) */
  readonly maxFrames?: number
  /** Mean luma (0-255) up to which a row or column is a black bar. @default 10 (cropdetect's 24 on limited range) */
  readonly barLuma?: number
}

/** Missing frames, by the container's own count, that are still taken as whole: one may hide behind an edit list. */
const COUNT_SLACK = 1

/** Missing share of the frames that a duration promises before it counts as damage; durations are rounded. */
const DURATION_SLACK = 0.05

const assess = (reader: Reader): Damage => {
  const { container, counts } = reader
  const counted = Number(container.stream.nbFrames) - counts.hidden
  const fps = ratio(container.stream.avgFrameRate)
  const promised = Math.round(claimedDuration(container) * fps)
  const basis = counted > 0 ? "container" : promised > counts.packets ? "duration" : "packets"
  const expectedFrames = basis === "container" ? counted : basis === "duration" ? promised : counts.packets
  const missing = expectedFrames - counts.frames
  const slack = basis === "duration" ? Math.max(2, promised * DURATION_SLACK) : COUNT_SLACK
  return {
    expectedFrames,
    basis,
    decodedFrames: counts.frames,
    flagged: counts.flagged,
    errors: counts.errors,
    damaged: missing > slack || counts.flagged > 0 || counts.errors > 0,
  }
}

/**
 * Measures a video file by decoding it once, on one thread.
 *
 * A damaged file gives a value with `damage.damaged`, as long as one frame decodes; none at all is `Undecodable`.
 * Further errors: `FileUnreadable`, `NotAVideo`, `NoVideoStream`, `UnsupportedCodec`, `TooLarge`.
 */
export const measure = Effect.fn("Measure.measure")(
  (path: string, options: MeasureOptions = {}): Effect.Effect<Measurement, DecodeError> =>
    fromAdapter(
      (signal) =>
        withCleanup(async (cleanup) => {
          const maxFrames = options.maxFrames ?? 2_000_000
          const reader = await Reader.open(path, cleanup, new Pace(signal))
          const { stream } = reader.container
          const meter = new Meter(cleanup, stream.timeBase, {
            sampleSeconds: options.sampleSeconds ?? 0.5,
            barLuma: options.barLuma ?? 10,
          })
          const frame = cleanup.add(new Frame(), (frame) => frame.free())
          frame.alloc()
          await reader.decode(frame, (frame, pts) => {
            if (meter.frames >= maxFrames) {
              throw new TooLarge({ path, what: "frames", limit: maxFrames, got: meter.frames + 1 })
            }
            meter.add(frame, reader.seconds(pts))
            return true
          })
          if (meter.frames === 0) throw new Undecodable({ path, reason: "no frame could be decoded" })
          const fps = ratio(stream.avgFrameRate) || ratio(stream.rFrameRate) || 25
          const series = meter.series(1 / fps)
          return {
            series,
            damage: assess(reader),
            firstSeconds: series.seconds[0] ?? 0,
            lastSeconds: series.seconds[series.frames - 1] ?? 0,
          }
        }),
      refineDecode(path),
    ),
)
