/**
 * Pixels of a scene: 8-bit RGB, rows from the top, [frames, height, width, 3].
 *
 * The background stands still and is drawn once: its waves are sin(a + b) = sin a cos b + cos a sin b of a column
 * and a row, so that a pixel costs no sine. Each frame copies it and draws the shape over it, with the share of a
 * pixel that the shape covers taken from the distance to its outline. As that distance changes by no more than one
 * pixel from one to the next, a row is walked in leaps, over what is outside and through what is inside.
 *
 * A window holds the same bytes as that part of the whole picture.
 */
import * as CounterRandom from "@reelgraph/core/CounterRandom"
import * as Outline from "./Outline.ts"
import * as Scene from "./Scene.ts"

/** A part of the picture, in its pixels at the scale rendered. */
export interface Window {
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
}

export interface FrameOptions {
  /** How many pixels for each one of the scene's width and height: 10 makes 1280x720 of 128x72. @default 1 */
  readonly scale?: number
  /** @default the whole picture */
  readonly window?: Window
}

export interface FramesOptions extends FrameOptions {
  /** Frame f shows u = f / (frames - 1); a single one shows u = 0.5. */
  readonly frames: number
}

interface View {
  readonly scale: number
  readonly window: Window
  /** Pixels per unit of the scene. */
  readonly unit: number
}

const viewOf = (scene: Scene.Scene, { scale = 1, window }: FrameOptions): View => ({
  scale,
  window: window ?? {
    x: 0,
    y: 0,
    width: Math.round(scene.width * scale),
    height: Math.round(scene.height * scale),
  },
  unit: Scene.pixelsPerUnit(scene) * scale,
})

const GRAINS = 1 << 14

/** Normal numbers (Box and Muller) that grain is read from, each row of a picture at an offset of its own. */
const grains: Float32Array = (() => {
  const numbers = CounterRandom.uniforms(CounterRandom.key(0, "grain", "world/render"), 2 * GRAINS)
  return Float32Array.from(
    { length: GRAINS },
    (_, i) => Math.sqrt(-2 * Math.log(1 - numbers[2 * i]!)) * Math.cos(2 * Math.PI * numbers[2 * i + 1]!),
  )
})()

const rowOfGrains = (seed: number, row: number): number =>
  Math.imul(Math.imul(row, 0x9e3779b1) ^ seed, 0x85ebca6b) >>> 18

/**
 * Between which two grains each pixel is, and their weights. A blend has the variance of one grain: the squares of
 * the weights add up to 1. At scale 1 each pixel is on a grain.
 */
const blends = (start: number, length: number, scale: number) => {
  const first = new Int32Array(length)
  const weights = new Float64Array(2 * length)
  for (let i = 0; i < length; i++) {
    const position = (start + i + 0.5) / scale - 0.5
    first[i] = Math.floor(position)
    const part = position - first[i]!
    const norm = Math.hypot(1 - part, part)
    weights[2 * i] = (1 - part) / norm
    weights[2 * i + 1] = part / norm
  }
  return { first, weights }
}

/** Draws the background into `out`, [height, width, 3]. */
const drawBackdrop = (out: Uint8ClampedArray, scene: Scene.Scene, { scale, unit, window }: View): void => {
  const { gradient, grain, rgb, wave } = scene.backdrop
  const columns = blends(window.x, window.width, scale)
  const rows = blends(window.y, window.height, scale)
  const slopes = new Float64Array(window.width)
  const sines = new Float64Array(window.width)
  const cosines = new Float64Array(window.width)
  for (let j = 0; j < window.width; j++) {
    const x = window.x + j + 0.5
    slopes[j] = gradient[0] * ((2 * x) / (scene.width * scale) - 1)
    sines[j] = wave.amplitude * Math.sin(wave.phase + (wave.kx * x) / unit)
    cosines[j] = wave.amplitude * Math.cos(wave.phase + (wave.kx * x) / unit)
  }
  let o = 0
  for (let i = 0; i < window.height; i++) {
    const y = window.y + i + 0.5
    const slope = gradient[1] * ((2 * y) / (scene.height * scale) - 1)
    const sine = Math.sin((wave.ky * y) / unit)
    const cosine = Math.cos((wave.ky * y) / unit)
    const above = rowOfGrains(grain.seed, rows.first[i]!)
    const below = rowOfGrains(grain.seed, rows.first[i]! + 1)
    const high = rows.weights[2 * i]! * grain.deviation
    const low = rows.weights[2 * i + 1]! * grain.deviation
    for (let j = 0; j < window.width; j++) {
      const column = columns.first[j]!
      const left = (above + column) & (GRAINS - 1)
      const right = (above + column + 1) & (GRAINS - 1)
      const lowerLeft = (below + column) & (GRAINS - 1)
      const lowerRight = (below + column + 1) & (GRAINS - 1)
      const noise =
        columns.weights[2 * j]! * (high * grains[left]! + low * grains[lowerLeft]!) +
        columns.weights[2 * j + 1]! * (high * grains[right]! + low * grains[lowerRight]!)
      const light = slopes[j]! + slope + sines[j]! * cosine + cosines[j]! * sine + noise
      out[o++] = rgb[0] + light
      out[o++] = rgb[1] + light
      out[o++] = rgb[2] + light
    }
  }
}

