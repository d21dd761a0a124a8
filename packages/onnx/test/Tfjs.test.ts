import { assert, describe, it } from "@effect/vitest"

import * as Reference from "../src/Reference.ts"
import * as Tfjs from "../src/Tfjs.ts"
import { assertClose, random, randomFrom, runOrt } from "./check.ts"

interface Weight {
  readonly name: string
  readonly shape: ReadonlyArray<number>
  readonly data: ReadonlyArray<number>
}

const next = randomFrom(12)

const weight = (
  name: string,
  shape: ReadonlyArray<number>,
  of: (x: number) => number = (x) => x,
): Weight => ({
  name,
  shape,
  data: [...random(shape, next, of).data],
})

type Layer = readonly [kind: string, name: string, config: object, from: ReadonlyArray<string>]

const modelOf = (channels: number, layers: ReadonlyArray<Layer>, weights: ReadonlyArray<Weight>) => ({
  json: {
    modelTopology: {
      model_config: {
        class_name: "Functional",
        config: {
          layers: [
            {
              class_name: "InputLayer",
              config: { name: "in", batch_input_shape: [null, null, null, channels] },
              inbound_nodes: [],
            },
            ...layers.map(([class_name, name, config, from]) => ({
              class_name,
              config: { name, ...config },
              inbound_nodes: [from.map((each) => [each, 0, 0, {}])],
            })),
          ],
          output_layers: [[layers.at(-1)![1], 0, 0]],
        },
      },
    },
    weightsManifest: [
      { paths: ["a.bin"], weights: weights.map(({ name, shape }) => ({ name, shape, dtype: "float32" })) },
    ],
  },
  bytes: Buffer.from(Float32Array.from(weights.flatMap(({ data }) => data)).buffer),
})

/** An NHWC picture by a function of the place. */
const picture = (
  shape: readonly [number, number, number],
  of: (y: number, x: number, c: number) => number,
) => {
  const [height, width, channels] = shape
  const data: Array<number> = []
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) for (let c = 0; c < channels; c++) data.push(of(y, x, c))
  return Reference.elements([1, ...shape], data)
}

/** A Keras convolution with `same` padding, by its definition: kernel [kH, kW, C, M]. */
const keras = (
  input: Reference.Elements,
  kernel: Weight,
  stride: number,
  bias: ReadonlyArray<number>,
): Reference.Elements => {
  const [, height, width, channels] = input.shape as [number, number, number, number]
  const [kh, kw, , out] = kernel.shape as [number, number, number, number]
  const [rows, columns] = [Math.ceil(height / stride), Math.ceil(width / stride)]
  const top = Math.floor(Math.max((rows - 1) * stride + kh - height, 0) / 2)
  const left = Math.floor(Math.max((columns - 1) * stride + kw - width, 0) / 2)
  return picture([rows, columns, out], (y, x, m) => {
    let sum = bias[m]!
    for (let i = 0; i < kh; i++)
      for (let j = 0; j < kw; j++)
        for (let c = 0; c < channels; c++) {
          const [py, px] = [y * stride + i - top, x * stride + j - left]
          if (py < 0 || px < 0 || py >= height || px >= width) continue
          sum +=
            input.data[(py * width + px) * channels + c]! *
            kernel.data[((i * kw + j) * channels + c) * out + m]!
        }
    return sum
  })
}

const conv = { padding: "same", strides: [1, 1], dilation_rate: [1, 1], use_bias: true, activation: "linear" }

const run = async (
  model: ReturnType<typeof modelOf>,
  input: Reference.Elements,
  also: ReadonlyArray<string> = [],
) => {
  const [, height, width] = input.shape as [number, number, number]
  const graph = Tfjs.fromLayers("model", model.json, model.bytes, { height, width, also })
  const found = await runOrt(graph, { input })
  const expected = Reference.evaluate(graph, { input })
  for (const name of Object.keys(expected)) assertClose(name, found[name]!, expected[name]!, 1e-5)
  return found
}

