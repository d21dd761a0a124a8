/**
 * The vector-Jacobian product of every operator: how a gradient by a node's outputs becomes gradients by its
 * inputs. Each is written with the operations themselves, so a gradient is a graph like any other. Derivatives:
 * Petersen and Pedersen, "The Matrix Cookbook" (2012) for the products; the rest is the chain rule.
 */
import type { Float } from "../DType.ts"
import * as DType from "../DType.ts"
import * as Ops from "../Ops.ts"
import * as Shape from "../Shape.ts"
import { constantInts, type Node, type Value, type Vjp } from "../Value.ts"
import { apply, ints } from "./apply.ts"
import * as ConvolutionVjp from "./vjpConvolution.ts"

type F = Value<Float>

/** A rule for operators with one output. `needs(i)` says whether the gradient by input i is wanted. */
type Rule = (dy: F, node: Node, needs: (input: number) => boolean) => ReadonlyArray<Value | undefined>

const rule =
  (of: Rule): Vjp =>
  (node, [dy], needs) =>
    dy === undefined ? [] : of(dy as F, node, (input) => needs[input] === true)

const at = (node: Node, input: number): F => node.inputs[input] as F

const y = (node: Node): F => node.outputs[0] as F

/** Sums a gradient over the axes along which `to` was broadcast. */
export const unbroadcast = (dy: F, to: Value): F => {
  if (Shape.equal(dy.shape, to.shape)) return dy
  const axes = Shape.broadcastAxes(dy.shape, to.shape)
  const added = dy.shape.length - to.shape.length
  const summed = axes.length === 0 ? dy : Ops.reduceSum(dy, { axes, keep: true })
  return added === 0
    ? summed
    : Ops.squeeze(
        summed,
        Array.from({ length: added }, (_, axis) => axis),
      )
}

const unary = (of: (dy: F, x: F, y: F, node: Node) => Value): Vjp =>
  rule((dy, node) => [of(dy, at(node, 0), y(node), node)])

const binary = (left: (dy: F, a: F, b: F, y: F) => F, right: (dy: F, a: F, b: F, y: F) => F): Vjp =>
  rule((dy, node, needs) => {
    const [a, b] = [at(node, 0), at(node, 1)]
    return [
      needs(0) ? unbroadcast(left(dy, a, b, y(node)), a) : undefined,
      needs(1) ? unbroadcast(right(dy, a, b, y(node)), b) : undefined,
    ]
  })

/** 1 where it holds, 0 elsewhere. */
const indicator = (condition: Value<"bool">, like: F): F => Ops.cast(condition, like.dtype)

/** The share of the gradient of a maximum (or minimum) that goes to `a`. */
const share = (ahead: Value<"bool">, a: F, b: F): F =>
  Ops.add(indicator(ahead, a), Ops.mul(indicator(Ops.equal(a, b), a), 0.5))

const selection = (ahead: (a: F, b: F) => Value<"bool">): Vjp =>
  binary(
    (dy, a, b) => Ops.mul(dy, share(ahead(a, b), a, b)),
    (dy, a, b) => Ops.mul(dy, share(ahead(b, a), b, a)),
  )

/**
 * d/dx of y = `0.5 x (1 + tanh(u))`, u = c (x + 0.044715 x^3), c = sqrt(2/pi). With h = 0.5 (1 + tanh(u)), which is
 * sigmoid(2u), and y = x h it is `h + 2u' x h (1 - h)` = `h + 2u' (y - y h)`.
 */
const geluTanh = (x: F, y: F): F => {
  const c = Math.sqrt(2 / Math.PI)
  const cubic = 0.044715 * c
  const x2 = Ops.square(x)
  const h = Ops.sigmoid(Ops.mul(x, Ops.add(Ops.mul(x2, 2 * cubic), 2 * c)))
  const slope = Ops.add(Ops.mul(x2, 6 * cubic), 2 * c)
  return Ops.add(Ops.mul(slope, Ops.sub(y, Ops.mul(y, h))), h)
}

/** Phi(x) + x phi(x) */
const geluErf = (x: F): F => {
  const phi = Ops.mul(Ops.exp(Ops.mul(Ops.square(x), -0.5)), 1 / Math.sqrt(2 * Math.PI))
  const cumulative = Ops.add(Ops.mul(Ops.erf(Ops.mul(x, Math.SQRT1_2)), 0.5), 0.5)
  return Ops.add(cumulative, Ops.mul(x, phi))
}

/** 1 - x, by one operation. */
const oneMinus = (x: F): F => apply("Sub", [Ops.constant(one(x)), x])

