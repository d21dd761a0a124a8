/**
 * Kernels over one 8-bit luma plane (0 = black, 255 = white, rows packed), the numbers that `Measure` is made of.
 *
 * Scene score, after FFmpeg's scdet: with `mafd(t)` the mean absolute difference to the frame before in per cent
 * of full scale, `score = min(mafd(t), |mafd(t) - mafd(t-1)|)`. scdet counts in levels of limited range (219 of
 * 256), these planes are full range (255): `LIMITED` converts, so that thresholds mean what they mean for scdet.
 */

/** Sums of one frame against the one before. */
export interface FrameSums {
  /** Mean luma, 0-255. */
  mean: number
  /** Share of pixels at or below the black level, 0-1. */
  dark: number
  /** Mean absolute difference to the frame before, 0-255. */
  difference: number
}

/** Levels of limited range per level of full range. */
export const LIMITED = 219 / 255

/**
 * Luma at or below which a pixel counts as black: 10 % of full scale, as in FFmpeg's blackdetect
 * (pixel_black_th = 0.10).
 */
export const BLACK_LEVEL = 25

/** One pass over a frame and the one before. Both have the same length. */
export const sums = (now: Uint8Array, before: Uint8Array, into: FrameSums): void => {
  let total = 0
  let dark = 0
  let difference = 0
  const n = now.length
  for (let i = 0; i < n; i++) {
    const y = now[i] as number
    const d = y - (before[i] as number)
    total += y
    difference += d < 0 ? -d : d
    if (y <= BLACK_LEVEL) dark++
  }
  into.mean = total / n
  into.dark = dark / n
  into.difference = difference / n
}

/** Mean absolute difference of two planes of the same length, 0-255. */
export const meanDifference = (a: Uint8Array, b: Uint8Array): number => {
  let total = 0
  for (let i = 0; i < a.length; i++) {
    const d = (a[i] as number) - (b[i] as number)
    total += d < 0 ? -d : d
  }
  return total / a.length
}

/** scdet's score of a frame from the mean absolute differences (0-255, full range) of it and the frame before. */
export const sceneScore = (difference: number, differenceBefore: number): number => {
  const scale = (100 / 256) * LIMITED
  const mafd = difference * scale
  return Math.min(mafd, Math.abs(mafd - differenceBefore * scale))
}

/** A rectangle of pixels. */
export interface Box {
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
}

/**
 * The rectangle inside black bars: rows and columns whose mean luma is above `limit` (0-255), seen from the
 * edges. Undefined for a black frame. FFmpeg's cropdetect does the same with its limit of 24 on limited range.
 */
export const contentBox = (
  plane: Uint8Array,
  width: number,
  height: number,
  limit: number,
): Box | undefined => {
  const row = (y: number): number => {
    let total = 0
    for (let i = y * width, end = i + width; i < end; i++) total += plane[i] as number
    return total / width
  }
  let top = 0
  while (top < height && row(top) <= limit) top++
  if (top === height) return undefined
  let bottom = height - 1
  while (bottom > top && row(bottom) <= limit) bottom--
  // Columns are judged inside the bars only: a thin picture must not vanish in black rows.
  const column = (x: number): number => {
    let total = 0
    for (let y = top; y <= bottom; y++) total += plane[y * width + x] as number
    return total / (bottom - top + 1)
  }
  let left = 0
  while (left < width - 1 && column(left) <= limit) left++
  let right = width - 1
  while (right > left && column(right) <= limit) right--
  return { x: left, y: top, width: right - left + 1, height: bottom - top + 1 }
}

/** Rows and columns of a block that is judged for combing. */
const BLOCK_ROWS = 16
const BLOCK_COLUMNS = 32

/** Mean difference of lines, levels, below which a block is too smooth to be judged. */
const TEXTURE = 4

/** A block is combed when its neighbouring lines differ this much more than lines two apart do. */
const COMB_RATIO = 1.4

/** Share of the textured blocks, from which a picture is interlaced. Moving parts may be small. */
const COMBED_SHARE = 0.03

/**
 * Are two fields of different times woven into this picture? 1 yes, 0 no, -1 undecided (nothing but smooth
 * blocks).
 *
 * In a progressive picture neighbouring lines are more alike than lines two apart (at worst, in noise, as much
 * alike). Where something moves in an interlaced one, lines two apart belong to one field and are alike, and
 * neighbours are not. Judged per block, so that a still background does not hide a moving subject. One picture
 * is enough; comparing pictures (as idet does) takes a vertical pan over fine texture for interlacing.
 */
export const combing = (plane: Uint8Array, width: number, height: number): -1 | 0 | 1 => {
  let textured = 0
  let combed = 0
  for (let top = 2; top + BLOCK_ROWS <= height; top += BLOCK_ROWS) {
    for (let left = 0; left + BLOCK_COLUMNS <= width; left += BLOCK_COLUMNS) {
      let near = 0
      let far = 0
      for (let y = top; y < top + BLOCK_ROWS; y++) {
        for (let i = y * width + left, end = i + BLOCK_COLUMNS; i < end; i += 2) {
          const p = plane[i] as number
          const a = p - (plane[i - width] as number)
          const b = p - (plane[i - 2 * width] as number)
          near += a < 0 ? -a : a
          far += b < 0 ? -b : b
        }
      }
      const samples = (BLOCK_ROWS * BLOCK_COLUMNS) / 2
      if (Math.max(near, far) < TEXTURE * samples) continue
      textured++
      if (near > TEXTURE * samples && near > COMB_RATIO * far) combed++
    }
  }
  return textured === 0 ? -1 : combed > COMBED_SHARE * textured ? 1 : 0
}
