/**
 * Imports TensorFlow.js *layers* models (Keras topologies with their weights) as tensor graphs. Pictures are
 * `[N, H, W, C]` at the borders, as such models take them, and `[N, C, H, W]` inside. Batch normalisation becomes
 * a factor and an offset. Layer semantics: keras.io/api/layers; weight formats: the tfjs converter's
 * `weightsManifest`, quantised weights included.
 *
 * *Graph* models (frozen TensorFlow graphs) are another format and are not read.
 */
import * as Schema from "effect/Schema"

import * as Half from "./Half.ts"
import * as Neural from "./Neural.ts"
import * as Ops from "./Ops.ts"
import * as Shape from "./Shape.ts"
import * as Tensor from "./Tensor.ts"
import * as TensorGraph from "./TensorGraph.ts"
import type { Value } from "./Value.ts"

/** The model is no layers model, or is damaged. */
export class TfjsInvalid extends Schema.TaggedError<TfjsInvalid>()("TfjsInvalid", {
  problem: Schema.String,
}) {
  override get message() {
    return `not a TensorFlow.js layers model that can be read: ${this.problem}`
  }
}

/** A layer or an option of one that has no counterpart here. */
export class LayerUnsupported extends Schema.TaggedError<LayerUnsupported>()("LayerUnsupported", {
  layer: Schema.String,
  kind: Schema.String,
  problem: Schema.String,
}) {
  override get message() {
    return `layer ${this.layer} (${this.kind}): ${this.problem}`
  }
}

type F = Value<"f32">
type Json = { readonly [key: string]: unknown }

const invalid = (problem: string): never => {
  throw new TfjsInvalid({ problem })
}

const isJson = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const objectAt = (json: Json, key: string): Json => {
  const value = json[key]
  return isJson(value) ? value : invalid(`${key} is no object`)
}

const listAt = (json: Json, key: string): ReadonlyArray<unknown> => {
  const value = json[key]
  return Array.isArray(value) ? (value as ReadonlyArray<unknown>) : invalid(`${key} is no list`)
}

const textAt = (json: Json, key: string): string => {
  const value = json[key]
  return typeof value === "string" ? value : invalid(`${key} is no text`)
}

/** The paths of the weight files beside a `model.json`, in the order in which they are joined. */
export const weightPaths = (model: unknown): ReadonlyArray<string> =>
  isJson(model)
    ? listAt(model, "weightsManifest").flatMap((group) =>
        isJson(group) ? listAt(group, "paths").map(String) : invalid("weightsManifest has no groups"),
      )
    : invalid("it is no object")

const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

/** A shape: bounds what is read, and what is made. */
const shapeAt = (json: Json, key: string): ReadonlyArray<number> => {
  const value = listAt(json, key)
  return value.every(isSize) ? value : invalid(`${key} is not a list of whole numbers`)
}

/** Steps and sizes of windows are no larger than this along an axis. */
const largestWindow = 4096

/** Numbers of a layer that decide sizes. */
const windowAt = (layer: Layer, key: string, least: number): ReadonlyArray<number> => {
  const value = layer.config[key]
  const isWindow =
    Array.isArray(value) &&
    value.length === 2 &&
    value.every((each) => isSize(each) && each >= least && each <= largestWindow)
  return isWindow
    ? (value as ReadonlyArray<number>)
    : invalid(`${key} of layer ${layer.name} is not two whole numbers from ${least} to ${largestWindow}`)
}

/** Numbers that a layer may make of one picture. */
const mostNumbers = 2 ** 28

const sizes: { readonly [dtype: string]: number } = { float32: 4, int32: 4, uint8: 1, uint16: 2, float16: 2 }

/**
 * All tensors that a manifest names, of graph models too: numbers of any kind as float32, except int32, which stays.
 * `bytes` are the files of {@link weightPaths} one after another. Throws `TfjsInvalid`.
 */
export const tensors = (
  model: unknown,
  bytes: Uint8Array,
): ReadonlyMap<string, Tensor.Tensor<"f32"> | Tensor.Tensor<"i32">> => {
  const found = new Map<string, Tensor.Tensor<"f32"> | Tensor.Tensor<"i32">>()
  if (!isJson(model)) return invalid("it is no object")
  let offset = 0
  for (const entry of listAt(model, "weightsManifest").flatMap((group) =>
    isJson(group) ? listAt(group, "weights") : invalid("weightsManifest has no groups"),
  )) {
    if (!isJson(entry)) return invalid("a weight is not described by an object")
    const [name, shape] = [textAt(entry, "name"), shapeAt(entry, "shape")]
    const { quantization } = entry
    const stored = isJson(quantization) ? textAt(quantization, "dtype") : textAt(entry, "dtype")
    const width = sizes[stored] ?? invalid(`weight ${name} is kept as ${stored}`)
    const count = Shape.size(shape)
    if (!(offset + count * width <= bytes.length)) return invalid(`the weights end inside ${name}`)
    // A new array even of a Buffer, whose `slice` is a view.
    const raw = new Uint8Array(bytes.subarray(offset, offset + count * width)).buffer
    offset += count * width
    found.set(
      name,
      stored === "int32"
        ? Tensor.make("i32", shape, new Int32Array(raw))
        : Tensor.make("f32", shape, widened(stored, raw, quantization)),
    )
  }
  return offset === bytes.length ? found : invalid(`${bytes.length - offset} bytes of weights belong to none`)
}

