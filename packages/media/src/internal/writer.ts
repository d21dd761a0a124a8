/**
 * An MP4 file being written: H.264 encoder and muxer on one thread, over `write` and `seek` callbacks to a file
 * descriptor of our own (the library's own file output keeps one descriptor open per file).
 *
 * The index (`moov`) is put before the pictures by reserving room for it, because the number of frames is known:
 * the file can be played while it arrives, and nothing is copied at the end. Nothing in the file depends on the
 * time, the machine or the version of the muxer.
 */
import { closeSync, fstatSync, openSync, unlinkSync, writeSync } from "node:fs"
import {
  AV_CODEC_FLAG_BITEXACT,
  AV_CODEC_FLAG_GLOBAL_HEADER,
  AV_PICTURE_TYPE_NONE,
  AV_PIX_FMT_YUV420P,
  AV_PKT_DATA_DISPLAYMATRIX,
  AVCHROMA_LOC_LEFT,
  AVCOL_PRI_BT709,
  AVCOL_RANGE_JPEG,
  AVCOL_RANGE_MPEG,
  AVCOL_SPC_BT709,
  AVCOL_TRC_BT709,
  AVFMT_FLAG_BITEXACT,
  AVFMT_FLAG_CUSTOM_IO,
  AVSEEK_CUR,
  AVSEEK_END,
  AVSEEK_SET,
  AVSEEK_SIZE,
} from "node-av/constants"
import {
  Codec,
  CodecContext,
  Dictionary,
  FormatContext,
  type Frame,
  IOContext,
  Packet,
  Rational,
  type Stream,
} from "node-av/lib"
import { EncoderFailed, Unwritable } from "../MediaError.ts"
import { check, type Cleanup, isDrained, NativeFailure } from "./native.ts"

/**
 * Bytes handed to one `write`. The library (6.1.1) frees the context but not its buffer, so this much is lost per
 * file: with 256 KiB 500 clips cost 190 MB, with 4 KiB 2 MB.
 */
const IO_BUFFER = 4096

/** Room for the index: measured 2.1 kB for 120 frames; 4 bytes of size and 8 of composition time per frame. */
const indexBytes = (frames: number): number => 4096 + 24 * frames

/**
 * Settings without which x264 is not deterministic. Its macroblock-tree rate control, as built into the library
 * (AVX-512), reads memory that it has not written: 2 to 10 % of small clips came out with other bytes from run to
 * run, none of 485 without it. Restricting `asm` helps as well, but ends the process on a CPU that lacks it.
 */
const DETERMINISTIC = { "x264-params": "mbtree=0" }

/** Return code of a callback that failed: -EIO. */
const IO_FAILED = -5

export interface WriterOptions {
  readonly width: number
  readonly height: number
  /** Frames per second, a rational. */
  readonly rate: readonly [number, number]
  /** Frames that will be written. */
  readonly frames: number
  readonly encoder: Readonly<Record<string, string>>
  /** Frames between keyframes at most. */
  readonly gop: number
  /** @default "tv" */
  readonly range?: "tv" | "pc"
  /** Degrees to turn the picture clockwise, written as a display matrix. @default 0 */
  readonly rotation?: 0 | 90
}

/** Display matrix of a quarter turn clockwise: (a b u c d v x y w), 16.16 and 2.30 fixed point (ISO/IEC 14496-12). */
const QUARTER_TURN = [0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000]

export class Writer {
  private readonly path: string
  private fd = -1
  private position = 0
  private size = 0
  private failure: string | undefined
  private readonly encoder = new CodecContext()
  private readonly format = new FormatContext()
  private readonly io = new IOContext()
  private readonly packet = new Packet()
  private stream: Stream | undefined
  private finished = false
  /** A device or a pipe is not removed. */
  private regular = false

  private constructor(path: string) {
    this.path = path
  }

  /** Creates the file and writes its header. Unless `finish` succeeds, `cleanup` removes the file. */
  static async open(path: string, options: WriterOptions, cleanup: Cleanup): Promise<Writer> {
    const writer = cleanup.add(new Writer(path), (writer) => writer.close())
    await writer.start(options).catch((thrown: unknown) => {
      throw writer.refine(thrown)
    })
    return writer
  }

