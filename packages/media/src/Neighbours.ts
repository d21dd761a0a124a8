/**
 * Groups of clips that look alike, among many. Comparing all pairs grows with the square of their number; here, hashes
 * are indexed by pieces (multi-index hashing: Norouzi, Punjani and Fleet, CVPR 2012). Two hashes of 256 bits that
 * differ in at most d bits agree, in one of m pieces, up to floor(d / m) bits: only such pairs are compared.
 */
import { type Fingerprint, matchFraction } from "./Pdq.ts"

export interface Options {
  /** Most bits of 256 in which two frames that match differ. */
  readonly maxDistance: number
  /** Hashes of a lower quality (0-100) are left out. */
  readonly minQuality: number
  /** Share of frames that must match, above 0 and up to 1. */
  readonly minShare: number
}

const pieces = 16

/** 32-bit words of a hash. */
const words = 8

/** Bits of a 32-bit word that are set. */
const ones = (word: number): number => {
  let x = word - ((word >>> 1) & 0x55555555)
  x = (x & 0x33333333) + ((x >>> 2) & 0x33333333)
  return Math.imul((x + (x >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
}

/** Masks of 16 bits with at most `radius` ones. */
const masksWithin = (radius: number): Uint16Array =>
  Uint16Array.from(Array.from({ length: 65536 }, (_, mask) => mask).filter((mask) => ones(mask) <= radius))

/**
 * For each fingerprint, the position of the first of its group. Two fingerprints are in one group when a chain of
 * matches leads from one to the other.
 */
export const groups = (fingerprints: ReadonlyArray<Fingerprint>, options: Options): ReadonlyArray<number> => {
  const { maxDistance, minQuality, minShare } = options
  const leaders = Int32Array.from({ length: fingerprints.length }, (_, i) => i)
  const leader = (at: number): number => {
    while (leaders[at] !== at) at = leaders[at] = leaders[leaders[at]!]!
    return at
  }
  const masks = masksWithin(Math.floor(maxDistance / pieces))
  const usable = fingerprints.flatMap((fingerprint, clip) =>
    fingerprint.filter(({ quality }) => quality >= minQuality).map(({ hash }) => ({ clip, hash })),
  )
  const bits = new Uint32Array(usable.length * words)
  usable.forEach(({ hash }, at) => {
    for (let w = 0; w < words; w++) bits[at * words + w] = Number.parseInt(hash.slice(w * 8, w * 8 + 8), 16)
  })
  const isNear = (a: number, b: number): boolean => {
    let different = 0
    for (let w = 0; w < words && different <= maxDistance; w++)
      different += ones(bits[a * words + w]! ^ bits[b * words + w]!)
    return different <= maxDistance
  }
  const pieceOf = (at: number, piece: number): number =>
    (bits[at * words + (piece >> 1)]! >>> ((piece & 1) * 16)) & 0xffff
  // By piece, lists of the hashes with the same 16 bits there: the latest one, and from each the one before it.
  const latest = Array.from({ length: pieces }, () => new Int32Array(65536).fill(-1))
  const before = Array.from({ length: pieces }, () => new Int32Array(usable.length))
  /** The last clip that a clip was compared with is remembered: two clips share many pieces. */
  const seen = new Int32Array(fingerprints.length).fill(-1)
  for (let at = 0; at < usable.length;) {
    const { clip } = usable[at]!
    const first = at
    for (; at < usable.length && usable[at]!.clip === clip; at++) {
      for (let piece = 0; piece < pieces; piece++) {
        const value = pieceOf(at, piece)
        for (const mask of masks) {
          for (let other = latest[piece]![value ^ mask]!; other >= 0; other = before[piece]![other]!) {
            const otherClip = usable[other]!.clip
            if (seen[otherClip] === clip || !isNear(at, other)) continue
            seen[otherClip] = clip
            const [a, b] = [leader(clip), leader(otherClip)]
            if (
              a !== b &&
              matchFraction(fingerprints[clip]!, fingerprints[otherClip]!, { maxDistance, minQuality }) >=
                minShare
            ) {
              leaders[Math.max(a, b)] = Math.min(a, b)
            }
          }
        }
      }
    }
    for (let own = first; own < at; own++) {
      for (let piece = 0; piece < pieces; piece++) {
        const value = pieceOf(own, piece)
        before[piece]![own] = latest[piece]![value]!
        latest[piece]![value] = own
      }
    }
  }
  return fingerprints.map((_, at) => leader(at))
}
