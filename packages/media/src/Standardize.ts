/**
 * A piece of any video as a standard clip: exact frame count and rate, H.264 in MP4, BT.709 limited range 8-bit
 * 4:2:0, square pixels, upright, no audio, no metadata.
 *
 * Frames are chosen by display time: clip frame k shows what the source shows at `startSeconds + k / fps`. So a
 * source of variable rate keeps its timing, and no frame comes from at or after `startSeconds + frames / fps`
 * (a filter that rounds to the nearest frame takes the next shot's first frame there).
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { avGetPixFmtName, Frame } from "node-av/lib"
import { rangeName } from "./internal/colour.ts"
import { Filters, sameShape, shapeOf, type FrameShape } from "./internal/filters.ts"
import { copyPlane } from "./internal/meter.ts"
import { type Cleanup, fromAdapter, Pace, withCleanup } from "./internal/native.ts"
import { colourOf, pictureFilters } from "./internal/picture.ts"
import { Reader, refineDecode } from "./internal/reader.ts"
import { Writer } from "./internal/writer.ts"
import {
  type DecodeError,
  EncoderFailed,
  type EncodeError,
  EndsEarly,
  Undecodable,
  Unwritable,
} from "./MediaError.ts"
import { Fingerprint, type FrameHash, hash } from "./Pdq.ts"
import { geometryOf } from "./Probe.ts"
import { Crop } from "./Shots.ts"

/** What a standard clip is. */
export const Target = Schema.Struct({
  /** Pixels; even. */
  width: Schema.Int.check(Schema.isBetween({ minimum: 16, maximum: 16_384 })),
  height: Schema.Int.check(Schema.isBetween({ minimum: 16, maximum: 16_384 })),
  /** Frames per second. A number with a fraction is taken as the nearest n * 1000 / 1001. */
  fps: Schema.Finite.check(Schema.isBetween({ minimum: 1, maximum: 240 })),
  frames: Schema.Int.check(Schema.isGreaterThan(0)),
})
export type Target = typeof Target.Type

/** 1280 x 720, 24 frames a second, 5 s. */
export const standardTarget: Target = { width: 1280, height: 720, fps: 24, frames: 120 }

/** x264's settings. */
export const EncoderSettings = Schema.Struct({
  /** Speed against size. */
  preset: Schema.Literals([
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
  ]),
  /** Constant rate factor, 0 (lossless) to 51. */
  crf: Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 51 })),
  /** Frames between keyframes at most: how far a reader that seeks must decode. */
  gop: Schema.Int.check(Schema.isGreaterThan(0)),
})
export type EncoderSettings = typeof EncoderSettings.Type

/** veryfast, crf 18 (visually lossless), a keyframe a second. */
export const standardEncoder: EncoderSettings = { preset: "veryfast", crf: 18, gop: 24 }

export interface StandardizeOptions {
  /** The source. */
  readonly path: string
  /** Start of the window, seconds from the container's first time stamp. */
  readonly startSeconds: number
  /** End of the window; when it is too near for the target's frames, the call fails with `EndsEarly`. @default start + frames / fps */
  readonly endSeconds?: number
  /** Part of the coded picture to use, as `Shots.summarize` found it. @default all of it */
  readonly crop?: Crop | null
  /** Weave out the two fields of interlaced pictures (bwdif). @default false */
  readonly deinterlace?: boolean
  /** Path of the file to write. It is overwritten, and removed when the call fails. */
  readonly out: string
  /** @default standardTarget */
  readonly target?: Target
  /** @default standardEncoder */
  readonly encoder?: Partial<EncoderSettings>
  /** Perceptual hashes per second of clip; 0 for none. @default 1 */
  readonly hashesPerSecond?: number
}

/** A clip that was written. */
export const StandardClip = Schema.Struct({
  out: Schema.String,
  width: Schema.Int,
  height: Schema.Int,
  fps: Schema.Finite,
  frames: Schema.Int,
  /** The piece of the source, seconds from its first time stamp. */
  startSeconds: Schema.Finite,
  endSeconds: Schema.Finite,
  bytes: Schema.Int,
  /** Different source frames that are shown; fewer than `frames` when the source is slower. */
  sourceFrames: Schema.Int,
  /** Source frames that the decoder marked as damaged, and packets it refused, from the keyframe on. */
  damagedFrames: Schema.Int,
  /** vPDQ hashes of the finished pictures. */
  fingerprint: Fingerprint,
})
export type StandardClip = typeof StandardClip.Type

/**
 * Slack of display times, seconds. Containers that count milliseconds put a frame up to half a millisecond late;
 * without slack a 24 fps source would lose frames to rounding.
 */
const SLACK = 0.001

/** Frame steps to go back further than the window, so that frames before a keyframe in display order are whole. */
const SEEK_MARGIN = 8

/** Seconds to go back when a container seeks to a point after the window's start; then to the beginning. */
const SEEK_RETRIES = [10, 60, Number.POSITIVE_INFINITY]

