/**
 * What a clip shows, read from its pixels alone: 8-bit RGB, [frames, height, width, 3].
 *
 * 1. Background: the median of all pixels, as the nearest of the five.
 * 2. Colour: the median of the pixels that are furthest from the background, as the nearest of the eight.
 * 3. Coverage: how far a pixel is on the way from background to colour, 0 to 1. The shape is the largest connected
 *    part above 1/2 in each frame, with its soft edge.
 * 4. Motion: from the shape's centre of mass and area in each frame.
 * 5. Shape: coverage, moved to its centre and scaled to area 1, averaged over the frames, correlated with the
 *    silhouette of each of the four.
 *
 * Lengths are in a scene's units (72 along the shorter side). Rendered scenes are read without error (tested).
 */
import * as Attributes from "./Attributes.ts"
import * as Outline from "./Outline.ts"
import { SHORTER_SIDE } from "./Scene.ts"

/** The size of a clip, [frames, height, width, 3]. */
export interface Size {
  readonly frames: number
  readonly width: number
  readonly height: number
}

/** The shape in one frame, in units. */
export interface Sighting {
  readonly frame: number
  readonly x: number
  readonly y: number
  readonly area: number
}

export interface Reading {
  /** A thing stands out from the background in at least half of the frames. Else there is no shape or motion. */
  readonly found: boolean
  readonly colour: Attributes.Colour | undefined
  readonly shape: Attributes.Shape | undefined
  readonly motion: Attributes.Motion | undefined
  readonly background: Attributes.Background
  /** The share of what stands out that is in its largest part, averaged over frames: 1 is one thing. */
  readonly coherence: number
  /** The correlation of the averaged silhouette with the shape's, at most 1. */
  readonly fit: number
  /** That correlation minus the one of the second best shape. */
  readonly margin: number
  /** The distance of the furthest pixels (top 0.5 %) from the background, 0 to 442. */
  readonly contrast: number
  readonly track: ReadonlyArray<Sighting>
}

/** What stands out less than this is not found. Scenes have 85 and more; their backgrounds alone at most 45. */
const CONTRAST = 60

/** Side of the grid on which silhouettes are compared, and how many times the square root of the area it spans. */
const GRID = 28
const SPAN = 1.9

type Rgb = [number, number, number]

/** The value below which a share of the counted ones is. */
const quantile = (counts: Uint32Array, share: number): number => {
  const total = counts.reduce((sum, count) => sum + count, 0)
  let below = 0
  for (let value = 0; value < counts.length; value++) {
    below += counts[value]!
    if (below > total * share) return value
  }
  return counts.length - 1
}

/** The median of each channel over the pixels that are taken. */
const median = (pixels: Uint8Array, taken: (pixel: number) => boolean): Rgb => {
  const red = new Uint32Array(256)
  const green = new Uint32Array(256)
  const blue = new Uint32Array(256)
  for (let p = 0; p < pixels.length / 3; p++) {
    if (!taken(p)) continue
    red[pixels[3 * p]!]!++
    green[pixels[3 * p + 1]!]!++
    blue[pixels[3 * p + 2]!]!++
  }
  return [quantile(red, 0.5), quantile(green, 0.5), quantile(blue, 0.5)]
}

const nearest = <Name extends string>(
  rgb: Rgb,
  palette: Readonly<Record<Name, Attributes.Rgb>>,
  names: ReadonlyArray<Name>,
): Name => {
  const distance = (name: Name): number =>
    palette[name].reduce((sum, value, c) => sum + (value - rgb[c]!) ** 2, 0)
  return names.reduce((best, name) => (distance(name) < distance(best) ? name : best))
}

/** The distance of each pixel from a colour, 0 to 442. */
const distancesFrom = (pixels: Uint8Array, [red, green, blue]: Rgb): Float32Array => {
  const out = new Float32Array(pixels.length / 3)
  for (let p = 0; p < out.length; p++) {
    const dr = pixels[3 * p]! - red
    const dg = pixels[3 * p + 1]! - green
    const db = pixels[3 * p + 2]! - blue
    out[p] = Math.sqrt(dr * dr + dg * dg + db * db)
  }
  return out
}

/** How far each pixel is on the way from one colour to another, 0 to 1. */
const coverage = (pixels: Uint8Array, from: Rgb, to: Rgb): Float32Array => {
  const [red, green, blue] = [to[0] - from[0], to[1] - from[1], to[2] - from[2]]
  const square = red * red + green * green + blue * blue
  const start = red * from[0] + green * from[1] + blue * from[2]
  const out = new Float32Array(pixels.length / 3)
  for (let p = 0; p < out.length; p++) {
    const along = red * pixels[3 * p]! + green * pixels[3 * p + 1]! + blue * pixels[3 * p + 2]! - start
    out[p] = Math.min(1, Math.max(0, along / square))
  }
  return out
}

