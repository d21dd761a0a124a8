/** What the compiler has to refuse, and what it has to know. Compiled by `tsc -b`, never run. */
import type { Effect } from "effect"

import * as Onnx from "../src/Onnx.ts"
import * as Ops from "../src/Ops.ts"
import * as Session from "../src/Session.ts"
import * as Tensor from "../src/Tensor.ts"
import * as TensorGraph from "../src/TensorGraph.ts"
import type { Value } from "../src/Value.ts"

type Equal<A, B> = [A, B] extends [B, A] ? true : false
const holds = (proof: true) => proof

const f = TensorGraph.input("f", "f32", [2])
const i = TensorGraph.input("i", "i64", [2])

holds(true satisfies Equal<typeof f, Value<"f32">>)
holds(true satisfies Equal<ReturnType<typeof Ops.less<"f32">>, Value<"bool">>)

// @ts-expect-error two element types
Ops.add(f, i)
// @ts-expect-error no exponential of integers
Ops.exp(i)
// @ts-expect-error the condition is not bool
Ops.where(f, f, f)
// @ts-expect-error indices are integers
Ops.gather(f, f)

const graph = TensorGraph.make(
  "g",
  { x: TensorGraph.spec("f32", ["B", 3]), n: TensorGraph.spec("i64", []) },
  ({ n, x }) => ({
    y: Ops.mul(x, Ops.cast(n, "f32")),
    positive: Ops.greater(x, 0),
  }),
)

const session = Session.open(Onnx.model(graph), { provider: "cpu" })
type Run = Effect.Success<typeof session>["run"]
type Feeds = Parameters<Run>[0]
type Outputs = Effect.Success<ReturnType<Run>>

holds(true satisfies Equal<Feeds["x"], Tensor.Tensor<"f32">>)
holds(true satisfies Equal<Feeds["n"]["data"], BigInt64Array>)
holds(true satisfies Equal<Outputs["positive"], Tensor.Tensor<"bool">>)

// @ts-expect-error n is missing
export const missing: Feeds = { x: Tensor.zeros("f32", [1, 3]) }
// @ts-expect-error x is of another type
export const other: Feeds = { x: Tensor.zeros("f64", [1, 3]), n: Tensor.i64([], [1]) }
// @ts-expect-error there is no provider by default
export const undecided = Session.open(Onnx.model(graph), {})