/** Weights as float32, by name. */
export const weights = (model: unknown, bytes: Uint8Array): ReadonlyMap<string, Tensor.Tensor<"f32">> => {
  const found = new Map<string, Tensor.Tensor<"f32">>()
  for (const [name, tensor] of tensors(model, bytes))
    found.set(name, tensor.dtype === "f32" ? tensor : invalid(`weight ${name} is kept as int32`))
  return found
}

/** Stored numbers as float32; integers are `min + scale q`. */
const widened = (stored: string, raw: ArrayBuffer, quantization: unknown): Float32Array => {
  if (stored === "float32") return new Float32Array(raw)
  if (stored === "float16") return Half.toFloat32("f16", new Uint16Array(raw))
  const { min, scale } = quantization as { readonly min?: unknown; readonly scale?: unknown }
  if (typeof min !== "number" || typeof scale !== "number")
    return invalid("a quantised weight has no scale and min")
  return Float32Array.from(
    stored === "uint8" ? new Uint8Array(raw) : new Uint16Array(raw),
    (q) => q * scale + min,
  )
}

export interface Options {
  readonly height: number
  readonly width: number
  /** A number, or the name of a symbol. @default 1 */
  readonly batch?: number | string
  /** Layers whose outputs come out too, under their names. @default none */
  readonly also?: ReadonlyArray<string>
}

interface Layer {
  readonly name: string
  readonly kind: string
  readonly config: Json
  /** Names of the layers it takes; undefined for what follows the one before. */
  readonly from: ReadonlyArray<string> | undefined
}

const layersOf = (model: unknown): { readonly layers: ReadonlyArray<Layer>; readonly last: string } => {
  if (!isJson(model)) return invalid("it is no object")
  const outer = objectAt(objectAt(model, "modelTopology"), "model_config")
  const { config } = outer
  const list = Array.isArray(config)
    ? (config as ReadonlyArray<unknown>)
    : listAt(objectAt(outer, "config"), "layers")
  const layers = list.map((layer): Layer => {
    if (!isJson(layer)) return invalid("a layer is no object")
    const settings = objectAt(layer, "config")
    const inbound = layer["inbound_nodes"]
    const [node] = Array.isArray(inbound) ? (inbound as ReadonlyArray<unknown>) : []
    return {
      name: textAt(settings, "name"),
      kind: textAt(layer, "class_name"),
      config: settings,
      from:
        inbound === undefined
          ? undefined
          : (Array.isArray(node) ? (node as ReadonlyArray<unknown>) : []).map((each) =>
              Array.isArray(each) && typeof each[0] === "string"
                ? each[0]
                : invalid("a layer does not say which it takes"),
            ),
    }
  })
  // Weights are found by the name of their layer: one that is there often would be there as often in the graph.
  const names = new Set(layers.map(({ name }) => name))
  if (names.size < layers.length) return invalid("several layers have one name")
  const outputs = isJson(config) ? config["output_layers"] : undefined
  const [first] = Array.isArray(outputs) ? (outputs as ReadonlyArray<ReadonlyArray<unknown>>) : []
  const last = first === undefined ? layers.at(-1)?.name : String(first[0])
  return { layers, last: last ?? invalid("it has no layers") }
}

/** The padding of Keras: `same` makes ceil(size / stride) steps, the odd one of it at the end. */
const padding = (
  layer: Layer,
  space: ReadonlyArray<number>,
  kernel: ReadonlyArray<number>,
  stride: ReadonlyArray<number>,
): ReadonlyArray<readonly [number, number]> => {
  const mode = textAt(layer.config, "padding")
  if (mode === "valid") return kernel.map(() => [0, 0])
  return kernel.map((length, i) => {
    const all = Math.max((Math.ceil(space[i]! / stride[i]!) - 1) * stride[i]! + length - space[i]!, 0)
    return [Math.floor(all / 2), Math.ceil(all / 2)]
  })
}

