/** What training minimises, against plain numbers: `VaeTraining` and `DiffusionTraining`. */
import { assert, describe, it } from "@effect/vitest"
import * as LearningRate from "@reelgraph/onnx/Schedule"
import * as Ops from "@reelgraph/onnx/Ops"
import * as Reference from "@reelgraph/onnx/Reference"
import * as Tensor from "@reelgraph/onnx/Tensor"
import type * as TensorGraph from "@reelgraph/onnx/TensorGraph"

import type * as Denoiser from "../src/Denoiser.ts"
import * as DiffusionTraining from "../src/DiffusionTraining.ts"
import * as NoiseSchedule from "../src/NoiseSchedule.ts"
import * as Prediction from "../src/Prediction.ts"
import * as VaeTraining from "../src/VaeTraining.ts"
import { noise } from "./fixtures.ts"

const optimizer = { schedule: LearningRate.constant(1e-3) }
const scale = { shape: [1], decays: false, initial: "ones" } as const

const elements = ({ data, shape }: Tensor.Tensor) => Reference.elements(shape, Array.from(data, Number))

const evaluate = (
  graph: TensorGraph.TensorGraph,
  weight: number,
  batch: { readonly [name: string]: Tensor.Tensor },
) => {
  const feeds = Object.entries(batch).map(([name, tensor]) => [`batch/${name}`, elements(tensor)] as const)
  const found = Reference.evaluate(graph, {
    "param/scale": Reference.elements([1], [weight]),
    ...Object.fromEntries(feeds),
  })
  return Object.fromEntries(Object.entries(found).map(([name, { data }]) => [name, data[0]!]))
}

const mean = (values: ReadonlyArray<number>) => values.reduce((a, b) => a + b, 0) / values.length

describe("VaeTraining", () => {
  it("adds squares, absolute values and divergence by their weights", () => {
    const shape = [2, 3, 1, 2, 2]
    const logvar = Math.log(0.25)
    const { evaluate: graph } = VaeTraining.step({
      vae: {
        name: "scaled",
        weightSpecs: { scale },
        encode: (pixels, { scale }) => ({
          mean: Ops.mul(pixels, scale!),
          logvar: Ops.fullLike(pixels, logvar),
        }),
        decode: (z) => z,
      },
      pixels: shape,
      latents: shape,
      optimizer,
      ema: 0.9,
      kl: 0.1,
      absolute: 0.3,
    })
    const batch = { pixels: noise(shape, 1), noise: noise(shape, 2) }
    const found = evaluate(graph, 0.7, batch)
    const means = Array.from(batch.pixels.data, (x) => 0.7 * x)
    const off = means.map((value, i) => value + 0.5 * batch.noise.data[i]! - batch.pixels.data[i]!)
    const mse = mean(off.map((x) => x * x))
    const kl = mean(means.map((m) => (m * m + 0.25 - 1 - logvar) / 2))
    assert.closeTo(found["mse"]!, mse, 1e-6)
    assert.closeTo(found["kl"]!, kl, 1e-6)
    assert.closeTo(found["loss"]!, mse + 0.3 * mean(off.map(Math.abs)) + 0.1 * kl, 1e-6)
  })

  it("measures decibels of values that range over 2", () => {
    assert.closeTo(VaeTraining.psnr(4), 0, 1e-12)
    assert.closeTo(VaeTraining.psnr(0.04), 20, 1e-12)
  })
})

describe("DiffusionTraining", () => {
  const schedules = {
    flow: NoiseSchedule.flow(),
    discrete: NoiseSchedule.discrete({ betas: "linear", betaStart: 1e-4, betaEnd: 0.02 }),
  }
  const sizes = { batch: 2, frames: 1, height: 2, width: 2, tokens: 3 }
  const shape = [2, 2, 1, 2, 2]

  /** Says its input times a weight, plus the timestep and the text. */
  const denoiser: Denoiser.Denoiser = {
    name: "scaled",
    channels: 2,
    textDim: 1,
    weightSpecs: { scale },
    initialize: () => ({ scale: Tensor.f32([1], [1]) }),
    forward: ({ latents, mask, text, timestep }, { scale }) => {
      const spoken = Ops.reduceSum(Ops.mul(Ops.squeeze(text, [2]), mask), { axes: [1] })
      const added = Ops.unsqueeze(Ops.add(Ops.mul(timestep, 1e-3), spoken), [1, 2, 3, 4])
      return Ops.add(Ops.mul(latents, scale!), added)
    },
  }

  for (const [prediction, kind] of [
    ["epsilon", "discrete"],
    ["sample", "discrete"],
    ["v", "discrete"],
    ["flow", "flow"],
  ] as const)
    it(`${prediction}: the loss is the mean square to what a perfect denoiser says`, () => {
      const schedule = schedules[kind]
      const timesteps = Float64Array.of(120, 870)
      const { levels, timestep } = DiffusionTraining.levels(schedule, prediction, timesteps)
      const batch = {
        latents: noise(shape, 1),
        noise: noise(shape, 2),
        text: noise([2, 3, 1], 3),
        mask: Tensor.f32([2, 3], [1, 1, 0, 1, 0, 0]),
        timestep,
        levels,
      }
      const step = DiffusionTraining.step({ denoiser, sizes, optimizer, ema: 0.9 })
      const { loss } = evaluate(step.evaluate, 0.6, batch)
      const squares = [0, 1].flatMap((b) => {
        const level = NoiseSchedule.levelAt(schedule, timesteps[b]!)
        const own = ({ data }: Tensor.Tensor<"f32">) => data.slice(8 * b, 8 * (b + 1))
        const [clean, noised] = [own(batch.latents), own(batch.noise)]
        const input = Prediction.addNoise(clean, noised, level)
        const wanted = Prediction.target(prediction, clean, noised, level)
        const spoken = [0, 1, 2].reduce(
          (sum, l) => sum + batch.text.data[3 * b + l]! * batch.mask.data[3 * b + l]!,
          0,
        )
        return Array.from(input, (x, i) => (0.6 * x + timesteps[b]! / 1000 + spoken - wanted[i]!) ** 2)
      })
      assert.closeTo(loss!, mean(squares), 1e-5)
    })

  it("levels are those of the schedule, one row per sample", () => {
    const { levels, timestep } = DiffusionTraining.levels(
      schedules.flow,
      "flow",
      Float64Array.of(0, 250, 1000),
    )
    assert.deepStrictEqual([...timestep.data], [0, 250, 1000])
    assert.deepStrictEqual([...levels.shape], [3, 4])
    assert.deepStrictEqual([...levels.data], [1, 0, -1, 1, 0.75, 0.25, -1, 1, 0, 1, -1, 1])
  })
})
