import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"

import { fromBinary } from "@bufbuild/protobuf"
import { assert, describe, it } from "@effect/vitest"
import { ModelProtoSchema } from "onnx-buf"

import type { Float } from "../src/DType.ts"
import * as Gradient from "../src/Gradient.ts"
import * as GraphError from "../src/GraphError.ts"
import * as Neural from "../src/Neural.ts"
import * as Onnx from "../src/Onnx.ts"
import * as Ops from "../src/Ops.ts"
import * as OpSpec from "../src/OpSpec.ts"
import * as Precision from "../src/Precision.ts"
import * as Reference from "../src/Reference.ts"
import * as Tensor from "../src/Tensor.ts"
import * as TensorGraph from "../src/TensorGraph.ts"
import * as Value from "../src/Value.ts"
import * as Weights from "../src/Weights.ts"
import { assertClose, random, randomFrom, runOrt } from "./check.ts"

const { input } = TensorGraph

const caught = (body: () => unknown): GraphError.GraphError => {
  try {
    body()
  } catch (cause) {
    assert.isTrue(GraphError.isGraphError(cause), String(cause))
    return cause as GraphError.GraphError
  }
  return assert.fail("nothing was thrown")
}

describe("errors where the operation is called", () => {
  const f = (shape: ReadonlyArray<number | string>) => input("f", "f32", shape)

  const cases: ReadonlyArray<readonly [string, () => unknown, string]> = [
    ["matmul", () => Ops.matmul(f([2, 3]), f([4, 5])), "FusedMatMul [2,3] x [4,5]: 3 != 4"],
    [
      "matmul of vectors",
      () => Ops.matmul(f([3]), f([3])),
      "FusedMatMul [3] x [3]: both sides need two axes or more",
    ],
    ["add", () => Ops.add(f([2, 3]), f([2])), "Add [2,3] x [2]: 3 != 2"],
    ["add of symbols", () => Ops.add(f(["B", 3]), f(["N", 3])), "Add [B,3] x [N,3]: B != N"],
    ["reshape", () => Ops.reshape(f([2, 3]), [4, -1]), "Reshape [2,3] x [2]: 6 elements do not fill [4,?]"],
    ["transpose", () => Ops.transpose(f([2, 3]), [0, 0]), "Transpose [2,3]: [0,0] is not an order of 2 axes"],
    ["concat", () => Ops.concat([f([2, 3]), f([3, 3])], 1), "Concat [2,3] x [3,3]: 2 != 3 on axis 0"],
    ["split", () => Ops.split(f([2, 3]), 1, [1, 1]), "Split [2,3] x [2]: parts of 1+1 = 2 != 3"],
    [
      "reduce",
      () => Ops.reduceSum(f([2, 3]), { axes: [2] }),
      "ReduceSum [2,3]: axes 2 are not distinct axes of rank 2",
    ],
    [
      "slice of a symbol",
      () => Ops.slice(f(["B", 3]), 0, 0, 1),
      "Slice [B,3] x [1] x [1] x [1]: axis 0 is B, which is not known to slice",
    ],
    [
      "conv channels",
      () => Neural.conv2d(f([1, 3, 4, 4]), f([8, 2, 3, 3])),
      "Conv [1,3,4,4] x [8,2,3,3]: 3 channels != 2 x 1 groups",
    ],
    [
      "conv kernel",
      () => Neural.conv2d(f([1, 2, 2, 4]), f([8, 2, 3, 3])),
      "Conv [1,2,2,4] x [8,2,3,3]: the kernel is larger than axis 2",
    ],
    ["linear", () => Ops.linear(f([2, 3]), f([5, 4])), "Linear [2,3] x [5,4]: 3 != 4"],
    [
      "rope",
      () => Neural.rope(f([2, 3]), f([2, 1]), f([2, 1])),
      "Rope [2,3] x [2,1] x [2,1]: the last axis is 3, which has no pairs",
    ],
  ]
  for (const [name, body, message] of cases)
    it(name, () => {
      const error = caught(body)
      assert.isTrue(error.message.startsWith(`${message}, at `), error.message)
      assert.instanceOf(error, GraphError.ShapeMismatch)
      assert.match(error.message, /TensorGraph\.test\.ts:\d+:\d+$/u)
    })

  it("types: mixed, and without a kernel", () => {
    const mixed = caught(() => Ops.add<Float>(f([2]), input("d", "f64", [2])))
    assert.isTrue(mixed.message.startsWith("Add f32 x f64: f32 != f64; cast one"), mixed.message)
    const none = caught(() => Neural.softmax(input("i", "i32", [2]) as Value.Value as Value.Value<"f32">))
    assert.isTrue(none.message.startsWith("Softmax i32: there is no kernel for i32"), none.message)
  })

  it("a graph that uses an input it does not declare, and names that cannot be", () => {
    const [x, y] = [f([2]), f([2])]
    assert.include(
      caught(() => TensorGraph.close("g", { x }, { z: Ops.add(x, y) })).message,
      "without declaring it",
    )
    assert.include(
      caught(() => TensorGraph.close("g", { "a b": x }, { z: Ops.neg(x) })).message,
      "is no name",
    )
    assert.include(
      caught(() => TensorGraph.close("g", { x }, { x: Ops.neg(x) })).message,
      "of an input and of an output",
    )
  })

  it("verify finds a node whose output is not what its operator makes", () => {
    const x = f([2, 3])
    const [wrong] = Value.node("Neg", [x], {}, [{ dtype: "f32", shape: [3, 2] }])
    const graph = TensorGraph.close("g", { x }, { y: wrong! })
    assert.include(
      caught(() => TensorGraph.verify(graph)).message,
      "Neg makes f32 [2,3], its output says f32 [3,2]",
    )
    const [unknown] = Value.node("Einsum", [x], {}, [{ dtype: "f32", shape: [2, 3] }])
    const other = TensorGraph.close("g", { x }, { y: unknown! })
    assert.include(caught(() => Onnx.encode(other)).message, "Einsum: is not in the table of operators")
  })
})

