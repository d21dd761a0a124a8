/**
 * The operators a graph may hold: domain, the opset they came with, the element types they have CUDA kernels for,
 * and their inference.
 *
 * The opset is pinned at 23 (ONNX 1.18). Kernels: `docs/OperatorKernels.md` of onnxruntime, section "Operators
 * implemented by CUDAExecutionProvider", at commit 001d12d2623fd411ce0f83d05abb5e82304a3389. A graph of these
 * operators runs whole on a GPU; one that is not here would be moved to the CPU behind the author's back.
 */
import type { DType } from "./DType.ts"
import * as Infer from "./internal/infer.ts"

/** The version of the `ai.onnx` operators. */
export const opset = 23

/** The version of the ONNX file format: the first that carries this opset's element types. */
export const irVersion = 10

export interface OpSpec {
  /** Empty for `ai.onnx`. */
  readonly domain: "" | "com.microsoft"
  /** The opset that defines the operator as it is used here. */
  readonly since: number
  /** Element types of the first input (of the second for `Where`) with a CUDA kernel. */
  readonly cuda: ReadonlyArray<DType>
  readonly infer: Infer.Infer
}

const floats: ReadonlyArray<DType> = ["f32", "f64", "f16"]
const withBf16: ReadonlyArray<DType> = [...floats, "bf16"]
const ordered: ReadonlyArray<DType> = [...floats, "i32", "i64"]
const numbers: ReadonlyArray<DType> = [...withBf16, "i32", "i64"]
const small: ReadonlyArray<DType> = ["i16", "i8", "u8"]
const numeric: ReadonlyArray<DType> = [...numbers, ...small]
const every: ReadonlyArray<DType> = [...numeric, "bool"]

const op = (since: number, cuda: ReadonlyArray<DType>, infer: Infer.Infer): OpSpec => ({
  domain: "",
  since,
  cuda,
  infer,
})

const specs: { readonly [name: string]: OpSpec } = {
  Add: op(14, numeric, Infer.elementwise),
  Sub: op(14, numeric, Infer.elementwise),
  Mul: op(14, numeric, Infer.elementwise),
  Div: op(14, numeric, Infer.elementwise),
  Pow: op(15, numbers, Infer.elementwise),
  Min: op(13, numbers, Infer.elementwise),
  Max: op(13, numbers, Infer.elementwise),
  Sum: op(13, withBf16, Infer.elementwise),
  Neg: op(13, numeric, Infer.like),
  Abs: op(13, numeric, Infer.like),
  Sign: op(13, numeric, Infer.like),
  Exp: op(13, withBf16, Infer.like),
  Log: op(13, floats, Infer.like),
  Sqrt: op(13, withBf16, Infer.like),
  Reciprocal: op(13, floats, Infer.like),
  Tanh: op(13, withBf16, Infer.like),
  Sigmoid: op(13, withBf16, Infer.like),
  Erf: op(13, withBf16, Infer.like),
  Relu: op(14, withBf16, Infer.like),
  Gelu: op(20, withBf16, Infer.like),
  Sin: op(7, floats, Infer.like),
  Cos: op(7, floats, Infer.like),
  Floor: op(13, floats, Infer.like),
  Equal: op(13, [...ordered, "bool"], Infer.compare),
  Less: op(13, ordered, Infer.compare),
  LessOrEqual: op(16, ordered, Infer.compare),
  Greater: op(13, ordered, Infer.compare),
  GreaterOrEqual: op(16, ordered, Infer.compare),
  And: op(7, ["bool"], Infer.compare),
  Or: op(7, ["bool"], Infer.compare),
  Not: op(1, ["bool"], Infer.predicate),
  IsNaN: op(20, withBf16, Infer.predicate),
  IsInf: op(20, withBf16, Infer.predicate),
  Where: op(16, [...numbers, "u8"], Infer.where),
  Cast: op(23, every, Infer.cast),
  Identity: op(19, every, Infer.like),
  MatMul: op(13, withBf16, Infer.matMul),
  FusedMatMul: { ...op(1, withBf16, Infer.matMul), domain: "com.microsoft" },
  Gemm: op(13, withBf16, Infer.gemm),
  Reshape: op(23, every, Infer.reshape),
  Transpose: op(23, every, Infer.transpose),
  Slice: op(13, every, Infer.slice),
  Concat: op(13, every, Infer.concat),
  Split: op(18, every, Infer.split),
  Pad: op(18, [...floats, "bool"], Infer.pad),
  Expand: op(13, every, Infer.expand),
  Gather: op(13, every, Infer.gather),
  ScatterND: op(18, every, Infer.scatterNd),
  Squeeze: op(23, every, Infer.squeeze),
  Unsqueeze: op(23, every, Infer.unsqueeze),
  Shape: op(23, every, Infer.shapeOf),
  Size: op(13, every, Infer.sizeOf),
  ReduceSum: op(13, numbers, Infer.reduce),
  ReduceSumSquare: op(18, floats, Infer.reduce),
  ReduceMean: op(18, [...floats, "i32"], Infer.reduce),
  ReduceMax: op(18, ordered, Infer.reduce),
  Softmax: op(13, withBf16, Infer.softmax),
  LayerNormalization: op(17, withBf16, Infer.layerNorm),
  RotaryEmbedding: op(23, ["f32", "f16", "bf16"], Infer.rotary),
  Conv: op(22, withBf16, Infer.conv),
  ConvTranspose: op(11, floats, Infer.convTranspose),
  MaxPool: op(12, floats, Infer.pool),
  AveragePool: op(22, withBf16, Infer.pool),
  Scan: op(19, every, Infer.scan),
}

/** The operator of that name, or undefined when graphs may not hold it. */
export const find = (name: string): OpSpec | undefined =>
  Object.hasOwn(specs, name) ? specs[name] : undefined

export const names: ReadonlyArray<string> = Object.keys(specs)
