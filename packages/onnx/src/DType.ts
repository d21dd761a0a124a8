/**
 * Element types: their names here, in ONNX (`TensorProto.DataType`) and in bytes.
 */

/** Every element type a tensor may have. */
export type DType = "f32" | "f64" | "f16" | "bf16" | "i64" | "i32" | "i16" | "i8" | "u8" | "bool"

/** The types that have a gradient. */
export type Float = "f32" | "f64" | "f16" | "bf16"

/** The types of positions and counts. */
export type Integer = "i64" | "i32"

/** The types arithmetic is defined on. */
export type Numeric = Float | Integer

/** The JavaScript array that holds a tensor: `f16` and `bf16` as their bits, `bool` as bytes 0 and 1. */
export interface DataOf {
  readonly f32: Float32Array
  readonly f64: Float64Array
  readonly f16: Uint16Array
  readonly bf16: Uint16Array
  readonly i64: BigInt64Array
  readonly i32: Int32Array
  readonly i16: Int16Array
  readonly i8: Int8Array
  readonly u8: Uint8Array
  readonly bool: Uint8Array
}

interface Facts {
  /** `TensorProto.DataType`, onnx.proto. */
  readonly onnx: number
  readonly bytes: number
  readonly array: new (buffer: ArrayBufferLike, byteOffset?: number, length?: number) => DataOf[DType]
}

const facts: { readonly [D in DType]: Facts } = {
  f32: { onnx: 1, bytes: 4, array: Float32Array },
  f64: { onnx: 11, bytes: 8, array: Float64Array },
  f16: { onnx: 10, bytes: 2, array: Uint16Array },
  bf16: { onnx: 16, bytes: 2, array: Uint16Array },
  i64: { onnx: 7, bytes: 8, array: BigInt64Array },
  i32: { onnx: 6, bytes: 4, array: Int32Array },
  i16: { onnx: 5, bytes: 2, array: Int16Array },
  i8: { onnx: 3, bytes: 1, array: Int8Array },
  u8: { onnx: 2, bytes: 1, array: Uint8Array },
  bool: { onnx: 9, bytes: 1, array: Uint8Array },
}

export const all: ReadonlyArray<DType> = Object.keys(facts) as Array<DType>

export const onnxType = (dtype: DType): number => facts[dtype].onnx

export const bytesOf = (dtype: DType): number => facts[dtype].bytes

export const isFloat = (dtype: DType): dtype is Float =>
  dtype === "f32" || dtype === "f64" || dtype === "f16" || dtype === "bf16"

/** A view of `length` elements; `byteOffset` must be a multiple of the element's size. */
export const view = <D extends DType>(
  dtype: D,
  buffer: ArrayBufferLike,
  byteOffset: number,
  length: number,
): DataOf[D] => new facts[dtype].array(buffer, byteOffset, length) as DataOf[D]

/** `length` zeros. */
export const zeros = <D extends DType>(dtype: D, length: number): DataOf[D] =>
  view(dtype, new ArrayBuffer(length * bytesOf(dtype)), 0, length)

/** True when `data` is the array that holds this type. */
export const holds = (dtype: DType, data: unknown): boolean => data instanceof facts[dtype].array
