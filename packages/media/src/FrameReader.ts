/**
 * Chosen frames of a clip as small RGB pictures: what models are trained on and videos are scored by.
 *
 * Frames are counted in display order. Each is cut to the shape of what is asked for, at its centre, and scaled by the
 * mean over each new pixel's area; luma and chroma become 8-bit RGB of full range by the matrix and the range of the
 * stream (ITU-R BT.709 where it is not marked). No transfer function is applied or undone: means are those of coded
 * values, as in every other scaling here. A colour comes back to within 3 of 255.
 *
 * Pixels are taken as square and the picture as upright, which is true of standard clips.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { avGetPixFmtName, Frame } from "node-av/lib"
import { rangeName } from "./internal/colour.ts"
import { Filters, type FrameShape, sameShape, shapeOf } from "./internal/filters.ts"
import { type Cleanup, fromAdapter, Pace, withCleanup } from "./internal/native.ts"
import { colourOf } from "./internal/picture.ts"
import { Reader, refineDecode } from "./internal/reader.ts"
import { type DecodeError, EndsEarly } from "./MediaError.ts"
import { geometryOf } from "./Probe.ts"

/** Bytes of all the pictures of one call, at most. */
export const maxBytes = 2 ** 28

/** Pixels to a side, at most. */
export const maxSide = 4096

/** What was asked for is not possible for any clip. */
export class FramesInvalid extends Schema.TaggedError<FramesInvalid>()("FramesInvalid", {
  path: Schema.String,
  problem: Schema.String,
}) {
  override get message(): string {
    return `cannot read these frames of ${this.path}: ${this.problem}`
  }
}

export interface Options {
  /** Which frames, from 0 in display order; never smaller than the one before. */
  readonly indices: ReadonlyArray<number>
  readonly width: number
  readonly height: number
}

export type ReadError = DecodeError | EndsEarly | FramesInvalid

const problemOf = ({ height, indices, width }: Options): string | undefined => {
  const isSide = (side: number) => Number.isInteger(side) && side >= 1 && side <= maxSide
  if (!isSide(width) || !isSide(height))
    return `${width}x${height} pixels are asked for; sides are whole numbers from 1 to ${maxSide}`
  const bytes = indices.length * width * height * 3
  if (bytes > maxBytes)
    return `${indices.length} pictures of ${width}x${height} have ${bytes} bytes, more than ${maxBytes}`
  const at = indices.findIndex(
    (index, i) => !Number.isSafeInteger(index) || index < 0 || index < (indices[i - 1] ?? 0),
  )
  return at < 0
    ? undefined
    : `index ${indices[at]} at position ${at} is no whole number, or less than the one before`
}

/** Names of matrices as the scale filter wants them; the others are BT.709, as what is not marked. */
const matrices: Readonly<Record<string, string>> = {
  fcc: "fcc",
  bt470bg: "bt470",
  smpte170m: "smpte170m",
  smpte240m: "smpte240m",
  bt2020nc: "bt2020",
  bt2020c: "bt2020",
}

/** How many pixels of a side are kept: the even number nearest to `part` of it, or all. */
const cut = (side: number, part: number): number =>
  part >= 1 ? side : Math.max(1, 2 * Math.round((side * part) / 2))

/** Where a centred cut begins: even, for chroma. */
const begin = (side: number, kept: number): number => 2 * Math.floor((side - kept) / 4)

const filtersOf = (frame: Frame, reader: Reader, { height, width }: Options): string => {
  const pixelFormat = avGetPixFmtName(frame.format as never) ?? "unknown"
  const aspect = frame.width / frame.height / (width / height)
  const kept = [cut(frame.width, 1 / aspect), cut(frame.height, aspect)] as const
  const whole = kept[0] === frame.width && kept[1] === frame.height
  const crop = whole
    ? ""
    : `crop=${kept[0]}:${kept[1]}:${begin(frame.width, kept[0])}:${begin(frame.height, kept[1])}:exact=1,`
  const { matrix } = colourOf(frame, geometryOf(reader.container))
  const input = /^(rgb|bgr|gbr|argb|abgr|0rgb|pal8)/.test(pixelFormat)
    ? ""
    : `:in_color_matrix=${matrices[matrix] ?? "bt709"}:in_range=${rangeName(frame.colorRange, pixelFormat)}`
  return `[in]${crop}scale=${width}:${height}:flags=area+accurate_rnd+full_chroma_int+full_chroma_inp${input}:out_range=pc,format=rgb24[out0]`
}

