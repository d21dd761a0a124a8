import { assert, describe, it } from "@effect/vitest"
import * as Half from "@reelgraph/onnx/Half"
import * as Reference from "@reelgraph/onnx/Reference"
import * as Tensor from "@reelgraph/onnx/Tensor"
import * as TensorGraph from "@reelgraph/onnx/TensorGraph"
import type { Value } from "@reelgraph/onnx/Value"
import { Effect } from "effect"

import * as ModelWeights from "../src/ModelWeights.ts"
import * as Rope from "../src/Rope.ts"
import * as VideoDiT from "../src/VideoDiT.ts"
import {
  checkGradients,
  evaluate,
  io,
  maxDifference,
  noise,
  open,
  run,
  scattered,
  tolerance,
} from "./fixtures.ts"

const tiny = VideoDiT.config({
  dim: 24,
  heads: 2,
  layers: 2,
  ffn: 32,
  textDim: 16,
  inChannels: 4,
  outChannels: 4,
})

const tinyWeights = Effect.flatMap(open("wan-tiny-transformer"), (file) =>
  VideoDiT.readWeights(tiny, file),
).pipe(Effect.scoped)

const sizes = { frames: 2, height: 16, width: 16, tokens: 12 }

describe("VideoDiT", () => {
  it("has the weights of Wan2.1-T2V-1.3B: 825, 1,418,996,800 parameters", () => {
    const specs = VideoDiT.weightSpecs(VideoDiT.wan1_3B)
    assert.deepStrictEqual(ModelWeights.count(specs), { keys: 825, parameters: 1_418_996_800 })
    assert.deepStrictEqual(specs["patch_embedding.weight"]!.shape, [1536, 16, 1, 2, 2])
    assert.deepStrictEqual(specs["condition_embedder.time_proj.weight"]!.shape, [9216, 1536])
    assert.deepStrictEqual(specs["blocks.29.ffn.net.2.weight"]!.shape, [1536, 8960])
    assert.deepStrictEqual(specs["proj_out.weight"]!.shape, [64, 1536])
  })

  it("shares a head between time, rows and columns as published", () => {
    assert.deepStrictEqual([...Rope.axes(128)], [44, 42, 42])
    assert.deepStrictEqual([...Rope.axes(12)], [4, 4, 4])
  })

  it.live("turns by the published angles", () =>
    Effect.gen(function* () {
      const tables = Rope.tables(12, [2, 8, 8])
      for (const which of ["cos", "sin"] as const) {
        const published = yield* io(`dit.rope_${which}`)
        // [1, S, 1, D] with every angle twice, ours [S, D/2].
        const own = tables[which]
        const twice = Tensor.f32(
          published.shape,
          Array.from(published.data, (_, i) => own.data[Math.floor(i / 2)]!),
        )
        assert.isAtMost(maxDifference(twice, published), 1e-6)
      }
    }),
  )

  it.live("predicts what the published transformer does", () =>
    run(
      Effect.gen(function* () {
        const weights = yield* tinyWeights
        const feeds = {
          latents: yield* io("dit.hidden_states"),
          timestep: Tensor.f32([1], [0]),
          text: yield* io("dit.encoder_hidden_states"),
        }
        const graph = VideoDiT.graph(tiny, sizes)
        assert.deepStrictEqual([...graph.outputs.prediction.shape], ["B", 4, 2, 16, 16])
        const { prediction } = yield* evaluate(VideoDiT.boundGraph(tiny, sizes, weights), feeds)
        const difference = maxDifference(prediction, yield* io("dit.out.t0"))
        assert.isAtMost(difference, tolerance)
        const fed = yield* evaluate(graph, { ...weights, ...feeds })
        assert.isAtMost(maxDifference(fed.prediction, prediction), 1e-5)
      }),
    ),
  )

  it.live("gives each clip of a batch the prediction of its own timestep", () =>
    run(
      Effect.gen(function* () {
        const weights = yield* tinyWeights
        const latents = yield* io("dit.hidden_states")
        const text = yield* io("dit.encoder_hidden_states")
        const twice = ({ data, shape }: Tensor.Tensor<"f32">) =>
          Tensor.f32([2, ...shape.slice(1)], [...data, ...data])
        const bound = VideoDiT.boundGraph(tiny, sizes, weights)
        const { prediction } = yield* evaluate(bound, {
          latents: twice(latents),
          timestep: Tensor.f32([2], [999, 0]),
          text: twice(text),
        })
        const half = (i: number) =>
          Tensor.f32(
            latents.shape,
            prediction.data.subarray(i * latents.data.length, (i + 1) * latents.data.length),
          )
        const expected = yield* io("dit.out.t0")
        assert.isAtMost(maxDifference(half(1), expected), tolerance)
        assert.isAbove(maxDifference(half(0), expected), 0.01)
      }),
    ),
  )

  it("has GELU by its tangent everywhere, which the outputs hardly show", () => {
    const forms = TensorGraph.nodes(VideoDiT.graph(tiny, sizes)).flatMap(({ attributes, op }) =>
      op === "Gelu" ? [attributes["approximate"]] : [],
    )
    assert.deepStrictEqual(forms, ["tanh", "tanh", "tanh"])
  })

  it("takes an image as a clip of one frame", () => {
    const graph = VideoDiT.graph(tiny, { ...sizes, batch: 1, frames: 1 })
    assert.deepStrictEqual([...graph.outputs.prediction.shape], [1, 4, 1, 16, 16])
    TensorGraph.verify(graph)
  })

  it("refuses latents that the patch does not divide", () => {
    assert.throws(() => VideoDiT.graph(tiny, { ...sizes, height: 15 }), /patches of \[1,2,2\]/)
  })

  it("refuses a configuration whose parts do not fit", () => {
    assert.throws(() => VideoDiT.config({ ...tiny, heads: 24 }), /even multiple of the 24 heads/)
    assert.throws(() => VideoDiT.config({ ...tiny, inputGate: true, outChannels: 8 }), /as many/)
    assert.throws(() => VideoDiT.config({ ...tiny, layers: 0 }), /between 1 and 1024/)
  })
})

