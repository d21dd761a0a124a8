/**
 * Shape and type inference, one function per operator. Each takes what the node takes and gives what it makes;
 * a misfit is thrown with the operator, the shapes and where it was called. ONNX operator semantics:
 * onnx/docs/Operators.md, opset 23.
 */
import type { DType } from "../DType.ts"
import { callSite, DTypeMismatch, ShapeMismatch } from "../GraphError.ts"
import * as Shape from "../Shape.ts"
import { type Attributes, constantInts, type Spec, type Subgraph, type Value } from "../Value.ts"

export interface Draft {
  readonly op: string
  readonly inputs: ReadonlyArray<Value | undefined>
  readonly attributes: Attributes
}

export type Infer = (draft: Draft) => ReadonlyArray<Spec>

const present = (draft: Draft): ReadonlyArray<Value> =>
  draft.inputs.filter((input): input is Value => input !== undefined)

export const misshaped = (draft: Draft, problem: string): never => {
  const shapes = present(draft).map((value) => Shape.show(value.shape))
  throw new ShapeMismatch({ op: draft.op, shapes, problem, site: callSite() })
}

export const mistyped = (draft: Draft, problem: string): never => {
  const dtypes = present(draft).map((value) => value.dtype)
  throw new DTypeMismatch({ op: draft.op, dtypes, problem, site: callSite() })
}

const input = (draft: Draft, index: number): Value =>
  draft.inputs[index] ?? misshaped(draft, `input ${index} is missing`)

const int = (draft: Draft, name: string, otherwise: number): number => {
  const value = draft.attributes[name]
  return typeof value === "number" ? value : otherwise
}

const ints = (draft: Draft, name: string): ReadonlyArray<number> | undefined => {
  const value = draft.attributes[name]
  return Array.isArray(value) ? (value as ReadonlyArray<number>) : undefined
}

const constant = (draft: Draft, index: number): ReadonlyArray<number> =>
  constantInts(draft.inputs[index]) ??
  misshaped(draft, `input ${index} has to be a constant of whole numbers`)

const axisOf = (draft: Draft, axis: number, rank: number): number =>
  Shape.axesOf([axis], rank)?.[0] ?? misshaped(draft, `axis ${axis} is outside rank ${rank}`)

const axesOf = (draft: Draft, axes: ReadonlyArray<number>, rank: number): ReadonlyArray<number> =>
  Shape.axesOf(axes, rank) ?? misshaped(draft, `axes ${axes.join(",")} are not distinct axes of rank ${rank}`)

const sameTypes = (draft: Draft, values: ReadonlyArray<Value>): DType => {
  const [first] = values
  const other = values.find((value) => value.dtype !== first!.dtype)
  if (other !== undefined) mistyped(draft, `${first!.dtype} != ${other.dtype}; cast one`)
  return first!.dtype
}

const broadcast = (draft: Draft, shapes: ReadonlyArray<Shape.Shape>): Shape.Shape =>
  shapes.reduce((all, shape) => {
    const both = Shape.broadcast(all, shape)
    return "left" in both ? misshaped(draft, `${both.left} != ${both.right}`) : both
  })

/** The output is like the first input. */
export const like: Infer = (draft) => {
  const { dtype, shape } = input(draft, 0)
  return [{ dtype, shape }]
}

/** Elementwise over inputs of one type that broadcast. */
export const elementwise: Infer = (draft) => {
  const values = present(draft)
  return [
    {
      dtype: sameTypes(draft, values),
      shape: broadcast(
        draft,
        values.map((value) => value.shape),
      ),
    },
  ]
}

export const compare: Infer = (draft) => elementwise(draft).map(({ shape }) => ({ dtype: "bool", shape }))

export const predicate: Infer = (draft) => [{ dtype: "bool", shape: input(draft, 0).shape }]

export const where: Infer = (draft) => {
  const [condition, a, b] = [input(draft, 0), input(draft, 1), input(draft, 2)]
  if (condition.dtype !== "bool") mistyped(draft, "the condition has to be bool")
  return [{ dtype: sameTypes(draft, [a, b]), shape: broadcast(draft, [condition.shape, a.shape, b.shape]) }]
}

export const cast: Infer = (draft) => [
  { dtype: draft.attributes["to"] as DType, shape: input(draft, 0).shape },
]

