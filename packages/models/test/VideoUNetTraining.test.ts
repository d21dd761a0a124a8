import { assert, describe, it } from "@effect/vitest"
import * as Schedule from "@reelgraph/onnx/Schedule"
import * as Tensor from "@reelgraph/onnx/Tensor"
import * as Trainer from "@reelgraph/onnx/Trainer"
import { Effect } from "effect"

import * as DiffusionTraining from "../src/DiffusionTraining.ts"
import * as VideoUNet from "../src/VideoUNet.ts"
import { checkGradients, noise, run } from "./fixtures.ts"

const config = VideoUNet.config({
  channels: [4, 6],
  attention: [true, false],
  layers: 1,
  headDim: 2,
  groups: 2,
  textDim: 3,
  inChannels: 2,
  outChannels: 2,
  textMask: true,
})

describe("VideoUNet", () => {
  it("has the gradients of its finite differences", () => {
    const inputs = {
      latents: noise([1, 2, 2, 2, 4], 1),
      timestep: Tensor.f32([1], [3]),
      text: noise([1, 3, 3], 2),
      mask: Tensor.f32([1, 3], [1, 1, 0]),
    }
    checkGradients(
      VideoUNet.weightSpecs(config),
      inputs,
      (values, weights) => VideoUNet.forward(config, values as unknown as VideoUNet.Inputs, weights),
      [
        "conv_in.weight",
        "time_embedding.linear_1.weight",
        "transformer_in.transformer_blocks.0.attn1.to_q.weight",
        "down_blocks.0.resnets.0.norm1.weight",
        "down_blocks.0.resnets.0.time_emb_proj.weight",
        "down_blocks.0.temp_convs.0.conv1.2.weight",
        "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight",
        "down_blocks.0.temp_attentions.0.transformer_blocks.0.ff.net.0.proj.weight",
        "down_blocks.0.downsamplers.0.conv.weight",
        "mid_block.temp_convs.1.conv4.3.weight",
        "up_blocks.0.upsamplers.0.conv.weight",
        "up_blocks.1.resnets.1.conv_shortcut.weight",
        "conv_out.weight",
      ],
    )
  }, 180_000)

  it.live(
    "learns clips and images together, from a loss of the mean square of its target to half of it",
    () =>
      run(
        Effect.gen(function* () {
          // Attention in the middle alone: the time goes into loading the graphs.
          const denoiser = VideoUNet.denoiser({ ...config, attention: [false, false] })
          const stepOf = (frames: number) =>
            DiffusionTraining.step({
              denoiser,
              sizes: { batch: 2, frames, height: 2, width: 4, tokens: 3 },
              optimizer: { schedule: Schedule.constant(0.02), clip: 1 },
              ema: 0.9,
            })
          const trainer = yield* Trainer.make(stepOf(2), { provider: "cpu" }, { image: stepOf(1) })
          yield* trainer.initialize(denoiser.initialize(1))
          const batchOf = (frames: number) => ({
            latents: noise([2, 2, frames, 2, 4], 1),
            noise: noise([2, 2, frames, 2, 4], 3),
            text: noise([2, 3, 3], 2),
            mask: Tensor.f32([2, 3], [1, 1, 0, 1, 1, 1]),
            timestep: Tensor.f32([2], [900, 200]),
            // Flow: x = (1 - s) x0 + s n, and the target n - x0.
            levels: Tensor.f32([2, 4], [0.1, 0.9, -1, 1, 0.8, 0.2, -1, 1]),
          })
          const [clips, images] = [batchOf(2), batchOf(1)]
          const both = Effect.gen(function* () {
            const clip = yield* trainer.step(clips)
            const image = yield* trainer.variant("image").step(images)
            return { clip: clip["loss"]!, image: image["loss"]! }
          })
          const first = yield* both
          const square = clips.latents.data.reduce((sum, x, i) => sum + (clips.noise.data[i]! - x) ** 2, 0)
          assert.closeTo(first.clip, square / clips.latents.data.length, 1e-5)
          for (let i = 0; i < 30; i++) yield* both
          const last = yield* both
          assert.isBelow(last.clip, first.clip / 2)
          assert.isBelow(last.image, first.image / 2)
        }),
      ),
    180_000,
  )
})