/** Scales frames of a stream whose size or format may change. */
class Scaler {
  private readonly reader: Reader
  private readonly options: Options
  private readonly picture: Frame
  private shape: FrameShape | undefined
  private filters: Filters | undefined
  constructor(cleanup: Cleanup, reader: Reader, options: Options) {
    this.reader = reader
    this.options = options
    this.picture = cleanup.add(new Frame(), (frame) => frame.free())
    this.picture.alloc()
    cleanup.add(this, (scaler) => scaler.filters?.close())
  }
  /** Writes a frame's pixels to `out`, `[height, width, 3]`. */
  scale(frame: Frame, out: Uint8Array): void {
    const shape = shapeOf(frame, { num: 1, den: 1_000_000 })
    if (this.filters === undefined || this.shape === undefined || !sameShape(this.shape, shape)) {
      this.filters?.close()
      this.filters = undefined
      this.filters = new Filters(shape, filtersOf(frame, this.reader, this.options))
      this.shape = shape
    }
    this.filters.push(frame)
    if (!this.filters.pull(this.picture)) throw new Error("the scaler kept a frame")
    this.copy(out)
    this.picture.unref()
  }
  private copy(out: Uint8Array): void {
    const { height, width } = this.options
    const plane = this.picture.data?.[0]
    if (plane === undefined) throw new Error("a scaled frame has no data")
    const stride = this.picture.linesize[0] ?? 0
    for (let y = 0; y < height; y++)
      out.set(plane.subarray(y * stride, y * stride + 3 * width), 3 * y * width)
  }
}

const run = (path: string, options: Options, signal: AbortSignal): Promise<Uint8Array<ArrayBuffer>> =>
  withCleanup(async (cleanup) => {
    const { height, indices, width } = options
    const size = height * width * 3
    const out = new Uint8Array(indices.length * size)
    if (indices.length === 0) return out
    const reader = await Reader.open(path, cleanup, new Pace(signal))
    const frame = cleanup.add(new Frame(), (frame) => frame.free())
    frame.alloc()
    const scaler = new Scaler(cleanup, reader, options)
    let [shown, taken] = [0, 0]
    await reader.decode(frame, (next) => {
      const first = taken
      while (indices[taken] === shown) {
        if (taken === first) scaler.scale(next, out.subarray(taken * size, (taken + 1) * size))
        else out.copyWithin(taken * size, first * size, (first + 1) * size)
        taken++
      }
      shown++
      return taken < indices.length
    })
    if (taken < indices.length)
      throw new EndsEarly({ path, startSeconds: 0, expected: indices.at(-1)! + 1, got: shown })
    return out
  })

/**
 * The frames at these indices, `[indices, height, width, 3]`: 8-bit RGB of full range. Decodes as far as the last one.
 *
 * Fails with `EndsEarly` when there are not as many frames, with `FramesInvalid` when more is asked for than may be,
 * and with what decoding fails with.
 */
export const read = Effect.fn("FrameReader.read")((
  path: string,
  options: Options,
): Effect.Effect<Uint8Array<ArrayBuffer>, ReadError> => {
  const problem = problemOf(options)
  return problem === undefined
    ? fromAdapter(
        (signal) => run(path, options, signal),
        (thrown): ReadError | undefined =>
          thrown instanceof EndsEarly ? thrown : refineDecode(path)(thrown),
      )
    : Effect.fail(new FramesInvalid({ path, problem }))
})

/** `count` frames of `frames` at even distances from the first to the last; a single one is in the middle. */
export const spread = (frames: number, count: number): ReadonlyArray<number> =>
  count === 1
    ? [Math.floor((frames - 1) / 2)]
    : Array.from({ length: count }, (_, i) => Math.round((i * (frames - 1)) / (count - 1)))
