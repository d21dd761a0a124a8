/**
 * Values: the edges of a tensor graph, and the nodes that make them.
 *
 * A value is immutable and knows the node that makes it, a node knows its inputs: so an expression is its own
 * graph, nothing has to be registered anywhere, and what no output needs is never reached (there is no dead code
 * to remove). Ids grow in the order of creation, which is an order of evaluation.
 */
import type { DType } from "./DType.ts"
import type { Shape } from "./Shape.ts"
import type { Tensor } from "./Tensor.ts"

/** A tensor that will be known when the graph runs. */
export interface Value<D extends DType = DType> {
  readonly id: number
  readonly dtype: D
  readonly shape: Shape
  readonly node: Node
  /** Which of the node's outputs it is. */
  readonly output: number
}

/** The body of a `Scan`. */
export interface Subgraph {
  readonly inputs: ReadonlyArray<Value>
  readonly outputs: ReadonlyArray<Value>
}

/** Whole numbers are INT, lists INTS, strings STRING; the rest says what it is. */
export type Attribute =
  | number
  | string
  | ReadonlyArray<number>
  | { readonly float: number }
  | { readonly graph: Subgraph }

export type Attributes = { readonly [name: string]: Attribute }

/**
 * The vector-Jacobian product of a node: gradients by its inputs, given those by its outputs (undefined where no
 * gradient arrives). `needs` says which are wanted; the others may be left out.
 */
export type Vjp = (
  node: Node,
  gradients: ReadonlyArray<Value | undefined>,
  needs: ReadonlyArray<boolean>,
) => ReadonlyArray<Value | undefined>

export interface Node {
  readonly id: number
  /** The ONNX operator, or `Input`, `Constant`, `Custom` (its first input, with a gradient of its own). */
  readonly op: string
  readonly inputs: ReadonlyArray<Value | undefined>
  readonly outputs: ReadonlyArray<Value>
  readonly attributes: Attributes
  /** The name of an `Input`. */
  readonly name?: string
  /** The data of a `Constant`. */
  readonly data?: Tensor
  /** The gradient of a `Custom`. */
  readonly vjp?: Vjp
}

export interface Spec {
  readonly dtype: DType
  readonly shape: Shape
}

let created = 0

/** A node whose outputs are known. Everything but inputs, constants and tests goes through `Ops`. */
export const node = (
  op: string,
  inputs: ReadonlyArray<Value | undefined>,
  attributes: Attributes,
  outputs: ReadonlyArray<Spec>,
  extra: Pick<Node, "name" | "data" | "vjp"> = {},
): ReadonlyArray<Value> => {
  const values: Array<Value> = []
  const made: Node = { id: created++, op, inputs, outputs: values, attributes, ...extra }
  outputs.forEach(({ dtype, shape }, output) => {
    values.push({ id: created++, dtype, shape, node: made, output })
  })
  return values
}

/** `f32 [2,3]` */
export const show = (value: Value): string => `${value.dtype} [${value.shape.join(",")}]`

/** Every node that `outputs` need, each after its inputs: in the order of creation. */
export const reachable = (outputs: ReadonlyArray<Value>): ReadonlyArray<Node> => {
  const found = new Set<Node>()
  const pending = outputs.map((value) => value.node)
  while (pending.length > 0) {
    const next = pending.pop()!
    if (found.has(next)) continue
    found.add(next)
    for (const input of next.inputs) if (input !== undefined) pending.push(input.node)
  }
  return [...found].toSorted((a, b) => a.id - b.id)
}

/** The integers of a constant of type i64, or undefined for anything else. */
export const constantInts = (value: Value | undefined): ReadonlyArray<number> | undefined =>
  value?.node.op === "Constant" && value.node.data?.dtype === "i64"
    ? Array.from((value.node.data as Tensor<"i64">).data, Number)
    : undefined
