/** Every operator by its definition (onnx/docs/Operators.md), over doubles. */
import * as Shape from "../Shape.ts"
import type { Node } from "../Value.ts"
import * as Nd from "./array.ts"
import { sliceRange, windowOf } from "./infer.ts"

type A = Nd.NdArray
type Kernel = (node: Node, inputs: ReadonlyArray<A>) => ReadonlyArray<A>

const map =
  (f: (x: number) => number): Kernel =>
  (_, [x]) => [Nd.map(x!, f)]

const zip =
  (f: (...xs: ReadonlyArray<number>) => number): Kernel =>
  (_, inputs) => [Nd.zip(inputs, f)]

const truth = (f: (a: number, b: number) => boolean): Kernel => zip((a, b) => (f(a, b) ? 1 : 0))

/** The error function by its Taylor series, and 1 beyond where a double can tell. */
export const erf = (x: number): number => {
  if (Math.abs(x) > 6) return Math.sign(x)
  let [term, sum] = [x, x]
  for (let n = 1; Math.abs(term) > 1e-18 && n < 400; n++) {
    term *= -(x * x) / n
    sum += term / (2 * n + 1)
  }
  return (2 / Math.sqrt(Math.PI)) * sum
}

const gelu: Kernel = (node, [x]) => [
  Nd.map(x!, (v) =>
    node.attributes["approximate"] === "tanh"
      ? 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)))
      : 0.5 * v * (1 + erf(v / Math.SQRT2)),
  ),
]

const swapLast = (x: A): A => {
  const perm = x.shape.map((_, axis) => axis)
  return permuted(x, [...perm.slice(0, -2), perm.at(-1)!, perm.at(-2)!])
}

const permuted = (x: A, perm: ReadonlyArray<number>): A =>
  Nd.build(
    perm.map((axis) => x.shape[axis]!),
    (at) => {
      const from = x.shape.map(() => 0)
      perm.forEach((axis, i) => (from[axis] = at[i]!))
      return Nd.element(x, from)
    },
  )

const matmul: Kernel = (node, inputs) => {
  const a = node.attributes["transA"] === 1 ? swapLast(inputs[0]!) : inputs[0]!
  const b = node.attributes["transB"] === 1 ? swapLast(inputs[1]!) : inputs[1]!
  const { float: scale } = (node.attributes["alpha"] ?? { float: 1 }) as { readonly float: number }
  const inner = a.shape.at(-1)!
  const shape = node.outputs[0]!.shape.length - 2
  const batch = Nd.zip(
    [Nd.build(a.shape.slice(0, -2), () => 0), Nd.build(b.shape.slice(0, -2), () => 0)],
    () => 0,
  ).shape
  const product = Nd.build([...batch, a.shape.at(-2)!, b.shape.at(-1)!], (at) => {
    const [front, row, column] = [at.slice(0, shape), at.at(-2)!, at.at(-1)!]
    let sum = 0
    for (let k = 0; k < inner; k++)
      sum += Nd.element(a, [...front, row, k]) * Nd.element(b, [...front, k, column])
    return scale * sum
  })
  return [inputs[2] === undefined ? product : Nd.zip([product, inputs[2]], (x, bias) => x + bias)]
}

const ints = (x: A): ReadonlyArray<number> => [...x.data]

const reshaped = (x: A, wanted: ReadonlyArray<number>): A => {
  const shape = wanted.map((dim, axis) => (dim === 0 ? x.shape[axis]! : dim))
  const rest = x.data.length / shape.filter((dim) => dim !== -1).reduce((a, b) => a * b, 1)
  return { shape: shape.map((dim) => (dim === -1 ? rest : dim)), data: x.data }
}

const slice: Kernel = (_, [x, starts, ends, axes, steps]) => {
  const first = x!.shape.map(() => 0)
  const step = x!.shape.map(() => 1)
  const shape = [...x!.shape]
  ints(axes!).forEach((given, i) => {
    const axis = given < 0 ? given + shape.length : given
    step[axis] = steps === undefined ? 1 : steps.data[i]!
    const range = sliceRange(x!.shape[axis]!, starts!.data[i]!, ends!.data[i]!, step[axis])
    first[axis] = range.first
    shape[axis] = range.length
  })
  return [
    Nd.build(shape, (at) =>
      Nd.element(
        x!,
        at.map((place, axis) => first[axis]! + place * step[axis]!),
      ),
    ),
  ]
}