const one = (x: F) =>
  x.dtype === "f64"
    ? { dtype: "f64" as const, shape: [], data: Float64Array.of(1) }
    : { dtype: "f32" as const, shape: [], data: Float32Array.of(1) }

/** 1 - x for every floating point type. */
const complement = (x: F): F =>
  x.dtype === "f32" || x.dtype === "f64" ? oneMinus(x) : Ops.add(Ops.neg(x), 1)

const axesOf = (node: Node): ReadonlyArray<number> =>
  Shape.axesOf(constantInts(node.inputs[1])!, node.inputs[0]!.shape.length)!

/** A reduced gradient with its axes of length 1 again. */
const kept = (dy: F, node: Node): F =>
  node.attributes["keepdims"] === 1 ? dy : Ops.unsqueeze(dy, axesOf(node))

/** How many elements went into one of the mean, as a factor. */
const perElement = (dy: F, node: Node): F => {
  const { shape } = node.inputs[0]!
  const dims = axesOf(node).map((axis) => shape[axis]!)
  if (Shape.isStatic(dims)) return Ops.mul(dy, 1 / Shape.size(dims))
  const count = (value: Value): F => Ops.cast(apply("Size", [value]), dy.dtype)
  return Ops.mul(dy, Ops.div(count(node.outputs[0]!), count(node.inputs[0]!)))
}

/** The shape a value had, given back to a gradient: by axes where symbols keep a reshape from saying it. */
const reshapeLike = (dy: F, like: Value): F => {
  const symbols = like.shape.filter((dim) => typeof dim === "string").length
  if (symbols <= 1)
    return Ops.reshape(
      dy,
      like.shape.map((dim) => (typeof dim === "string" ? -1 : dim)),
    )
  return apply("Reshape", [dy, ints(like.shape.map((dim) => (typeof dim === "string" ? 0 : dim)))])
}

const flag = (node: Node, name: string): boolean => node.attributes[name] === 1

const alpha = (node: Node): number => (node.attributes["alpha"] as { readonly float: number }).float

type Product = (a: F, b: F, options: Ops.MatMul) => F

/** The gradients of `alpha A' B'`, with A' = A or its transpose, and B' likewise. */
const product =
  (multiply: Product): Rule =>
  (dy, node, needs) => {
    const [a, b] = [at(node, 0), at(node, 1)]
    const [ta, tb, scale] = [flag(node, "transA"), flag(node, "transB"), alpha(node)]
    const byA = () =>
      ta
        ? multiply(b, dy, { transposeA: tb, transposeB: true, scale })
        : multiply(dy, b, { transposeB: !tb, scale })
    const byB = () =>
      tb
        ? multiply(dy, a, { transposeA: true, transposeB: ta, scale })
        : multiply(a, dy, { transposeA: !ta, scale })
    return [
      needs(0) ? unbroadcast(byA(), a) : undefined,
      needs(1) ? unbroadcast(byB(), b) : undefined,
      needs(2) ? unbroadcast(dy, node.inputs[2]!) : undefined,
    ]
  }

const shapeOnly = rule((dy, node) => [reshapeLike(dy, node.inputs[0]!)])

/** The reverse of a slice: zeros around the gradient, or the same flip again. */
const sliceVjp = rule((dy, node) => {
  const x = node.inputs[0]!
  const [starts, ends, axes, steps] = [1, 2, 3, 4].map((input) => constantInts(node.inputs[input]))
  const given = Shape.axesOf(axes!, x.shape.length)!
  if (steps?.every((step) => step === -1) === true) return [Ops.flip(dy, given)]
  const around = x.shape.map((dim, axis): readonly [number, number] => {
    const which = axes!.findIndex((other) => (other < 0 ? other + x.shape.length : other) === axis)
    if (which < 0) return [0, 0]
    const clamp = (place: number) =>
      Math.min(Math.max(place < 0 ? place + Number(dim) : place, 0), Number(dim))
    const start = clamp(starts![which]!)
    return [start, Number(dim) - Math.max(start, clamp(ends![which]!))]
  })
  return [Ops.pad(dy, around)]
})

const padVjp = rule((dy, node) => {
  const x = node.inputs[0]!
  const pads = constantInts(node.inputs[1])!
  const axes = x.shape.flatMap((_, axis) =>
    pads[axis] === 0 && pads[axis + x.shape.length] === 0 ? [] : [axis],
  )
  const starts = axes.map((axis) => pads[axis]!)
  const ends = axes.map((axis) => pads[axis]! + Number(x.shape[axis]))
  return [apply("Slice", [dy, ints(starts), ints(ends), ints(axes)])]
})