/** `[.., M, K] x [.., K, N]`, each transposed first where `transA`, `transB` say so. */
export const matMul: Infer = (draft) => {
  const [a, b] = [input(draft, 0), input(draft, 1)]
  if (a.shape.length < 2 || b.shape.length < 2) misshaped(draft, "both sides need two axes or more")
  const [m, k] = int(draft, "transA", 0) === 1 ? [a.shape.at(-1)!, a.shape.at(-2)!] : a.shape.slice(-2)
  const [l, n] = int(draft, "transB", 0) === 1 ? [b.shape.at(-1)!, b.shape.at(-2)!] : b.shape.slice(-2)
  if (k !== l) misshaped(draft, `${k} != ${l}`)
  const batch = broadcast(draft, [a.shape.slice(0, -2), b.shape.slice(0, -2)])
  return [{ dtype: sameTypes(draft, [a, b]), shape: [...batch, m!, n!] }]
}

export const gemm: Infer = (draft) => {
  const [a, b] = [input(draft, 0), input(draft, 1)]
  if (a.shape.length !== 2 || b.shape.length !== 2) misshaped(draft, "both sides need two axes")
  const [product] = matMul({ ...draft, inputs: [a, b] })
  const c = draft.inputs[2]
  if (c !== undefined) {
    sameTypes(draft, [a, c])
    const both = Shape.broadcast(product!.shape, c.shape)
    if ("left" in both || !Shape.equal(both, product!.shape))
      misshaped(draft, `the bias ${Shape.show(c.shape)} does not broadcast to ${Shape.show(product!.shape)}`)
  }
  return [product!]
}

/** 0 keeps a dimension, -1 is what is left. */
export const reshape: Infer = (draft) => {
  const { dtype, shape } = input(draft, 0)
  const wanted = constant(draft, 1)
  const known = wanted.map((dim, axis): Shape.Dim | undefined =>
    dim === 0
      ? (shape[axis] ?? misshaped(draft, `there is no axis ${axis} to keep`))
      : dim === -1
        ? undefined
        : dim,
  )
  const fixed = known.filter((dim) => dim !== undefined)
  const free = known.length - fixed.length
  const rest = Shape.quotient(shape, fixed)
  if (free > 1) misshaped(draft, "only one dimension can be left open")
  if (rest === undefined || (free === 0 && rest !== 1))
    misshaped(
      draft,
      `${Shape.total(shape)} elements do not fill ${Shape.show(known.map((dim) => dim ?? "?"))}`,
    )
  return [{ dtype, shape: known.map((dim) => dim ?? rest!) }]
}

export const transpose: Infer = (draft) => {
  const { dtype, shape } = input(draft, 0)
  const perm = ints(draft, "perm") ?? []
  if (perm.length !== shape.length || Shape.axesOf(perm, shape.length) === undefined)
    misshaped(draft, `[${perm.join(",")}] is not an order of ${shape.length} axes`)
  return [{ dtype, shape: perm.map((axis) => shape[axis]!) }]
}

/** Inputs: data, starts, ends, axes, steps. Ends beyond the dimension are cut to it. */
export const slice: Infer = (draft) => {
  const { dtype, shape } = input(draft, 0)
  const [starts, ends] = [constant(draft, 1), constant(draft, 2)]
  const axes = constant(draft, 3).map((axis) => axisOf(draft, axis, shape.length))
  const steps = draft.inputs[4] === undefined ? starts.map(() => 1) : constant(draft, 4)
  const dims = [...shape]
  axes.forEach((axis, i) => {
    const dim = dims[axis]!
    if (typeof dim !== "number")
      return misshaped(draft, `axis ${axis} is ${dim}, which is not known to slice`)
    dims[axis] = sliceRange(dim, starts[i]!, ends[i]!, steps[i]!).length
  })
  return [{ dtype, shape: dims }]
}

/** The positions ONNX's Slice takes along an axis of `dim` elements. */
export const sliceRange = (
  dim: number,
  start: number,
  end: number,
  step: number,
): { readonly first: number; readonly length: number } => {
  const clamp = (at: number, low: number, high: number) =>
    Math.min(Math.max(at < 0 ? at + dim : at, low), high)
  const first = step > 0 ? clamp(start, 0, dim) : clamp(start, 0, dim - 1)
  const last = step > 0 ? clamp(end, 0, dim) : clamp(end, -1, dim - 1)
  return { first, length: Math.max(0, Math.ceil((last - first) / step)) }
}

