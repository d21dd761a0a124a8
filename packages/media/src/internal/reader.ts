/** An open video file: container, chosen stream, decoder. Synchronous after `openReader`. */
import { stat, open } from "node:fs/promises"
import { resolve } from "node:path"
import {
  AV_DISPOSITION_ATTACHED_PIC,
  AV_FRAME_FLAG_CORRUPT,
  AV_FRAME_FLAG_DISCARD,
  AV_NOPTS_VALUE,
  AV_PKT_FLAG_DISCARD,
  AVDISCARD_ALL,
  AVERROR_EOF,
  AVERROR_EXIT,
  AVMEDIA_TYPE_VIDEO,
  AVSEEK_FLAG_BACKWARD,
} from "node-av/constants"
import {
  avGetCodecName,
  Codec,
  CodecContext,
  Dictionary,
  FormatContext,
  Frame,
  Packet,
  type Stream,
} from "node-av/lib"
import {
  type DecodeError,
  FileUnreadable,
  NotAVideo,
  NoVideoStream,
  type OpenError,
  TooLarge,
  Undecodable,
  UnsupportedCodec,
} from "../MediaError.ts"
import { check, type Cleanup, isDrained, NativeFailure, type Pace } from "./native.ts"

/** Longest side that is decoded, in pixels: H.264 and HEVC levels end at 8192 x 4320, AV1's at 16384 x 8704. */
export const MAX_SIDE = 16_384

/** Most pixels of a frame that are decoded: 16384 x 8192. */
export const MAX_PIXELS = 2 ** 27

/**
 * Containers that are opened. Playlists and scripts (hls, dash, concat, image2, lavfi, ...) are not: their text
 * names further files, and a clip must depend on the bytes of one file only.
 */
const CONTAINERS =
  "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,nut,ivf,obu,h264,hevc,m4v,yuv4mpegpipe,dv,rm,gif,vc1,wtv,3gp,gxf,swf," +
  // Audio-only containers are named so that they end as NoVideoStream, not as noise.
  "mp3,wav,flac,aac,ac3,eac3"

/** A container with its video stream, before any decoder is opened. */
export interface Container {
  readonly path: string
  readonly format: FormatContext
  readonly formatName: string
  readonly stream: Stream
  readonly codecName: string
  readonly fileBytes: number
  readonly videoStreams: number
  /** Seconds per unit of the stream's time stamps. */
  readonly tick: number
  /** The time stamp, in seconds, that counts as 0 here: the stream's first, as the container states it. */
  readonly originSeconds: number
}

/** Frames per second of a rational, or 0 when it is not set. */
export const ratio = (q: { readonly num: number; readonly den: number }): number =>
  q.num > 0 && q.den > 0 ? q.num / q.den : 0

/** Refuses frame sizes beyond the limits. */
export const checkSize = (path: string, width: number, height: number): void => {
  if (width > MAX_SIDE) throw new TooLarge({ path, what: "width", limit: MAX_SIDE, got: width })
  if (height > MAX_SIDE) throw new TooLarge({ path, what: "height", limit: MAX_SIDE, got: height })
  if (width * height > MAX_PIXELS)
    throw new TooLarge({ path, what: "pixels", limit: MAX_PIXELS, got: width * height })
}

const fileSize = async (path: string): Promise<number> => {
  try {
    const info = await stat(path)
    if (info.isDirectory()) throw new FileUnreadable({ path, reason: "it is a folder" })
    if (!info.isFile()) throw new FileUnreadable({ path, reason: "it is not a regular file" })
    await (await open(path, "r")).close()
    return info.size
  } catch (thrown) {
    if (thrown instanceof FileUnreadable) throw thrown
    throw new FileUnreadable({ path, reason: String((thrown as NodeJS.ErrnoException).code ?? thrown) })
  }
}