  private async start(options: WriterOptions): Promise<void> {
    const { encoder, format, io, path } = this
    const codec = Codec.findEncoderByName("libx264" as never)
    if (codec === null) throw new EncoderFailed({ path, reason: "the encoder libx264 is not built in" })
    const [num, den] = options.rate
    encoder.allocContext3(codec)
    encoder.width = options.width
    encoder.height = options.height
    encoder.pixelFormat = AV_PIX_FMT_YUV420P
    encoder.timeBase = new Rational(den, num)
    encoder.framerate = new Rational(num, den)
    encoder.sampleAspectRatio = new Rational(1, 1)
    encoder.colorPrimaries = AVCOL_PRI_BT709
    encoder.colorTrc = AVCOL_TRC_BT709
    encoder.colorSpace = AVCOL_SPC_BT709
    encoder.colorRange = options.range === "pc" ? AVCOL_RANGE_JPEG : AVCOL_RANGE_MPEG
    encoder.chromaLocation = AVCHROMA_LOC_LEFT
    encoder.threadCount = 1
    encoder.gopSize = options.gop
    encoder.setFlags(AV_CODEC_FLAG_GLOBAL_HEADER, AV_CODEC_FLAG_BITEXACT)
    const settings = Dictionary.fromObject({ ...options.encoder, ...DETERMINISTIC })
    try {
      check("open the encoder", await encoder.open2(codec, settings))
    } finally {
      settings.free()
    }
    try {
      this.fd = openSync(path, "w")
      this.regular = fstatSync(this.fd).isFile()
    } catch (thrown) {
      throw new Unwritable({ path, code: codeOf(thrown) })
    }
    check("open the muxer", format.allocOutputContext2(null, "mp4", null))
    io.allocContextWithCallbacks(
      IO_BUFFER,
      1,
      null,
      (bytes) => this.write(bytes),
      (offset, whence) => this.seek(Number(offset), whence),
    )
    format.pb = io
    format.setFlags(AVFMT_FLAG_CUSTOM_IO, AVFMT_FLAG_BITEXACT)
    const stream = format.newStream(null)
    check("describe the stream", stream.codecpar.fromContext(encoder))
    if (options.rotation === 90) {
      const matrix = Buffer.alloc(36)
      QUARTER_TURN.forEach((value, i) => matrix.writeInt32LE(value, i * 4))
      check("describe the rotation", stream.codecpar.addCodedSideData(AV_PKT_DATA_DISPLAYMATRIX, matrix))
    }
    stream.timeBase = encoder.timeBase
    stream.avgFrameRate = encoder.framerate
    this.stream = stream
    this.packet.alloc()
    const header = Dictionary.fromObject({ moov_size: String(indexBytes(options.frames)) })
    try {
      check("write the header", await format.writeHeader(header))
    } finally {
      header.free()
    }
    this.throwFailure()
  }

  private write(bytes: Buffer): number {
    if (this.failure !== undefined) return IO_FAILED
    try {
      for (let done = 0; done < bytes.length;) {
        const count = writeSync(this.fd, bytes, done, bytes.length - done, this.position)
        done += count
        this.position += count
      }
      this.size = Math.max(this.size, this.position)
      return bytes.length
    } catch (thrown) {
      this.failure = codeOf(thrown)
      return IO_FAILED
    }
  }

  private seek(offset: number, whence: number): bigint {
    if (whence === AVSEEK_SIZE) return BigInt(this.size)
    if (whence === AVSEEK_SET) this.position = offset
    else if (whence === AVSEEK_CUR) this.position += offset
    else if (whence === AVSEEK_END) this.position = this.size + offset
    return BigInt(this.position)
  }

  private throwFailure(): void {
    if (this.failure !== undefined) throw new Unwritable({ path: this.path, code: this.failure })
  }

  private refine(thrown: unknown): unknown {
    if (this.failure !== undefined) return new Unwritable({ path: this.path, code: this.failure })
    if (thrown instanceof NativeFailure) return new EncoderFailed({ path: this.path, reason: thrown.message })
    return thrown
  }

  /** Encodes `frame` as frame number `index`. */
  encode(frame: Frame, index: number): void {
    try {
      frame.pts = BigInt(index)
      frame.duration = 1n
      frame.pictType = AV_PICTURE_TYPE_NONE
      check("encode a frame", this.encoder.sendFrameSync(frame))
      this.drain()
    } catch (thrown) {
      throw this.refine(thrown)
    }
  }

  private drain(): void {
    const { encoder, format, packet, stream } = this
    if (stream === undefined) throw new Error("the writer is not open")
    while (!isDrained("encode a frame", encoder.receivePacketSync(packet))) {
      packet.streamIndex = 0
      packet.duration = 1n
      packet.rescaleTs(encoder.timeBase, stream.timeBase)
      const written = format.writeFrameSync(packet)
      packet.unref()
      check("write a frame", written)
      this.throwFailure()
    }
  }

  /** Ends the stream and closes the file. Returns its size in bytes. */
  finish(): number {
    try {
      check("end the encoder", this.encoder.sendFrameSync(null))
      this.drain()
      check("write the index", this.format.writeTrailerSync())
      this.throwFailure()
      const fd = this.fd
      this.fd = -1
      try {
        closeSync(fd)
      } catch (thrown) {
        throw new Unwritable({ path: this.path, code: codeOf(thrown) })
      }
      this.finished = true
      return this.size
    } catch (thrown) {
      throw this.refine(thrown)
    }
  }

  private close(): void {
    this.packet.free()
    this.encoder.freeContext()
    this.format.pb = null
    this.format.freeContext()
    this.io.freeContext()
    if (this.fd >= 0) closeSync(this.fd)
    if (this.regular && !this.finished) unlinkSync(this.path)
  }
}

const codeOf = (thrown: unknown): string => String((thrown as NodeJS.ErrnoException).code ?? thrown)
