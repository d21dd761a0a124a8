/**
 * Tensors outside a graph: a typed array and its shape. What is fed to a session, comes out of it, and is kept
 * in safetensors files.
 */
import * as DType from "./DType.ts"
import * as Shape from "./Shape.ts"

export interface Tensor<D extends DType.DType = DType.DType> {
  readonly dtype: D
  readonly shape: ReadonlyArray<number>
  /** In row-major order (last axis fastest). */
  readonly data: DType.DataOf[D]
}

/** A tensor over `data`, which is not copied. Throws a `RangeError` when the number of elements is another. */
export const make = <D extends DType.DType>(
  dtype: D,
  shape: ReadonlyArray<number>,
  data: DType.DataOf[D],
): Tensor<D> => {
  if (data.length !== Shape.size(shape))
    throw new RangeError(
      `a tensor of shape ${Shape.show(shape)} has ${Shape.size(shape)} elements, not ${data.length}`,
    )
  return { dtype, shape, data }
}

/** A float32 tensor from numbers. */
export const f32 = (shape: ReadonlyArray<number>, values: ArrayLike<number>): Tensor<"f32"> =>
  make("f32", shape, Float32Array.from(values))

/** A tensor of 64-bit integers from numbers. */
export const i64 = (shape: ReadonlyArray<number>, values: ReadonlyArray<number>): Tensor<"i64"> =>
  make(
    "i64",
    shape,
    BigInt64Array.from(values, (value) => BigInt(value)),
  )

export const zeros = <D extends DType.DType>(dtype: D, shape: ReadonlyArray<number>): Tensor<D> =>
  make(dtype, shape, DType.zeros(dtype, Shape.size(shape)))

/** The bytes of a tensor's data, little endian on every machine Node runs on; not a copy. */
export const bytes = (tensor: Tensor): Uint8Array =>
  new Uint8Array(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength)

/** True when dtype, shape and every bit are the same (so that NaN equals itself and 0 differs from -0). */
export const identical = (a: Tensor, b: Tensor): boolean =>
  a.dtype === b.dtype && Shape.equal(a.shape, b.shape) && Buffer.compare(bytes(a), bytes(b)) === 0
