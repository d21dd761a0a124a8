/**
 * Rotary positions of a video's tokens (Su et al. 2021, over three axes as in Wan2.1): part of each head turns with
 * the frame, part with the row, part with the column, all with one theta. Positions are plain indices,
 * frequencies doubles.
 */
import * as Neural from "@reelgraph/onnx/Neural"
import * as Tensor from "@reelgraph/onnx/Tensor"

/** Frames, rows and columns of tokens. */
export type Grid = readonly [frames: number, rows: number, columns: number]

/**
 * How a head's dimensions are shared between time, rows and columns: `2 floor(d/6)` for rows and for columns, the
 * rest for time. 128 is 44, 42, 42.
 */
export const axes = (headDim: number): Grid => {
  const space = 2 * Math.floor(headDim / 6)
  return [headDim - 2 * space, space, space]
}

/**
 * cos and sin, both `[S, headDim / 2]` with S = frames rows columns in row-major order. The slowest pair of an axis
 * turns once in about 2 pi theta positions.
 */
export const tables = (
  headDim: number,
  grid: Grid,
  theta = 10_000,
): { readonly cos: Tensor.Tensor<"f32">; readonly sin: Tensor.Tensor<"f32"> } =>
  Neural.ropeTables({ grid, dims: axes(headDim), theta })

/**
 * The same positions as plain numbers, for models that also want to know where a token is and not only how far from
 * others: for each axis cosines and sines of `position theta^(-k / pairs)`, `[S, 6 pairs]`.
 */
export const sinusoids = (grid: Grid, pairs: number, theta: number): Tensor.Tensor<"f32"> => {
  const { cos, sin } = Neural.ropeTables({ grid, dims: [2 * pairs, 2 * pairs, 2 * pairs], theta })
  const rows = cos.data.length / (3 * pairs)
  const out = new Float32Array(rows * 6 * pairs)
  for (let s = 0; s < rows; s++) {
    out.set(cos.data.subarray(s * 3 * pairs, (s + 1) * 3 * pairs), s * 6 * pairs)
    out.set(sin.data.subarray(s * 3 * pairs, (s + 1) * 3 * pairs), s * 6 * pairs + 3 * pairs)
  }
  return Tensor.make("f32", [rows, 6 * pairs], out)
}
