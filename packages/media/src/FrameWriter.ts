/**
 * Pictures that are painted one by one, as a video: H.264 in MP4, BT.709 limited range 8-bit 4:2:0, square pixels,
 * exactly as many frames as asked for, on one thread, byte-identical from run to run.
 *
 * What is painted is RGB of the full range, of any size: it is brought to the target's size by bicubic interpolation
 * (Keys 1981, "Cubic convolution interpolation for digital image processing", a = -1/2: Catmull and Rom's). One
 * picture is held at a time.
 */
import * as Effect from "effect/Effect"
import { AV_PIX_FMT_RGB24, AVCOL_RANGE_JPEG, AVCOL_SPC_RGB } from "node-av/constants"
import { Frame } from "node-av/lib"

import { Filters } from "./internal/filters.ts"
import { fromAdapter, Pace, withCleanup } from "./internal/native.ts"
import { Writer } from "./internal/writer.ts"
import { EncoderFailed, type EncodeError, Unwritable } from "./MediaError.ts"
import { type EncoderSettings, standardEncoder, type Target } from "./Standardize.ts"

export interface Options {
  /** Path of the file to write. It is overwritten, and removed when the call fails. */
  readonly out: string
  /** Size of what is painted. */
  readonly width: number
  readonly height: number
  readonly target: Target
  /** @default standardEncoder */
  readonly encoder?: Partial<EncoderSettings>
}

/** Paints frame `index` of the video into `[height, width, 3]`, which holds the frame before. */
export type Paint = (index: number, into: Uint8Array) => void

/** A video that was written. */
export interface Written {
  readonly out: string
  readonly bytes: number
}

/** A rate with a fraction is the nearest n * 1000 / 1001, as {@link Target} says. */
const rateOf = (fps: number): readonly [number, number] =>
  Number.isInteger(fps) ? [fps, 1] : [Math.round((fps * 1001) / 1000) * 1000, 1001]

const run = ({ encoder, height, out, target, width }: Options, paint: Paint, signal: AbortSignal) =>
  withCleanup(async (cleanup): Promise<Written> => {
    const { crf, gop, preset } = { ...standardEncoder, ...encoder }
    const rate = rateOf(target.fps)
    const timeBase = { num: rate[1], den: rate[0] }
    const pace = new Pace(signal)
    const writer = await Writer.open(
      out,
      {
        width: target.width,
        height: target.height,
        rate,
        frames: target.frames,
        gop,
        encoder: { preset, crf: String(crf) },
      },
      cleanup,
    )
    const shape = {
      width,
      height,
      format: AV_PIX_FMT_RGB24,
      timeBase,
      colorSpace: AVCOL_SPC_RGB,
      colorRange: AVCOL_RANGE_JPEG,
    }
    const filters = Filters.open(
      cleanup,
      shape,
      `[in]scale=${target.width}:${target.height}:flags=bicubic+accurate_rnd+full_chroma_int:param0=0:param1=0.5:` +
        "out_color_matrix=bt709:out_range=tv,format=yuv420p,setsar=1[out0]",
    )
    const picture = cleanup.add(new Frame(), (frame) => frame.free())
    picture.alloc()
    const pixels = Buffer.alloc(width * height * 3)
    for (let index = 0; index < target.frames; index++) {
      if (pace.due) await pace.rest()
      paint(index, pixels)
      const frame = Frame.fromVideoBuffer(pixels, {
        width,
        height,
        format: AV_PIX_FMT_RGB24,
        timeBase,
        pts: BigInt(index),
      })
      try {
        frame.colorSpace = AVCOL_SPC_RGB
        frame.colorRange = AVCOL_RANGE_JPEG
        filters.push(frame)
      } finally {
        frame.free()
      }
      if (!filters.pull(picture)) throw new EncoderFailed({ path: out, reason: "the scaler kept a frame" })
      writer.encode(picture, index)
    }
    return { out, bytes: writer.finish() }
  })

/**
 * Writes a video. Fails with `EncoderFailed` or `Unwritable`; on failure and on interruption the file at `out` is
 * removed. What `paint` throws is a defect.
 */
export const write = Effect.fn("FrameWriter.write")(
  (options: Options, paint: Paint): Effect.Effect<Written, EncodeError> =>
    fromAdapter(
      (signal) => run(options, paint, signal),
      (thrown): EncodeError | undefined =>
        thrown instanceof EncoderFailed || thrown instanceof Unwritable ? thrown : undefined,
    ),
)
