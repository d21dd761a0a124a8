/** The autoencoder's two halves: what they are made of, and their layers on a whole clip or a part of one. */
import * as Neural from "@reelgraph/onnx/Neural"
import * as Ops from "@reelgraph/onnx/Ops"

import * as ModelWeights from "../ModelWeights.ts"
import { below, convSpecs, type F32, gain, type Weights } from "./layers.ts"

/** What of a configuration the halves depend on; see `VideoVae.Config`. */
export interface Structure {
  readonly baseDim: number
  readonly zDim: number
  readonly multipliers: ReadonlyArray<number>
  readonly resBlocks: number
  readonly temporalDownsample: ReadonlyArray<boolean>
  readonly pixelChannels: number
}

/** A part of the encoder or decoder, in order. */
type Stage =
  | { readonly _tag: "Residual"; readonly key: string; readonly inputs: number; readonly outputs: number }
  | { readonly _tag: "Attention"; readonly key: string; readonly channels: number }
  | { readonly _tag: "Down"; readonly key: string; readonly channels: number; readonly time: boolean }
  | {
      readonly _tag: "Up"
      readonly key: string
      readonly inputs: number
      readonly outputs: number
      readonly time: boolean
    }

const middle = (channels: number): ReadonlyArray<Stage> => [
  { _tag: "Residual", key: "mid_block.resnets.0", inputs: channels, outputs: channels },
  { _tag: "Attention", key: "mid_block.attentions.0", channels },
  { _tag: "Residual", key: "mid_block.resnets.1", inputs: channels, outputs: channels },
]

export interface Half {
  readonly inputs: number
  /** Channels after the first convolution. */
  readonly first: number
  readonly stages: ReadonlyArray<Stage>
  /** Channels before the last convolution. */
  readonly last: number
  readonly outputs: number
}

export const encoder = ({
  baseDim,
  multipliers,
  pixelChannels,
  resBlocks,
  temporalDownsample,
  zDim,
}: Structure): Half => {
  const stages: Array<Stage> = []
  const next = () => `down_blocks.${stages.length}`
  let channels = baseDim
  multipliers.forEach((multiplier, level) => {
    const outputs = baseDim * multiplier
    for (let i = 0; i < resBlocks; i++) {
      stages.push({ _tag: "Residual", key: next(), inputs: channels, outputs })
      channels = outputs
    }
    if (level < multipliers.length - 1)
      stages.push({ _tag: "Down", key: next(), channels, time: temporalDownsample[level]! })
  })
  return {
    inputs: pixelChannels,
    first: baseDim,
    stages: [...stages, ...middle(channels)],
    last: channels,
    outputs: 2 * zDim,
  }
}

export const decoder = ({
  baseDim,
  multipliers,
  pixelChannels,
  resBlocks,
  temporalDownsample,
  zDim,
}: Structure): Half => {
  const levels = multipliers.toReversed()
  const times = temporalDownsample.toReversed()
  const first = baseDim * levels[0]!
  const stages: Array<Stage> = [...middle(first)]
  let channels = first
  levels.forEach((multiplier, level) => {
    const outputs = baseDim * multiplier
    const key = `up_blocks.${level}`
    for (let i = 0; i <= resBlocks; i++) {
      stages.push({ _tag: "Residual", key: `${key}.resnets.${i}`, inputs: channels, outputs })
      channels = outputs
    }
    if (level < levels.length - 1) {
      const halved = Math.floor(channels / 2)
      stages.push({
        _tag: "Up",
        key: `${key}.upsamplers.0`,
        inputs: channels,
        outputs: halved,
        time: times[level]!,
      })
      channels = halved
    }
  })
  return { inputs: zDim, first, stages, last: channels, outputs: pixelChannels }
}

const stageSpecs = (stage: Stage): ModelWeights.WeightSpecs => {
  switch (stage._tag) {
    case "Residual": {
      const { inputs, outputs } = stage
      return {
        "norm1.gamma": gain([inputs, 1, 1, 1]),
        ...convSpecs("conv1", inputs, outputs, [3, 3, 3]),
        "norm2.gamma": gain([outputs, 1, 1, 1]),
        ...convSpecs("conv2", outputs, outputs, [3, 3, 3]),
        ...(inputs === outputs ? {} : convSpecs("conv_shortcut", inputs, outputs, [1, 1, 1])),
      }
    }
    case "Attention": {
      const { channels } = stage
      return {
        "norm.gamma": gain([channels, 1, 1]),
        ...convSpecs("to_qkv", channels, 3 * channels, [1, 1]),
        ...convSpecs("proj", channels, channels, [1, 1], "zeros"),
      }
    }
    case "Down": {
      const { channels, time } = stage
      return {
        ...convSpecs("resample.1", channels, channels, [3, 3]),
        ...(time ? convSpecs("time_conv", channels, channels, [3, 1, 1]) : {}),
      }
    }
    case "Up": {
      const { inputs, outputs, time } = stage
      return {
        ...convSpecs("resample.1", inputs, outputs, [3, 3]),
        ...(time ? convSpecs("time_conv", inputs, 2 * inputs, [3, 1, 1]) : {}),
      }
    }
  }
}