describe("Tfjs: layers against their definitions", () => {
  for (const stride of [1, 2])
    it(`Conv2D, same padding, stride ${stride}`, async () => {
      const [kernel, bias] = [weight("c/kernel", [3, 2, 2, 3]), weight("c/bias", [3])]
      const model = modelOf(
        2,
        [["Conv2D", "c", { ...conv, strides: [stride, stride] }, ["in"]]],
        [kernel, bias],
      )
      const input = random([1, 5, 6, 2], next)
      assertClose("conv", (await run(model, input))["output"]!, keras(input, kernel, stride, bias.data), 1e-5)
    })

  it("DepthwiseConv2D keeps channels apart", async () => {
    const kernel = weight("d/depthwise_kernel", [3, 3, 2, 1])
    const model = modelOf(2, [["DepthwiseConv2D", "d", { ...conv, use_bias: false }, ["in"]]], [kernel])
    const input = random([1, 4, 4, 2], next)
    const { output } = await run(model, input)
    for (const channel of [0, 1]) {
      const one = picture([4, 4, 1], (y, x) => input.data[(y * 4 + x) * 2 + channel]!)
      const own = { ...kernel, shape: [3, 3, 1, 1], data: kernel.data.filter((_, i) => i % 2 === channel) }
      const expected = keras(one, own, 1, [0])
      expected.data.forEach((value, i) => assert.closeTo(output!.data[i * 2 + channel]!, value, 1e-5))
    }
  })

  it("BatchNormalization, ReLU6, a sum, a concatenation, MultiplyBeta, dropout", async () => {
    const positive = (x: number) => 1 + 0.5 * x
    const weights = [
      weight("b/gamma", [2]),
      weight("b/beta", [2]),
      weight("b/moving_mean", [2]),
      weight("b/moving_variance", [2], positive),
    ]
    const model = modelOf(
      2,
      [
        ["BatchNormalization", "b", { epsilon: 0.01, scale: true, center: true }, ["in"]],
        ["ReLU", "r", { max_value: 0.5 }, ["b"]],
        ["MultiplyBeta", "m", { beta: 0.2 }, ["r"]],
        ["Dropout", "o", { rate: 0.5 }, ["m"]],
        ["Add", "a", {}, ["o", "in"]],
        ["Concatenate", "j", { axis: -1 }, ["a", "in"]],
      ],
      weights,
    )
    const input = random([1, 3, 2, 2], next)
    const [gamma, beta, mean, variance] = weights.map(({ data }) => data) as [
      Array<number>,
      Array<number>,
      Array<number>,
      Array<number>,
    ]
    const expected = picture([3, 2, 4], (y, x, c) => {
      const channel = c % 2
      const value = input.data[(y * 2 + x) * 2 + channel]!
      if (c >= 2) return value
      const normed =
        (gamma[channel]! * (value - mean[channel]!)) / Math.sqrt(variance[channel]! + 0.01) + beta[channel]!
      return 0.2 * Math.min(Math.max(normed, 0), 0.5) + value
    })
    assertClose("all", (await run(model, input))["output"]!, expected, 1e-5)
  })

  it("pooling: padding has no part in the mean", async () => {
    const pool = { pool_size: [2, 2], strides: [2, 2], padding: "same" }
    const model = modelOf(
      1,
      [
        ["MaxPooling2D", "x", pool, ["in"]],
        ["AveragePooling2D", "m", pool, ["in"]],
      ],
      [],
    )
    const input = picture([3, 3, 1], (y, x) => y * 3 + x)
    const { output, x } = await run(model, input, ["x"])
    assert.deepStrictEqual([...x!.data], [4, 5, 7, 8])
    assert.deepStrictEqual([...output!.data], [2, 3.5, 6.5, 8])
  })

  it("upsampling, zero padding and pixel shuffle", async () => {
    const model = modelOf(
      4,
      [
        ["PixelShuffle2x", "p", {}, ["in"]],
        ["UpSampling2D", "u", { size: [1, 2], interpolation: "nearest" }, ["p"]],
        [
          "ZeroPadding2D",
          "z",
          {
            padding: [
              [1, 0],
              [0, 1],
            ],
          },
          ["u"],
        ],
      ],
      [],
    )
    const input = picture([1, 1, 4], (_, __, c) => c + 1)
    const { output, p, u } = await run(model, input, ["p", "u"])
    assert.deepStrictEqual([...p!.data], [1, 2, 3, 4])
    assert.deepStrictEqual([...u!.data], [1, 1, 2, 2, 3, 3, 4, 4])
    assert.deepStrictEqual([...output!.shape], [1, 3, 5, 1])
    assert.deepStrictEqual([...output!.data], [0, 0, 0, 0, 0, 1, 1, 2, 2, 0, 3, 3, 4, 4, 0])
  })

  it("a classifier's end: flatten in the order of the picture, dense, softmax", async () => {
    const [kernel, bias] = [weight("d/kernel", [8, 3]), weight("d/bias", [3])]
    const dense = { use_bias: true, activation: "softmax" }
    const model = modelOf(
      2,
      [
        ["Flatten", "f", {}, ["in"]],
        ["Dense", "d", dense, ["f"]],
      ],
      [kernel, bias],
    )
    const input = random([1, 2, 2, 2], next)
    const logits = bias.data.map((b, k) =>
      input.data.reduce((sum, x, i) => sum + x * kernel.data[i * 3 + k]!, b),
    )
    const total = logits.reduce((sum, x) => sum + Math.exp(x), 0)
    const { output } = await run(model, input)
    output!.data.forEach((value, k) => assert.closeTo(value, Math.exp(logits[k]!) / total, 1e-5))
  })
})

