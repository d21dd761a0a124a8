/**
 * Shots, windows and per-clip statistics from a measured series. Pure functions.
 *
 * A shot is a run of frames between two cuts. A window is an exact length of time inside one shot. Times are
 * seconds from the container's first time stamp; a shot ends where the next begins.
 */
import * as Schema from "effect/Schema"
import type { Box } from "./internal/luma.ts"
import type { FrameSeries } from "./FrameSeries.ts"

const Frames = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))
const Share = Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 }))

/** Frames `startFrame` (included) to `endFrame` (excluded), and the same in seconds. */
export const Shot = Schema.Struct({
  startFrame: Frames,
  endFrame: Frames,
  startSeconds: Schema.Finite,
  endSeconds: Schema.Finite,
})
export type Shot = typeof Shot.Type

/** A piece of a shot: `endSeconds - startSeconds` is the length asked for. */
export const Window = Schema.Struct({
  /** Index of the shot. */
  shot: Frames,
  startSeconds: Schema.Finite,
  endSeconds: Schema.Finite,
})
export type Window = typeof Window.Type

/** A rectangle of coded pixels. */
export const Crop = Schema.Struct({ x: Frames, y: Frames, width: Frames, height: Frames })
export type Crop = typeof Crop.Type

/** What a clip looks like, in numbers. */
export const ClipSummary = Schema.Struct({
  frames: Frames,
  /** Share of frames that are black: at least 98 % of their pixels are (blackdetect's picture_black_ratio_th). */
  blackShare: Share,
  /** Longest run without change, seconds. */
  longestFreezeSeconds: Schema.Finite,
  /** Share of frames that repeat the one before. */
  staticShare: Share,
  /** Motion in luma levels (0-255) per 1/24 s: 5th percentile, median, 95th percentile. */
  motionLow: Schema.Finite,
  motionMedian: Schema.Finite,
  motionHigh: Schema.Finite,
  /** Median of blurdetect's edge width, pixels at 720 lines or fewer; 0 when no sampled frame has an edge. */
  blurMedian: Schema.Finite,
  /** Majority vote: more sampled frames with an edge are blurrier than `maxBlur` than are not. */
  blurry: Schema.Boolean,
  /** Share of interlaced frames among the sampled ones with texture; 0 when there are fewer than 3. */
  interlacedShare: Share,
  /** What remains inside black bars, in coded pixels; null when there are none. */
  crop: Schema.NullOr(Crop),
  /** Most cuts within any one second. */
  cutsPerSecond: Frames,
  /** Mean luma, 0-255. */
  lumaMean: Schema.Finite,
})
export type ClipSummary = typeof ClipSummary.Type

export interface CutOptions {
  /** Scene score (0-100) from which a frame begins a shot. @default 10 (scdet's default) */
  readonly threshold?: number
  /** Shortest shot, frames: a cut nearer to the last one is ignored. @default 1 (every cut counts) */
  readonly minShotFrames?: number
}

/** Time at which frame `index` begins; the end of the last frame for `index = frames`. */
const timeAt = (series: FrameSeries, index: number): number =>
  index < series.frames
    ? (series.seconds[index] as number)
    : (series.seconds[series.frames - 1] ?? -series.stepSeconds) + series.stepSeconds

/** First frame of every shot but the first. */
const cutFrames = (series: FrameSeries, threshold: number, minShotFrames: number): ReadonlyArray<number> => {
  const found: Array<number> = []
  let last = 0
  for (let i = 1; i < series.frames; i++) {
    if ((series.sceneScore[i] as number) < threshold || i - last < minShotFrames) continue
    found.push(i)
    last = i
  }
  return found
}

/** The shots of a series, in order, without gaps. Empty for an empty series. */
export const cuts = (series: FrameSeries, options: CutOptions = {}): ReadonlyArray<Shot> => {
  if (series.frames === 0) return []
  const starts = [0, ...cutFrames(series, options.threshold ?? 10, options.minShotFrames ?? 1)]
  return starts.map((startFrame, i) => {
    const endFrame = starts[i + 1] ?? series.frames
    return {
      startFrame,
      endFrame,
      startSeconds: timeAt(series, startFrame),
      endSeconds: timeAt(series, endFrame),
    }
  })
}

export interface WindowOptions {
  /** Length of a window. @default 5 */
  readonly seconds?: number
  /** Seconds of the video, from its beginning, that no window may touch. @default 0 */
  readonly skipFirstSeconds?: number
  /** Most windows of one shot; the first ones are taken. @default no limit */
  readonly maxPerShot?: number
}

/**
 * Slack of window arithmetic, seconds. A shot of 5 s at 30 frames a second in a container that counts
 * milliseconds measures 4.9997 s; it is a window all the same.
 */
const SLACK = 0.002

/** Windows one after the other inside every shot. None crosses a cut; what is left at a shot's end is not used. */
export const windows = (shots: ReadonlyArray<Shot>, options: WindowOptions = {}): ReadonlyArray<Window> => {
  const seconds = options.seconds ?? 5
  const skip = options.skipFirstSeconds ?? 0
  const most = options.maxPerShot ?? Number.POSITIVE_INFINITY
  const found: Array<Window> = []
  shots.forEach((shot, index) => {
    const from = Math.max(shot.startSeconds, skip)
    const fits = Math.floor((shot.endSeconds - from + SLACK) / seconds)
    for (let k = 0; k < Math.min(fits, most); k++) {
      found.push({ shot: index, startSeconds: from + k * seconds, endSeconds: from + (k + 1) * seconds })
    }
  })
  return found
}

