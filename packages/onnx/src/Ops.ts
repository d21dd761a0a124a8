/**
 * The elementary operations on values: arithmetic, comparisons, layout, reductions, matrix products. All of them
 * check shapes and element types when they are called and have a gradient, unless they say they have none.
 *
 * Where an operand may be a number, it becomes a scalar of the other operand's type.
 */
import type { DType, Float, Integer, Numeric } from "./DType.ts"
import {
  apply,
  applyAll,
  axesOrAll,
  constant as constantOf,
  ints,
  reject,
  scalar,
  withVjp,
} from "./internal/apply.ts"
import * as Shape from "./Shape.ts"
import type { Value } from "./Value.ts"

export type Operand<D extends DType> = Value<D> | number

const operand = <D extends DType>(like: Value<D>, value: Operand<D>): Value<D> =>
  typeof value === "number" ? scalar(like.dtype, value) : value

/** A value that is the same in every run. */
export const constant = constantOf

/** A tensor in which every element is the same. */
export const full = <D extends DType>(dtype: D, shape: ReadonlyArray<number>, value: number): Value<D> =>
  expand(scalar(dtype, value), shape)

/** A tensor of the shape of `like` in which every element is the same; `like` has no part in gradients. */
export const fullLike = <D extends DType>(like: Value<D>, value: number): Value<D> =>
  expandLike(scalar(like.dtype, value), like)

// Arithmetic, elementwise, with broadcasting

export const add = <D extends Numeric>(a: Value<D>, b: Operand<NoInfer<D>>): Value<D> =>
  apply("Add", [a, operand(a, b)])
export const sub = <D extends Numeric>(a: Value<D>, b: Operand<NoInfer<D>>): Value<D> =>
  apply("Sub", [a, operand(a, b)])
export const mul = <D extends Numeric>(a: Value<D>, b: Operand<NoInfer<D>>): Value<D> =>
  apply("Mul", [a, operand(a, b)])
export const div = <D extends Numeric>(a: Value<D>, b: Operand<NoInfer<D>>): Value<D> =>
  apply("Div", [a, operand(a, b)])
/** a to the power of b. The gradient by b needs a > 0. */
export const pow = <D extends Float>(a: Value<D>, b: Operand<NoInfer<D>>): Value<D> =>
  apply("Pow", [a, operand(a, b)])
/** The smaller of two. Where they are equal, each takes half of the gradient. */
export const min = <D extends Numeric>(a: Value<D>, b: Operand<NoInfer<D>>): Value<D> =>
  apply("Min", [a, operand(a, b)])
/** The larger of two. Where they are equal, each takes half of the gradient. */
export const max = <D extends Numeric>(a: Value<D>, b: Operand<NoInfer<D>>): Value<D> =>
  apply("Max", [a, operand(a, b)])
/** The sum of any number of values, in one pass. */
export const sum = <D extends Float>(values: ReadonlyArray<Value<D>>): Value<D> => {
  const [first, second] = values
  if (first === undefined) return reject("Sum", [], "nothing to add")
  if (second === undefined) return first
  return values.length === 2 ? add<D>(first, second) : apply("Sum", values)
}

export const neg = <D extends Numeric>(x: Value<D>): Value<D> => apply("Neg", [x])
/** The gradient at 0 is 0. */
export const abs = <D extends Numeric>(x: Value<D>): Value<D> => apply("Abs", [x])
/** -1, 0 or 1. The gradient is 0. */
export const sign = <D extends Numeric>(x: Value<D>): Value<D> => apply("Sign", [x])
export const exp = <D extends Float>(x: Value<D>): Value<D> => apply("Exp", [x])
export const log = <D extends Float>(x: Value<D>): Value<D> => apply("Log", [x])
export const sqrt = <D extends Float>(x: Value<D>): Value<D> => apply("Sqrt", [x])
/** 1/x */
export const reciprocal = <D extends Float>(x: Value<D>): Value<D> => apply("Reciprocal", [x])
/** 1/sqrt(x) */
export const rsqrt = <D extends Float>(x: Value<D>): Value<D> => reciprocal(sqrt(x))
export const square = <D extends Numeric>(x: Value<D>): Value<D> => apply("Mul", [x, x])
export const sin = <D extends Float>(x: Value<D>): Value<D> => apply("Sin", [x])
export const cos = <D extends Float>(x: Value<D>): Value<D> => apply("Cos", [x])
/** Rounds down. The gradient is 0. */
export const floor = <D extends Float>(x: Value<D>): Value<D> => apply("Floor", [x])
/** `low <= x <= high`. The gradient passes inside the range and at its ends. */
export const clip = <D extends Float>(x: Value<D>, low: number, high: number): Value<D> =>
  where(and(greaterOrEqual(x, low), lessOrEqual(x, high)), x, min(max(detach(x), low), high))