/** Opens the container and chooses the video stream: the default one, else the largest, as FFmpeg ranks them. */
export const openContainer = async (path: string, cleanup: Cleanup, pace: Pace): Promise<Container> => {
  const fileBytes = await fileSize(path)
  if (fileBytes === 0) throw new NotAVideo({ path, reason: "the file is empty" })
  const format = cleanup.add(new FormatContext(), (format) => format.closeInputSync())
  const options = Dictionary.fromObject({ protocol_whitelist: "file", format_whitelist: CONTAINERS })
  try {
    check("open", await format.openInput(`file:${resolve(path)}`, null, options))
    pace.check()
    check("read the stream headers", await format.findStreamInfo(null))
    pace.check()
  } catch (thrown) {
    if (!(thrown instanceof NativeFailure)) throw thrown
    throw new NotAVideo({ path, reason: thrown.message })
  } finally {
    options.free()
  }
  const formatName = format.iformat?.name ?? "unknown"
  const streams = format.streams
  const moving = streams.filter(
    (stream) =>
      stream.codecpar.codecType === AVMEDIA_TYPE_VIDEO &&
      (stream.disposition & AV_DISPOSITION_ATTACHED_PIC) === 0,
  )
  const best = format.findBestStream(AVMEDIA_TYPE_VIDEO)
  const stream = moving.find((candidate) => candidate.index === best) ?? moving[0]
  if (stream === undefined) throw new NoVideoStream({ path, container: formatName, streams: streams.length })
  for (const other of streams) if (other.index !== stream.index) other.discard = AVDISCARD_ALL
  const { width, height, codecId } = stream.codecpar
  checkSize(path, width, height)
  const timeBase = stream.timeBase
  const tick = ratio(timeBase) || 1e-6
  const first = stream.startTime
  const origin = first === AV_NOPTS_VALUE ? 0 : Number(first) * tick
  return {
    path,
    format,
    formatName,
    stream,
    codecName: avGetCodecName(codecId) ?? `codec ${codecId}`,
    fileBytes,
    videoStreams: moving.length,
    tick,
    originSeconds: origin,
  }
}

/** Seconds of a Matroska `DURATION` tag, "HH:MM:SS.fraction". */
const taggedDuration = (container: Container): number => {
  const match = /^(\d+):(\d\d):(\d\d(?:\.\d+)?)/.exec(container.stream.metadata?.get("DURATION") ?? "")
  return match === null ? 0 : Number(match[1]) * 3600 + Number(match[2]) * 60 + Number(match[3])
}

/** Length of the video stream in seconds as the container states it, 0 when it does not. */
export const claimedDuration = (container: Container): number => {
  const { stream, format, tick } = container
  if (stream.duration !== AV_NOPTS_VALUE && stream.duration > 0n) return Number(stream.duration) * tick
  const tagged = taggedDuration(container)
  if (tagged > 0) return tagged
  return format.duration !== AV_NOPTS_VALUE && format.duration > 0n ? Number(format.duration) / 1e6 : 0
}

/** Counts of what the decoder met. */
export interface DecodeCounts {
  /** Packets of the stream that were read, without those the container marks as not for display. */
  packets: number
  /** Packets marked as not for display (before the start of an edit list). */
  hidden: number
  /** Frames that came out. */
  frames: number
  /** Frames that the decoder marks as damaged. */
  flagged: number
  /** Packets that the decoder refused, and errors of the container while reading. */
  errors: number
}

/** A container with an open decoder. Frames come in display order. */
export class Reader {
  readonly container: Container
  readonly counts: DecodeCounts = { packets: 0, hidden: 0, frames: 0, flagged: 0, errors: 0 }
  private readonly decoder: CodecContext
  private readonly packet: Packet
  private readonly pace: Pace
  private lastPts: bigint = AV_NOPTS_VALUE
  private readonly stepTicks: bigint

  private constructor(container: Container, decoder: CodecContext, packet: Packet, pace: Pace) {
    this.container = container
    this.decoder = decoder
    this.packet = packet
    this.pace = pace
    const fps = ratio(container.stream.avgFrameRate) || ratio(container.stream.rFrameRate) || 25
    this.stepTicks = BigInt(Math.max(1, Math.round(1 / fps / container.tick)))
  }

  /** Opens a file for decoding on one thread. */
  static async open(path: string, cleanup: Cleanup, pace: Pace): Promise<Reader> {
    const container = await openContainer(path, cleanup, pace)
    const { stream } = container
    const unsupported = () => new UnsupportedCodec({ path, codec: container.codecName })
    const codec = Codec.findDecoder(stream.codecpar.codecId)
    if (codec === null) throw unsupported()
    const decoder = cleanup.add(new CodecContext(), (decoder) => decoder.freeContext())
    try {
      decoder.allocContext3(codec)
      check("copy the stream's parameters", decoder.parametersToContext(stream.codecpar))
      decoder.pktTimebase = stream.timeBase
      decoder.threadCount = 1
      check("open the decoder", await decoder.open2(codec, null))
    } catch (thrown) {
      if (thrown instanceof NativeFailure) throw unsupported()
      throw thrown
    }
    const packet = cleanup.add(new Packet(), (packet) => packet.free())
    packet.alloc()
    return new Reader(container, decoder, packet, pace)
  }

  /** Seconds, from the container's first time stamp, of a time stamp. */
  seconds(pts: bigint): number {
    return Number(pts) * this.container.tick - this.container.originSeconds
  }