/** Adds the gradient's slices up at the places they came from. */
const gatherVjp = rule((dy, node) => {
  const [data, indices] = [at(node, 0), node.inputs[1]!]
  const axis = Shape.axesOf([node.attributes["axis"] as number], data.shape.length)![0]!
  const places = Ops.unsqueeze(Ops.cast(indices, "i64"), [indices.shape.length])
  const rank = dy.shape.length
  const front = Array.from({ length: indices.shape.length }, (_, i) => axis + i)
  const order = [...front, ...Array.from({ length: rank }, (_, i) => i).filter((i) => !front.includes(i))]
  const updates = Ops.transpose(dy, order)
  const perm = [axis, ...data.shape.map((_, i) => i).filter((i) => i !== axis)]
  const rows = Ops.fullLike(axis === 0 ? data : Ops.transpose(data, perm), 0)
  const summed: F = apply("ScatterND", [rows, places, updates], { reduction: "add" })
  return [
    Ops.transpose(
      summed,
      perm.map((_, i) => perm.indexOf(i)),
    ),
  ]
})

/** y = softmax(x): dx = y (dy - sum(dy y)) = dy y - y sum(dy y). */
const softmaxVjp = rule((dy, node) => {
  const axis = node.attributes["axis"] as number
  const weighted = Ops.mul(dy, y(node))
  return [Ops.sub(weighted, Ops.mul(y(node), Ops.reduceSum(weighted, { axes: [axis], keep: true })))]
})

/**
 * xhat = (x - mean) r, y = xhat s + b, over the axes from `axis` on:
 * dx = r (g - mean(g) - xhat mean(g xhat)) with g = dy s (Ba et al. 2016). r comes from the forward pass.
 */
const layerNormVjp: Vjp = (node, [gradient], needs) => {
  if (gradient === undefined) return []
  const dy = gradient as F
  const [x, scale] = [at(node, 0), at(node, 1)]
  const axis = Shape.axesOf([node.attributes["axis"] as number], x.shape.length)![0]!
  const axes = x.shape.flatMap((_, i) => (i < axis ? [] : [i]))
  const [mean, inverse] = [Ops.cast(node.outputs[1]!, x.dtype), Ops.cast(node.outputs[2]!, x.dtype)] as [F, F]
  const plain = isOnes(scale)
  const xhat = plain && node.inputs[2] === undefined ? y(node) : Ops.mul(Ops.sub(x, mean), inverse)
  const g = plain ? dy : Ops.mul(dy, scale)
  const centred = Ops.sub(g, Ops.reduceMean(g, { axes, keep: true }))
  const aligned = Ops.mul(xhat, Ops.reduceMean(Ops.mul(g, xhat), { axes, keep: true }))
  return [
    needs[0] === true ? Ops.mul(inverse, Ops.sub(centred, aligned)) : undefined,
    needs[1] === true ? unbroadcast(Ops.mul(dy, xhat), scale) : undefined,
    needs[2] === true ? unbroadcast(dy, node.inputs[2]!) : undefined,
  ]
}

/** True for a constant in which every element is 1. */
const isOnes = (value: Value): boolean =>
  value.node.op === "Constant" &&
  (value.node.data!.dtype === "f32" || value.node.data!.dtype === "f64") &&
  (value.node.data!.data as Float32Array | Float64Array).every((element: number) => element === 1)

/** The other axes' gradients are zeros of the part's shape. */
const splitVjp: Vjp = (node, gradients) => {
  const parts = node.outputs.map((part, i) => (gradients[i] as F | undefined) ?? Ops.fullLike(part as F, 0))
  return [Ops.concat(parts, node.attributes["axis"] as number)]
}

const concatVjp = rule((dy, node) => {
  const axis = node.attributes["axis"] as number
  return Ops.split(
    dy,
    axis,
    node.inputs.map((input) => Number(input!.shape.at(axis))),
  )
})

const zero: Vjp = () => []

