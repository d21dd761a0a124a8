/**
 * What a video file says about itself, without decoding it.
 *
 * The container's claims are taken where it makes any; where it makes none (no duration, no frame count), or
 * where its claim is not worth much (constant frame rate), packets are read without decoding.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { AV_PKT_DATA_DISPLAYMATRIX } from "node-av/constants"
import { avGetPixFmtName, Codec } from "node-av/lib"
import { isHdr, matrixName, primariesName, rangeName, transferName } from "./internal/colour.ts"
import { fromAdapter, Pace, withCleanup } from "./internal/native.ts"
import {
  claimedDuration,
  type Container,
  openContainer,
  ratio,
  Reader,
  refineOpen,
} from "./internal/reader.ts"
import { NotAVideo, type OpenError, UnsupportedCodec } from "./MediaError.ts"

const Count = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))
const Measure = Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0))

/** The facts of a video file's best video stream. JSON all through. */
export const VideoInfo = Schema.Struct({
  /** FFmpeg's name of the container, e.g. `mov,mp4,m4a,3gp,3g2,mj2`. */
  container: Schema.String,
  /** FFmpeg's name of the codec, e.g. `h264`, `vp9`, `av1`. */
  codec: Schema.String,
  /** Size of the coded pictures, in pixels. */
  codedWidth: Count,
  codedHeight: Count,
  /** Size as shown: after the sample aspect ratio (the width is scaled) and the rotation, in square pixels. */
  width: Count,
  height: Count,
  /** Width to height of one coded sample. [1, 1] when the file does not say. */
  sampleAspectRatio: Schema.Tuple([Count, Count]),
  /** Degrees to turn the coded picture clockwise to stand upright. */
  rotation: Schema.Literals([0, 90, 180, 270]),
  /** Frames per second on average, over the whole stream. */
  fps: Measure,
  /** The frame rate whose grid carries all time stamps, as FFmpeg guesses it. Not a fact for variable rates. */
  nominalFps: Measure,
  /** True when more than 5 % of the steps between frames differ from the median by over 10 % and two ticks. */
  variableFrameRate: Schema.Boolean,
  /** Length of the video stream in seconds; measured from the packets when the container has none. */
  durationSeconds: Measure,
  /** True when `durationSeconds` comes from the container, false when it was measured. */
  durationClaimed: Schema.Boolean,
  /** Frames: the container's claim, or packets counted, or duration times fps. */
  frames: Count,
  /** What `frames` rests on. */
  framesBasis: Schema.Literals(["container", "packets", "duration"]),
  /** Bits per second of the video stream, or of the file when the stream's is not stated. */
  bitRate: Measure,
  /** `bitRate` / (coded pixels * fps): below about 0.02 a picture is starved. */
  bitsPerPixel: Measure,
  pixelFormat: Schema.String,
  /** Colour primaries, transfer and matrix (ITU-T H.273 names), "unknown" when unmarked; limited or full range. */
  primaries: Schema.String,
  transfer: Schema.String,
  matrix: Schema.String,
  range: Schema.Literals(["tv", "pc"]),
  /** PQ or HLG transfer. */
  hdr: Schema.Boolean,
  fileBytes: Count,
  /** Number of streams of any kind. */
  streams: Count,
  /** Number of video streams, cover pictures not counted. */
  videoStreams: Count,
})
export type VideoInfo = typeof VideoInfo.Type

/** Packets looked at to decide between constant and variable frame rate. */
const RATE_SAMPLE = 1_000

/** Clockwise turn of a display matrix (9 int32, 16.16 fixed point; ISO/IEC 14496-12, 6.2.2) in quarter turns. */
const rotationOf = (container: Container): 0 | 90 | 180 | 270 => {
  const data = container.stream.codecpar.getCodedSideData(AV_PKT_DATA_DISPLAYMATRIX)
  if (data === null || data.length < 36) return 0
  const degrees = (Math.atan2(data.readInt32LE(4), data.readInt32LE(0)) * 180) / Math.PI
  const quarter = ((Math.round(degrees / 90) % 4) + 4) % 4
  return ([0, 90, 180, 270] as const)[quarter] ?? 0
}

/** How the coded picture is to be shown, and its colour as the container states it. */
export const geometryOf = (container: Container) => {
  const { stream } = container
  const parameters = stream.codecpar
  const aspect = stream.sampleAspectRatio.num > 0 ? stream.sampleAspectRatio : parameters.sampleAspectRatio
  const sampleAspectRatio: readonly [number, number] =
    aspect.num > 0 && aspect.den > 0 ? [aspect.num, aspect.den] : [1, 1]
  return {
    sampleAspectRatio,
    rotation: rotationOf(container),
    primaries: primariesName(parameters.colorPrimaries),
    transfer: transferName(parameters.colorTrc),
    matrix: matrixName(parameters.colorSpace),
  }
}