export const concat: Infer = (draft) => {
  const values = present(draft)
  const dtype = sameTypes(draft, values)
  const { shape } = values[0]!
  const axis = axisOf(draft, int(draft, "axis", 0), shape.length)
  let along = 0
  for (const value of values) {
    const dim = value.shape[axis]
    if (typeof dim !== "number") return misshaped(draft, `axis ${axis} has to be a number`)
    along += dim
    value.shape.forEach((other, i) => {
      if (i !== axis && other !== shape[i]) misshaped(draft, `${shape[i]} != ${other} on axis ${i}`)
    })
    if (value.shape.length !== shape.length) misshaped(draft, "ranks differ")
  }
  return [{ dtype, shape: shape.with(axis, along) }]
}

export const split: Infer = (draft) => {
  const { dtype, shape } = input(draft, 0)
  const axis = axisOf(draft, int(draft, "axis", 0), shape.length)
  const sizes = constant(draft, 1)
  const sum = sizes.reduce((a, b) => a + b, 0)
  if (sum !== shape[axis]) misshaped(draft, `parts of ${sizes.join("+")} = ${sum} != ${shape[axis]}`)
  return sizes.map((along) => ({ dtype, shape: shape.with(axis, along) }))
}

/** Inputs: data, pads `[before.., after..]`. */
export const pad: Infer = (draft) => {
  const { dtype, shape } = input(draft, 0)
  const pads = constant(draft, 1)
  if (pads.length !== 2 * shape.length) misshaped(draft, `${pads.length} pads for ${shape.length} axes`)
  return [
    {
      dtype,
      shape: shape.map((dim, axis) => {
        const more = pads[axis]! + pads[axis + shape.length]!
        if (more === 0) return dim
        return typeof dim === "number"
          ? dim + more
          : misshaped(draft, `axis ${axis} is ${dim}: cannot be padded`)
      }),
    },
  ]
}

/** The target is a constant (1 keeps a dimension), or the shape of another value. */
export const expand: Infer = (draft) => {
  const { dtype, shape } = input(draft, 0)
  const target = draft.inputs[1]
  const wanted =
    target?.node.op === "Shape" ? target.node.inputs[0]!.shape : (constant(draft, 1) as Shape.Shape)
  return [{ dtype, shape: broadcast(draft, [shape, wanted]) }]
}

export const shapeOf: Infer = (draft) => [{ dtype: "i64", shape: [input(draft, 0).shape.length] }]

export const sizeOf: Infer = () => [{ dtype: "i64", shape: [] }]

export const gather: Infer = (draft) => {
  const [data, indices] = [input(draft, 0), input(draft, 1)]
  const axis = axisOf(draft, int(draft, "axis", 0), data.shape.length)
  if (indices.dtype !== "i64" && indices.dtype !== "i32") mistyped(draft, "indices have to be i64 or i32")
  return [
    {
      dtype: data.dtype,
      shape: [...data.shape.slice(0, axis), ...indices.shape, ...data.shape.slice(axis + 1)],
    },
  ]
}

/** Inputs: data `[N, ..]`, indices `[.., 1]` into its first axis, updates `[.., ..]`. */
export const scatterNd: Infer = (draft) => {
  const [data, indices, updates] = [input(draft, 0), input(draft, 1), input(draft, 2)]
  if (indices.dtype !== "i64") mistyped(draft, "indices have to be i64")
  sameTypes(draft, [data, updates])
  const wanted = [...indices.shape.slice(0, -1), ...data.shape.slice(Number(indices.shape.at(-1)))]
  if (!Shape.equal(wanted, updates.shape))
    misshaped(draft, `updates have to be ${Shape.show(wanted)}, not ${Shape.show(updates.shape)}`)
  return [{ dtype: data.dtype, shape: data.shape }]
}