export const halfSpecs = ({ first, inputs, last, outputs, stages }: Half): ModelWeights.WeightSpecs => ({
  ...convSpecs("conv_in", inputs, first, [3, 3, 3]),
  ...(Object.assign(
    {},
    ...stages.map((stage) => ModelWeights.within(stage.key, stageSpecs(stage))),
  ) as ModelWeights.WeightSpecs),
  "norm_out.gamma": gain([last, 1, 1, 1]),
  ...convSpecs("conv_out", last, outputs, [3, 3, 3]),
})

/**
 * What convolutions over time remember from one part of a clip to the next, by their keys. In the first part there
 * is nothing to remember.
 */
export interface Memory {
  readonly first: boolean
  readonly read: (key: string, frame: F32, frames: number) => F32
  readonly write: (key: string, frames: F32) => void
}

/** Where in the model a layer is: its weights, its path, and the memory when the clip comes in parts. */
export interface Place {
  readonly weights: Weights
  readonly path: string
  readonly memory: Memory | undefined
}

const inside = ({ memory, path, weights }: Place, key: string): Place => ({
  weights: below(weights, key),
  path: `${path}.${key}`,
  memory,
})

// Layers, all on [B, C, T, H, W]

/** As many zeros in front as the first frame has to have frames before it. */
const zerosBefore = (x: F32, frames: number): F32 =>
  Ops.pad(x, [
    [0, 0],
    [0, 0],
    [frames, 0],
    [0, 0],
    [0, 0],
  ])

const lastFrames = (x: F32, count: number): F32 =>
  Ops.slice(x, 2, Number(x.shape[2]) - count, Number(x.shape[2]))

/** A convolution that sees no later frame, and as many pixels around as keep the size. */
export const causalConv = ({ memory, path, weights }: Place, key: string, x: F32): F32 => {
  const weight = weights(`${key}.weight`)
  const [frames, rows, columns] = weight.shape.slice(2).map(Number) as [number, number, number]
  const around = (size: number) => [(size - 1) / 2, (size - 1) / 2] as const
  const space = [around(rows), around(columns)]
  const before = frames - 1
  const options = { bias: weights(`${key}.bias`) }
  if (memory === undefined || before === 0)
    return Neural.conv3d(x, weight, { ...options, padding: [[before, 0], ...space] })
  const name = `${path}.${key}`
  const all = memory.first ? zerosBefore(x, before) : Ops.concat([memory.read(name, x, before), x], 2)
  memory.write(name, lastFrames(all, before))
  return Neural.conv3d(all, weight, { ...options, padding: [[0, 0], ...space] })
}

/** A 2-D convolution of every frame. */
const frameConv = (
  weights: Weights,
  key: string,
  x: F32,
  options: Pick<Neural.Conv<"f32">, "padding" | "stride">,
): F32 =>
  Neural.conv3d(x, Ops.unsqueeze(weights(`${key}.weight`), [2]), { bias: weights(`${key}.bias`), ...options })

/** x / |x| sqrt(C) gamma, over channels. */
const norm = (x: F32, gamma: F32): F32 =>
  Ops.mul(Neural.l2Norm(x, { axes: [1] }), Ops.mul(gamma, Math.sqrt(Number(x.shape[1]))))

const residual = (place: Place, x: F32, shortcut: boolean): F32 => {
  const { weights } = place
  const first = causalConv(place, "conv1", Ops.silu(norm(x, weights("norm1.gamma"))))
  const second = causalConv(place, "conv2", Ops.silu(norm(first, weights("norm2.gamma"))))
  return Ops.add(second, shortcut ? causalConv(place, "conv_shortcut", x) : x)
}

