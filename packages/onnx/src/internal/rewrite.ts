/** Passes over a graph: every node is made anew from its rewritten inputs, or replaced. */
import * as TensorGraph from "../TensorGraph.ts"
import * as Value from "../Value.ts"

/** What a node becomes, given its rewritten inputs; undefined leaves it as it is. */
export type Replace = (
  node: Value.Node,
  inputs: ReadonlyArray<Value.Value | undefined>,
) => ReadonlyArray<Value.Value> | undefined

export const rewrite = (graph: TensorGraph.TensorGraph, replace: Replace): TensorGraph.TensorGraph => {
  const become = new Map<Value.Value, Value.Value>()
  const of = (value: Value.Value): Value.Value => become.get(value)!
  for (const node of TensorGraph.nodes(graph)) {
    const inputs = node.inputs.map((input) => (input === undefined ? undefined : of(input)))
    const changed = inputs.some((input, i) => input !== node.inputs[i])
    const outputs = replace(node, inputs) ?? (changed ? again(node, inputs) : node.outputs)
    node.outputs.forEach((output, i) => become.set(output, outputs[i]!))
  }
  const outputs = Object.fromEntries(Object.entries(graph.outputs).map(([name, value]) => [name, of(value)]))
  return TensorGraph.close(graph.name, graph.inputs, outputs)
}

/** The same node over other inputs. */
export const again = (
  node: Value.Node,
  inputs: ReadonlyArray<Value.Value | undefined>,
): ReadonlyArray<Value.Value> =>
  Value.node(node.op, inputs, node.attributes, node.outputs, {
    ...(node.name === undefined ? {} : { name: node.name }),
    ...(node.data === undefined ? {} : { data: node.data }),
    ...(node.vjp === undefined ? {} : { vjp: node.vjp }),
  })
