/** Between the runtime's tensors and ours, without copying. */
import type * as Ort from "onnxruntime-node"

import * as DType from "../DType.ts"
import * as Tensor from "../Tensor.ts"

const names: ReadonlyArray<readonly [DType.DType, Ort.Tensor.Type]> = [
  ["f32", "float32"],
  ["f64", "float64"],
  ["f16", "float16"],
  ["i64", "int64"],
  ["i32", "int32"],
  ["i16", "int16"],
  ["i8", "int8"],
  ["u8", "uint8"],
  ["bool", "bool"],
]

/** Ours for the runtime's name; undefined for types that have no tensors in JavaScript. */
export const dtypeOf = (type: string): DType.DType | undefined => names.find(([, name]) => name === type)?.[0]

/** The runtime's name; undefined for bf16, which it does not pass to JavaScript. */
export const typeOf = (dtype: DType.DType): Ort.Tensor.Type | undefined =>
  names.find(([ours]) => ours === dtype)?.[1]

export const toOrt = (ort: typeof Ort, { data, dtype, shape }: Tensor.Tensor): Ort.Tensor => {
  const type = typeOf(dtype)
  if (type === undefined) throw new TypeError(`${dtype} cannot be fed; cast inside the graph`)
  return new ort.Tensor(type, data, shape)
}

export const fromOrt = ({ data, dims, type }: Ort.Tensor): Tensor.Tensor => {
  const dtype = dtypeOf(type)
  if (dtype === undefined) throw new TypeError(`the output's type ${type} is not supported`)
  const view = data as Float32Array
  return Tensor.make(dtype, [...dims], DType.view(dtype, view.buffer, view.byteOffset, view.length))
}