export const squeeze: Infer = (draft) => {
  const { dtype, shape } = input(draft, 0)
  const axes = axesOf(draft, constant(draft, 1), shape.length)
  const wrong = axes.find((axis) => shape[axis] !== 1)
  if (wrong !== undefined) misshaped(draft, `axis ${wrong} is ${shape[wrong]}, not 1`)
  return [{ dtype, shape: shape.filter((_, axis) => !axes.includes(axis)) }]
}

export const unsqueeze: Infer = (draft) => {
  const { dtype, shape } = input(draft, 0)
  const given = constant(draft, 1)
  const axes = axesOf(draft, given, shape.length + given.length)
  const dims: Array<Shape.Dim> = [...shape]
  for (const axis of axes) dims.splice(axis, 0, 1)
  return [{ dtype, shape: dims }]
}

export const reduce: Infer = (draft) => {
  const { dtype, shape } = input(draft, 0)
  const axes = axesOf(draft, constant(draft, 1), shape.length)
  const keep = int(draft, "keepdims", 1) === 1
  return [
    {
      dtype,
      shape: keep
        ? shape.map((dim, axis) => (axes.includes(axis) ? 1 : dim))
        : shape.filter((_, axis) => !axes.includes(axis)),
    },
  ]
}

export const softmax: Infer = (draft) => {
  axisOf(draft, int(draft, "axis", -1), input(draft, 0).shape.length)
  return like(draft)
}

/** Inputs: x, scale, bias over the axes from `axis` on. Outputs: y, mean and inverse standard deviation (f32). */
export const layerNorm: Infer = (draft) => {
  const x = input(draft, 0)
  const axis = axisOf(draft, int(draft, "axis", -1), x.shape.length)
  const normalized = x.shape.slice(axis)
  for (const affine of draft.inputs.slice(1)) {
    if (affine !== undefined && !Shape.equal(affine.shape, normalized))
      misshaped(draft, `scale and bias have to be ${Shape.show(normalized)}`)
  }
  sameTypes(draft, present(draft))
  const statistics = x.shape.map((dim, i) => (i < axis ? dim : 1))
  const spec: Spec = { dtype: "f32", shape: statistics }
  return [{ dtype: x.dtype, shape: x.shape }, spec, spec]
}

interface Window {
  readonly kernel: ReadonlyArray<number>
  readonly strides: ReadonlyArray<number>
  readonly dilations: ReadonlyArray<number>
  readonly pads: ReadonlyArray<number>
  readonly group: number
}

/** The window of a convolution over `axes` spatial axes. */
export const windowOf = (draft: Draft, axes: number): Window => {
  const one = Array.from({ length: axes }, () => 1)
  return {
    kernel: ints(draft, "kernel_shape") ?? misshaped(draft, "kernel_shape is missing"),
    strides: ints(draft, "strides") ?? one,
    dilations: ints(draft, "dilations") ?? one,
    pads: ints(draft, "pads") ?? [...one, ...one].map(() => 0),
    group: int(draft, "group", 1),
  }
}

/** x `[N, C, ..]`, w `[M, C/group, ..]`, bias `[M]` -> `[N, M, ..]`. */
export const conv: Infer = (draft) => {
  const [x, w] = [input(draft, 0), input(draft, 1)]
  const axes = x.shape.length - 2
  if (axes < 1 || w.shape.length !== x.shape.length)
    misshaped(draft, "ranks have to be the same, three or more")
  const { dilations, group, kernel, pads, strides } = windowOf(draft, axes)
  const [batch, channels, ...space] = x.shape
  const [out, each, ...k] = w.shape
  if (!Shape.equal(k, kernel)) misshaped(draft, `kernel_shape [${kernel.join(",")}] != ${Shape.show(k)}`)
  if (typeof channels !== "number" || channels !== Number(each) * group)
    misshaped(draft, `${channels} channels != ${each} x ${group} groups`)
  if (Number(out) % group !== 0) misshaped(draft, `${out} output channels do not divide into ${group} groups`)
  const bias = draft.inputs[2]
  if (bias !== undefined && !Shape.equal(bias.shape, [out!])) misshaped(draft, `the bias has to be [${out}]`)
  const dims = space.map((dim, i) => {
    if (typeof dim !== "number") return misshaped(draft, `axis ${i + 2} is ${dim}: has to be a number`)
    const room = dim + pads[i]! + pads[i + axes]! - ((kernel[i]! - 1) * dilations[i]! + 1)
    return room < 0
      ? misshaped(draft, `the kernel is larger than axis ${i + 2}`)
      : Math.floor(room / strides[i]!) + 1
  })
  return [{ dtype: sameTypes(draft, present(draft)), shape: [batch!, out!, ...dims] }]
}

