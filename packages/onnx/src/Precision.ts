/**
 * Mixed precision: matrix products and convolutions in a half type, everything else and the parameters in float32
 * (Micikevicius et al. 2018, "Mixed Precision Training"). A pass over the finished graph, so that the products of
 * the backward pass are lowered too.
 *
 * A strided convolution's gradient (`ConvTranspose`) has no bf16 kernel and stays in float32 there.
 *
 * The CPU provider runs an f16 graph, but in float32: the runtime takes the casts away where it has no f16 kernel.
 * It has no kernels for bf16 at all. Both are for GPUs. f16's smallest normal number is 6e-5: use a loss scale.
 */
import type { Float } from "./DType.ts"
import { apply } from "./internal/apply.ts"
import { rewrite } from "./internal/rewrite.ts"
import * as Ops from "./Ops.ts"
import * as OpSpec from "./OpSpec.ts"
import type * as TensorGraph from "./TensorGraph.ts"
import type { Value } from "./Value.ts"

export type Precision = "f32" | "f16" | "bf16"

const products = new Set(["FusedMatMul", "MatMul", "Gemm", "Conv", "ConvTranspose"])

/** The graph with float32 products computed in another precision. */
export const lower = (graph: TensorGraph.TensorGraph, precision: Precision): TensorGraph.TensorGraph =>
  precision === "f32"
    ? graph
    : rewrite(graph, (node, inputs) => {
        if (!products.has(node.op) || node.outputs[0]!.dtype !== "f32") return undefined
        if (!OpSpec.find(node.op)!.cuda.includes(precision)) return undefined
        const narrow = inputs.map((input) => (input === undefined ? undefined : Ops.cast(input, precision)))
        const product: Value<Float> = apply(node.op, narrow, node.attributes)
        return [Ops.cast(product, "f32")]
      })