/** Pixels of the picture that is hashed. vPDQ uses 512 x 512; PDQ itself looks at 64 x 64. */
const HASH_SIZE = [320, 180] as const

const rateOf = (fps: number): readonly [number, number] =>
  Number.isInteger(fps) ? [fps, 1] : [Math.round((fps * 1001) / 1000) * 1000, 1001]

/** Makes standard pictures of decoded frames. Its graph follows changes of the stream's size or format. */
class Painter {
  private readonly reader: Reader
  private readonly options: StandardizeOptions
  private readonly target: Target
  private shape: FrameShape | undefined
  private filters: Filters | undefined
  constructor(cleanup: Cleanup, reader: Reader, options: StandardizeOptions, target: Target) {
    this.reader = reader
    this.options = options
    this.target = target
    cleanup.add(this, (painter) => painter.filters?.close())
  }
  /** Paints `frame` into `into`. */
  paint(frame: Frame, into: Frame): void {
    const shape = shapeOf(frame, { num: 1, den: 1_000_000 })
    if (this.filters === undefined || this.shape === undefined || !sameShape(this.shape, shape)) {
      this.filters?.close()
      this.filters = undefined
      this.filters = new Filters(shape, pictureFilters(this.source(frame), this.target))
      this.shape = shape
    }
    this.filters.push(frame)
    if (!this.filters.pull(into)) throw new Error("the picture filters kept a frame")
  }
  private source(frame: Frame) {
    const { container } = this.reader
    const geometry = geometryOf(container)
    const pixelFormat = avGetPixFmtName(frame.format as never) ?? "unknown"
    const crop = this.options.crop ?? undefined
    const fits =
      crop !== undefined && crop.x + crop.width <= frame.width && crop.y + crop.height <= frame.height
    return {
      width: frame.width,
      height: frame.height,
      sampleAspectRatio: geometry.sampleAspectRatio,
      rotation: geometry.rotation,
      crop: fits && crop.width >= 16 && crop.height >= 16 ? crop : undefined,
      ...colourOf(frame, geometry),
      range: rangeName(frame.colorRange, pixelFormat),
      rgb: /^(rgb|bgr|gbr|argb|abgr|0rgb|pal8)/.test(pixelFormat),
    }
  }
}

/** Gives clip frames to the encoder and hashes some of them. */
class Press {
  readonly fingerprint: Array<FrameHash> = []
  written = 0
  private readonly cleanup: Cleanup
  private readonly writer: Writer
  private readonly target: Target
  private readonly hashEvery: number
  private readonly small: Frame
  private readonly plane = new Uint8Array(HASH_SIZE[0] * HASH_SIZE[1])
  private scaler: Filters | undefined
  constructor(cleanup: Cleanup, writer: Writer, target: Target, hashesPerSecond: number) {
    this.cleanup = cleanup
    this.writer = writer
    this.target = target
    this.hashEvery = hashesPerSecond > 0 ? Math.max(1, Math.round(target.fps / hashesPerSecond)) : 0
    this.small = cleanup.add(new Frame(), (frame) => frame.free())
    this.small.alloc()
  }
  print(picture: Frame): void {
    const { hashEvery, written } = this
    if (hashEvery > 0 && written % hashEvery === hashEvery >> 1) this.hash(picture)
    this.writer.encode(picture, written)
    this.written++
  }
  private hash(picture: Frame): void {
    const [width, height] = HASH_SIZE
    this.scaler ??= Filters.open(
      this.cleanup,
      shapeOf(picture, { num: 1, den: 1_000_000 }),
      `[in]scale=${width}:${height}:flags=area,format=gray[out0]`,
    )
    this.scaler.push(picture)
    if (!this.scaler.pull(this.small)) throw new Error("the scaler kept a frame")
    copyPlane(this.small, this.plane)
    this.fingerprint.push({
      seconds: this.written / this.target.fps,
      ...hash({ width, height, data: this.plane }),
    })
  }
}

const newFrame = (cleanup: Cleanup): Frame => {
  const frame = cleanup.add(new Frame(), (frame) => frame.free())
  frame.alloc()
  return frame
}