// Activations

export const tanh = <D extends Float>(x: Value<D>): Value<D> => apply("Tanh", [x])
export const sigmoid = <D extends Float>(x: Value<D>): Value<D> => apply("Sigmoid", [x])
/** The error function. */
export const erf = <D extends Float>(x: Value<D>): Value<D> => apply("Erf", [x])
/** max(x, 0). The gradient at 0 is 0. */
export const relu = <D extends Float>(x: Value<D>): Value<D> => apply("Relu", [x])
/** ReLU squared (So et al. 2021, "Primer"). */
export const relu2 = <D extends Float>(x: Value<D>): Value<D> => square(relu(x))
/** x sigmoid(x) */
export const silu = <D extends Float>(x: Value<D>): Value<D> => apply("Mul", [x, sigmoid(x)])
/** x Phi(x), exact (`erf`) or by `0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))` (`tanh`). */
export const gelu = <D extends Float>(x: Value<D>, approximate: "erf" | "tanh" = "tanh"): Value<D> =>
  apply("Gelu", [x], { approximate: approximate === "erf" ? "none" : "tanh" })

// Comparisons and choice: no gradient passes through a comparison

export const equal = <D extends Numeric>(a: Value<D>, b: Operand<NoInfer<D>>): Value<"bool"> =>
  apply("Equal", [a, operand(a, b)])
export const less = <D extends Numeric>(a: Value<D>, b: Operand<NoInfer<D>>): Value<"bool"> =>
  apply("Less", [a, operand(a, b)])
export const lessOrEqual = <D extends Numeric>(a: Value<D>, b: Operand<NoInfer<D>>): Value<"bool"> =>
  apply("LessOrEqual", [a, operand(a, b)])
export const greater = <D extends Numeric>(a: Value<D>, b: Operand<NoInfer<D>>): Value<"bool"> =>
  apply("Greater", [a, operand(a, b)])
export const greaterOrEqual = <D extends Numeric>(a: Value<D>, b: Operand<NoInfer<D>>): Value<"bool"> =>
  apply("GreaterOrEqual", [a, operand(a, b)])
export const and = (a: Value<"bool">, b: Value<"bool">): Value<"bool"> => apply("And", [a, b])
export const or = (a: Value<"bool">, b: Value<"bool">): Value<"bool"> => apply("Or", [a, b])
export const not = (a: Value<"bool">): Value<"bool"> => apply("Not", [a])
/** True where an element is neither infinite nor not a number. */
export const isFinite = <D extends Float>(x: Value<D>): Value<"bool"> =>
  not(or(apply("IsNaN", [x]), apply("IsInf", [x])))
/** `a` where the condition holds, `b` elsewhere. */
export const where = <D extends Numeric>(
  condition: Value<"bool">,
  a: Value<D>,
  b: Operand<NoInfer<D>>,
): Value<D> => apply("Where", [condition, a, operand(a, b)])

/** Another element type. Gradients pass between floating point types. */
export const cast = <D extends DType>(x: Value, dtype: D): Value<D> =>
  x.dtype === dtype ? (x as Value<D>) : apply("Cast", [x], { to: dtype })

/** The same value, through which no gradient passes. */
export const detach = <D extends Float>(x: Value<D>): Value<D> => withVjp(x, [], () => [])

// Layout

/** Another shape with as many elements: -1 is what is left over, 0 keeps the dimension at that place. */
export const reshape = <D extends DType>(x: Value<D>, shape: ReadonlyArray<number>): Value<D> =>
  Shape.equal(x.shape, shape) ? x : apply("Reshape", [x, ints(shape)])

