/**
 * Rotary positions of a video's tokens (Su et al. 2021, over three axes as in Wan2.1): part of each head turns with
 * the frame, part with the row, part with the column, all with theta 10,000. Positions are plain indices,
 * frequencies doubles.
 */
import * as Neural from "@reelgraph/onnx/Neural"
import type * as Tensor from "@reelgraph/onnx/Tensor"

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

/** cos and sin, both `[S, headDim / 2]` with S = frames rows columns in row-major order. */
export const tables = (
  headDim: number,
  grid: Grid,
): { readonly cos: Tensor.Tensor<"f32">; readonly sin: Tensor.Tensor<"f32"> } =>
  Neural.ropeTables({ grid, dims: axes(headDim) })