/** Are the steps between time stamps uneven? Stamps in any order, NaN for missing ones. */
export const isVariable = (stamps: ReadonlyArray<number>, tick: number): boolean => {
  const sorted = stamps.filter((stamp) => !Number.isNaN(stamp)).sort((a, b) => a - b)
  const steps: Array<number> = []
  for (let i = 1; i < sorted.length; i++) steps.push((sorted[i] as number) - (sorted[i - 1] as number))
  if (steps.length < 4) return false
  const median = [...steps].sort((a, b) => a - b)[steps.length >> 1] as number
  const slack = Math.max(median * 0.1, tick * 2)
  return steps.filter((step) => Math.abs(step - median) > slack).length > steps.length * 0.05
}

/** The facts of an open container. Reads packets, so the container's position is moved. */
export const describe = async (container: Container, pace: Pace): Promise<VideoInfo> => {
  const { stream, format, tick } = container
  const parameters = stream.codecpar
  if (Codec.findDecoder(parameters.codecId) === null) {
    throw new UnsupportedCodec({ path: container.path, codec: container.codecName })
  }
  const { width, height } = parameters
  if (width <= 0 || height <= 0)
    throw new NotAVideo({ path: container.path, reason: "the video stream has no size" })
  const claimed = claimedDuration(container)
  const limit = claimed > 0 ? RATE_SAMPLE : Number.POSITIVE_INFINITY
  const stamps: Array<number> = []
  let packets = 0
  let end = 0
  await withCleanup((cleanup) =>
    Reader.scan(container, cleanup, pace, (stamp, duration) => {
      packets++
      if (stamps.length < RATE_SAMPLE) stamps.push(stamp)
      if (!Number.isNaN(stamp)) end = Math.max(end, stamp + duration)
      return packets < limit
    }),
  )
  const sampled = stamps.filter((stamp) => !Number.isNaN(stamp))
  const span = sampled.length > 1 ? Math.max(...sampled) - Math.min(...sampled) : 0
  const sampledFps = span > 0 ? (sampled.length - 1) / span : 0
  const fps = ratio(stream.avgFrameRate) || sampledFps || ratio(stream.rFrameRate)
  const durationSeconds = claimed > 0 ? claimed : Math.max(end, fps > 0 ? packets / fps : 0)
  const ended = packets < limit
  const counted = Number(stream.nbFrames)
  const [frames, framesBasis] =
    counted > 0
      ? ([counted, "container"] as const)
      : ended && claimed === 0
        ? ([packets, "packets"] as const)
        : ([Math.max(ended ? packets : 0, Math.round(durationSeconds * fps)), "duration"] as const)
  const { sampleAspectRatio, rotation, ...colour } = geometryOf(container)
  const upright = [
    Math.max(1, Math.round((width * sampleAspectRatio[0]) / sampleAspectRatio[1])),
    height,
  ] as const
  const turned = rotation === 90 || rotation === 270
  const stated = Number(parameters.bitRate)
  const bitRate =
    stated > 0
      ? stated
      : durationSeconds > 0
        ? (container.fileBytes * 8) / durationSeconds
        : Math.max(0, Number(format.bitRate))
  const pixelFormat = avGetPixFmtName(parameters.format as never) ?? "unknown"
  return {
    container: container.formatName,
    codec: container.codecName,
    codedWidth: width,
    codedHeight: height,
    width: turned ? upright[1] : upright[0],
    height: turned ? upright[0] : upright[1],
    sampleAspectRatio,
    rotation,
    fps,
    nominalFps: ratio(stream.rFrameRate),
    variableFrameRate: isVariable(stamps, tick),
    durationSeconds,
    durationClaimed: claimed > 0,
    frames,
    framesBasis,
    bitRate,
    bitsPerPixel: fps > 0 ? bitRate / (width * height * fps) : 0,
    pixelFormat,
    ...colour,
    range: rangeName(parameters.colorRange, pixelFormat),
    hdr: isHdr(colour.transfer),
    fileBytes: container.fileBytes,
    streams: format.nbStreams,
    videoStreams: container.videoStreams,
  }
}

/**
 * The facts of a video file.
 *
 * Fails with `FileUnreadable`, `NotAVideo`, `NoVideoStream`, `UnsupportedCodec` or `TooLarge`. Reads at most
 * 1000 packets when the container states a duration, and all of them when it does not; decodes nothing.
 */
export const probe = Effect.fn("Probe.probe")((path: string): Effect.Effect<VideoInfo, OpenError> =>
  fromAdapter(
    (signal) =>
      withCleanup(async (cleanup) => {
        const pace = new Pace(signal)
        return describe(await openContainer(path, cleanup, pace), pace)
      }),
    refineOpen,
  ),
)