const mlp = () =>
  TensorGraph.make(
    "mlp",
    {
      x: TensorGraph.spec("f32", ["B", 4]),
      w: TensorGraph.spec("f32", [3, 4]),
      b: TensorGraph.spec("f32", [3]),
    },
    ({ b, w, x }) => {
      const y = Neural.softmax(Neural.layerNorm(Ops.gelu(Ops.linear(x, w, b))))
      const loss = Ops.reduceMean(Ops.square(y))
      const [gw, gb] = Gradient.gradients(loss, [w, b])
      return { y, loss, gw: gw!, gb: gb! }
    },
  )

const modelOf = (graph: TensorGraph.TensorGraph) => fromBinary(ModelProtoSchema, Onnx.encode(graph))

describe("emission", () => {
  it("the same graph has the same bytes, whatever was built before it", () => {
    const first = Onnx.model(mlp())
    for (let i = 0; i < 7; i++) Ops.neg(input("x", "f32", [1]))
    assert.strictEqual(Onnx.model(mlp()).digest, first.digest)
  })

  it("and in another process", () => {
    const script = `
      import * as Onnx from ${JSON.stringify(fileURLToPath(new URL("../src/Onnx.ts", import.meta.url)))}
      import * as Ops from ${JSON.stringify(fileURLToPath(new URL("../src/Ops.ts", import.meta.url)))}
      import * as TensorGraph from ${JSON.stringify(fileURLToPath(new URL("../src/TensorGraph.ts", import.meta.url)))}
      console.log(Onnx.model(TensorGraph.make("g", { x: TensorGraph.spec("f32", [2]) }, ({ x }) => ({ y: Ops.mul(Ops.exp(x), 0.1) }))).digest)`
    const { stdout } = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
      encoding: "utf8",
    })
    const here = Onnx.model(
      TensorGraph.make("g", { x: TensorGraph.spec("f32", [2]) }, ({ x }) => ({
        y: Ops.mul(Ops.exp(x), 0.1),
      })),
    )
    assert.strictEqual(stdout.trim(), here.digest)
  })

  it("another constant is another digest", () => {
    const of = (k: number) =>
      Onnx.model(
        TensorGraph.make("g", { x: TensorGraph.spec("f32", [2]) }, ({ x }) => ({ y: Ops.mul(x, k) })),
      ).digest
    assert.notStrictEqual(of(1), of(2))
  })

  it("what no output needs is not written, equal constants and expressions are written once", () => {
    const graph = TensorGraph.make("g", { x: TensorGraph.spec("f32", [2]) }, ({ x }) => {
      Ops.tanh(x)
      return { y: Ops.add(Ops.exp(Ops.mul(x, 2)), Ops.exp(Ops.mul(x, 2))), z: Ops.add(x, 2) }
    })
    const { graph: written } = modelOf(graph)
    assert.deepStrictEqual(
      written!.node.map(({ opType }) => opType),
      ["Mul", "Exp", "Add", "Add"],
    )
    assert.strictEqual(written!.initializer.length, 1)
  })

  it("every written operator is in the table, and opset and format are pinned", () => {
    const model = modelOf(mlp())
    for (const { domain, opType } of model.graph!.node)
      assert.strictEqual(OpSpec.find(opType)?.domain, domain)
    assert.deepStrictEqual(
      model.opsetImport.map(({ domain, version }) => [domain, Number(version)]),
      [
        ["", OpSpec.opset],
        ["com.microsoft", 1],
      ],
    )
  })

  it("outputs that are inputs, constants or the same value twice", async () => {
    const graph = TensorGraph.make("g", { x: TensorGraph.spec("f32", [2]) }, ({ x }) => {
      const y = Ops.neg(x)
      return { a: x, b: y, c: y, d: Ops.constant(Tensor.f32([1], [7])) }
    })
    const found = await runOrt(graph, { x: Reference.elements([2], [1, 2]) })
    assert.deepStrictEqual(
      ["a", "b", "c", "d"].map((name) => [...found[name]!.data]),
      [[1, 2], [-1, -2], [-1, -2], [7]],
    )
  })

  it("without FusedMatMul, the same numbers from ai.onnx alone", async () => {
    const graph = TensorGraph.make(
      "g",
      { a: TensorGraph.spec("f32", [2, 4, 3]), b: TensorGraph.spec("f32", [2, 5, 4]) },
      ({ a, b }) => ({ y: Ops.matmul(a, b, { transposeA: true, transposeB: true, scale: 0.5 }) }),
    )
    const next = randomFrom(2)
    const feeds = { a: random([2, 4, 3], next), b: random([2, 5, 4], next) }
    const plain = fromBinary(ModelProtoSchema, Onnx.encode(graph, { fused: false }))
    assert.isTrue(plain.graph!.node.every(({ domain }) => domain === ""))
    const expected = Reference.evaluate(graph, feeds)["y"]!
    assertClose("fused", (await runOrt(graph, feeds))["y"]!, expected, 1e-6)
    assertClose("plain", (await runOrt(graph, feeds, { fused: false }))["y"]!, expected, 1e-6)
  })
})

