/**
 * PDQ, the perceptual hash of still pictures (Facebook, "The TMK+PDQF Video-Hashing Algorithm and the PDQ
 * Image-Hashing Algorithm", 2019), and vPDQ, its use for video: a list of frame hashes.
 *
 * luma [h, w], 0-255 -> two passes of a box filter along rows and columns, window ceil(side / 128) (Jarosz) ->
 * decimated to A [64, 64] -> B = D A D^T [16, 16] with D[i][j] = sqrt(2/64) cos(pi/128 (i+1)(2j+1)), the DCT
 * without its constant term -> bit k = 16 i + j is set where B[i][j] is above the median of B. Quality 0-100 is
 * the sum of quantised gradients of A over 90.
 *
 * Tolerance against the `pdqhash` package: same bits up to 2 of 256, same quality (test/oracle/pdq).
 */
import * as Schema from "effect/Schema"

const SIDE = 64
const BANDS = 16

/** A hash of 256 bits in hexadecimal (bit 255 first, as PDQ tools print it) and its quality, 0-100. */
export const FrameHash = Schema.Struct({
  /** Seconds from the start of the clip. */
  seconds: Schema.Finite,
  hash: Schema.String.check(Schema.isPattern(/^[0-9a-f]{64}$/)),
  quality: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 100 })),
})
export type FrameHash = typeof FrameHash.Type

/** vPDQ: hashes of frames at regular times. */
export const Fingerprint = Schema.Array(FrameHash)
export type Fingerprint = typeof Fingerprint.Type

/** A grey picture: rows packed, 0-255. */
export interface Luma {
  readonly width: number
  readonly height: number
  readonly data: Uint8Array | Float32Array
}

/** PDQ's box filter along one line: a running mean whose window shrinks at the ends. */
const boxLine = (
  input: Float32Array,
  output: Float32Array,
  start: number,
  length: number,
  stride: number,
  window: number,
): void => {
  const half = (window + 2) >> 1
  let sum = 0
  let size = 0
  let left = start
  let right = start
  let out = start
  for (let i = 0; i < half - 1; i++, right += stride) {
    sum += input[right] as number
    size++
  }
  for (let i = 0; i < window - half + 1; i++, right += stride, out += stride) {
    sum += input[right] as number
    size++
    output[out] = sum / size
  }
  for (let i = 0; i < length - window; i++, left += stride, right += stride, out += stride) {
    sum += (input[right] as number) - (input[left] as number)
    output[out] = sum / size
  }
  for (let i = 0; i < half - 1; i++, left += stride, out += stride) {
    sum -= input[left] as number
    size--
    output[out] = sum / size
  }
}

const windowFor = (side: number): number => Math.floor((side + 2 * SIDE - 1) / (2 * SIDE))

/** The filtered and decimated picture, [64, 64] row by row. The picture has at least 64 pixels on a side. */
export const shrink = ({ width, height, data }: Luma): Float32Array => {
  const a = Float32Array.from(data)
  const b = new Float32Array(a.length)
  const alongRow = windowFor(width)
  const alongColumn = windowFor(height)
  for (let pass = 0; pass < 2; pass++) {
    for (let y = 0; y < height; y++) boxLine(a, b, y * width, width, 1, alongRow)
    for (let x = 0; x < width; x++) boxLine(b, a, x, height, width, alongColumn)
  }
  const small = new Float32Array(SIDE * SIDE)
  for (let i = 0; i < SIDE; i++) {
    const y = Math.floor(((i + 0.5) * height) / SIDE)
    for (let j = 0; j < SIDE; j++) {
      small[i * SIDE + j] = a[y * width + Math.floor(((j + 0.5) * width) / SIDE)] as number
    }
  }
  return small
}

/** The rows of D, [16, 64]. */
const BASIS: Float64Array = Float64Array.from({ length: BANDS * SIDE }, (_, k) => {
  const i = Math.floor(k / SIDE)
  const j = k % SIDE
  return Math.sqrt(2 / SIDE) * Math.cos((Math.PI / 2 / SIDE) * (i + 1) * (2 * j + 1))
})

/** B = D A D^T for A [64, 64]: [16, 16], by two matrix products. */
export const transform = (a: Float32Array): Float64Array => {
  const half = new Float64Array(BANDS * SIDE)
  for (let i = 0; i < BANDS; i++) {
    for (let k = 0; k < SIDE; k++) {
      const d = BASIS[i * SIDE + k] as number
      for (let j = 0; j < SIDE; j++) {
        half[i * SIDE + j] = (half[i * SIDE + j] as number) + d * (a[k * SIDE + j] as number)
      }
    }
  }
  const out = new Float64Array(BANDS * BANDS)
  for (let i = 0; i < BANDS; i++) {
    for (let j = 0; j < BANDS; j++) {
      let sum = 0
      for (let k = 0; k < SIDE; k++) sum += (half[i * SIDE + k] as number) * (BASIS[j * SIDE + k] as number)
      out[i * BANDS + j] = sum
    }
  }
  return out
}