/** The 4-connected parts of a frame above 1/2, each as its pixels. */
const parts = (cover: Float32Array, { height, width }: Size): Array<Array<number>> => {
  const seen = new Uint8Array(width * height)
  const found: Array<Array<number>> = []
  for (let start = 0; start < seen.length; start++) {
    if (seen[start] || cover[start]! <= 0.5) continue
    const part = [start]
    seen[start] = 1
    const visit = (pixel: number): void => {
      if (seen[pixel] || cover[pixel]! <= 0.5) return
      seen[pixel] = 1
      part.push(pixel)
    }
    for (let next = 0; next < part.length; next++) {
      const pixel = part[next]!
      const column = pixel % width
      if (column > 0) visit(pixel - 1)
      if (column < width - 1) visit(pixel + 1)
      if (pixel >= width) visit(pixel - width)
      if (pixel + width < seen.length) visit(pixel + width)
    }
    found.push(part)
  }
  return found
}

/** Coverage of one part and the pixels around it alone: its soft edge, without what else is in the frame. */
const isolated = (
  cover: Float32Array,
  part: ReadonlyArray<number>,
  edge: number,
  { height, width }: Size,
): Float32Array => {
  const out = new Float32Array(cover.length)
  for (const pixel of part) {
    const row = Math.floor(pixel / width)
    const column = pixel % width
    for (let i = Math.max(0, row - edge); i <= Math.min(height - 1, row + edge); i++)
      for (let j = Math.max(0, column - edge); j <= Math.min(width - 1, column + edge); j++)
        out[i * width + j] = cover[i * width + j]!
  }
  return out
}

/** Area and centre of mass, in pixels from the upper left corner. */
const moments = (cover: Float32Array, width: number): { area: number; x: number; y: number } => {
  let area = 0
  let x = 0
  let y = 0
  for (let p = 0; p < cover.length; p++) {
    const value = cover[p]!
    if (value === 0) continue
    area += value
    x += value * ((p % width) + 0.5)
    y += value * (Math.floor(p / width) + 0.5)
  }
  return { area, x: x / area, y: y / area }
}

/** Coverage at a point, between the centres of the four pixels around it; 0 outside of those of the frame. */
const sample = (cover: Float32Array, { height, width }: Size, x: number, y: number): number => {
  const column = Math.floor(x - 0.5)
  const row = Math.floor(y - 0.5)
  if (column < 0 || column >= width - 1 || row < 0 || row >= height - 1) return 0
  const right = x - 0.5 - column
  const lower = y - 0.5 - row
  const p = row * width + column
  return (
    (1 - lower) * ((1 - right) * cover[p]! + right * cover[p + 1]!) +
    lower * ((1 - right) * cover[p + width]! + right * cover[p + width + 1]!)
  )
}

/** Adds a silhouette, moved to its centre and scaled to area 1, to the grid. */
const accumulate = (
  grid: Float64Array,
  weight: number,
  { area, x, y }: { readonly area: number; readonly x: number; readonly y: number },
  value: (x: number, y: number) => number,
): void => {
  const step = (Math.sqrt(area) * SPAN) / GRID
  for (let i = 0; i < GRID; i++)
    for (let j = 0; j < GRID; j++)
      grid[i * GRID + j]! += weight * value(x + (j + 0.5 - GRID / 2) * step, y + (i + 0.5 - GRID / 2) * step)
}

/** The silhouettes of the four shapes on the grid, with edges as soft as those of a shape of 13 units. */
const silhouettes: ReadonlyArray<Float64Array> = Attributes.Shape.literals.map((shape) => {
  const side = 96
  const radius = 30
  const size = { frames: 1, width: side, height: side }
  const soft = radius / 13
  const cover = Float32Array.from({ length: side * side }, (_, p) => {
    const x = ((p % side) + 0.5 - side / 2) / radius
    const y = (Math.floor(p / side) + 0.5 - side / 2) / radius
    return Math.min(1, Math.max(0, 0.5 - (Outline.distances[shape](x, y) * radius) / soft))
  })
  const grid = new Float64Array(GRID * GRID)
  accumulate(grid, 1, moments(cover, side), (x, y) => sample(cover, size, x, y))
  return grid
})