export interface SummaryOptions {
  /** Share of black pixels from which a frame is black. @default 0.98 (blackdetect) */
  readonly blackShare?: number
  /** Mean luma difference (0-255) up to which a frame repeats the last. @default 0.255 (freezedetect's -60 dB) */
  readonly freezeDifference?: number
  /** Edge width in pixels above which a frame is blurry. @default 8 */
  readonly maxBlur?: number
  /** Bars thinner than this share of the side are left alone. @default 0.01 */
  readonly minBarShare?: number
  /** Scene score of a cut. @default 10 */
  readonly threshold?: number
}

const quantile = (sorted: ReadonlyArray<number>, q: number): number =>
  sorted.length === 0 ? 0 : (sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] as number)

/** Index of the first frame at or after `seconds`. */
const frameAt = (series: FrameSeries, seconds: number): number => {
  let low = 0
  let high = series.frames
  while (low < high) {
    const middle = (low + high) >> 1
    if ((series.seconds[middle] as number) < seconds) low = middle + 1
    else high = middle
  }
  return low
}

/** Share of a side by which two opposite bars may differ. Dark scenery at one side alone is no bar. */
const BAR_ASYMMETRY = 0.02

/** The smallest rectangle that holds the content of all sampled frames; null when it is nearly the whole picture. */
const unionCrop = (series: FrameSeries, samples: ReadonlyArray<number>, minBarShare: number): Crop | null => {
  let left = series.codedWidth
  let top = series.codedHeight
  let right = 0
  let bottom = 0
  for (const sample of samples) {
    const box = series.samples.box.subarray(sample * 4, sample * 4 + 4)
    const [x = 0, y = 0, width = 0, height = 0] = box
    if (width === 0 || height === 0) continue
    left = Math.min(left, x)
    top = Math.min(top, y)
    right = Math.max(right, x + width)
    bottom = Math.max(bottom, y + height)
  }
  if (right <= left || bottom <= top) return null
  const slackX = Math.max(4, series.codedWidth * minBarShare)
  const slackY = Math.max(4, series.codedHeight * minBarShare)
  const areBars = (before: number, after: number, side: number, slack: number): boolean =>
    (before > slack || after > slack) && Math.abs(before - after) <= Math.max(4, side * BAR_ASYMMETRY)
  const barsX = areBars(left, series.codedWidth - right, series.codedWidth, slackX)
  const barsY = areBars(top, series.codedHeight - bottom, series.codedHeight, slackY)
  if (!barsX && !barsY) return null
  // Inwards to even pixels: a line of bar must not stay, and chroma has half the lines.
  const box: Box = {
    x: barsX ? left + (left & 1) : 0,
    y: barsY ? top + (top & 1) : 0,
    width: series.codedWidth,
    height: series.codedHeight,
  }
  return {
    x: box.x,
    y: box.y,
    width: (barsX ? right - box.x : series.codedWidth) & ~1,
    height: (barsY ? bottom - box.y : series.codedHeight) & ~1,
  }
}

/** Statistics of the frames of a window (or of any stretch of time). */
export const summarize = (
  series: FrameSeries,
  window: { readonly startSeconds: number; readonly endSeconds: number },
  options: SummaryOptions = {},
): ClipSummary => {
  const blackShare = options.blackShare ?? 0.98
  const freeze = options.freezeDifference ?? 0.255
  const maxBlur = options.maxBlur ?? 8
  const threshold = options.threshold ?? 10
  const from = frameAt(series, window.startSeconds - SLACK)
  const to = frameAt(series, window.endSeconds - SLACK)
  const count = to - from
  const motion: Array<number> = []
  const cutTimes: Array<number> = []
  let black = 0
  let still = 0
  let luma = 0
  let longest = 0
  let frozenSince = timeAt(series, from)
  for (let i = from; i < to; i++) {
    luma += series.luma[i] as number
    if ((series.dark[i] as number) >= blackShare) black++
    // The first frame of a window differs from the one before it, which belongs to something else.
    if (i === from) continue
    motion.push(series.motion[i] as number)
    if ((series.sceneScore[i] as number) >= threshold) cutTimes.push(series.seconds[i] as number)
    if ((series.difference[i] as number) <= freeze) still++
    else frozenSince = timeAt(series, i)
    longest = Math.max(longest, timeAt(series, i + 1) - frozenSince)
  }
  motion.sort((a, b) => a - b)
  const samples: Array<number> = []
  series.samples.frame.forEach((frame, i) => {
    if (frame >= from && frame < to) samples.push(i)
  })
  const blur = samples.map((i) => series.samples.blur[i] as number).filter((value) => !Number.isNaN(value))
  blur.sort((a, b) => a - b)
  const judged = samples.map((i) => series.samples.interlaced[i] as number).filter((verdict) => verdict >= 0)
  const woven = judged.filter((verdict) => verdict === 1).length
  let densest = 0
  cutTimes.forEach((time, i) => {
    let n = 0
    while (i + n < cutTimes.length && (cutTimes[i + n] as number) < time + 1) n++
    densest = Math.max(densest, n)
  })
  return {
    frames: count,
    blackShare: count === 0 ? 0 : black / count,
    longestFreezeSeconds: still === 0 ? 0 : longest,
    staticShare: count <= 1 ? 0 : still / (count - 1),
    motionLow: quantile(motion, 0.05),
    motionMedian: quantile(motion, 0.5),
    motionHigh: quantile(motion, 0.95),
    blurMedian: quantile(blur, 0.5),
    blurry: blur.filter((value) => value > maxBlur).length * 2 > blur.length,
    interlacedShare: judged.length < 3 ? 0 : woven / judged.length,
    crop: unionCrop(series, samples, options.minBarShare ?? 0.01),
    cutsPerSecond: densest,
    lumaMean: count === 0 ? 0 : luma / count,
  }
}
