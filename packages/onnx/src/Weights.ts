/**
 * From a graph that takes its weights as inputs, as training needs it, to one that holds them, as sampling does:
 * the runtime then folds what is constant and lays weights out for its kernels once.
 */
import { GraphInvalid } from "./GraphError.ts"
import { constant } from "./internal/apply.ts"
import { rewrite } from "./internal/rewrite.ts"
import * as Shape from "./Shape.ts"
import type { Tensor } from "./Tensor.ts"
import * as TensorGraph from "./TensorGraph.ts"
import { show, type Value } from "./Value.ts"

/**
 * The graph with the named inputs replaced by these tensors. Throws `GraphInvalid` for a name that is no input, or
 * a tensor of another type or shape.
 */
export const bind = <I extends TensorGraph.Values, O extends TensorGraph.Values, K extends keyof I & string>(
  graph: TensorGraph.TensorGraph<I, O>,
  tensors: { readonly [N in K]: Tensor<I[N]["dtype"]> },
): TensorGraph.TensorGraph<Omit<I, K>, O> => {
  const held = new Map<Value, Value>()
  for (const [name, tensor] of Object.entries<Tensor>(tensors)) {
    const input = graph.inputs[name]
    const problem =
      input === undefined
        ? "is no input"
        : input.dtype !== tensor.dtype || !Shape.equal(input.shape, tensor.shape)
          ? `is ${show(input)}, not ${tensor.dtype} ${Shape.show(tensor.shape)}`
          : undefined
    if (problem !== undefined) throw new GraphInvalid({ graph: graph.name, problem: `${name} ${problem}` })
    held.set(input!, constant(tensor))
  }
  const bound = rewrite(graph, (node) => {
    const tensor = node.op === "Input" ? held.get(node.outputs[0]!) : undefined
    return tensor === undefined ? undefined : [tensor]
  })
  const free = Object.entries(graph.inputs).filter(([name]) => !Object.hasOwn(tensors, name))
  return TensorGraph.close(
    graph.name,
    Object.fromEntries(free) as unknown as Omit<I, K> & TensorGraph.Values,
    bound.outputs as O,
  )
}