const run = (options: StandardizeOptions, signal: AbortSignal): Promise<StandardClip> =>
  withCleanup(async (cleanup) => {
    const { path, startSeconds, out } = options
    const target = options.target ?? standardTarget
    const settings = { ...standardEncoder, ...options.encoder }
    const expected = target.frames
    const endsEarly = (got: number) => new EndsEarly({ path, startSeconds, expected, got })
    const rate = rateOf(target.fps)
    const step = rate[1] / rate[0]
    const window = options.endSeconds === undefined ? expected * step : options.endSeconds - startSeconds
    if (window < expected * step - 2 * SLACK)
      throw endsEarly(Math.max(0, Math.floor((window + SLACK) / step)))

    const pace = new Pace(signal)
    const reader = await Reader.open(path, cleanup, pace)
    const frame = newFrame(cleanup)
    const picture = newFrame(cleanup)
    const woven = newFrame(cleanup)
    let held = newFrame(cleanup)
    let spare = newFrame(cleanup)
    const writer = await Writer.open(
      out,
      {
        width: target.width,
        height: target.height,
        rate,
        frames: expected,
        gop: settings.gop,
        encoder: { preset: settings.preset, crf: String(settings.crf) },
      },
      cleanup,
    )
    const press = new Press(cleanup, writer, target, options.hashesPerSecond ?? 1)
    const painter = new Painter(cleanup, reader, options, target)

    let heldFrom = Number.NaN // display time of the held frame; NaN when there is none
    let heldUntil = Number.NaN
    let sourceFrames = 0
    /** Shows the held frame for every clip frame before `until`. */
    const show = (until: number): void => {
      const tick = () => startSeconds + press.written * step
      if (press.written >= expected || tick() + SLACK >= until) return
      painter.paint(held, picture)
      sourceFrames++
      while (press.written < expected && tick() + SLACK < until) press.print(picture)
      picture.unref()
    }
    /** Takes the next frame in display order; false when the clip is complete. */
    const take = (next: Frame, seconds: number, duration: number): boolean => {
      if (!Number.isNaN(heldFrom)) show(seconds)
      if (press.written >= expected) return false
      spare.unref()
      spare.ref(next)
      ;[held, spare] = [spare, held]
      heldFrom = seconds
      heldUntil = seconds + (duration > 0 ? duration : reader.stepSeconds)
      return true
    }

    let weaver: { readonly filters: Filters; readonly shape: FrameShape } | undefined
    cleanup.add(undefined, () => weaver?.filters.close())
    const { tick } = reader.container
    const drainWeaver = (): boolean => {
      while (weaver?.filters.pull(woven) === true) {
        const base = weaver.filters.timeBase()
        const seconds = (Number(woven.pts) * base.num) / base.den - reader.container.originSeconds
        if (!take(woven, seconds, 0)) return false
      }
      return true
    }
    const weave = (next: Frame): boolean => {
      const shape = shapeOf(next, reader.container.stream.timeBase)
      if (weaver === undefined || !sameShape(weaver.shape, shape)) {
        if (weaver !== undefined) {
          weaver.filters.push(null)
          if (!drainWeaver()) return false
          weaver.filters.close()
        }
        weaver = {
          filters: new Filters(shape, "[in]bwdif=mode=send_frame:parity=auto:deint=all[out0]"),
          shape,
        }
      }
      weaver.filters.push(next)
      return drainWeaver()
    }

    /** Decodes from a keyframe on; false when its first frame is later than the window's start. */
    const decodeFrom = async (seconds: number): Promise<boolean> => {
      if (seconds > 0) reader.seek(seconds)
      let first = true
      let late = false
      await reader.decode(frame, (next, pts) => {
        const at = reader.seconds(pts)
        if (first && seconds > 0 && at > startSeconds + SLACK) {
          late = true
          return false
        }
        first = false
        return options.deinterlace === true ? weave(next) : take(next, at, Number(next.duration) * tick)
      })
      return !late
    }
    const margin = SEEK_MARGIN * Math.max(reader.stepSeconds, step)
    if (!(await decodeFrom(startSeconds - margin))) {
      for (const back of SEEK_RETRIES) {
        const from = Math.max(0, startSeconds - back)
        if (from === 0) reader.seek(0)
        if (await decodeFrom(from)) break
      }
    }
    if (weaver !== undefined && press.written < expected) {
      weaver.filters.push(null)
      drainWeaver()
    }
    if (!Number.isNaN(heldFrom)) show(heldUntil)
    const { counts } = reader
    if (counts.frames === 0) throw new Undecodable({ path, reason: "no frame could be decoded" })
    if (press.written < expected) throw endsEarly(press.written)
    pace.check()
    const bytes = writer.finish()
    return {
      out,
      width: target.width,
      height: target.height,
      fps: rate[0] / rate[1],
      frames: press.written,
      startSeconds,
      endSeconds: startSeconds + expected * step,
      bytes,
      sourceFrames,
      damagedFrames: counts.flagged + counts.errors,
      fingerprint: press.fingerprint,
    }
  })

export type StandardizeError = DecodeError | EncodeError | EndsEarly

/**
 * Writes the window of a source that begins at `startSeconds` as a standard clip, on one thread, byte-identical
 * from run to run.
 *
 * Fails with `EndsEarly` when the source has fewer frames, with `Undecodable` when nothing decodes, with
 * `EncoderFailed` or `Unwritable` on the way out, and with what opening the source fails with. On failure and on
 * interruption the file at `out` is removed.
 */
export const standardize = Effect.fn("Standardize.standardize")(
  (options: StandardizeOptions): Effect.Effect<StandardClip, StandardizeError> =>
    fromAdapter(
      (signal) => run(options, signal),
      (thrown): StandardizeError | undefined =>
        thrown instanceof EndsEarly || thrown instanceof EncoderFailed || thrown instanceof Unwritable
          ? thrown
          : refineDecode(options.path)(thrown),
    ),
)