describe("VideoDiT weights", () => {
  const failure = (change: (tensors: Record<string, Tensor.Tensor>) => void) =>
    Effect.gen(function* () {
      const tensors: Record<string, Tensor.Tensor> = { ...(yield* tinyWeights) }
      change(tensors)
      const error = yield* Effect.flip(VideoDiT.checkWeights(tiny, tensors))
      assert.strictEqual(error._tag, "WeightsMismatch")
      assert.strictEqual(error.model, "VideoDiT")
      return error
    })

  const cases: {
    readonly [name: string]: {
      readonly change: (tensors: Record<string, Tensor.Tensor>) => void
      readonly mismatch: ModelWeights.Mismatch
    }
  } = {
    "a missing key": {
      change: (tensors) => delete tensors["blocks.1.attn2.norm_k.weight"],
      mismatch: {
        key: "blocks.1.attn2.norm_k.weight",
        reason: "Missing",
        expected: "f32 [24]",
        found: "nothing",
      },
    },
    "an extra key": {
      change: (tensors) => (tensors["blocks.2.norm2.bias"] = Tensor.zeros("f32", [24])),
      mismatch: {
        key: "blocks.2.norm2.bias",
        reason: "Extra",
        expected: "no weight of this name",
        found: "f32 [24]",
      },
    },
    "another shape": {
      change: (tensors) => (tensors["proj_out.weight"] = Tensor.zeros("f32", [24, 16])),
      mismatch: { key: "proj_out.weight", reason: "Shape", expected: "f32 [16,24]", found: "f32 [24,16]" },
    },
    "whole numbers": {
      change: (tensors) => (tensors["proj_out.bias"] = Tensor.zeros("i32", [16])),
      mismatch: { key: "proj_out.bias", reason: "DType", expected: "a floating point type", found: "i32" },
    },
    "what is not a number": {
      change: (tensors) =>
        (tensors["proj_out.bias"] = Tensor.f32(
          [16],
          Array.from({ length: 16 }, (_, i) => (i === 3 ? Number.NaN : 0)),
        )),
      mismatch: {
        key: "proj_out.bias",
        reason: "NotFinite",
        expected: "finite numbers",
        found: "NaN at element 3",
      },
    },
  }
  for (const [name, { change, mismatch }] of Object.entries(cases))
    it.effect(`refuses ${name}`, () =>
      Effect.map(failure(change), (error) => {
        assert.deepStrictEqual(error.mismatches, [mismatch])
        assert.include(
          error.message,
          `${mismatch.key}: expected ${mismatch.expected}, found ${mismatch.found}`,
        )
      }),
    )

  it.effect("lists everything that is wrong", () =>
    Effect.map(
      failure((tensors) => {
        for (const key of Object.keys(tensors)) if (key.startsWith("blocks.1.")) delete tensors[key]
      }),
      (error) => {
        assert.strictEqual(error.mismatches.length, 27)
        assert.include(error.message, "and 19 more")
      },
    ),
  )

  it.effect("checks a file before its data is read", () =>
    Effect.gen(function* () {
      const file = yield* open("wan-tiny-transformer")
      const error = yield* Effect.flip(VideoDiT.readWeights({ ...tiny, layers: 3 }, file))
      assert.strictEqual(error._tag, "WeightsMismatch")
      assert.include(error.message, "blocks.2.scale_shift_table: expected f32 [1,6,24], found nothing")
    }).pipe(Effect.scoped),
  )

  it.effect("reads half precision as float32", () =>
    Effect.gen(function* () {
      const weights = yield* tinyWeights
      const halves = Object.fromEntries(
        Object.entries(weights).map(([key, { data, shape }]) => [
          key,
          Tensor.make("bf16", shape, Half.fromFloat32("bf16", data)),
        ]),
      )
      const read = yield* VideoDiT.checkWeights(tiny, halves)
      for (const [key, { data, dtype }] of Object.entries(read)) {
        assert.strictEqual(dtype, "f32")
        data.forEach((value, i) => {
          const exact = weights[key]!.data[i]!
          assert.isAtMost(Math.abs(value - exact), Math.abs(exact) / 256)
        })
      }
    }),
  )
})

