/**
 * A tensor graph: named inputs and outputs of known types, and what is between them. Plain immutable data.
 *
 * ```ts
 * const mlp = TensorGraph.make(
 *   "mlp",
 *   { x: TensorGraph.spec("f32", ["B", 4]), w: TensorGraph.spec("f32", [3, 4]) },
 *   ({ x, w }) => ({ y: Ops.relu(Ops.linear(x, w)) }),
 * )
 * mlp.outputs.y.shape // ["B", 3]
 * ```
 */
import type { DType } from "./DType.ts"
import { GraphInvalid } from "./GraphError.ts"
import { infer } from "./internal/apply.ts"
import * as OpSpec from "./OpSpec.ts"
import * as Shape from "./Shape.ts"
import { type Node, node, reachable, show, type Value } from "./Value.ts"

/** The type and shape of an input. */
export interface Spec<D extends DType = DType> {
  readonly dtype: D
  readonly shape: Shape.Shape
}

export type Specs = { readonly [name: string]: Spec }
export type Values = { readonly [name: string]: Value }

/** The values that specs declare. */
export type ValuesOf<I extends Specs> = { readonly [K in keyof I]: Value<I[K]["dtype"]> }

export interface TensorGraph<I extends Values = Values, O extends Values = Values> {
  readonly name: string
  readonly inputs: I
  readonly outputs: O
}

export const spec = <const D extends DType>(dtype: D, shape: Shape.Shape): Spec<D> => ({ dtype, shape })

/** A free input, to build with before the graph is closed by {@link close}. */
export const input = <const D extends DType>(name: string, dtype: D, shape: Shape.Shape): Value<D> =>
  node("Input", [], {}, [{ dtype, shape }], { name })[0] as Value<D>

const nameRule = /^[A-Za-z_][A-Za-z0-9_./:-]*$/u

/** A graph around values that exist. Throws `GraphInvalid` when the parts do not fit together. */
export const close = <I extends Values, O extends Values>(
  name: string,
  inputs: I,
  outputs: O,
): TensorGraph<I, O> => {
  const invalid = (problem: string): never => {
    throw new GraphInvalid({ graph: name, problem })
  }
  const declared = new Set<Value>(Object.values(inputs))
  for (const key of [...Object.keys(inputs), ...Object.keys(outputs)]) {
    if (!nameRule.test(key))
      invalid(`${JSON.stringify(key)} is no name: letters, digits, _ . / : - after a letter or _`)
    if (Object.hasOwn(inputs, key) && Object.hasOwn(outputs, key))
      invalid(`${JSON.stringify(key)} is the name of an input and of an output`)
  }
  for (const [key, value] of Object.entries(inputs)) {
    if (value.node.op !== "Input") invalid(`input ${JSON.stringify(key)} is the result of ${value.node.op}`)
  }
  for (const each of reachable(Object.values(outputs))) {
    if (each.op === "Input" && !declared.has(each.outputs[0]!))
      invalid(`uses the input ${JSON.stringify(each.name)} without declaring it`)
  }
  return { name, inputs, outputs }
}

/** A graph from its inputs' specs and a function that makes the outputs. Throws `GraphError`. */
export const make = <const I extends Specs, const O extends Values>(
  name: string,
  specs: I,
  build: (inputs: ValuesOf<I>) => O,
): TensorGraph<ValuesOf<I>, O> => {
  const inputs = Object.fromEntries(
    Object.entries(specs).map(([key, { dtype, shape }]) => [key, input(key, dtype, shape)]),
  ) as ValuesOf<I>
  return close(name, inputs, build(inputs))
}

/** The nodes that the outputs need, each after its inputs. */
export const nodes = (graph: TensorGraph): ReadonlyArray<Node> => reachable(Object.values(graph.outputs))

const builtin = new Set(["Input", "Constant", "Custom"])

/**
 * Checks a graph anew, as it has to be after every pass: each operator is in the table, takes what it is given,
 * and makes what its outputs say. Throws `GraphError`.
 */
export const verify = (graph: TensorGraph): void => {
  for (const each of nodes(graph)) {
    if (builtin.has(each.op)) continue
    const found = infer(each)
    each.outputs.forEach((output, i) => {
      const other = found[i]!
      if (output.dtype !== other.dtype || !Shape.equal(output.shape, other.shape))
        throw new GraphInvalid({
          graph: graph.name,
          problem: `${each.op} makes ${other.dtype} ${Shape.show(other.shape)}, its output says ${show(output)}`,
        })
    })
    const late = each.inputs.find((value) => value !== undefined && value.node.id >= each.id)
    if (late !== undefined)
      throw new GraphInvalid({
        graph: graph.name,
        problem: `${each.op} uses ${show(late)} before it is made`,
      })
  }
}

/** How often each operator occurs: for reports and tests. */
export const count = (graph: TensorGraph): { readonly [op: string]: number } => {
  const counts: Record<string, number> = {}
  for (const { op } of nodes(graph)) if (OpSpec.find(op) !== undefined) counts[op] = (counts[op] ?? 0) + 1
  return counts
}