const axisOf = (node: Node, rank: number): number =>
  Shape.axesOf([node.attributes["axis"] as number], rank)![0]!

/** The element at a place along an axis, of positions whose other axes are given. */
const shifted = (at: ReadonlyArray<number>, axis: number, by: number) => at.with(axis, at[axis]! + by)

const concat: Kernel = (node, inputs) => {
  const axis = axisOf(node, inputs[0]!.shape.length)
  const along = inputs.reduce((sum, { shape }) => sum + shape[axis]!, 0)
  return [
    Nd.build(inputs[0]!.shape.with(axis, along), (at) => {
      let place = at[axis]!
      const from = inputs.find(({ shape }) => {
        if (place < shape[axis]!) return true
        place -= shape[axis]!
        return false
      })!
      return Nd.element(from, at.with(axis, place))
    }),
  ]
}

const split: Kernel = (node, [x, sizes]) => {
  const axis = axisOf(node, x!.shape.length)
  let start = 0
  return ints(sizes!).map((along) => {
    const from = start
    start += along
    return Nd.build(x!.shape.with(axis, along), (at) => Nd.element(x!, shifted(at, axis, from)))
  })
}

const pad: Kernel = (_, [x, pads]) => {
  const rank = x!.shape.length
  const [before, after] = [ints(pads!).slice(0, rank), ints(pads!).slice(rank)]
  return [
    Nd.build(
      x!.shape.map((dim, axis) => dim + before[axis]! + after[axis]!),
      (at) => {
        const from = at.map((place, axis) => place - before[axis]!)
        return from.every((place, axis) => place >= 0 && place < x!.shape[axis]!) ? Nd.element(x!, from) : 0
      },
    ),
  ]
}

const gather: Kernel = (node, [data, indices]) => {
  const axis = axisOf(node, data!.shape.length)
  const inner = indices!.shape.length
  return [
    Nd.build([...data!.shape.slice(0, axis), ...indices!.shape, ...data!.shape.slice(axis + 1)], (at) => {
      const index = Nd.element(indices!, at.slice(axis, axis + inner))
      const place = index < 0 ? index + data!.shape[axis]! : index
      return Nd.element(data!, [...at.slice(0, axis), place, ...at.slice(axis + inner)])
    }),
  ]
}

/** Indices of one number each; `reduction` is `add`. */
const scatterNd: Kernel = (_, [data, indices, updates]) => {
  const result = Float64Array.from(data!.data)
  const row = data!.data.length / data!.shape[0]!
  ints(indices!).forEach((index, i) => {
    for (let j = 0; j < row; j++) result[index * row + j]! += updates!.data[i * row + j]!
  })
  return [{ shape: data!.shape, data: result }]
}

const reduce =
  (fold: (x: A, axes: ReadonlyArray<number>) => A): Kernel =>
  (node, [x, axes]) => {
    const over = Shape.axesOf(ints(axes!), x!.shape.length)!
    const kept = fold(x!, over)
    return [
      node.attributes["keepdims"] === 1
        ? kept
        : { shape: kept.shape.filter((_, axis) => !over.includes(axis)), data: kept.data },
    ]
  }

const sum = (x: A, axes: ReadonlyArray<number>): A => Nd.reduce(x, axes, 0, (a, b) => a + b)

const mean = (x: A, axes: ReadonlyArray<number>): A => {
  const count = axes.reduce((product, axis) => product * x.shape[axis]!, 1)
  return Nd.map(sum(x, axes), (value) => value / count)
}

const max = (x: A, axes: ReadonlyArray<number>): A => Nd.reduce(x, axes, -Infinity, Math.max)

const softmax: Kernel = (node, [x]) => {
  const axes = [axisOf(node, x!.shape.length)]
  const raised = Nd.zip([x!, max(x!, axes)], (value, top) => Math.exp(value - top))
  return [Nd.zip([raised, sum(raised, axes)], (value, total) => value / total)]
}

