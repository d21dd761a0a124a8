/**
 * Counter-based random numbers: Philox 4x32 with 10 rounds (Salmon et al., "Parallel Random Numbers: As
 * Easy as 1, 2, 3", SC 2011). A block of four 32-bit words is a function of (key, counter) alone, so what an
 * item draws does not depend on the order, the parallelism or the place in which items run.
 *
 * Checked against the known-answer vectors of Random123.
 */
import * as Digest from "./Digest.ts"

/** The 64-bit key of a stream of numbers. */
export interface Key {
  readonly k0: number
  readonly k1: number
}

const M0 = 0xd2511f53
const M1 = 0xcd9e8d57
const W0 = 0x9e3779b9
const W1 = 0xbb67ae85

/** High 32 bits of the 64-bit product of two unsigned 32-bit words. */
const mulHigh = (a: number, b: number): number => {
  const aLow = a & 0xffff
  const aHigh = a >>> 16
  const bLow = b & 0xffff
  const bHigh = b >>> 16
  const cross = aHigh * bLow + ((aLow * bLow) >>> 16)
  const middle = aLow * bHigh + (cross % 0x10000)
  return (aHigh * bHigh + Math.floor(cross / 0x10000) + Math.floor(middle / 0x10000)) >>> 0
}

/** The key of what (seed, item, operator) draws. */
export const key = (seed: number, item: string, operator: string): Key => {
  const digest = Digest.ofBytes(`reelgraph/random\0${seed}\0${item}\0${operator}`)
  return { k0: Number.parseInt(digest.slice(0, 8), 16), k1: Number.parseInt(digest.slice(8, 16), 16) }
}

/** The block of four words at a counter, written to `out[offset .. offset + 3]`. */
export const block = (
  { k0, k1 }: Key,
  counter: readonly [number, number, number, number],
  out: Uint32Array,
  offset = 0,
): void => {
  let [c0, c1, c2, c3] = counter
  for (let round = 0; round < 10; round++) {
    const high0 = mulHigh(M0, c0)
    const low0 = Math.imul(M0, c0)
    const high1 = mulHigh(M1, c2)
    const low1 = Math.imul(M1, c2)
    c0 = (high1 ^ c1 ^ k0) >>> 0
    c1 = low1 >>> 0
    c2 = (high0 ^ c3 ^ k1) >>> 0
    c3 = low0 >>> 0
    k0 = (k0 + W0) >>> 0
    k1 = (k1 + W1) >>> 0
  }
  out[offset] = c0
  out[offset + 1] = c1
  out[offset + 2] = c2
  out[offset + 3] = c3
}

/** `length` uniform numbers in [0, 1), with 32 bits each, from block `start` on. */
export const uniforms = (key: Key, length: number, start = 0): Float64Array => {
  const words = new Uint32Array(Math.ceil(length / 4) * 4)
  for (let i = 0; i < words.length; i += 4) {
    const counter = start + i / 4
    block(key, [counter >>> 0, Math.floor(counter / 0x1_0000_0000), 0, 0], words, i)
  }
  return Float64Array.from({ length }, (_, i) => words[i]! / 0x1_0000_0000)
}