const options = VideoDiT.config({
  dim: 12,
  heads: 2,
  layers: 1,
  ffn: 8,
  textDim: 6,
  freqDim: 8,
  inChannels: 2,
  outChannels: 2,
  jointText: true,
  inputGate: true,
  pooledText: { queries: 2, width: 3 },
  textMask: true,
  activation: "relu2",
})

const shapes = { latents: [2, 2, 2, 2, 4], timestep: [2], text: [2, 3, 6], mask: [2, 3] }

const inputs = {
  latents: noise(shapes.latents, 1),
  timestep: Tensor.f32([2], [0.5, 3]),
  text: noise(shapes.text, 2),
  mask: Tensor.f32(shapes.mask, [1, 1, 0, 1, 1, 1]),
}

const predict =
  (config: VideoDiT.Config) =>
  (values: { readonly [name: string]: Value<"f32"> }, weights: ModelWeights.WeightValues) =>
    VideoDiT.forward(config, values as unknown as VideoDiT.Inputs, weights)

describe("VideoDiT options", () => {
  it("have no weights when they are off", () => {
    const on = Object.keys(VideoDiT.weightSpecs(options))
    const off = Object.keys(
      VideoDiT.weightSpecs(VideoDiT.config({ ...tiny, dim: 12, layers: 1, textDim: 6 })),
    )
    assert.deepStrictEqual(
      on.filter((key) => !off.includes(key) && key.endsWith(".weight")),
      [
        "condition_embedder.text_pool.query.weight",
        "condition_embedder.text_pool.value.weight",
        "condition_embedder.text_pool.out.weight",
        "blocks.0.attn1.add_k_proj.weight",
        "blocks.0.attn1.add_v_proj.weight",
        "blocks.0.attn1.norm_added_k.weight",
        "input_gate.weight",
      ],
    )
    const joint = Object.keys(VideoDiT.weightSpecs({ ...options, crossAttention: false }))
    assert.isFalse(joint.some((key) => key.includes("attn2") || key.includes("norm2")))
  })

  it("padded text has no part in the prediction, and text has", () => {
    const weights = scattered(VideoDiT.weightSpecs(options), 5)
    const graph = VideoDiT.boundGraph(
      options,
      { batch: 2, frames: 2, height: 2, width: 4, tokens: 3 },
      weights,
    )
    const text = noise(shapes.text, 2)
    const elements = ({ data, shape }: Tensor.Tensor<"f32">) => Reference.elements(shape, [...data])
    const predicted = (changed: number) =>
      Reference.evaluate(graph, {
        latents: elements(noise(shapes.latents, 1)),
        timestep: Reference.elements([2], [300, 700]),
        text: elements(
          Tensor.f32(
            shapes.text,
            text.data.map((x, i) => (Math.floor(i / 6) % 3 === changed ? x + 1 : x)),
          ),
        ),
        mask: Reference.elements([2, 3], [1, 1, 0, 1, 1, 0]),
      })["prediction"]!.data
    const base = predicted(-1)
    assert.deepStrictEqual([...predicted(2)], [...base])
    assert.isTrue(predicted(1).some((value, i) => Math.abs(value - base[i]!) > 1e-3))
  })

  it("asks for the mask that textMask declares", () => {
    const latents = TensorGraph.input("latents", "f32", shapes.latents)
    const timestep = TensorGraph.input("timestep", "f32", shapes.timestep)
    const text = TensorGraph.input("text", "f32", shapes.text)
    const weights = Object.fromEntries(
      Object.entries(VideoDiT.weightSpecs(options)).map(([key, { shape }]) => [
        key,
        TensorGraph.input(key, "f32", shape),
      ]),
    )
    assert.throws(
      () => VideoDiT.forward(options, { latents, timestep, text }, weights),
      /needs the input `mask`/,
    )
  })

  it("have the gradients of their finite differences", () => {
    checkGradients(VideoDiT.weightSpecs(options), inputs, predict(options), [
      "patch_embedding.weight",
      "condition_embedder.time_embedder.linear_1.weight",
      "condition_embedder.time_proj.weight",
      "condition_embedder.text_embedder.linear_1.weight",
      "condition_embedder.text_pool.query.weight",
      "condition_embedder.text_pool.out.weight",
      "blocks.0.scale_shift_table",
      "blocks.0.attn1.norm_q.weight",
      "blocks.0.attn1.to_k.weight",
      "blocks.0.attn1.add_k_proj.weight",
      "blocks.0.attn2.to_v.weight",
      "blocks.0.norm2.weight",
      "blocks.0.ffn.net.2.weight",
      "input_gate.weight",
      "proj_out.weight",
    ])
  })

  it("the published structure has the gradients of its finite differences", () => {
    const published = VideoDiT.config({
      dim: 12,
      heads: 2,
      layers: 1,
      ffn: 8,
      textDim: 6,
      freqDim: 8,
      inChannels: 2,
      outChannels: 2,
    })
    const { latents, text, timestep } = inputs
    checkGradients(VideoDiT.weightSpecs(published), { latents, timestep, text }, predict(published), [
      "patch_embedding.weight",
      "blocks.0.attn1.to_q.weight",
      "blocks.0.attn2.to_k.weight",
      "blocks.0.ffn.net.0.proj.weight",
      "scale_shift_table",
    ])
  })
})