const layerNorm: Kernel = (node, [x, scale, bias]) => {
  const from = axisOf(node, x!.shape.length)
  const axes = x!.shape.flatMap((_, axis) => (axis < from ? [] : [axis]))
  const { float: epsilon } = node.attributes["epsilon"] as { readonly float: number }
  const centre = mean(x!, axes)
  const centred = Nd.zip([x!, centre], (value, middle) => value - middle)
  const inverse = Nd.map(
    mean(
      Nd.map(centred, (value) => value * value),
      axes,
    ),
    (variance) => 1 / Math.sqrt(variance + epsilon),
  )
  const scaled = Nd.zip([centred, inverse, scale!], (value, r, s) => value * r * s)
  return [bias === undefined ? scaled : Nd.zip([scaled, bias], (value, b) => value + b), centre, inverse]
}

/** Every place of a window, as offsets. */
const places = (kernel: ReadonlyArray<number>): ReadonlyArray<ReadonlyArray<number>> =>
  kernel.reduce<ReadonlyArray<ReadonlyArray<number>>>(
    (all, length) => all.flatMap((place) => Array.from({ length }, (_, i) => [...place, i])),
    [[]],
  )

const conv: Kernel = (node, [x, w, bias]) => {
  const axes = x!.shape.length - 2
  const { dilations, group, kernel, pads, strides } = windowOf(node, axes)
  const each = w!.shape[1]!
  const out = w!.shape[0]! / group
  const shape = x!.shape
    .slice(2)
    .map(
      (dim, i) =>
        Math.floor((dim + pads[i]! + pads[i + axes]! - (kernel[i]! - 1) * dilations[i]! - 1) / strides[i]!) +
        1,
    )
  return [
    Nd.build([x!.shape[0]!, w!.shape[0]!, ...shape], ([n, m, ...at]) => {
      let total = bias === undefined ? 0 : bias.data[m!]!
      for (let c = 0; c < each; c++)
        for (const place of places(kernel)) {
          const from = at.map((step, i) => step * strides[i]! + place[i]! * dilations[i]! - pads[i]!)
          if (from.every((position, i) => position >= 0 && position < x!.shape[i + 2]!))
            total +=
              Nd.element(x!, [n!, Math.floor(m! / out) * each + c, ...from]) *
              Nd.element(w!, [m!, c, ...place])
        }
      return total
    }),
  ]
}

/** Over what of the window lies inside the input: padding has no part in a mean. */
const pool =
  (fold: (values: ReadonlyArray<number>) => number): Kernel =>
  (node, [x]) => {
    const { kernel, pads, strides } = windowOf(node, x!.shape.length - 2)
    return [
      Nd.build(node.outputs[0]!.shape.with(0, x!.shape[0]!) as ReadonlyArray<number>, ([n, c, ...at]) =>
        fold(
          places(kernel)
            .map((place) => at.map((step, i) => step * strides[i]! + place[i]! - pads[i]!))
            .filter((from) => from.every((position, i) => position >= 0 && position < x!.shape[i + 2]!))
            .map((from) => Nd.element(x!, [n!, c!, ...from])),
        ),
      ),
    ]
  }

/** The transpose of a convolution: every input element adds its kernel to the output. */
const convTranspose: Kernel = (node, [x, w]) => {
  const axes = x!.shape.length - 2
  const { dilations, group, kernel, pads, strides } = windowOf(node, axes)
  const shape = node.outputs[0]!.shape as ReadonlyArray<number>
  const data = new Float64Array(Shape.size(shape))
  const step = Shape.strides(shape)
  const [inner, outer] = [x!.shape[1]! / group, w!.shape[1]!]
  Nd.build(x!.shape, ([n, c, ...at]) => {
    const value = Nd.element(x!, [n!, c!, ...at])
    for (let m = 0; m < outer; m++)
      for (const place of places(kernel)) {
        const to = at.map((position, i) => position * strides[i]! + place[i]! * dilations[i]! - pads[i]!)
        if (!to.every((position, i) => position >= 0 && position < shape[i + 2]!)) continue
        const channel = Math.floor(c! / inner) * outer + m
        const offset = [n!, channel, ...to].reduce((sum, position, i) => sum + position * step[i]!, 0)
        data[offset]! += value * Nd.element(w!, [c!, m, ...place])
      }
    return 0
  })
  return [{ shape, data }]
}

