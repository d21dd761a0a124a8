/** Plain arrays of doubles with a shape: what the reference evaluator computes with. Slow and obvious. */
import * as DType from "../DType.ts"
import * as Half from "../Half.ts"
import * as Shape from "../Shape.ts"
import type * as Tensor from "../Tensor.ts"

export interface NdArray {
  readonly shape: ReadonlyArray<number>
  readonly data: Float64Array
}

export const make = (shape: ReadonlyArray<number>, data: ArrayLike<number>): NdArray => ({
  shape,
  data: Float64Array.from(data),
})

/** An array by a function of the position. */
export const build = (
  shape: ReadonlyArray<number>,
  element: (at: ReadonlyArray<number>) => number,
): NdArray => {
  const data = new Float64Array(Shape.size(shape))
  const at = shape.map(() => 0)
  for (let i = 0; i < data.length; i++) {
    data[i] = element(at)
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at[axis]!++
      if (at[axis]! < shape[axis]!) break
      at[axis] = 0
    }
  }
  return { shape, data }
}

/** The element at a position, whose axes of length 1 and missing front axes broadcast. */
export const element = ({ data, shape }: NdArray, at: ReadonlyArray<number>): number => {
  let offset = 0
  const skip = at.length - shape.length
  for (let axis = 0; axis < shape.length; axis++)
    offset = offset * shape[axis]! + (shape[axis] === 1 ? 0 : at[axis + skip]!)
  return data[offset]!
}

export const map = ({ data, shape }: NdArray, f: (x: number) => number): NdArray => ({
  shape,
  data: data.map(f),
})

export const zip = (arrays: ReadonlyArray<NdArray>, f: (...xs: ReadonlyArray<number>) => number): NdArray => {
  const shape = arrays.reduce<Shape.Shape>((all, { shape }) => Shape.broadcast(all, shape) as Shape.Shape, [])
  return build(shape as ReadonlyArray<number>, (at) => f(...arrays.map((array) => element(array, at))))
}

/** Folds over axes, which stay with length 1. */
export const reduce = (
  x: NdArray,
  axes: ReadonlyArray<number>,
  start: number,
  f: (sum: number, x: number) => number,
): NdArray => {
  const shape = x.shape.map((dim, axis) => (axes.includes(axis) ? 1 : dim))
  const data = new Float64Array(Shape.size(shape)).fill(start)
  const strides = Shape.strides(shape)
  build(x.shape, (at) => {
    const to = at.reduce((offset, i, axis) => offset + (shape[axis] === 1 ? 0 : i * strides[axis]!), 0)
    data[to] = f(data[to]!, element(x, at))
    return 0
  })
  return { shape, data }
}

export const fromTensor = ({ data, dtype, shape }: Tensor.Tensor): NdArray => {
  if (dtype === "f16") return make(shape, Half.toFloat32("f16", data as Uint16Array))
  if (dtype === "bf16") return make(shape, Half.toFloat32("bf16", data as Uint16Array))
  return make(shape, Array.from(data as ArrayLike<number | bigint>, Number))
}

/** The element type's rounding, for types that hold less than a double does. */
export const rounded = (x: NdArray, dtype: DType.DType): NdArray => {
  if (dtype === "f16" || dtype === "bf16")
    return make(x.shape, Half.toFloat32(dtype, Half.fromFloat32(dtype, Float32Array.from(x.data))))
  if (dtype === "bool") return map(x, (value) => (value === 0 ? 0 : 1))
  return DType.isFloat(dtype) ? x : map(x, Math.trunc)
}
