/** The state of a measurement: takes decoded frames one by one, appends to the series. */
import { Frame } from "node-av/lib"
import type { FrameSeries } from "../FrameSeries.ts"
import { Filters, type FrameShape, sameShape, shapeOf } from "./filters.ts"
import { Growing } from "./growing.ts"
import { combing, contentBox, type FrameSums, meanDifference, sceneScore, sums } from "./luma.ts"
import { Cleanup } from "./native.ts"

/** Luma samples of the scaled picture: 320 x 180. */
const SMALL_PIXELS = 320 * 180

/** Shortest time over which motion is measured, seconds: between the steps of 24-30 and of 48-60 frames a second. */
const MOTION_STEP = 1 / 32

/** Unit of time of the motion score, seconds. */
const MOTION_UNIT = 1 / 24

const even = (value: number): number => Math.max(2, Math.round(value / 2) * 2)

/** Size of the scaled picture: same shape, at most `SMALL_PIXELS`. */
const smallSize = (width: number, height: number): readonly [number, number] => {
  const scale = Math.sqrt(SMALL_PIXELS / (width * height))
  return scale >= 1 ? [width, height] : [even(width * scale), even(height * scale)]
}

/** Copies the luma plane of an 8-bit grey frame into `into`, rows packed. */
export const copyPlane = (frame: Frame, into: Uint8Array): void => {
  const plane = frame.data?.[0]
  if (plane === undefined) throw new Error("a filtered frame has no data")
  const stride = frame.linesize[0] ?? 0
  const { width, height } = frame
  if (stride === width) into.set(plane.subarray(0, width * height))
  else for (let y = 0; y < height; y++) into.set(plane.subarray(y * stride, y * stride + width), y * width)
}

/** The graphs and buffers for frames of one shape; made anew when the stream changes its size or format. */
class Stage {
  readonly shape: FrameShape
  readonly small: Filters
  readonly full: Filters
  readonly plane: Uint8Array
  now: Uint8Array
  before: Uint8Array
  readonly anchor: Uint8Array
  private readonly cleanup = new Cleanup()

  constructor(shape: FrameShape) {
    this.shape = shape
    const [w, h] = smallSize(shape.width, shape.height)
    const open = (description: string, outputs?: number) =>
      Filters.open(this.cleanup, shape, description, outputs)
    try {
      this.small = open(`[in]scale=${w}:${h}:flags=area,format=gray[out0]`)
      this.full = open(
        "[in]format=gray,split[a][b];[a]null[out0];" +
          "[b]scale=-2:'min(ih,720)':flags=area,blurdetect=block_width=32:block_height=32:block_pct=80[out1]",
        2,
      )
    } catch (thrown) {
      this.cleanup.run()
      throw thrown
    }
    this.plane = new Uint8Array(shape.width * shape.height)
    this.now = new Uint8Array(w * h)
    this.before = new Uint8Array(w * h)
    this.anchor = new Uint8Array(w * h)
  }
  close(): void {
    this.cleanup.run()
  }
}

export interface MeterOptions {
  readonly sampleSeconds: number
  readonly barLuma: number
}

export class Meter {
  private readonly options: MeterOptions
  private readonly timeBase: FrameShape["timeBase"]
  private readonly filtered: Frame
  private stage: Stage | undefined
  private readonly at: FrameSums = { mean: 0, dark: 0, difference: 0 }
  private differenceBefore = 0
  private anchorSeconds = 0
  private motionNow = 0
  private nextSample = Number.NEGATIVE_INFINITY
  /** The next frame has none before it to be compared with. */
  private fresh = true
  private width = 0
  private height = 0

  private readonly seconds = new Growing((n) => new Float64Array(n))
  private readonly scene = new Growing((n) => new Float32Array(n))
  private readonly luma = new Growing((n) => new Float32Array(n))
  private readonly dark = new Growing((n) => new Float32Array(n))
  private readonly difference = new Growing((n) => new Float32Array(n))
  private readonly motion = new Growing((n) => new Float32Array(n))
  private readonly sampled = new Growing((n) => new Uint32Array(n))
  private readonly blur = new Growing((n) => new Float32Array(n))
  private readonly verdicts = new Growing((n) => new Int8Array(n))
  private readonly box = new Growing((n) => new Uint16Array(n))