/** x `[B, H, S, D]`: pairs are neighbours when `interleaved`, else i and i + D/2. */
const rotary: Kernel = (node, [x, cos, sin]) => {
  const width = x!.shape[3]!
  const paired = node.attributes["interleaved"] === 1
  return [
    Nd.build(x!.shape, ([b, h, s, d]) => {
      const pair = paired ? d! >> 1 : d! % (width / 2)
      const second = paired ? d! % 2 === 1 : d! >= width / 2
      const [i, j] = paired ? [2 * pair, 2 * pair + 1] : [pair, pair + width / 2]
      const [c, r] = [Nd.element(cos!, [b!, s!, pair]), Nd.element(sin!, [b!, s!, pair])]
      const [u, v] = [Nd.element(x!, [b!, h!, s!, i]), Nd.element(x!, [b!, h!, s!, j])]
      return second ? u * r + v * c : u * c - v * r
    }),
  ]
}

const same: Kernel = (_, [x]) => [x!]

export const kernels: { readonly [op: string]: Kernel } = {
  Constant: (node) => [Nd.fromTensor(node.data!)],
  Custom: same,
  Identity: same,
  Cast: same,
  Add: zip((a, b) => a + b),
  Sub: zip((a, b) => a - b),
  Mul: zip((a, b) => a * b),
  Div: zip((a, b) => a / b),
  Pow: zip((a, b) => a ** b),
  Min: zip((a, b) => Math.min(a, b)),
  Max: zip((a, b) => Math.max(a, b)),
  Sum: zip((...xs) => xs.reduce((a, b) => a + b, 0)),
  Neg: map((x) => -x),
  Abs: map(Math.abs),
  Sign: map(Math.sign),
  Exp: map(Math.exp),
  Log: map(Math.log),
  Sqrt: map(Math.sqrt),
  Reciprocal: map((x) => 1 / x),
  Tanh: map(Math.tanh),
  Sigmoid: map((x) => 1 / (1 + Math.exp(-x))),
  Erf: map(erf),
  Relu: map((x) => Math.max(x, 0)),
  Gelu: gelu,
  Sin: map(Math.sin),
  Cos: map(Math.cos),
  Floor: map(Math.floor),
  Equal: truth((a, b) => a === b),
  Less: truth((a, b) => a < b),
  LessOrEqual: truth((a, b) => a <= b),
  Greater: truth((a, b) => a > b),
  GreaterOrEqual: truth((a, b) => a >= b),
  And: truth((a, b) => a !== 0 && b !== 0),
  Or: truth((a, b) => a !== 0 || b !== 0),
  Not: map((x) => (x === 0 ? 1 : 0)),
  IsNaN: map((x) => (Number.isNaN(x) ? 1 : 0)),
  IsInf: map((x) => (Math.abs(x) === Infinity ? 1 : 0)),
  Where: zip((condition, a, b) => (condition === 0 ? b : a)),
  MatMul: matmul,
  FusedMatMul: matmul,
  Gemm: matmul,
  Reshape: (_, [x, shape]) => [reshaped(x!, ints(shape!))],
  Squeeze: (_, [x, axes]) => {
    const out = Shape.axesOf(ints(axes!), x!.shape.length)!
    return [{ shape: x!.shape.filter((_, axis) => !out.includes(axis)), data: x!.data }]
  },
  Unsqueeze: (_, [x, axes]) => {
    const shape = [...x!.shape]
    for (const axis of Shape.axesOf(ints(axes!), shape.length + axes!.data.length)!) shape.splice(axis, 0, 1)
    return [{ shape, data: x!.data }]
  },
  Transpose: (node, [x]) => [permuted(x!, node.attributes["perm"] as ReadonlyArray<number>)],
  Slice: slice,
  Concat: concat,
  Split: split,
  Pad: pad,
  Expand: (_, [x, shape]) => [Nd.zip([x!, Nd.build(ints(shape!), () => 0)], (value) => value)],
  Shape: (_, [x]) => [Nd.make([x!.shape.length], x!.shape)],
  Size: (_, [x]) => [Nd.make([], [x!.data.length])],
  Gather: gather,
  ScatterND: scatterNd,
  ReduceSum: reduce(sum),
  ReduceMean: reduce(mean),
  ReduceMax: reduce(max),
  ReduceSumSquare: reduce((x, axes) =>
    sum(
      Nd.map(x, (value) => value * value),
      axes,
    ),
  ),
  Softmax: softmax,
  LayerNormalization: layerNorm,
  Conv: conv,
  MaxPool: pool((values) => Math.max(...values)),
  AveragePool: pool((values) => values.reduce((a, b) => a + b, 0) / values.length),
  ConvTranspose: convTranspose,
  RotaryEmbedding: rotary,
}