const constant = (tensor: Tensor.Tensor<"f32">): F => Ops.constant(tensor)

/** Makes values of layers, in their order. */
class Importer {
  readonly #weights: ReadonlyMap<string, Tensor.Tensor<"f32">>
  readonly values = new Map<string, F>()

  constructor(all: ReadonlyMap<string, Tensor.Tensor<"f32">>) {
    this.#weights = all
  }

  #weight(layer: Layer, name: string): F {
    const found = this.#weights.get(`${layer.name}/${name}`)
    return constant(found ?? invalid(`there is no weight ${layer.name}/${name}`))
  }

  #refuse(layer: Layer, problem: string): never {
    throw new LayerUnsupported({ layer: layer.name, kind: layer.kind, problem })
  }

  #activation(layer: Layer, x: F): F {
    const kind = layer.config["activation"] ?? "linear"
    switch (kind) {
      case "linear":
        return x
      case "relu":
        return Ops.relu(x)
      case "sigmoid":
        return Ops.sigmoid(x)
      case "tanh":
        return Ops.tanh(x)
      case "softmax":
        return x.shape.length === 2 ? Neural.softmax(x) : Neural.softmax(x, 1)
      default:
        return this.#refuse(layer, `the activation ${JSON.stringify(kind)} is not known`)
    }
  }

  #convolution(layer: Layer, x: F): F {
    const { config } = layer
    const dilation = (config["dilation_rate"] ?? [1, 1]) as ReadonlyArray<number>
    if (dilation.some((rate) => rate !== 1)) this.#refuse(layer, "dilation is not supported")
    const stride = windowAt(layer, "strides", 1)
    const deep = layer.kind === "DepthwiseConv2D"
    // Kernels are [kH, kW, C, M]; depthwise ones make M channels of each of C.
    const kernel = this.#weight(layer, deep ? "depthwise_kernel" : "kernel")
    const [kh, kw, channels, multiplier] = kernel.shape as readonly [number, number, number, number]
    const weight = deep
      ? Ops.reshape(Ops.transpose(kernel, [2, 3, 0, 1]), [channels * multiplier, 1, kh, kw])
      : Ops.transpose(kernel, [3, 2, 0, 1])
    const y = Neural.conv2d(x, weight, {
      stride,
      padding: padding(layer, x.shape.slice(2) as ReadonlyArray<number>, [kh, kw], stride),
      groups: deep ? channels : Number(x.shape[1]) / channels,
      ...(config["use_bias"] === true ? { bias: this.#weight(layer, "bias") } : {}),
    })
    return this.#activation(layer, y)
  }

  /** gamma (x - mean) / sqrt(variance + epsilon) + beta, as one factor and one offset per channel. */
  #normalization(layer: Layer, x: F): F {
    const { config } = layer
    const wide = (value: F): F => (x.shape.length === 4 ? Ops.reshape(value, [-1, 1, 1]) : value)
    const deviation = Ops.rsqrt(
      Ops.add(this.#weight(layer, "moving_variance"), Number(config["epsilon"] ?? 1e-3)),
    )
    const factor = config["scale"] === false ? deviation : Ops.mul(deviation, this.#weight(layer, "gamma"))
    const shift = Ops.neg(Ops.mul(this.#weight(layer, "moving_mean"), factor))
    const offset = config["center"] === false ? shift : Ops.add(shift, this.#weight(layer, "beta"))
    return Ops.add(Ops.mul(x, wide(factor)), wide(offset))
  }

  #pool(layer: Layer, x: F): F {
    const kernel = windowAt(layer, "pool_size", 1)
    const stride = (layer.config["strides"] ?? null) === null ? kernel : windowAt(layer, "strides", 1)
    const space = x.shape.slice(2) as ReadonlyArray<number>
    return Neural.pool(layer.kind === "MaxPooling2D" ? "max" : "mean", x, {
      kernel,
      stride,
      padding: padding(layer, space, kernel, stride),
    })
  }

  /** TensorFlow's order of channels is (r, s, C), where `depthToSpace` has (C, r, s). */
  #pixelShuffle(x: F, by: number): F {
    const [batch, channels, height, width] = x.shape
    const depth = Number(channels) / (by * by)
    const first = typeof batch === "number" ? batch : -1
    const apart = Ops.reshape(x, [first, by, by, depth, Number(height), Number(width)])
    return Ops.reshape(Ops.transpose(apart, [0, 3, 4, 1, 5, 2]), [
      first,
      depth,
      Number(height) * by,
      Number(width) * by,
    ])
  }

  #flatten(x: F): F {
    const last = x.shape.length === 4 ? Ops.transpose(x, [0, 2, 3, 1]) : x
    return Ops.reshape(last, [
      typeof last.shape[0] === "number" ? last.shape[0] : -1,
      Shape.size(last.shape.slice(1) as ReadonlyArray<number>),
    ])
  }

  layer(layer: Layer, inputs: ReadonlyArray<F>): F {
    const { config, kind } = layer
    const x = inputs[0] ?? this.#refuse(layer, "takes nothing")
    const shuffle = /^PixelShuffle([1-9])x$/u.exec(kind)?.[1]
    if (shuffle !== undefined) return this.#pixelShuffle(x, Number(shuffle))
    switch (kind) {
      case "Conv2D":
      case "DepthwiseConv2D":
        return this.#convolution(layer, x)
      case "BatchNormalization":
        return this.#normalization(layer, x)
      case "MaxPooling2D":
      case "AveragePooling2D":
        return this.#pool(layer, x)
      case "GlobalAveragePooling2D":
        return Ops.reduceMean(x, { axes: [2, 3] })
      case "ZeroPadding2D": {
        const [rows, columns] = listAt(config, "padding").map((pair) => {
          const [before, after] = Array.isArray(pair) ? (pair as ReadonlyArray<unknown>) : []
          const isPadding = isSize(before) && isSize(after) && before + after <= largestWindow
          return isPadding
            ? ([before, after] as const)
            : this.#refuse(layer, `its padding is not whole numbers up to ${largestWindow}`)
        })
        if (rows === undefined || columns === undefined) return this.#refuse(layer, "it has no padding")
        return Ops.pad(x, [[0, 0], [0, 0], rows, columns])
      }
      case "UpSampling2D":
        return config["interpolation"] === "bilinear"
          ? this.#refuse(layer, "bilinear upsampling is not supported")
          : Neural.upsampleNearest(x, windowAt(layer, "size", 1))
      case "ReLU":
        return typeof config["max_value"] === "number" ? Ops.clip(x, 0, config["max_value"]) : Ops.relu(x)
      case "Activation":
        return this.#activation(layer, x)
      case "Add":
        return Ops.sum(inputs)
      case "Concatenate":
        return Ops.concat(inputs, 1)
      case "MultiplyBeta":
        return Ops.mul(x, Number(config["beta"]))
      case "Dropout":
        return x
      case "Flatten":
        return this.#flatten(x)
      case "Dense": {
        const bias = config["use_bias"] === true ? this.#weight(layer, "bias") : undefined
        return this.#activation(layer, Ops.gemm(x, this.#weight(layer, "kernel"), bias))
      }
      default:
        return this.#refuse(layer, "is not supported")
    }
  }
}

/**
 * A model's graph: `input` `[N, H, W, C]` to `output` (`[N, H, W, C]` or `[N, K]`), and to the layers named in
 * `also`. `bytes` are the weight files of {@link weightPaths} one after another.
 *
 * Throws `TfjsInvalid`, `LayerUnsupported` or a `GraphError`.
 */
export const fromLayers = (
  name: string,
  model: unknown,
  bytes: Uint8Array,
  { also = [], batch = 1, height, width }: Options,
): TensorGraph.TensorGraph<{ readonly input: F }, { readonly output: F; readonly [name: string]: F }> => {
  const importer = new Importer(weights(model, bytes))
  const { last, layers } = layersOf(model)
  const [first] = layers
  const declared = (first ?? invalid("it has no layers")).config["batch_input_shape"]
  if (!Array.isArray(declared) || typeof declared[3] !== "number")
    return invalid("its first layer does not say how many channels it takes")
  const input = TensorGraph.input("input", "f32", [batch, height, width, declared[3]])
  let before: F = Ops.transpose(input, [0, 3, 1, 2])
  for (const layer of layers) {
    const inputs = layer.from?.map(
      (from) =>
        importer.values.get(from) ??
        invalid(`layer ${layer.name} takes ${from}, which is not made before it`),
    ) ?? [before]
    before = layer.kind === "InputLayer" ? before : importer.layer(layer, inputs)
    const made = before.shape.slice(1).reduce<number>((product, dim) => product * Number(dim), 1)
    if (!(made <= mostNumbers))
      return invalid(
        `layer ${layer.name} makes ${made} numbers of a picture, at most ${mostNumbers} are made`,
      )
    importer.values.set(layer.name, before)
  }
  const outputOf = (layer: string): F => {
    const value = importer.values.get(layer) ?? invalid(`there is no layer ${layer}`)
    return value.shape.length === 4 ? Ops.transpose(value, [0, 2, 3, 1]) : value
  }
  return TensorGraph.close(
    name,
    { input },
    { output: outputOf(last), ...Object.fromEntries(also.map((layer) => [layer, outputOf(layer)])) },
  )
}
