import { assert, describe, it } from "@effect/vitest"
import * as Tensor from "@reelgraph/onnx/Tensor"
import * as Weights from "@reelgraph/onnx/Weights"
import { Effect } from "effect"

import * as ModelWeights from "../src/ModelWeights.ts"
import * as Rope from "../src/Rope.ts"
import * as VideoDiT from "../src/VideoDiT.ts"
import { evaluate, io, maxDifference, open, run, tolerance } from "./fixtures.ts"

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
        const bound = Weights.bind(graph, weights)
        const { prediction } = yield* evaluate(bound, feeds)
        const difference = maxDifference(prediction, yield* io("dit.out.t0"))
        assert.isAtMost(difference, tolerance)
        const fed = yield* evaluate(graph, { ...weights, ...feeds })
        assert.isAtMost(maxDifference(fed.prediction, prediction), 1e-5)
      }),
    ),
  )
})
