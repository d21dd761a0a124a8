/** From the operators of the builder to those that are written: three passes, graph to graph. */
import type { DType } from "../DType.ts"
import * as TensorGraph from "../TensorGraph.ts"
import * as Tensor from "../Tensor.ts"
import type { Attribute, Node, Value } from "../Value.ts"
import { apply, scalar } from "./apply.ts"
import { again, rewrite } from "./rewrite.ts"

/** `Custom` only carries a gradient: it is its first input. */
const dropCustom = (graph: TensorGraph.TensorGraph) =>
  rewrite(graph, (node, inputs) => (node.op === "Custom" ? [inputs[0]!] : undefined))

const swapLast = (x: Value): Value => {
  const perm = x.shape.map((_, axis) => axis)
  return apply("Transpose", [x], { perm: [...perm.slice(0, -2), perm.at(-1)!, perm.at(-2)!] })
}

/**
 * A plain product is `MatMul`; one with transposes or a factor is onnxruntime's `FusedMatMul`, or, where that is
 * not wanted or has no CPU kernel (f64), the operations it stands for.
 */
const lowerProducts = (graph: TensorGraph.TensorGraph, fused: boolean) =>
  rewrite(graph, (node, inputs) => {
    if (node.op !== "FusedMatMul") return undefined
    const [a, b] = inputs as readonly [Value, Value]
    const { alpha, transA, transB } = node.attributes
    const factor = (alpha as { readonly float: number }).float
    if (transA === 0 && transB === 0 && factor === 1) return [apply("MatMul", [a, b])]
    if (fused && a.dtype !== "f64") return undefined
    const product = apply<DType>("MatMul", [transA === 1 ? swapLast(a) : a, transB === 1 ? swapLast(b) : b])
    return [factor === 1 ? product : apply("Mul", [product, scalar(product.dtype, factor)])]
  })

const attributeKey = (value: Attribute): string =>
  typeof value === "object" && "graph" in value ? "graph" : JSON.stringify(value)

/** What makes two nodes the same expression; undefined for those that are never merged. */
const keyOf = (node: Node, inputs: ReadonlyArray<Value | undefined>): string | undefined => {
  if (node.op === "Input" || node.op === "Scan") return undefined
  if (node.data !== undefined) {
    const { dtype, shape } = node.data
    return `${dtype}:${shape.join(",")}:${Buffer.from(Tensor.bytes(node.data)).toString("latin1")}`
  }
  const attributes = Object.keys(node.attributes)
    .toSorted()
    .map((name) => `${name}=${attributeKey(node.attributes[name]!)}`)
  return `${node.op}(${inputs.map((input) => input?.id ?? "").join(",")}){${attributes.join(",")}}`
}

/** Equal constants and equal expressions are made once. */
const shareEqual = (graph: TensorGraph.TensorGraph) => {
  const known = new Map<string, ReadonlyArray<Value>>()
  return rewrite(graph, (node, inputs) => {
    const key = keyOf(node, inputs)
    if (key === undefined) return undefined
    const before = known.get(key)
    if (before !== undefined) return before
    const outputs = inputs.every((input, i) => input === node.inputs[i]) ? node.outputs : again(node, inputs)
    known.set(key, outputs)
    return outputs
  })
}

/** All passes; the graph is verified after each. */
export const lower = (graph: TensorGraph.TensorGraph, fused: boolean): TensorGraph.TensorGraph =>
  [dropCustom, (each: TensorGraph.TensorGraph) => lowerProducts(each, fused), shareEqual].reduce(
    (each, pass) => {
      const next = pass(each)
      TensorGraph.verify(next)
      return next
    },
    graph,
  )
