/**
 * The training step of a denoiser: noise is added, the denoiser speaks, and the loss is the mean squared error to what
 * a perfect one would say (Ho et al. 2020, 2006.11239),
 *
 *     x = alpha x0 + sigma n,     loss = mean (denoiser(x, t, text) - (p x0 + q n))^2
 *
 * with p and q of the prediction: noise, v or flow (see `Prediction`). alpha, sigma, p and q come with the batch, one
 * of each per sample, so one graph serves every schedule and every prediction.
 */
import * as Ops from "@reelgraph/onnx/Ops"
import type * as Optimizer from "@reelgraph/onnx/Optimizer"
import * as Tensor from "@reelgraph/onnx/Tensor"
import * as TensorGraph from "@reelgraph/onnx/TensorGraph"
import * as TrainStep from "@reelgraph/onnx/TrainStep"

import * as Denoiser from "./Denoiser.ts"
import * as NoiseSchedule from "./NoiseSchedule.ts"
import * as Prediction from "./Prediction.ts"

export interface Options {
  readonly denoiser: Denoiser.Denoiser
  readonly sizes: Denoiser.Sizes & { readonly batch: number }
  readonly optimizer: Optimizer.AdamW
  /** Which matrices Muon updates instead, by name. @default none */
  readonly muon?: (name: string) => boolean
  /** The decay of the weights' moving average. */
  readonly ema: number
}

/** alpha, sigma, p, q. */
const coefficients = 4

export const step = ({ denoiser, ema, muon = () => false, optimizer, sizes }: Options) => {
  const { latents, ...conditions } = Denoiser.inputSpecs(denoiser, sizes)
  return TrainStep.make({
    name: `${denoiser.name}/training`,
    parameters: TrainStep.withMuon(denoiser.weightSpecs, muon),
    batch: {
      ...conditions,
      latents,
      /** Standard normal. */
      noise: latents,
      /** See {@link levels}. */
      levels: TensorGraph.spec("f32", [sizes.batch, coefficients]),
    },
    loss: (weights, { latents, levels, mask, noise, text, timestep }) => {
      const [alpha, sigma, p, q] = Ops.split(Ops.unsqueeze(levels, [2, 3, 4]), 1, [1, 1, 1, 1])
      const mixed = (ofData: typeof levels, ofNoise: typeof levels) =>
        Ops.add(Ops.mul(latents, ofData), Ops.mul(noise, ofNoise))
      const said = denoiser.forward({ latents: mixed(alpha!, sigma!), timestep, text, mask }, weights)
      return { loss: Ops.meanSquaredError(said, mixed(p!, q!)) }
    },
    optimizer,
    ema,
  })
}

/** `[B]` timesteps and `[B, 4]` of alpha, sigma, p and q at them. */
export const levels = (
  schedule: NoiseSchedule.NoiseSchedule,
  prediction: Prediction.Prediction,
  timesteps: Float64Array,
): { readonly timestep: Tensor.Tensor<"f32">; readonly levels: Tensor.Tensor<"f32"> } => {
  const rows = [...timesteps].flatMap((timestep) => {
    const level = NoiseSchedule.levelAt(schedule, timestep)
    return [level.alpha, level.sigma, ...Prediction.mixture(prediction, level)]
  })
  const count = timesteps.length
  return {
    timestep: Tensor.f32([count], [...timesteps]),
    levels: Tensor.f32([count, coefficients], rows),
  }
}