describe("Tfjs: weights and errors", () => {
  const manifest = (weights: ReadonlyArray<object>) => ({ weightsManifest: [{ paths: ["a"], weights }] })

  it("quantised weights are min + scale q, halves are halves", () => {
    const json = manifest([
      { name: "a", shape: [2], dtype: "float32", quantization: { dtype: "uint8", scale: 0.5, min: -1 } },
      { name: "b", shape: [2], dtype: "float32", quantization: { dtype: "uint16", scale: 2, min: 1 } },
      { name: "c", shape: [1], dtype: "float32", quantization: { dtype: "float16" } },
    ])
    const found = Tfjs.weights(json, Uint8Array.of(0, 255, 0, 1, 255, 255, 0x00, 0xc1))
    assert.deepStrictEqual([...found.get("a")!.data], [-1, 126.5])
    assert.deepStrictEqual([...found.get("b")!.data], [513, 131071])
    assert.deepStrictEqual([...found.get("c")!.data], [-2.5])
  })

  it("integers stay integers, and are no weights", () => {
    const json = manifest([
      { name: "a", shape: [1], dtype: "float32" },
      { name: "b", shape: [2], dtype: "int32" },
    ])
    const bytes = new Uint8Array([
      ...new Uint8Array(Float32Array.of(0.5).buffer),
      ...new Uint8Array(Int32Array.of(-1, 2 ** 30).buffer),
    ])
    const found = Tfjs.tensors(json, bytes)
    assert.deepStrictEqual([...found.get("a")!.data], [0.5])
    assert.deepStrictEqual(found.get("b"), { dtype: "i32", shape: [2], data: Int32Array.of(-1, 2 ** 30) })
    assert.throws(() => Tfjs.weights(json, bytes), /weight b is kept as int32/u)
  })

  it("numbers that decide sizes are bounded: shapes, windows, paddings, and what a layer makes", () => {
    const refused = (layers: ReadonlyArray<Layer>, weights: ReadonlyArray<Weight> = []) => {
      const { bytes, json } = modelOf(3, layers, weights)
      assert.throws(
        () => Tfjs.fromLayers("m", json, bytes, { height: 64, width: 64 }),
        /whole numbers|at most/,
      )
    }
    refused([["UpSampling2D", "up", { size: [1e9, 1] }, ["in"]]])
    refused([["UpSampling2D", "up", { size: [4096, 4096] }, ["in"]]])
    refused([
      [
        "ZeroPadding2D",
        "pad",
        {
          padding: [
            [1e9, 0],
            [0, 0],
          ],
        },
        ["in"],
      ],
    ])
    refused([
      [
        "ZeroPadding2D",
        "pad",
        {
          padding: [
            [-1, 0],
            [0, 0],
          ],
        },
        ["in"],
      ],
    ])
    for (const strides of [[0, 1], [-1, 1], [0.5, 1], [1], "2"])
      refused([["MaxPooling2D", "pool", { pool_size: [2, 2], strides, padding: "same" }, ["in"]]])
    const up = (n: number): Layer => [
      "UpSampling2D",
      `up${n}`,
      { size: [64, 64] },
      [n === 0 ? "in" : `up${n - 1}`],
    ]
    refused([up(0), up(1), up(2), up(3)])
    for (const shape of [[-1, 4], [1.5], [Number.NaN], [2 ** 40, 2 ** 40]]) {
      const json = { weightsManifest: [{ paths: [], weights: [{ name: "w", shape, dtype: "float32" }] }] }
      assert.throws(() => Tfjs.tensors(json, new Uint8Array(16)), Tfjs.TfjsInvalid)
    }
    const twice = modelOf(
      3,
      [
        ["ReLU", "a", {}, ["in"]],
        ["ReLU", "a", {}, ["a"]],
      ],
      [],
    )
    assert.throws(() => Tfjs.fromLayers("m", twice.json, twice.bytes, { height: 4, width: 4 }), /one name/)
  })

  it("weights that end early or are left over, layers that are not known, inputs that are not made", () => {
    const one = manifest([{ name: "a", shape: [2], dtype: "float32" }])
    assert.throws(() => Tfjs.weights(one, new Uint8Array(7)), /the weights end inside a/u)
    assert.throws(() => Tfjs.weights(one, new Uint8Array(9)), /1 bytes of weights belong to none/u)
    const size = { height: 2, width: 2 }
    const unknown = modelOf(1, [["Lambda", "l", {}, ["in"]]], [])
    assert.throws(
      () => Tfjs.fromLayers("m", unknown.json, unknown.bytes, size),
      /layer l \(Lambda\): is not supported/u,
    )
    const loose = modelOf(1, [["Activation", "l", { activation: "relu" }, ["later"]]], [])
    assert.throws(
      () => Tfjs.fromLayers("m", loose.json, loose.bytes, size),
      /takes later, which is not made/u,
    )
    for (const broken of [undefined, 3, {}, { weightsManifest: [] }, { weightsManifest: [3] }])
      assert.throws(() => Tfjs.fromLayers("m", broken, new Uint8Array(0), size), Tfjs.TfjsInvalid)
  })
})