/** x `[N, C, ..]`: a window over each channel. */
export const pool: Infer = (draft) => {
  const { dtype, shape } = input(draft, 0)
  const [batch, channels, ...space] = shape
  const { kernel, pads, strides } = windowOf(draft, space.length)
  const dims = space.map((dim, i) => {
    if (typeof dim !== "number") return misshaped(draft, `axis ${i + 2} is ${dim}: has to be a number`)
    const room = dim + pads[i]! + pads[i + space.length]! - kernel[i]!
    return room < 0
      ? misshaped(draft, `the window is larger than axis ${i + 2}`)
      : Math.floor(room / strides[i]!) + 1
  })
  return [{ dtype, shape: [batch!, channels!, ...dims] }]
}

/** x `[N, C, ..]`, w `[C, M/group, ..]` -> `[N, M, ..]`. */
export const convTranspose: Infer = (draft) => {
  const [x, w] = [input(draft, 0), input(draft, 1)]
  const axes = x.shape.length - 2
  const { dilations, group, kernel, pads, strides } = windowOf(draft, axes)
  const extra = ints(draft, "output_padding") ?? kernel.map(() => 0)
  const [batch, channels, ...space] = x.shape
  if (channels !== w.shape[0]) misshaped(draft, `${channels} != ${w.shape[0]}`)
  const dims = space.map(
    (dim, i) =>
      (Number(dim) - 1) * strides[i]! +
      extra[i]! +
      (kernel[i]! - 1) * dilations[i]! +
      1 -
      pads[i]! -
      pads[i + axes]!,
  )
  return [{ dtype: sameTypes(draft, present(draft)), shape: [batch!, Number(w.shape[1]) * group, ...dims] }]
}

/** x `[B, H, S, D]`, cos and sin `[B, S, D/2]`. */
export const rotary: Infer = (draft) => {
  const [x, cos, sin] = [input(draft, 0), input(draft, 1), input(draft, 2)]
  const [batch, , sequence, width] = x.shape
  if (x.shape.length !== 4 || typeof width !== "number" || width % 2 !== 0)
    misshaped(draft, "takes [B,H,S,D] with D even")
  const table = [batch!, sequence!, Number(width) / 2]
  if (!Shape.equal(cos.shape, table) || !Shape.equal(sin.shape, table))
    misshaped(draft, `the tables have to be ${Shape.show(table)}`)
  sameTypes(draft, [x, cos, sin])
  return like(draft)
}

/** States first, then sequences, whose first axis is the number of steps. */
export const scan: Infer = (draft) => {
  const { graph: body } = draft.attributes["body"] as { readonly graph: Subgraph }
  const sequences = int(draft, "num_scan_inputs", 0)
  const states = draft.inputs.length - sequences
  if (body.inputs.length !== draft.inputs.length)
    misshaped(draft, `the body takes ${body.inputs.length} values, not ${draft.inputs.length}`)
  const steps = draft.inputs[states]?.shape[0] ?? misshaped(draft, "needs a sequence to go over")
  body.inputs.forEach((inner, i) => {
    const outer = input(draft, i)
    const wanted = i < states ? inner.shape : [steps, ...inner.shape]
    if (!Shape.equal(outer.shape, wanted))
      misshaped(draft, `input ${i} is ${Shape.show(outer.shape)}, the body takes ${Shape.show(wanted)}`)
    if (outer.dtype !== inner.dtype)
      mistyped(draft, `input ${i} is ${outer.dtype}, the body takes ${inner.dtype}`)
  })
  return body.outputs.map(({ dtype, shape }, i) => {
    if (i < states && !Shape.equal(shape, body.inputs[i]!.shape))
      misshaped(
        draft,
        `state ${i} goes in as ${Shape.show(body.inputs[i]!.shape)} and out as ${Shape.show(shape)}`,
      )
    return { dtype, shape: i < states ? shape : [steps, ...shape] }
  })
}