  constructor(cleanup: Cleanup, timeBase: FrameShape["timeBase"], options: MeterOptions) {
    this.options = options
    this.timeBase = timeBase
    this.filtered = cleanup.add(new Frame(), (frame) => frame.free())
    this.filtered.alloc()
    cleanup.add(this, (meter) => meter.stage?.close())
  }

  get frames(): number {
    return this.seconds.length
  }

  /** Takes the next frame, whose time is `seconds`. */
  add(frame: Frame, seconds: number): void {
    const shape = shapeOf(frame, this.timeBase)
    const stage = this.stageFor(shape)
    stage.small.push(frame)
    if (!stage.small.pull(this.filtered)) throw new Error("the scaler kept a frame")
    ;[stage.now, stage.before] = [stage.before, stage.now]
    copyPlane(this.filtered, stage.now)
    this.filtered.unref()
    if (this.fresh) {
      stage.before.set(stage.now)
      stage.anchor.set(stage.now)
      this.anchorSeconds = seconds
      this.fresh = false
    }
    const { at } = this
    sums(stage.now, stage.before, at)
    this.updateMotion(stage, seconds)
    this.seconds.push(seconds)
    this.scene.push(sceneScore(at.difference, this.differenceBefore))
    this.luma.push(at.mean)
    this.dark.push(at.dark)
    this.difference.push(at.difference)
    this.motion.push(this.motionNow)
    this.differenceBefore = at.difference
    if (seconds >= this.nextSample) {
      this.nextSample = seconds + this.options.sampleSeconds
      this.sample(stage, frame)
    }
  }

  private stageFor(shape: FrameShape): Stage {
    if (this.stage !== undefined && sameShape(this.stage.shape, shape)) return this.stage
    this.stage?.close()
    this.stage = undefined
    const stage = new Stage(shape)
    this.stage = stage
    this.fresh = true
    this.nextSample = Number.NEGATIVE_INFINITY
    if (this.width === 0) {
      this.width = shape.width
      this.height = shape.height
    }
    return stage
  }

  /** Motion against the anchor once it is at least `MOTION_STEP` old; between, the last value holds. */
  private updateMotion(stage: Stage, seconds: number): void {
    const step = seconds - this.anchorSeconds
    if (step < MOTION_STEP) return
    this.motionNow = (meanDifference(stage.now, stage.anchor) * MOTION_UNIT) / step
    stage.anchor.set(stage.now)
    this.anchorSeconds = seconds
  }

  private sample(stage: Stage, frame: Frame): void {
    const { filtered } = this
    const { width, height } = stage.shape
    this.sampled.push(this.frames - 1)
    stage.full.push(frame)
    let box
    while (stage.full.pull(filtered, 0)) {
      copyPlane(filtered, stage.plane)
      this.verdicts.push(combing(stage.plane, width, height))
      box = contentBox(stage.plane, width, height, this.options.barLuma)
    }
    if (box === undefined || width !== this.width || height !== this.height) this.box.push(0, 0, 0, 0)
    else this.box.push(box.x, box.y, box.width, box.height)
    let edgeWidth = Number.NaN
    while (stage.full.pull(filtered, 1)) {
      const value = Number(filtered.getMetadata().get("lavfi.blur") ?? Number.NaN)
      if (value > 0) edgeWidth = value
    }
    filtered.unref()
    this.blur.push(edgeWidth)
  }

  /** The series so far. */
  series(stepSeconds: number): FrameSeries {
    return {
      frames: this.frames,
      seconds: this.seconds.take(),
      stepSeconds,
      sceneScore: this.scene.take(),
      luma: this.luma.take(),
      dark: this.dark.take(),
      difference: this.difference.take(),
      motion: this.motion.take(),
      samples: {
        frame: this.sampled.take(),
        blur: this.blur.take(),
        interlaced: this.verdicts.take(),
        box: this.box.take(),
      },
      codedWidth: this.width,
      codedHeight: this.height,
    }
  }
}