/** One head, each frame by itself: tokens are the `H W` pixels, `[B T, H W, C]`. */
const attention = (weights: Weights, x: F32): F32 => {
  const [batch, channels, frames, rows, columns] = x.shape
  const width = Number(channels)
  const gamma = Ops.unsqueeze(weights("norm.gamma"), [1])
  const pixels = Ops.reshape(Ops.transpose(norm(x, gamma), [0, 2, 3, 4, 1]), [
    -1,
    Number(rows) * Number(columns),
    width,
  ])
  const flat = (key: string) => Ops.reshape(weights(`${key}.weight`), [-1, width])
  const [q, k, v] = Ops.chunk(Ops.linear(pixels, flat("to_qkv"), weights("to_qkv.bias")), 2, 3)
  const attended = Ops.linear(Neural.attention(q!, k!, v!), flat("proj"), weights("proj.bias"))
  const first = typeof batch === "number" ? batch : -1
  const apart = Ops.reshape(attended, [first, Number(frames), Number(rows), Number(columns), width])
  return Ops.add(x, Ops.transpose(apart, [0, 4, 1, 2, 3]))
}

const halve = {
  stride: [1, 2, 2],
  padding: [
    [0, 0],
    [0, 1],
    [0, 1],
  ],
} as const

/** Two frames become one, with stride 2 over all frames from the first on; the first one stays. */
const halved = ({ memory, path, weights }: Place, x: F32): F32 => {
  const convolve = (frames: F32) =>
    Neural.conv3d(frames, weights("time_conv.weight"), { bias: weights("time_conv.bias"), stride: [2, 1, 1] })
  const name = `${path}.time_conv`
  memory?.write(name, lastFrames(x, 1))
  if (memory !== undefined && !memory.first) return convolve(Ops.concat([memory.read(name, x, 1), x], 2))
  return x.shape[2] === 1 ? x : Ops.concat([Ops.slice(x, 2, 0, 1), convolve(x)], 2)
}

const down = (place: Place, x: F32, time: boolean): F32 => {
  const smaller = frameConv(place.weights, "resample.1", x, halve)
  return time ? halved(place, smaller) : smaller
}

/** Every frame becomes two: the two halves of the convolution's channels. */
const pairs = (place: Place, x: F32): F32 => {
  const [batch, channels, frames, rows, columns] = x.shape
  const first = typeof batch === "number" ? batch : -1
  const space = [Number(rows), Number(columns)]
  const both = causalConv(place, "time_conv", x)
  const apart = Ops.reshape(both, [first, 2, Number(channels), Number(frames), ...space])
  const ordered = Ops.transpose(apart, [0, 2, 3, 1, 4, 5])
  return Ops.reshape(ordered, [first, Number(channels), 2 * Number(frames), ...space])
}

/** Every frame but the clip's first becomes two, as if the others were a clip of their own. */
const doubled = (place: Place, x: F32): F32 => {
  const { memory, path } = place
  if (memory !== undefined && !memory.first) return pairs(place, x)
  const frames = Number(x.shape[2])
  if (frames > 1) {
    const others = pairs({ ...place, memory: undefined }, Ops.slice(x, 2, 1, frames))
    return Ops.concat([Ops.slice(x, 2, 0, 1), others], 2)
  }
  memory?.write(`${path}.time_conv`, zerosBefore(Ops.fullLike(x, 0), 1))
  return x
}

const up = (place: Place, x: F32, time: boolean): F32 =>
  frameConv(place.weights, "resample.1", Neural.upsampleNearest(time ? doubled(place, x) : x, [1, 2, 2]), {
    padding: [
      [0, 0],
      [1, 1],
      [1, 1],
    ],
  })

const applyStage = (place: Place, x: F32, stage: Stage): F32 => {
  const own = inside(place, stage.key)
  switch (stage._tag) {
    case "Residual":
      return residual(own, x, stage.inputs !== stage.outputs)
    case "Attention":
      return attention(own.weights, x)
    case "Down":
      return down(own, x, stage.time)
    case "Up":
      return up(own, x, stage.time)
  }
}

const applyHalf = (half: Half, place: Place, x: F32): F32 => {
  const last = half.stages.reduce(
    (value, stage) => applyStage(place, value, stage),
    causalConv(place, "conv_in", x),
  )
  return causalConv(place, "conv_out", Ops.silu(norm(last, place.weights("norm_out.gamma"))))
}

/** Pixels to mean and log variance side by side. */
export const moments = (structure: Structure, weights: Weights, pixels: F32, memory?: Memory): F32 => {
  const place: Place = { weights: below(weights, "encoder"), path: "encoder", memory }
  return causalConv(
    { weights, path: "", memory: undefined },
    "quant_conv",
    applyHalf(encoder(structure), place, pixels),
  )
}

/** Latents to pixels, which may be outside of [-1, 1]. */
export const pixelsOf = (structure: Structure, weights: Weights, latents: F32, memory?: Memory): F32 => {
  const place: Place = { weights: below(weights, "decoder"), path: "decoder", memory }
  return applyHalf(
    decoder(structure),
    place,
    causalConv({ weights, path: "", memory: undefined }, "post_quant_conv", latents),
  )
}