describe("symbolic dimensions", () => {
  it("one graph runs with every batch size, gradients included", async () => {
    const graph = mlp()
    assert.deepStrictEqual(graph.outputs.y.shape, ["B", 3])
    assert.deepStrictEqual(graph.outputs.gw.shape, [3, 4])
    for (const batch of [1, 2, 5]) {
      const next = randomFrom(batch)
      const feeds = { x: random([batch, 4], next), w: random([3, 4], next), b: random([3], next) }
      const [found, expected] = [await runOrt(graph, feeds), Reference.evaluate(graph, feeds)]
      for (const name of Object.keys(expected)) assertClose(name, found[name]!, expected[name]!, 1e-5)
    }
  })

  it("products of symbols follow a reshape, and what need not fit is refused", () => {
    const x = input("x", "f32", ["B", 6, 4])
    assert.deepStrictEqual(Ops.reshape(x, [-1, 4]).shape, ["B*6", 4])
    assert.deepStrictEqual(Ops.reshape(Ops.reshape(x, [-1, 4]), [-1, 6, 4]).shape, ["B", 6, 4])
    assert.include(caught(() => Ops.reshape(x, [-1, 5])).message, "B*24 elements do not fill")
  })
})

describe("weights held by the graph", () => {
  const graph = mlp()
  const next = randomFrom(4)
  const feeds = { x: random([2, 4], next), w: random([3, 4], next), b: random([3], next) }
  const w = Tensor.f32([3, 4], feeds.w.data)
  const b = Tensor.f32([3], feeds.b.data)

  it("give the results of weights that are fed, to the last bit of the reference", async () => {
    const bound = Weights.bind(graph, { w, b })
    assert.deepStrictEqual(Object.keys(bound.inputs), ["x"])
    const [found, expected] = [await runOrt(bound, { x: feeds.x }), await runOrt(graph, feeds)]
    for (const name of Object.keys(expected)) assertClose(name, found[name]!, expected[name]!, 1e-6)
    const [held, fed] = [Reference.evaluate(bound, { x: feeds.x }), Reference.evaluate(graph, feeds)]
    for (const name of Object.keys(fed)) assert.deepStrictEqual(held[name]!.data, fed[name]!.data)
  })

  it("are part of the digest", () => {
    const digest = (scale: number) =>
      Onnx.model(
        Weights.bind(graph, {
          b: Tensor.f32(
            [3],
            b.data.map((x) => x * scale),
          ),
        }),
      ).digest
    assert.strictEqual(digest(1), digest(1))
    assert.notStrictEqual(digest(1), digest(2))
  })

  it("have to be what the inputs are", () => {
    assert.include(caught(() => Weights.bind(graph, { w: b })).message, "w is f32 [3,4], not f32 [3]")
    assert.include(
      caught(() => Weights.bind(graph as TensorGraph.TensorGraph, { z: b })).message,
      "z is no input",
    )
  })
})