/** The axes in another order: axis i of the result is axis `perm[i]` of x. */
export const transpose = <D extends DType>(x: Value<D>, perm: ReadonlyArray<number>): Value<D> =>
  perm.length === x.shape.length && perm.every((axis, i) => axis === i)
    ? x
    : apply("Transpose", [x], { perm })

/** Elements `start` (inclusive) to `end` (exclusive) along an axis; negative ones count from the back. */
export const slice = <D extends DType>(x: Value<D>, axis: number, start: number, end: number): Value<D> =>
  apply("Slice", [x, ints([start]), ints([end]), ints([axis])])

/** The elements along axes in reverse order. */
export const flip = <D extends DType>(x: Value<D>, axes: ReadonlyArray<number>): Value<D> => {
  const each = (value: number) => ints(axes.map(() => value))
  return apply("Slice", [x, each(-1), each(Number.MIN_SAFE_INTEGER), ints(axes), each(-1)])
}

/** Values one after another along an axis. */
export const concat = <D extends DType>(values: ReadonlyArray<Value<D>>, axis: number): Value<D> =>
  values.length === 1 ? values[0]! : apply("Concat", values, { axis })

/** Parts of the given sizes along an axis. */
export const split = <D extends DType>(
  x: Value<D>,
  axis: number,
  sizes: ReadonlyArray<number>,
): ReadonlyArray<Value<D>> => applyAll("Split", [x, ints(sizes)], { axis }) as ReadonlyArray<Value<D>>

/** `count` equal parts along an axis. */
export const chunk = <D extends DType>(x: Value<D>, axis: number, count: number): ReadonlyArray<Value<D>> => {
  const dim = x.shape.at(axis)
  if (typeof dim !== "number" || dim % count !== 0)
    return reject("Split", [x], `axis ${axis} does not divide into ${count} parts`)
  return split(
    x,
    axis,
    Array.from({ length: count }, () => dim / count),
  )
}

/** Zeros around: `[before, after]` for each axis. */
export const pad = <D extends Float>(
  x: Value<D>,
  pads: ReadonlyArray<readonly [before: number, after: number]>,
): Value<D> =>
  pads.every(([before, after]) => before === 0 && after === 0)
    ? x
    : apply("Pad", [x, ints([...pads.map(([before]) => before), ...pads.map(([, after]) => after)])])

/** Broadcasts to a shape; 1 keeps a dimension. */
export const expand = <D extends DType>(x: Value<D>, shape: ReadonlyArray<number>): Value<D> =>
  Shape.equal(x.shape, shape) ? x : apply("Expand", [x, ints(shape)])

/** Broadcasts to the shape of `like`, symbols included. */
export const expandLike = <D extends DType>(x: Value<D>, like: Value): Value<D> => {
  if (Shape.equal(x.shape, like.shape)) return x
  const added = like.shape.length - x.shape.length
  const known = like.shape.map((dim, axis) => (dim === x.shape[axis - added] ? 1 : dim))
  return Shape.isStatic(known)
    ? apply("Expand", [x, ints(known)])
    : apply("Expand", [x, apply("Shape", [like])])
}

/** The slices of `data` along `axis` that `indices` name: `[.., N, ..]` and `[I..]` give `[.., I.., ..]`. */
export const gather = <D extends DType>(data: Value<D>, indices: Value<Integer>, axis = 0): Value<D> =>
  apply("Gather", [data, indices], { axis })

/** Rows of a table `[N, D]` by ids `[..]`: `[.., D]`. */
export const embedding = <D extends Float>(table: Value<D>, ids: Value<Integer>): Value<D> =>
  gather(table, ids)

/** Takes out axes of length 1. */
export const squeeze = <D extends DType>(x: Value<D>, axes: ReadonlyArray<number>): Value<D> =>
  apply("Squeeze", [x, ints(axes)])

/** Puts in axes of length 1, counted in the result. */
export const unsqueeze = <D extends DType>(x: Value<D>, axes: ReadonlyArray<number>): Value<D> =>
  apply("Unsqueeze", [x, ints(axes)])