/** The same as `transform`, as the definition reads: a sum over all pixels per coefficient. */
export const transformReference = (a: Float32Array): Float64Array =>
  Float64Array.from({ length: BANDS * BANDS }, (_, k) => {
    const i = Math.floor(k / BANDS)
    const j = k % BANDS
    let sum = 0
    for (let y = 0; y < SIDE; y++) {
      for (let x = 0; x < SIDE; x++) {
        const rows = Math.cos((Math.PI / 128) * (i + 1) * (2 * y + 1))
        const columns = Math.cos((Math.PI / 128) * (j + 1) * (2 * x + 1))
        sum += (2 / SIDE) * rows * columns * (a[y * SIDE + x] as number)
      }
    }
    return sum
  })

/** The same as `shrink`, every mean taken anew. */
export const shrinkReference = ({ width, height, data }: Luma): Float32Array => {
  // The window of output o covers [o - back, o + ahead] where that exists.
  const mean = (
    plane: ReadonlyArray<number>,
    at: (k: number) => number,
    length: number,
    window: number,
    o: number,
  ) => {
    const ahead = ((window + 2) >> 1) - 1
    const back = window - 1 - ahead
    let sum = 0
    let n = 0
    for (let k = Math.max(0, o - back); k <= Math.min(length - 1, o + ahead); k++, n++)
      sum += plane[at(k)] as number
    return sum / n
  }
  let plane: ReadonlyArray<number> = Array.from(data)
  for (let pass = 0; pass < 2; pass++) {
    const rows = plane
    plane = rows.map((_, p) => {
      const y = Math.floor(p / width)
      return mean(rows, (k) => y * width + k, width, windowFor(width), p % width)
    })
    const columns = plane
    plane = columns.map((_, p) => {
      const x = p % width
      return mean(columns, (k) => k * width + x, height, windowFor(height), Math.floor(p / width))
    })
  }
  return Float32Array.from({ length: SIDE * SIDE }, (_, k) => {
    const y = Math.floor(((Math.floor(k / SIDE) + 0.5) * height) / SIDE)
    return plane[y * width + Math.floor((((k % SIDE) + 0.5) * width) / SIDE)] as number
  })
}

/** Gradient measure of A [64, 64], 0-100: how much there is to tell pictures apart by. */
const qualityOf = (a: Float32Array): number => {
  let gradients = 0
  const step = (u: number, v: number) => Math.abs(Math.trunc(((u - v) * 100) / 255))
  for (let y = 0; y < SIDE; y++) {
    for (let x = 0; x < SIDE; x++) {
      const here = a[y * SIDE + x] as number
      if (y + 1 < SIDE) gradients += step(here, a[(y + 1) * SIDE + x] as number)
      if (x + 1 < SIDE) gradients += step(here, a[y * SIDE + x + 1] as number)
    }
  }
  return Math.min(100, Math.floor(gradients / 90))
}

/** Bits of B [16, 16] above its lower median, as 64 hexadecimal digits. */
const bitsOf = (b: Float64Array): string => {
  const median = Float64Array.from(b).sort()[(BANDS * BANDS) / 2 - 1] as number
  let hex = ""
  for (let digit = BANDS * BANDS - 4; digit >= 0; digit -= 4) {
    let value = 0
    for (let bit = 3; bit >= 0; bit--) value = value * 2 + ((b[digit + bit] as number) > median ? 1 : 0)
    hex += value.toString(16)
  }
  return hex
}

/**
 * Hash and quality of a grey picture of at least 64 x 64 pixels.
 *
 * @throws RangeError for a smaller picture
 */
export const hash = (luma: Luma): { readonly hash: string; readonly quality: number } => {
  if (luma.width < SIDE || luma.height < SIDE) {
    throw new RangeError(
      `PDQ needs at least ${SIDE} x ${SIDE} pixels, got ${luma.width} x ${luma.height}; scale it up`,
    )
  }
  const small = shrink(luma)
  return { hash: bitsOf(transform(small)), quality: qualityOf(small) }
}

/** Number of bits, 0-256, in which two hashes differ. */
export const distance = (a: string, b: string): number => {
  let different = 0
  for (let i = 0; i < 64; i += 8) {
    let x = Number.parseInt(a.slice(i, i + 8), 16) ^ Number.parseInt(b.slice(i, i + 8), 16)
    for (; x !== 0; x &= x - 1) different++
  }
  return different
}

export interface MatchOptions {
  /** Hashes of a lower quality are left out. @default 50 (vPDQ) */
  readonly minQuality?: number
  /** Most bits in which matching hashes differ. @default 31 (vPDQ) */
  readonly maxDistance?: number
}

/** Share of matching frames from which two clips are near-duplicates. Source: vPDQ's default of 80 %. */
export const MATCH_SHARE = 0.8

/**
 * Share of the usable frames that have a match in the other clip, 0-1: the smaller of both directions, so that
 * a short piece of a long clip is not its duplicate. 0 when a clip has no usable frame.
 */
export const matchFraction = (a: Fingerprint, b: Fingerprint, options: MatchOptions = {}): number => {
  const minQuality = options.minQuality ?? 50
  const maxDistance = options.maxDistance ?? 31
  const left = a.filter((frame) => frame.quality >= minQuality)
  const right = b.filter((frame) => frame.quality >= minQuality)
  if (left.length === 0 || right.length === 0) return 0
  const share = (from: Fingerprint, to: Fingerprint): number =>
    from.filter((x) => to.some((y) => distance(x.hash, y.hash) <= maxDistance)).length / from.length
  return Math.min(share(left, right), share(right, left))
}