/** Pixels drawn beyond a shape's outline: what the sharpest corner's soft edge needs. */
const SOFT = 2

/** Draws the shape at a place over the background in `out`, [height, width, 3]. */
const drawShape = (
  out: Uint8ClampedArray,
  scene: Scene.Scene,
  place: Scene.Place,
  { unit, window }: View,
): void => {
  const { shape } = scene.attributes
  const extent = Outline.extents[shape]
  const distance = Outline.distances[shape]
  const [red, green, blue] = scene.rgb
  const radius = place.radius * unit
  // The centre, in the window's pixels.
  const cx = place.x * unit - window.x
  const cy = place.y * unit - window.y
  const top = Math.max(0, Math.floor(cy - extent.up * radius - SOFT))
  const bottom = Math.min(window.height, Math.ceil(cy + extent.down * radius + SOFT))
  const left = Math.max(0, Math.floor(cx - extent.side * radius - SOFT))
  const right = Math.min(window.width, Math.ceil(cx + extent.side * radius + SOFT))
  const shade = scene.shading / (1.4 * radius)
  for (let i = top; i < bottom; i++) {
    const y = i + 0.5 - cy
    let j = left
    while (j < right) {
      const d = distance((j + 0.5 - cx) / radius, y / radius) * radius
      if (d >= 0.5) {
        j += Math.floor(d + 0.5)
        continue
      }
      const covered = Math.min(1, 0.5 - d)
      const end = covered < 1 ? j + 1 : Math.min(right, j + Math.floor(0.5 - d))
      for (; j < end; j++) {
        const light = 1 - shade * (j + 0.5 - cx + y)
        const o = (i * window.width + j) * 3
        out[o] = out[o]! + covered * (Math.min(255, red * light) - out[o]!)
        out[o + 1] = out[o + 1]! + covered * (Math.min(255, green * light) - out[o + 1]!)
        out[o + 2] = out[o + 2]! + covered * (Math.min(255, blue * light) - out[o + 2]!)
      }
    }
  }
}

/**
 * Draws a scene at any time u in [0, 1] into an array [height, width, 3]. The background is drawn once and kept: what
 * long clips of large pictures want, one frame after the other.
 */
export const painter = (
  scene: Scene.Scene,
  options: FrameOptions = {},
): ((u: number, into: Uint8Array) => void) => {
  const view = viewOf(scene, options)
  const backdrop = new Uint8ClampedArray(view.window.width * view.window.height * 3)
  drawBackdrop(backdrop, scene, view)
  return (u, into) => {
    into.set(backdrop)
    drawShape(clamped(into), scene, Scene.at(scene, u), view)
  }
}

/** The same bytes, to which values beyond 0 and 255 are written as these. */
const clamped = ({ buffer, byteOffset, length }: Uint8Array): Uint8ClampedArray =>
  new Uint8ClampedArray(buffer, byteOffset, length)

/** The frames that show a scene at these times, [times, height, width, 3]. */
const render = (
  scene: Scene.Scene,
  times: ReadonlyArray<number>,
  options: FrameOptions,
): Uint8Array<ArrayBuffer> => {
  const { window } = viewOf(scene, options)
  const size = window.width * window.height * 3
  const out = new Uint8Array(times.length * size)
  const paint = painter(scene, options)
  times.forEach((u, f) => paint(u, out.subarray(f * size, (f + 1) * size)))
  return out
}

/** One frame, at time u in [0, 1]: [height, width, 3]. */
export const frame = (scene: Scene.Scene, u: number, options: FrameOptions = {}): Uint8Array<ArrayBuffer> =>
  render(scene, [u], options)

/** A clip: [frames, height, width, 3]. */
export const frames = (scene: Scene.Scene, options: FramesOptions): Uint8Array<ArrayBuffer> =>
  render(
    scene,
    Array.from({ length: options.frames }, (_, f) => (options.frames > 1 ? f / (options.frames - 1) : 0.5)),
    options,
  )
