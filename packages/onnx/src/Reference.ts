/**
 * Runs a graph without a runtime: every operator by its definition, one element at a time, in float64. The fake
 * beside the session, and the judge of it: tests compare what onnxruntime makes with this, and gradients with
 * finite differences of this, whose error is about 1e-9 where float32 would leave 1e-3.
 */
import { OpUnsupported } from "./GraphError.ts"
import * as NdArray from "./internal/array.ts"
import { kernels } from "./internal/kernels.ts"
import type { Subgraph, Value } from "./Value.ts"
import { reachable } from "./Value.ts"
import type * as TensorGraph from "./TensorGraph.ts"

/** A shape and the elements in row-major order, as doubles whatever the element type. */
export type Elements = NdArray.NdArray

export type Feeds = { readonly [name: string]: Elements }

export const elements = NdArray.make

const scan = (node: Value["node"], inputs: ReadonlyArray<Elements>): ReadonlyArray<Elements> => {
  const { graph: body } = node.attributes["body"] as { readonly graph: Subgraph }
  const count = inputs.length - (node.attributes["num_scan_inputs"] as number)
  const steps = inputs[count]!.shape[0]!
  let states = inputs.slice(0, count)
  const made: Array<ReadonlyArray<Elements>> = []
  for (let step = 0; step < steps; step++) {
    const now = inputs.slice(count).map(({ data, shape }) => {
      const size = data.length / steps
      return { shape: shape.slice(1), data: data.slice(step * size, (step + 1) * size) }
    })
    const outputs = run(body, [...states, ...now])
    states = outputs.slice(0, count)
    made.push(outputs.slice(count))
  }
  const stacked = made[0]!.map(({ shape }, i) =>
    NdArray.make(
      [steps, ...shape],
      made.flatMap((each) => [...each[i]!.data]),
    ),
  )
  return [...states, ...stacked]
}

const run = (graph: Subgraph, inputs: ReadonlyArray<Elements>): ReadonlyArray<Elements> => {
  const known = new Map<Value, Elements>(graph.inputs.map((value, i) => [value, inputs[i]!]))
  for (const node of reachable(graph.outputs)) {
    if (node.op === "Input") continue
    const given = node.inputs.map((input) => (input === undefined ? undefined : known.get(input)!))
    const kernel = kernels[node.op]
    if (node.op !== "Scan" && kernel === undefined)
      throw new OpUnsupported({ op: node.op, problem: "has no reference", site: "" })
    const outputs =
      node.op === "Scan"
        ? scan(node, given as ReadonlyArray<Elements>)
        : kernel!(node, given as ReadonlyArray<Elements>)
    node.outputs.forEach((output, i) => known.set(output, NdArray.rounded(outputs[i]!, output.dtype)))
  }
  return graph.outputs.map((output) => known.get(output)!)
}

/** The outputs of a graph for these inputs. */
export const evaluate = (graph: TensorGraph.TensorGraph, feeds: Feeds): Feeds => {
  const names = Object.keys(graph.outputs)
  const outputs = run(
    { inputs: Object.values(graph.inputs), outputs: Object.values(graph.outputs) },
    Object.keys(graph.inputs).map((name) => feeds[name]!),
  )
  return Object.fromEntries(names.map((name, i) => [name, outputs[i]!]))
}