export const rules: { readonly [op: string]: Vjp } = {
  Add: binary(
    (dy) => dy,
    (dy) => dy,
  ),
  Sub: binary(
    (dy) => dy,
    (dy) => Ops.neg(dy),
  ),
  Mul: binary(
    (dy, _, b) => Ops.mul(dy, b),
    (dy, a) => Ops.mul(dy, a),
  ),
  Div: binary(
    (dy, _, b) => Ops.div(dy, b),
    (dy, _, b, y) => Ops.neg(Ops.div(Ops.mul(dy, y), b)),
  ),
  Pow: binary(
    (dy, a, b) => Ops.mul(dy, Ops.mul(b, Ops.pow(a, Ops.sub(b, 1)))),
    (dy, a, _, y) => Ops.mul(dy, Ops.mul(y, Ops.log(a))),
  ),
  Min: selection(Ops.less),
  Max: selection(Ops.greater),
  Sum: rule((dy, node, needs) => node.inputs.map((x, i) => (needs(i) ? unbroadcast(dy, x!) : undefined))),
  Neg: unary((dy) => Ops.neg(dy)),
  Abs: unary((dy, x) => Ops.mul(dy, Ops.sign(x))),
  Exp: unary((dy, _, y) => Ops.mul(dy, y)),
  Log: unary((dy, x) => Ops.div(dy, x)),
  Sqrt: unary((dy, _, y) => Ops.mul(Ops.div(dy, y), 0.5)),
  Reciprocal: unary((dy, _, y) => Ops.neg(Ops.mul(dy, Ops.square(y)))),
  Tanh: unary((dy, _, y) => Ops.mul(dy, complement(Ops.square(y)))),
  Sigmoid: unary((dy, _, y) => Ops.mul(dy, Ops.mul(y, complement(y)))),
  Erf: unary((dy, x) => Ops.mul(dy, Ops.mul(Ops.exp(Ops.neg(Ops.square(x))), 2 / Math.sqrt(Math.PI)))),
  Relu: unary((dy, _, y) => Ops.mul(dy, Ops.sign(y))),
  Gelu: unary((dy, x, y, node) =>
    Ops.mul(dy, node.attributes["approximate"] === "tanh" ? geluTanh(x, y) : geluErf(x)),
  ),
  Sin: unary((dy, x) => Ops.mul(dy, Ops.cos(x))),
  Cos: unary((dy, x) => Ops.neg(Ops.mul(dy, Ops.sin(x)))),
  Where: rule((dy, node, needs) => {
    const condition = node.inputs[0] as Value<"bool">
    const none = Ops.fullLike(dy, 0)
    return [
      undefined,
      needs(1) ? unbroadcast(Ops.where(condition, dy, none), node.inputs[1]!) : undefined,
      needs(2) ? unbroadcast(Ops.where(condition, none, dy), node.inputs[2]!) : undefined,
    ]
  }),
  Cast: rule((dy, node) => {
    const { dtype } = node.inputs[0]!
    return [DType.isFloat(dtype) ? Ops.cast(dy, dtype) : undefined]
  }),
  Identity: unary((dy) => dy),
  FusedMatMul: rule(product((a, b, options) => Ops.matmul(a, b, options))),
  Gemm: rule(product((a, b, options) => Ops.gemm(a, b, undefined, options))),
  Reshape: shapeOnly,
  Squeeze: rule((dy, node) => [Ops.unsqueeze(dy, axesOf(node))]),
  Unsqueeze: rule((dy, node) => [Ops.squeeze(dy, constantInts(node.inputs[1])!)]),
  Transpose: rule((dy, node) => {
    const perm = node.attributes["perm"] as ReadonlyArray<number>
    return [
      Ops.transpose(
        dy,
        perm.map((_, axis) => perm.indexOf(axis)),
      ),
    ]
  }),
  Slice: sliceVjp,
  Concat: concatVjp,
  Split: splitVjp,
  Pad: padVjp,
  Expand: rule((dy, node) => [unbroadcast(dy, node.inputs[0]!)]),
  Gather: gatherVjp,
  ReduceSum: rule((dy, node) => [Ops.expandLike(kept(dy, node), node.inputs[0]!)]),
  ReduceMean: rule((dy, node) => [Ops.expandLike(kept(perElement(dy, node), node), node.inputs[0]!)]),
  ReduceSumSquare: rule((dy, node) => [Ops.mul(at(node, 0), Ops.mul(kept(dy, node), 2))]),
  ReduceMax: rule((dy, node) => {
    const x = at(node, 0)
    const ties = indicator(Ops.equal(x, kept(y(node), node)), x)
    const count = Ops.reduceSum(ties, { axes: axesOf(node), keep: true })
    return [Ops.mul(ties, Ops.div(kept(dy, node), count))]
  }),
  Softmax: softmaxVjp,
  LayerNormalization: layerNormVjp,
  Conv: rule(ConvolutionVjp.conv),
  Sign: zero,
  Floor: zero,
  Equal: zero,
  Less: zero,
  LessOrEqual: zero,
  Greater: zero,
  GreaterOrEqual: zero,
  IsNaN: zero,
  IsInf: zero,
  Custom: (node, gradients, needs) => node.vjp!(node, gradients, needs),
}
