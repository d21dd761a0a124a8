import { assert, describe, it, vi } from "@effect/vitest"
import * as Ops from "@reelgraph/onnx/Ops"
import * as Reference from "@reelgraph/onnx/Reference"
import * as Schedule from "@reelgraph/onnx/Schedule"
import * as Tensor from "@reelgraph/onnx/Tensor"
import * as TensorGraph from "@reelgraph/onnx/TensorGraph"
import * as Trainer from "@reelgraph/onnx/Trainer"
import * as TrainStep from "@reelgraph/onnx/TrainStep"
import { Effect } from "effect"

import * as VideoDiT from "../src/VideoDiT.ts"
import * as VideoVae from "../src/VideoVae.ts"
import { evaluate, maxDifference, noise, run, scattered } from "./fixtures.ts"

const config = VideoDiT.config({
  dim: 12,
  heads: 2,
  layers: 2,
  ffn: 24,
  textDim: 6,
  freqDim: 8,
  inChannels: 2,
  outChannels: 2,
  patch: [1, 2, 2],
  crossAttention: false,
  jointText: true,
  inputGate: true,
  pooledText: { queries: 2, width: 3 },
  activation: "relu2",
})

const latents = [2, 2, 2, 4, 4]

const optimizer = { schedule: Schedule.constant(0.02), clip: 1 }

// Nothing waits for it: what opens models is slow where others work too.
vi.setConfig({ testTimeout: 60_000 })

describe("training", () => {
  it.live("a transformer begins with the mean square of its target as loss, and learns", () =>
    run(
      Effect.gen(function* () {
        const step = TrainStep.make({
          name: "flow",
          parameters: VideoDiT.weightSpecs(config),
          batch: {
            ...VideoDiT.inputSpecs(config, { batch: 2, frames: 2, height: 4, width: 4, tokens: 3 }),
            target: TensorGraph.spec("f32", latents),
          },
          loss: (weights, { latents, target, text, timestep }) => ({
            loss: Ops.meanSquaredError(
              VideoDiT.forward(config, { latents, timestep, text }, weights),
              target,
            ),
          }),
          optimizer,
        })
        const trainer = yield* Trainer.make(step, { provider: "cpu", evaluate: true })
        yield* trainer.initialize(VideoDiT.initialize(config, 1))
        const batch = {
          latents: noise(latents, 1),
          timestep: Tensor.f32([2], [900, 200]),
          text: noise([2, 3, 6], 2),
          target: noise(latents, 3),
        }
        const { loss: first } = yield* trainer.evaluate(batch)
        const square = batch.target.data.reduce((sum, x) => sum + x * x, 0) / batch.target.data.length
        assert.closeTo(first!, square, 1e-6)
        for (let i = 0; i < 60; i++) yield* trainer.step(batch)
        const { loss: last } = yield* trainer.evaluate(batch)
        assert.isBelow(last!, first! / 2)
      }),
    ),
  )

  it.live("an autoencoder learns to reconstruct", () =>
    run(
      Effect.gen(function* () {
        const vae = VideoVae.config({
          baseDim: 4,
          zDim: 4,
          multipliers: [1, 2],
          resBlocks: 1,
          temporalDownsample: [true],
          latentsMean: [0, 0, 0, 0],
          latentsStd: [1, 1, 1, 1],
        })
        const step = TrainStep.make({
          name: "autoencoder",
          parameters: VideoVae.weightSpecs(vae),
          batch: { pixels: TensorGraph.spec("f32", [1, 3, 3, 4, 4]) },
          loss: (weights, { pixels }) => {
            const { mean } = VideoVae.encode(vae, pixels, weights)
            const decoded = VideoVae.decode(vae, mean, weights, { clamp: false })
            return { loss: Ops.meanSquaredError(decoded, pixels) }
          },
          optimizer: { ...optimizer, schedule: Schedule.constant(0.005) },
        })
        const trainer = yield* Trainer.make(step, { provider: "cpu", evaluate: true })
        yield* trainer.initialize(VideoVae.initialize(vae, 1))
        const batch = { pixels: noise([1, 3, 3, 4, 4], 4) }
        const { loss: first } = yield* trainer.evaluate(batch)
        for (let i = 0; i < 60; i++) yield* trainer.step(batch)
        const { loss: last } = yield* trainer.evaluate(batch)
        assert.isBelow(last!, first! / 2)
      }),
    ),
  )

  it.live("the runtime predicts for an image, with every option, what the reference evaluator does", () =>
    run(
      Effect.gen(function* () {
        const masked = VideoDiT.config({ ...config, crossAttention: true, textMask: true })
        const weights = scattered(VideoDiT.weightSpecs(masked), 3)
        const graph = VideoDiT.boundGraph(masked, { frames: 1, height: 4, width: 4, tokens: 3 }, weights)
        const feeds = {
          latents: noise([2, 2, 1, 4, 4], 1),
          timestep: Tensor.f32([2], [3, 0.5]),
          text: noise([2, 3, 6], 2),
          mask: Tensor.f32([2, 3], [1, 1, 0, 1, 0, 0]),
        }
        const { prediction } = yield* evaluate(graph, feeds)
        const exact = Reference.evaluate(
          VideoDiT.boundGraph(masked, { batch: 2, frames: 1, height: 4, width: 4, tokens: 3 }, weights),
          Object.fromEntries(
            Object.entries(feeds).map(([key, { data, shape }]) => [
              key,
              Reference.elements(shape, [...data]),
            ]),
          ),
        )["prediction"]
        assert.isAtMost(maxDifference(prediction, Tensor.f32(exact!.shape, exact!.data)), 1e-4)
      }),
    ),
  )
})
