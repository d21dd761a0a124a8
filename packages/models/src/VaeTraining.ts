/**
 * The training step of a video autoencoder on clips or crops of them:
 *
 *     loss = mean (y - x)^2 + absolute mean |y - x| + kl KL(q(z|x), N(0, 1))
 *
 * with y decoded of a sample of q, and KL per number of latents (Kingma and Welling 2014, 1312.6114; the weights are
 * of a reconstruction in [-1, 1]). A large `kl` keeps noise of pixels out of latents.
 */
import * as Ops from "@reelgraph/onnx/Ops"
import type * as Optimizer from "@reelgraph/onnx/Optimizer"
import * as TensorGraph from "@reelgraph/onnx/TensorGraph"
import * as TrainStep from "@reelgraph/onnx/TrainStep"

import type { F32 } from "./internal/layers.ts"
import type * as ModelWeights from "./ModelWeights.ts"
import { type Posterior, sample } from "./VideoVae.ts"

/** What a kind of autoencoder has to offer: `ShiftVae` and `VideoVae` with a configuration. */
export interface Autoencoder {
  readonly name: string
  readonly weightSpecs: ModelWeights.WeightSpecs
  readonly encode: (pixels: F32, weights: ModelWeights.WeightValues) => Posterior
  /** Not cut to [-1, 1]. */
  readonly decode: (latents: F32, weights: ModelWeights.WeightValues) => F32
}

export interface Options {
  readonly vae: Autoencoder
  /** `[B, 3, T, H, W]` */
  readonly pixels: ReadonlyArray<number>
  /** `[B, z, t, h, w]`, of the noise. */
  readonly latents: ReadonlyArray<number>
  readonly optimizer: Optimizer.AdamW
  /** Which matrices Muon updates instead, by name. @default none */
  readonly muon?: (name: string) => boolean
  /** The decay of the weights' moving average. */
  readonly ema: number
  /** @default 2e-4 */
  readonly kl?: number
  /** @default 0.05 */
  readonly absolute?: number
}

/** The step; it reports `mse` (of values in [-1, 1]) and `kl` beside the loss. */
export const step = ({
  absolute = 0.05,
  ema,
  kl = 2e-4,
  latents,
  muon = () => false,
  optimizer,
  pixels,
  vae,
}: Options) =>
  TrainStep.make({
    name: `${vae.name}/training`,
    parameters: TrainStep.withMuon(vae.weightSpecs, muon),
    batch: {
      /** In [-1, 1]. */
      pixels: TensorGraph.spec("f32", pixels),
      /** Standard normal. */
      noise: TensorGraph.spec("f32", latents),
    },
    loss: (weights, { noise, pixels }) => {
      const posterior = vae.encode(pixels, weights)
      const difference = Ops.sub(vae.decode(sample(posterior, noise), weights), pixels)
      const mse = Ops.reduceMean(Ops.square(difference))
      const divergence = divergenceOf(posterior)
      const loss = Ops.sum([
        mse,
        Ops.mul(Ops.reduceMean(Ops.abs(difference)), absolute),
        Ops.mul(divergence, kl),
      ])
      return { loss, metrics: { mse, kl: divergence } }
    },
    optimizer,
    ema,
  })

/** KL(q, N(0, 1)) per number: mean of (mean^2 + variance - 1 - log variance) / 2. */
const divergenceOf = ({ logvar, mean }: Posterior): F32 =>
  Ops.mul(Ops.reduceMean(Ops.sub(Ops.add(Ops.square(mean), Ops.exp(logvar)), Ops.add(logvar, 1))), 0.5)

/** Peak signal-to-noise ratio in dB of values that range over 2. */
export const psnr = (mse: number): number => 10 * Math.log10(4 / mse)