// Reductions: over the given axes, or over all of them

export interface Reduction {
  readonly axes?: ReadonlyArray<number>
  /**
   * Whether reduced axes stay, with length 1.
   * @default false
   */
  readonly keep?: boolean
}

const reduce = <D extends DType>(op: string, x: Value<D>, { axes, keep = false }: Reduction): Value<D> =>
  apply(op, [x, ints(axesOrAll(op, x, axes))], { keepdims: keep ? 1 : 0 })

export const reduceSum = <D extends Numeric>(x: Value<D>, options: Reduction = {}): Value<D> =>
  reduce("ReduceSum", x, options)
export const reduceMean = <D extends Float>(x: Value<D>, options: Reduction = {}): Value<D> =>
  reduce("ReduceMean", x, options)
/** The largest element; the gradient is shared by all that are equal to it. */
export const reduceMax = <D extends Numeric>(x: Value<D>, options: Reduction = {}): Value<D> =>
  reduce("ReduceMax", x, options)
/** The sum of squares, in one pass. */
export const reduceSumSquare = <D extends Float>(x: Value<D>, options: Reduction = {}): Value<D> =>
  reduce("ReduceSumSquare", x, options)

/** The mean of the squared difference, over all elements. */
export const meanSquaredError = <D extends Float>(a: Value<D>, b: Value<NoInfer<D>>): Value<D> =>
  reduceMean(square(sub<D>(a, b)))

// Matrix products

export interface MatMul {
  /** Whether the last two axes of a are swapped first. @default false */
  readonly transposeA?: boolean
  /** Whether the last two axes of b are swapped first. @default false */
  readonly transposeB?: boolean
  /** A factor on the product. @default 1 */
  readonly scale?: number
}

/** `[.., M, K] x [.., K, N]` = `[.., M, N]`; the axes before the last two broadcast. */
export const matmul = <D extends Float>(a: Value<D>, b: Value<NoInfer<D>>, options: MatMul = {}): Value<D> =>
  apply("FusedMatMul", [a, b], {
    transA: options.transposeA === true ? 1 : 0,
    transB: options.transposeB === true ? 1 : 0,
    alpha: { float: options.scale ?? 1 },
  })

/** `[M, K] x [K, N] + bias` = `[M, N]`, for a bias that broadcasts to the product. */
export const gemm = <D extends Float>(
  a: Value<D>,
  b: Value<NoInfer<D>>,
  bias?: Value<NoInfer<D>>,
  options: MatMul = {},
): Value<D> =>
  apply("Gemm", bias === undefined ? [a, b] : [a, b, bias], {
    transA: options.transposeA === true ? 1 : 0,
    transB: options.transposeB === true ? 1 : 0,
    alpha: { float: options.scale ?? 1 },
  })

/** x `[.., I]`, weight `[O, I]` (the layout of checkpoints), bias `[O]`: `[.., O]`. */
export const linear = <D extends Float>(
  x: Value<D>,
  weight: Value<NoInfer<D>>,
  bias?: Value<NoInfer<D>>,
): Value<D> => {
  const [out, width] = weight.shape
  if (typeof out !== "number" || typeof width !== "number" || x.shape.at(-1) !== width)
    return reject("Linear", [x, weight], `${x.shape.at(-1)} != ${width}`)
  if (x.shape.length === 2) return gemm<D>(x, weight, bias, { transposeB: true })
  const flat = gemm<D>(reshape(x, [-1, width]), weight, bias, { transposeB: true })
  return restore(flat, x, [out])
}

/** Gives back the leading axes that a reshape of `x` to `[-1, ..]` flattened, all but its last. */
const restore = <D extends Float>(flat: Value<D>, x: Value, last: ReadonlyArray<number>): Value<D> => {
  const leading = x.shape.slice(0, -1)
  const symbols = leading.filter((dim) => typeof dim === "string")
  if (symbols.length > 1)
    return reject("Linear", [x], "at most one dimension before the last may be a symbol")
  return reshape(flat, [...leading.map((dim) => (typeof dim === "string" ? -1 : dim)), ...last])
}
