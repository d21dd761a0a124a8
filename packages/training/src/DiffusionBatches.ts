/**
 * The batches a denoiser is trained on, drawn from latents and captions in memory.
 *
 * Items of one size are a bucket. A step trains on one bucket, chosen by its share; its batch holds about as many
 * tokens whichever it is, so images (clips of one latent frame) come in larger batches than clips. Everything drawn
 * is a function of (key, draw), and a draw is (step, replica), so neither order nor restarts change it.
 */
import * as CounterRandom from "@reelgraph/core/CounterRandom"
import type * as Denoiser from "@reelgraph/models/Denoiser"
import * as DiffusionTraining from "@reelgraph/models/DiffusionTraining"
import * as Gaussian from "@reelgraph/models/Gaussian"
import * as NoiseSchedule from "@reelgraph/models/NoiseSchedule"
import type * as Prediction from "@reelgraph/models/Prediction"
import * as Tensor from "@reelgraph/onnx/Tensor"

import type * as LatentSet from "./LatentSet.ts"

export interface Bucket {
  readonly name: string
  /** Frames, rows and columns of latents. */
  readonly size: readonly [number, number, number]
  readonly batch: number
  /** How often a step is of this bucket, relative to others. */
  readonly share: number
  readonly distribution: NoiseSchedule.Distribution
}

export interface Options {
  readonly set: LatentSet.LatentSet
  readonly denoiser: Pick<Denoiser.Denoiser, "channels" | "textDim">
  readonly tokens: number
  readonly buckets: readonly [Bucket, ...ReadonlyArray<Bucket>]
  readonly schedule: NoiseSchedule.NoiseSchedule
  readonly prediction: Prediction.Prediction
  /** How often a caption is left out, 0 to 1: what guidance compares with. */
  readonly captionDropout: number
  readonly key: CounterRandom.Key
}

/** Streams of one key for the things that are drawn. */
const streams = ["pick", "noise", "time", "bucket"] as const

type Keys = { readonly [S in (typeof streams)[number]]: CounterRandom.Key }

/** Keys of their own, so that no number serves twice. */
const keysOf = ({ k0, k1 }: CounterRandom.Key): Keys =>
  Object.fromEntries(
    streams.map((stream) => [stream, CounterRandom.key(0, `${k0}/${k1}`, `training/${stream}`)]),
  ) as Keys

/** Four words of a draw at a position. */
const wordsOf = (key: CounterRandom.Key, position: number, draw: number): Uint32Array => {
  const words = new Uint32Array(4)
  CounterRandom.block(key, [position, 0, draw >>> 0, Math.floor(draw / 2 ** 32)], words)
  return words
}

const share = (word: number): number => word / 2 ** 32

export interface DiffusionBatches {
  /** The bucket that a draw trains on. */
  readonly bucketOf: (draw: number) => Bucket
  /** A batch of a bucket. Several of one step have parts 0, 1, ... */
  readonly batchOf: (bucket: Bucket, draw: number) => { readonly [name: string]: Tensor.Tensor<"f32"> }
}

export const make = (options: Options): DiffusionBatches => {
  const { buckets, captionDropout, denoiser, prediction, schedule, set, tokens } = options
  const { channels, textDim } = denoiser
  const keys = keysOf(options.key)
  const total = buckets.reduce((sum, bucket) => sum + bucket.share, 0)

  const bucketOf = (draw: number): Bucket => {
    let left = share(wordsOf(keys.bucket, 0, draw)[0]!) * total
    return (
      buckets.find((bucket) => {
        left -= bucket.share
        return left < 0
      }) ?? buckets[0]
    )
  }

  const batchOf = ({ batch, distribution, name, size }: Bucket, draw: number) => {
    const length = channels * size[0] * size[1] * size[2]
    const latents = new Float32Array(batch * length)
    const text = new Float32Array(batch * tokens * textDim)
    const mask = new Float32Array(batch * tokens)
    const { count } = set.buckets.find((bucket) => bucket.name === name)!
    for (let b = 0; b < batch; b++) {
      const [item, which, dropped] = wordsOf(keys.pick, b, draw) as unknown as [number, number, number]
      const index = item % count
      set.latents(name, index, latents, b * length)
      if (share(dropped) < captionDropout) continue
      const caption = which % set.captions(name, index).length
      const states = set.states(name, index, caption, text, b * tokens * textDim)
      mask.fill(1, b * tokens, b * tokens + states)
    }
    const times = NoiseSchedule.trainingTimesteps(schedule, keys.time, batch, { distribution, stream: draw })
    const shape = [batch, channels, ...size]
    return {
      latents: Tensor.make("f32", shape, latents),
      noise: Tensor.make("f32", shape, Gaussian.normals(keys.noise, batch * length, draw)),
      text: Tensor.make("f32", [batch, tokens, textDim], text),
      mask: Tensor.make("f32", [batch, tokens], mask),
      ...DiffusionTraining.levels(schedule, prediction, times),
    }
  }

  return { bucketOf, batchOf }
}