const correlation = (a: Float64Array, b: Float64Array): number => {
  const mean = (values: Float64Array): number => values.reduce((sum, value) => sum + value, 0) / values.length
  const [meanA, meanB] = [mean(a), mean(b)]
  let [both, squareA, squareB] = [0, 0, 0]
  for (let i = 0; i < a.length; i++) {
    both += (a[i]! - meanA) * (b[i]! - meanB)
    squareA += (a[i]! - meanA) ** 2
    squareB += (b[i]! - meanB) ** 2
  }
  return both / Math.sqrt(squareA * squareB || 1)
}

/** A track's first and last place: the means of the two frames at either end. */
const ends = (track: ReadonlyArray<Sighting>): readonly [Sighting, Sighting] => {
  const mean = (a: Sighting, b: Sighting): Sighting => ({
    frame: a.frame,
    x: (a.x + b.x) / 2,
    y: (a.y + b.y) / 2,
    area: (a.area + b.area) / 2,
  })
  const last = track.length - 1
  const beside = Math.min(1, last)
  return last < 3
    ? [track[0]!, track[last]!]
    : [mean(track[0]!, track[beside]!), mean(track[last - beside]!, track[last]!)]
}

/**
 * Growing by 1.8 in area without going far is "grow"; staying within 4 units is "still"; coming back is "orbit".
 * Scenes grow by 2.9 and more, orbit with a radius of 8 to 12, and go 20 and more.
 */
const motionOf = (track: ReadonlyArray<Sighting>): Attributes.Motion => {
  const [first, last] = ends(track)
  const dx = last.x - first.x
  const dy = last.y - first.y
  const net = Math.hypot(dx, dy)
  const x = track.reduce((sum, sighting) => sum + sighting.x, 0) / track.length
  const y = track.reduce((sum, sighting) => sum + sighting.y, 0) / track.length
  const spread = Math.max(...track.map((sighting) => Math.hypot(sighting.x - x, sighting.y - y)))
  if (last.area > 1.8 * first.area && net < 16) return "grow"
  if (spread < 4) return "still"
  if (net < 1.2 * spread) return "orbit"
  if (Math.abs(dx) > Math.abs(dy)) return dx < 0 ? "left" : "right"
  return dy < 0 ? "up" : "down"
}

/** The fewest pixels that are a shape, of a picture whose shorter side is 72. */
const LEAST_AREA = 12

/** Reads a clip's attributes from its pixels, [frames, height, width, 3]. */
export const read = (pixels: Uint8Array, size: Size): Reading => {
  const { frames, height, width } = size
  const unit = Math.min(width, height) / SHORTER_SIDE
  const ground = median(pixels, () => true)
  const distances = distancesFrom(pixels, ground)
  const counts = new Uint32Array(443)
  for (const distance of distances) counts[Math.floor(distance)]!++
  const contrast = quantile(counts, 0.995)
  const lost: Reading = {
    found: false,
    colour: undefined,
    shape: undefined,
    motion: undefined,
    background: nearest(ground, Attributes.backgrounds, Attributes.Background.literals),
    coherence: 0,
    fit: 0,
    margin: 0,
    contrast,
    track: [],
  }
  if (contrast < CONTRAST) return lost
  const rgb = median(pixels, (p) => distances[p]! > 0.7 * contrast)
  const colour = nearest(rgb, Attributes.colours, Attributes.Colour.literals)
  const covers = coverage(pixels, ground, rgb)
  const grid = new Float64Array(GRID * GRID)
  const track: Array<Sighting> = []
  let coherence = 0
  for (let f = 0; f < frames; f++) {
    const cover = covers.subarray(f * width * height, (f + 1) * width * height)
    const all = parts(cover, size)
    const largest = all.reduce((best, part) => (part.length > best.length ? part : best), [])
    if (largest.length < LEAST_AREA * unit * unit) continue
    const alone = isolated(cover, largest, Math.round(2 * unit), size)
    const { area, x, y } = moments(alone, width)
    // Larger silhouettes are sharper: they count by their area.
    accumulate(grid, area, { area, x, y }, (x, y) => sample(alone, size, x, y))
    coherence += largest.length / all.reduce((sum, part) => sum + part.length, 0)
    track.push({ frame: f, x: x / unit, y: y / unit, area: area / unit ** 2 })
  }
  if (track.length < frames / 2) return { ...lost, colour, track }
  const fits = silhouettes.map((silhouette) => correlation(grid, silhouette))
  const [best, second] = fits.toSorted((a, b) => b - a)
  return {
    ...lost,
    found: true,
    colour,
    shape: Attributes.Shape.literals[fits.indexOf(best!)]!,
    motion: motionOf(track),
    coherence: coherence / track.length,
    fit: best!,
    margin: best! - second!,
    track,
  }
}
