/** Makes nodes: looks the operator up in the table, infers its outputs, checks its element type. */
import type { DType, Float } from "../DType.ts"
import { callSite, OpUnsupported } from "../GraphError.ts"
import * as OpSpec from "../OpSpec.ts"
import * as Shape from "../Shape.ts"
import * as Tensor from "../Tensor.ts"
import * as Value from "../Value.ts"
import { type Draft, misshaped, mistyped } from "./infer.ts"

/** What an operator makes of these inputs. Throws a `GraphError` when it does not take them. */
export const infer = (draft: Draft): ReadonlyArray<Value.Spec> => {
  const spec = OpSpec.find(draft.op)
  if (spec === undefined)
    throw new OpUnsupported({ op: draft.op, problem: "is not in the table of operators", site: callSite() })
  const data = draft.inputs[draft.op === "Where" ? 1 : 0]
  if (data !== undefined && !spec.cuda.includes(data.dtype))
    mistyped(draft, `there is no kernel for ${data.dtype}; it takes ${spec.cuda.join(", ")}`)
  return spec.infer(draft)
}

/** A node of an operator; its outputs. */
export const applyAll = (
  op: string,
  inputs: ReadonlyArray<Value.Value | undefined>,
  attributes: Value.Attributes = {},
): ReadonlyArray<Value.Value> => Value.node(op, inputs, attributes, infer({ op, inputs, attributes }))

/** A node of an operator with one output (or whose first one counts), whose element type the caller knows. */
export const apply = <D extends DType>(
  op: string,
  inputs: ReadonlyArray<Value.Value | undefined>,
  attributes: Value.Attributes = {},
): Value.Value<D> => applyAll(op, inputs, attributes)[0] as Value.Value<D>

/** A misfit found by the builder itself. */
export const reject = (op: string, inputs: ReadonlyArray<Value.Value>, problem: string): never =>
  misshaped({ op, inputs, attributes: {} }, problem)

export const constant = <D extends DType>(tensor: Tensor.Tensor<D>): Value.Value<D> =>
  Value.node("Constant", [], {}, [{ dtype: tensor.dtype, shape: tensor.shape }], {
    data: tensor,
  })[0] as Value.Value<D>

/** A list of whole numbers, as ONNX takes axes, shapes and pads. */
export const ints = (values: ReadonlyArray<number>): Value.Value<"i64"> =>
  constant(Tensor.i64([values.length], values))

/** A number of a floating point or integer type. Half types are made by a cast, so that rounding is the runtime's. */
export const scalar = <D extends DType>(dtype: D, value: number): Value.Value<D> => {
  if (dtype === "f32") return constant(Tensor.f32([], [value])) as Value.Value as Value.Value<D>
  if (dtype === "f64")
    return constant(Tensor.make("f64", [], Float64Array.of(value))) as Value.Value as Value.Value<D>
  if (dtype === "i64") return constant(Tensor.i64([], [value])) as Value.Value as Value.Value<D>
  if (dtype === "i32")
    return constant(Tensor.make("i32", [], Int32Array.of(value))) as Value.Value as Value.Value<D>
  return apply<D>("Cast", [constant(Tensor.f32([], [value]))], { to: dtype })
}

/** `value` with a gradient of its own: by `inputs`, given the one of `value`. */
export const withVjp = <D extends Float>(
  value: Value.Value<D>,
  inputs: ReadonlyArray<Value.Value>,
  vjp: (gradient: Value.Value<D>, needs: ReadonlyArray<boolean>) => ReadonlyArray<Value.Value | undefined>,
): Value.Value<D> =>
  Value.node("Custom", [value, ...inputs], {}, [{ dtype: value.dtype, shape: value.shape }], {
    vjp: (_, [gradient], [, ...needs]) => [undefined, ...vjp(gradient as Value.Value<D>, needs)],
  })[0] as Value.Value<D>

/** Axes as given, or all of them. */
export const axesOrAll = (
  op: string,
  x: Value.Value,
  axes: ReadonlyArray<number> | undefined,
): ReadonlyArray<number> =>
  axes === undefined
    ? x.shape.map((_, axis) => axis)
    : (Shape.axesOf(axes, x.shape.length) ??
      reject(op, [x], `axes ${axes.join(",")} are not distinct axes of rank ${x.shape.length}`))