describe("initialize", () => {
  it("is the same for the same seed and key, whatever other weights there are", () => {
    const one = VideoDiT.initialize(tiny, 7)
    const again = VideoDiT.initialize({ ...tiny, layers: 1, inputGate: true }, 7)
    const other = VideoDiT.initialize(tiny, 8)
    const key = "blocks.0.attn1.to_q.weight"
    assert.isTrue(Tensor.identical(one[key]!, again[key]!))
    assert.isFalse(Tensor.identical(one[key]!, other[key]!))
    assert.isFalse(Tensor.identical(one[key]!, one["blocks.0.attn1.to_k.weight"]!))
  })

  it("begins as adaLN-zero: the modulation and the output are zero, nothing else", () => {
    const weights = VideoDiT.initialize(tiny, 7)
    const zeros = Object.entries(weights).filter(
      ([key, { data }]) => !key.endsWith(".bias") && data.every((x) => x === 0),
    )
    assert.deepStrictEqual(zeros.map(([key]) => key).toSorted(), [
      "blocks.0.scale_shift_table",
      "blocks.1.scale_shift_table",
      "condition_embedder.time_proj.weight",
      "proj_out.weight",
      "scale_shift_table",
    ])
  })

  it("draws with the deviation it says", () => {
    const { data } = VideoDiT.initialize(tiny, 7)["condition_embedder.time_embedder.linear_1.weight"]!
    const mean = data.reduce((a, b) => a + b, 0) / data.length
    const deviation = Math.sqrt(data.reduce((a, b) => a + (b - mean) ** 2, 0) / data.length)
    assert.closeTo(mean, 0, 0.001)
    assert.closeTo(deviation, 0.02, 0.001)
    const uniform = VideoDiT.initialize(tiny, 7)["blocks.0.ffn.net.2.weight"]!.data
    const limit = Math.sqrt(6 / (24 + 32))
    assert.isAtMost(Math.max(...uniform), limit)
    assert.isAtLeast(Math.min(...uniform), -limit)
    assert.isAbove(Math.max(...uniform) - Math.min(...uniform), 1.9 * limit)
  })
})
