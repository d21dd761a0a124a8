/**
 * Standard normal numbers from a counter: Box and Muller (1958) on blocks of Philox 4x32-10.
 *
 * A block of four words gives two pairs of uniforms, and so four normals:
 *
 *     r = sqrt(-2 ln(1 - u1)),  n1 = r cos(2 pi u2),  n2 = r sin(2 pi u2)
 *
 * u1 has 32 bits, so that no number is beyond sqrt(64 ln 2) = 6.66. The numbers are a function of (key, stream,
 * position) alone: a stream is the third word of the counter, and a sampler gives each of its steps one, so that
 * a resumed run draws what an uninterrupted one draws.
 */
import * as CounterRandom from "@reelgraph/core/CounterRandom"

/** `length` numbers of a stream (0 to 2^32 - 1), as float32. */
export const normals = (key: CounterRandom.Key, length: number, stream = 0): Float32Array => {
  const out = new Float32Array(length)
  const words = new Uint32Array(4)
  const four = new Float32Array(4)
  for (let i = 0; i < length; i += 4) {
    const block = i / 4
    CounterRandom.block(key, [block >>> 0, Math.floor(block / 0x1_0000_0000), stream >>> 0, 0], words)
    for (let pair = 0; pair < 4; pair += 2) {
      const radius = Math.sqrt(-2 * Math.log(1 - words[pair]! / 0x1_0000_0000))
      const angle = (2 * Math.PI * words[pair + 1]!) / 0x1_0000_0000
      four[pair] = radius * Math.cos(angle)
      four[pair + 1] = radius * Math.sin(angle)
    }
    out.set(i + 4 <= length ? four : four.subarray(0, length - i), i)
  }
  return out
}
