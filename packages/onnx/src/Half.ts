/**
 * The half types, as their bits. `f16` is IEEE 754 binary16 (1 sign, 5 exponent, 10 fraction bits), `bf16` the
 * upper half of a binary32 (1, 8, 7). Conversions to a half type round to nearest, ties to even; values beyond
 * the largest become infinite, NaN stays NaN. Every value of a half type is exact as a float32.
 */

export type Half = "f16" | "bf16"

/** f16 of all 65,536 bit patterns: 256 KiB, made when it is first needed. */
let f16Values: Float32Array | undefined

const f16Table = (): Float32Array => {
  if (f16Values === undefined) {
    f16Values = new Float32Array(65536)
    for (let bits = 0; bits < 65536; bits++) f16Values[bits] = toNumber("f16", bits)
  }
  return f16Values
}

/** Float32 values of half-type bits. */
export const toFloat32 = (
  half: Half,
  bits: Uint16Array,
  into: Float32Array = new Float32Array(bits.length),
): Float32Array => {
  if (half === "bf16") {
    const words = new Uint32Array(into.buffer, into.byteOffset, bits.length)
    for (let i = 0; i < bits.length; i++) words[i] = bits[i]! << 16
    return into
  }
  const table = f16Table()
  for (let i = 0; i < bits.length; i++) into[i] = table[bits[i]!]!
  return into
}

/** Half-type bits of float32 values. */
export const fromFloat32 = (
  half: Half,
  values: Float32Array,
  into: Uint16Array = new Uint16Array(values.length),
): Uint16Array => {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length)
  if (half === "bf16") {
    for (let i = 0; i < words.length; i++) into[i] = bf16Bits(words[i]!)
  } else {
    for (let i = 0; i < words.length; i++) into[i] = f16Bits(words[i]!)
  }
  return into
}

const bf16Bits = (bits: number): number => {
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff
}

const f16Bits = (bits: number): number => {
  const sign = (bits >>> 16) & 0x8000
  const magnitude = bits & 0x7fffffff
  if (magnitude > 0x7f800000) return sign | 0x7e00
  if (magnitude >= 0x47800000) return sign | 0x7c00
  if (magnitude < 0x33000000) return sign // below half of the smallest subnormal
  if (magnitude < 0x38800000) {
    // Subnormal: the fraction with its leading 1, moved to where 2^-24 is the last bit.
    const shift = 126 - (magnitude >>> 23)
    const fraction = (magnitude & 0x7fffff) | 0x800000
    const kept = fraction >>> shift
    const rest = fraction & ((1 << shift) - 1)
    const halfway = 1 << (shift - 1)
    return sign | (kept + (rest > halfway || (rest === halfway && (kept & 1) === 1) ? 1 : 0))
  }
  // Normal: the exponent's bias goes from 127 to 15, 13 fraction bits are rounded away.
  const rounded = magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)
  return sign | (rounded >>> 13)
}

/** One half-type value, from the definition: the reference of {@link toFloat32}. */
export const toNumber = (half: Half, bits: number): number => {
  const [exponentBits, fractionBits] = half === "f16" ? [5, 10] : [8, 7]
  const sign = bits >>> 15 === 1 ? -1 : 1
  const exponent = (bits >>> fractionBits) & ((1 << exponentBits) - 1)
  const fraction = bits & ((1 << fractionBits) - 1)
  const bias = (1 << (exponentBits - 1)) - 1
  if (exponent === (1 << exponentBits) - 1) return fraction === 0 ? sign * Infinity : Number.NaN
  return exponent === 0
    ? sign * fraction * 2 ** (1 - bias - fractionBits)
    : sign * (1 + fraction / 2 ** fractionBits) * 2 ** (exponent - bias)
}

/** The bits of the half-type value nearest to a number, by search: the reference of {@link fromFloat32}. */
export const fromNumber = (half: Half, value: number): number => {
  const fractionBits = half === "f16" ? 10 : 7
  const infinity = ((half === "f16" ? 31 : 255) << fractionBits) >>> 0
  if (Number.isNaN(value)) return infinity | (1 << (fractionBits - 1))
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0
  const magnitude = Math.abs(value)
  // Bits of one sign are in the order of their values.
  let low = 0
  let high = infinity
  while (high - low > 1) {
    const middle = (low + high) >>> 1
    if (toNumber(half, middle) <= magnitude) low = middle
    else high = middle
  }
  // Infinity takes what is at or beyond the value half a step above the largest.
  const upper =
    high === infinity
      ? toNumber(half, low) + (toNumber(half, low) - toNumber(half, low - 1))
      : toNumber(half, high)
  const below = magnitude - toNumber(half, low)
  const above = upper - magnitude
  const bits = below < above || (below === above && low % 2 === 0) ? low : high
  return sign | (magnitude === Infinity ? infinity : bits)
}