  /**
   * Moves to the last keyframe at or before `seconds`; 0 is the beginning. Where the container cannot, reading
   * goes on where it is: check the time of the first frame.
   */
  seek(seconds: number): void {
    const { format, stream, originSeconds, tick } = this.container
    const target = BigInt(Math.floor((Math.max(0, seconds) + originSeconds) / tick))
    if (format.seekFrameSync(stream.index, target, AVSEEK_FLAG_BACKWARD) < 0) return
    this.decoder.flushBuffers()
    this.lastPts = AV_NOPTS_VALUE
  }

  /** Length of a frame in seconds where nothing else is known: 1 / average frame rate. */
  get stepSeconds(): number {
    return Number(this.stepTicks) * this.container.tick
  }

  /**
   * Decodes from here to the end, or until `onFrame` says stop. `frame` is valid during the call and its `pts` is
   * the best time stamp there is, never smaller than the one before.
   */
  async decode(frame: Frame, onFrame: (frame: Frame, pts: bigint) => boolean): Promise<void> {
    const { format, stream, path } = this.container
    const { counts, decoder, packet, pace } = this
    const index = stream.index
    for (let ended = false; !ended;) {
      if (pace.due) await pace.rest()
      const read = format.readFrameSync(packet)
      if (read < 0) {
        if (read !== AVERROR_EOF && read !== AVERROR_EXIT) counts.errors++
        ended = true
        decoder.sendPacketSync(null)
      } else {
        if (packet.streamIndex !== index) {
          packet.unref()
          continue
        }
        if ((packet.flags & AV_PKT_FLAG_DISCARD) !== 0) counts.hidden++
        else counts.packets++
        if (decoder.sendPacketSync(packet) < 0) counts.errors++
        packet.unref()
      }
      for (;;) {
        const received = decoder.receiveFrameSync(frame)
        if (received < 0) {
          try {
            isDrained("decode", received)
          } catch {
            counts.errors++
          }
          break
        }
        if ((frame.flags & AV_FRAME_FLAG_DISCARD) !== 0) continue
        checkSize(path, frame.width, frame.height)
        counts.frames++
        if ((frame.flags & AV_FRAME_FLAG_CORRUPT) !== 0 || frame.decodeErrorFlags !== 0) counts.flagged++
        let pts = frame.bestEffortTimestamp
        const last = this.lastPts
        if (pts === AV_NOPTS_VALUE) {
          pts =
            last === AV_NOPTS_VALUE
              ? BigInt(Math.round(this.container.originSeconds / this.container.tick))
              : last + this.stepTicks
        } else if (last !== AV_NOPTS_VALUE && pts < last) pts = last
        this.lastPts = pts
        frame.pts = pts
        if (!onFrame(frame, pts)) return
        if (pace.due) await pace.rest()
      }
    }
  }

  /** Reads the packets without decoding; `onPacket` gets the time stamp and duration in seconds. Stops on false. */
  static async scan(
    container: Container,
    cleanup: Cleanup,
    pace: Pace,
    onPacket: (pts: number, duration: number) => boolean,
  ): Promise<void> {
    const { format, stream, tick, originSeconds } = container
    const packet = cleanup.add(new Packet(), (packet) => packet.free())
    packet.alloc()
    for (;;) {
      if (pace.due) await pace.rest()
      if (format.readFrameSync(packet) < 0) return
      const { pts, dts, duration, streamIndex, flags } = packet
      packet.unref()
      if (streamIndex !== stream.index || (flags & AV_PKT_FLAG_DISCARD) !== 0) continue
      const stamp = pts === AV_NOPTS_VALUE ? dts : pts
      const seconds = stamp === AV_NOPTS_VALUE ? Number.NaN : Number(stamp) * tick - originSeconds
      if (!onPacket(seconds, Number(duration) * tick)) return
    }
  }
}

const OPEN_ERRORS = [FileUnreadable, NotAVideo, NoVideoStream, UnsupportedCodec, TooLarge]

/** The typed error of what opening threw; undefined for a defect. */
export const refineOpen = (thrown: unknown): OpenError | undefined =>
  OPEN_ERRORS.some((type) => thrown instanceof type) ? (thrown as OpenError) : undefined

/** The typed error of what decoding threw; undefined for a defect. */
export const refineDecode =
  (path: string) =>
  (thrown: unknown): DecodeError | undefined => {
    if (thrown instanceof Undecodable) return thrown
    if (thrown instanceof NativeFailure) return new Undecodable({ path, reason: thrown.message })
    return refineOpen(thrown)
  }
