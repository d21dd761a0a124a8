/**
 * Batches of crops from clips in memory, for training an autoencoder: [-1, 1], channels first. Of a few random windows
 * the one with the most contrast is taken, as most of a picture is often plain.
 */
import type * as CounterRandom from "@reelgraph/core/CounterRandom"
import { block } from "@reelgraph/core/CounterRandom"
import * as Tensor from "@reelgraph/onnx/Tensor"

/** Clips of one size: 8-bit RGB, `[frames, height, width, 3]` each. */
export interface Clips {
  readonly frames: number
  readonly height: number
  readonly width: number
  readonly pixels: ReadonlyArray<Uint8Array>
}

export interface Options {
  readonly batch: number
  readonly height: number
  readonly width: number
  /** Windows that one is chosen of. */
  readonly candidates: number
  /** Windows begin at multiples of this. @default 1 */
  readonly grid?: number
}

interface Place {
  readonly x: number
  readonly y: number
}

/** The variance of every fourth pixel's green over the first, middle and last frame. */
const contrast = (clips: Clips, pixels: Uint8Array, { x, y }: Place, { height, width }: Options): number => {
  let [count, sum, squares] = [0, 0, 0]
  for (const frame of [0, clips.frames >> 1, clips.frames - 1])
    for (let i = y; i < y + height; i += 4)
      for (let j = x; j < x + width; j += 4) {
        const value = pixels[((frame * clips.height + i) * clips.width + j) * 3 + 1]!
        count++
        sum += value
        squares += value * value
      }
  return squares / count - (sum / count) ** 2
}

/** A window's pixels into `out` at `offset`, `[3, frames, height, width]` in [-1, 1]. */
const copy = (
  clips: Clips,
  pixels: Uint8Array,
  { x, y }: Place,
  { height, width }: Options,
  out: Float32Array,
  offset: number,
): void => {
  const plane = clips.frames * height * width
  let o = offset
  for (let f = 0; f < clips.frames; f++)
    for (let i = y; i < y + height; i++) {
      let at = ((f * clips.height + i) * clips.width + x) * 3
      for (let j = 0; j < width; j++, o++, at += 3) {
        out[o] = pixels[at]! / 127.5 - 1
        out[o + plane] = pixels[at + 1]! / 127.5 - 1
        out[o + 2 * plane] = pixels[at + 2]! / 127.5 - 1
      }
    }
}

/** The batch of a step, a function of (key, stream) alone: `[batch, 3, frames, height, width]`. */
export const batch = (
  clips: Clips,
  key: CounterRandom.Key,
  stream: number,
  options: Options,
): Tensor.Tensor<"f32"> => {
  const { batch, candidates, grid = 1, height, width } = options
  const size = 3 * clips.frames * height * width
  const out = new Float32Array(batch * size)
  const words = new Uint32Array(4)
  for (let b = 0; b < batch; b++) {
    block(key, [b, 0, stream, 0], words)
    const pixels = clips.pixels[words[0]! % clips.pixels.length]!
    const places = Array.from({ length: candidates }, (_, c): Place => {
      block(key, [b, 1 + c, stream, 0], words)
      const along = (word: number, room: number) => (word % (Math.floor(room / grid) + 1)) * grid
      return { x: along(words[0]!, clips.width - width), y: along(words[1]!, clips.height - height) }
    })
    const chosen =
      candidates === 1
        ? places[0]!
        : places
            .map((place) => ({ place, contrast: contrast(clips, pixels, place, options) }))
            .reduce((best, each) => (each.contrast > best.contrast ? each : best)).place
    copy(clips, pixels, chosen, options, out, b * size)
  }
  return Tensor.make("f32", [batch, 3, clips.frames, height, width], out)
}

/** Whole clips, one after the other from `first` on: `[count, 3, frames, height, width]`. */
export const whole = (clips: Clips, first: number, count: number): Tensor.Tensor<"f32"> => {
  const { frames, height, width } = clips
  const size = 3 * frames * height * width
  const out = new Float32Array(count * size)
  for (let b = 0; b < count; b++)
    copy(
      clips,
      clips.pixels[first + b]!,
      { x: 0, y: 0 },
      { batch: count, height, width, candidates: 1 },
      out,
      b * size,
    )
  return Tensor.make("f32", [count, 3, frames, height, width], out)
}
