/**
 * Groups of clips that look alike, among many. Comparing all pairs grows with the square of their number; here, hashes
 * are indexed by pieces (multi-index hashing: Norouzi, Punjani and Fleet, CVPR 2012). Two hashes of 256 bits that
 * differ in at most d bits agree, in one of m pieces, up to floor(d / m) bits: only such pairs are compared.
 */
import { distance, type Fingerprint, matchFraction } from "./Pdq.ts"

export interface Options {
  /** Most bits of 256 in which two frames that match differ. */
  readonly maxDistance: number
  /** Hashes of a lower quality (0-100) are left out. */
  readonly minQuality: number
  /** Share of frames that must match, 0-1. */
  readonly minShare: number
}

const pieces = 16

/** Sixteen pieces of 16 bits of a hash of 64 hexadecimal digits. */
const piecesOf = (hash: string): Uint16Array =>
  Uint16Array.from({ length: pieces }, (_, i) => Number.parseInt(hash.slice(i * 4, i * 4 + 4), 16))

/** Masks of 16 bits with at most `radius` ones. */
const masksWithin = (radius: number): ReadonlyArray<number> => {
  const masks: Array<number> = []
  for (let mask = 0; mask < 65536; mask++) {
    let ones = 0
    for (let bits = mask; bits !== 0; bits &= bits - 1) ones++
    if (ones <= radius) masks.push(mask)
  }
  return masks
}

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
  const index = Array.from(
    { length: pieces },
    () => new Map<number, Array<{ readonly clip: number; readonly hash: string }>>(),
  )
  fingerprints.forEach((fingerprint, clip) => {
    const usable = fingerprint.filter(({ quality }) => quality >= minQuality)
    const near = new Set<number>()
    for (const { hash } of usable) {
      piecesOf(hash).forEach((piece, i) => {
        for (const mask of masks) {
          for (const other of index[i]!.get(piece ^ mask) ?? []) {
            if (!near.has(other.clip) && distance(hash, other.hash) <= maxDistance) near.add(other.clip)
          }
        }
      })
    }
    for (const other of near) {
      const [a, b] = [leader(clip), leader(other)]
      if (
        a !== b &&
        matchFraction(fingerprint, fingerprints[other]!, { maxDistance, minQuality }) >= minShare
      ) {
        leaders[Math.max(a, b)] = Math.min(a, b)
      }
    }
    for (const { hash } of usable) {
      piecesOf(hash).forEach((piece, i) => {
        const bucket = index[i]!.get(piece)
        if (bucket === undefined) index[i]!.set(piece, [{ clip, hash }])
        else bucket.push({ clip, hash })
      })
    }
  })
  return fingerprints.map((_, at) => leader(at))
}