describe("precision", () => {
  const graph = (precision: Precision.Precision) => Precision.lower(mlp(), precision)
  const next = randomFrom(6)
  const feeds = { x: random([2, 4], next), w: random([3, 4], next), b: random([3], next) }

  it("f16 products run on the CPU, with results within f16's error", async () => {
    const lowered = graph("f16")
    TensorGraph.verify(lowered)
    const casts = TensorGraph.count(lowered)["Cast"] ?? 0
    assert.isAbove(casts, TensorGraph.count(mlp())["Cast"] ?? 0)
    const [found, expected] = [await runOrt(lowered, feeds), Reference.evaluate(mlp(), feeds)]
    for (const name of Object.keys(expected)) assertClose(name, found[name]!, expected[name]!, 3e-3)
    assertClose("as the reference rounds", found["y"]!, Reference.evaluate(lowered, feeds)["y"]!, 2e-3)
  })

  it("bf16 products are written and check; the CPU has no kernels for them", async () => {
    const lowered = graph("bf16")
    TensorGraph.verify(lowered)
    for (const node of TensorGraph.nodes(lowered))
      if (node.op === "Gemm") assert.strictEqual(node.outputs[0]!.dtype, "bf16")
    const failure = await runOrt(lowered, feeds).then(
      () => undefined,
      (cause: unknown) => String(cause),
    )
    assert.match(failure ?? "", /NOT_IMPLEMENTED|implementation/u)
    const expected = Reference.evaluate(mlp(), feeds)
    assertClose("y", Reference.evaluate(lowered, feeds)["y"]!, expected["y"]!, 3e-2)
  })
})
