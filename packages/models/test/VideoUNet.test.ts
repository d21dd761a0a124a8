import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

import { assert, describe, it } from "@effect/vitest"
import * as Onnx from "@reelgraph/onnx/Onnx"
import * as Ops from "@reelgraph/onnx/Ops"
import * as Reference from "@reelgraph/onnx/Reference"
import * as Safetensors from "@reelgraph/onnx/Safetensors"
import * as Session from "@reelgraph/onnx/Session"
import * as Tensor from "@reelgraph/onnx/Tensor"
import * as TensorGraph from "@reelgraph/onnx/TensorGraph"
import { Effect } from "effect"

import * as Denoiser from "../src/Denoiser.ts"
import * as ModelFile from "../src/ModelFile.ts"
import * as ModelWeights from "../src/ModelWeights.ts"
import * as VideoUNet from "../src/VideoUNet.ts"
import { evaluate, maxDifference, noise, run, scattered, tolerance } from "./fixtures.ts"

/** As test/oracle/unet/make.py has it. */
const tiny = VideoUNet.config({
  channels: [8, 8, 12],
  attention: [true, true, false],
  layers: 1,
  headDim: 2,
  groups: 4,
  textDim: 6,
  inChannels: 4,
  outChannels: 4,
})

const fixture = Safetensors.open(
  fileURLToPath(new URL("../../../test/oracle/unet/tiny.safetensors", import.meta.url)),
)

const tinyWeights = Effect.gen(function* () {
  const file = yield* fixture
  const tensors: Record<string, Tensor.Tensor> = {}
  for (const key of file.entries.keys()) if (!key.startsWith("io.")) tensors[key] = yield* file.readF32(key)
  return yield* VideoUNet.checkWeights(tiny, tensors)
}).pipe(Effect.scoped)

const io = (key: string) => Effect.flatMap(fixture, (file) => file.readF32(`io.${key}`)).pipe(Effect.scoped)

const sizes = { frames: 3, height: 8, width: 8, tokens: 5 }

describe("VideoUNet", () => {
  it("has the weights of text-to-video-ms-1.7b: 1480, 1,411,233,860 parameters", () => {
    const specs = VideoUNet.weightSpecs(VideoUNet.modelscope1_7B)
    assert.deepStrictEqual(ModelWeights.count(specs), { keys: 1480, parameters: 1_411_233_860 })
    assert.deepStrictEqual(specs["transformer_in.proj_in.weight"]!.shape, [512, 320])
    assert.deepStrictEqual(specs["down_blocks.2.temp_convs.1.conv4.3.weight"]!.shape, [1280, 1280, 3, 1, 1])
    assert.deepStrictEqual(specs["up_blocks.1.resnets.2.conv_shortcut.weight"]!.shape, [1280, 1920, 1, 1])
    assert.deepStrictEqual(
      specs["up_blocks.3.attentions.2.transformer_blocks.0.attn2.to_k.weight"]!.shape,
      [320, 1024],
    )
  })

  it("takes clips of any batch at the published size", () => {
    const published = VideoUNet.denoiser(VideoUNet.modelscope1_7B)
    const specs = Denoiser.inputSpecs(published, { frames: 16, height: 32, width: 40, tokens: 77 })
    const values = (all: typeof specs | ModelWeights.WeightSpecs) =>
      Object.fromEntries(
        Object.entries(all).map(([key, { shape }]) => [key, TensorGraph.input(key, "f32", shape)]),
      )
    const inputs = values(specs) as unknown as Denoiser.Inputs
    const prediction = published.forward(inputs, values(published.weightSpecs))
    assert.deepStrictEqual([...prediction.shape], ["B", 4, 16, 32, 40])
  })

  it.live(
    "predicts what the published U-Net does, early and late",
    () =>
      run(
        Effect.gen(function* () {
          const bound = Denoiser.boundGraph(VideoUNet.denoiser(tiny), sizes, yield* tinyWeights)
          assert.deepStrictEqual([...bound.outputs.prediction.shape], ["B", 4, 3, 8, 8])
          const session = yield* Session.open(Onnx.model(bound), { provider: "cpu" })
          for (const when of ["early", "late"]) {
            const { prediction } = yield* session.run({
              latents: yield* io("latents"),
              timestep: yield* io(`timestep.${when}`),
              text: yield* io("text"),
              mask: Tensor.f32([2, 5], new Float32Array(10)),
            })
            assert.isAtMost(maxDifference(prediction, yield* io(`out.${when}`)), tolerance)
          }
        }),
      ),
    180_000,
  )

  it("says which sizes it can take", () => {
    const at = (height: number, width: number) => () =>
      Denoiser.boundGraph(
        VideoUNet.denoiser(small),
        { ...sizes, height, width },
        VideoUNet.initialize(small, 1),
      )
    assert.strictEqual(VideoUNet.sizeMultiple(small), 2)
    assert.throws(at(5, 8), RangeError, /\[B,2,3,5,8\].* H and W multiples of 2, as 6 x 8/)
    assert.throws(at(4, 0), RangeError, /multiples of 2, as 4 x 2/)
    assert.doesNotThrow(at(2, 6))
  })

  it("refuses a configuration whose parts do not fit", () => {
    assert.throws(() => VideoUNet.config({ ...tiny, attention: [true] }), /one for each of 3 levels/)
    assert.throws(() => VideoUNet.config({ ...tiny, groups: 5 }), /8 channels do not divide into 5 groups/)
    assert.throws(() => VideoUNet.config({ ...tiny, headDim: 3 }), /8 channels do not divide into heads of 3/)
    assert.throws(() => VideoUNet.config({ ...tiny, groups: 1, headDim: 1, channels: [3, 3, 3] }), /even/)
  })

  it.effect("refuses weights of another configuration", () =>
    Effect.gen(function* () {
      const weights = yield* tinyWeights
      const error = yield* Effect.flip(
        VideoUNet.checkWeights({ ...tiny, attention: [true, true, true] }, weights),
      )
      assert.include(
        error.message,
        "down_blocks.2.attentions.0.norm.weight: expected f32 [12], found nothing",
      )
    }),
  )
})

/** Everything there is, as little as possible of it. */
const small = VideoUNet.config({
  channels: [4, 6],
  attention: [true, true],
  layers: 1,
  headDim: 2,
  groups: 2,
  textDim: 3,
  inChannels: 2,
  outChannels: 2,
  textMask: true,
})

const clip = {
  latents: noise([2, 2, 2, 2, 4], 1),
  timestep: Tensor.f32([2], [0.5, 3]),
  text: noise([2, 3, 3], 2),
  mask: Tensor.f32([2, 3], [1, 1, 0, 1, 1, 0]),
}

const image = { ...clip, latents: noise([2, 2, 1, 2, 4], 1) }

const elements = ({ data, shape }: Tensor.Tensor<"f32">) => Reference.elements(shape, [...data])

const graphOf = (frames: number, weights: ModelWeights.WeightTensors) =>
  Denoiser.boundGraph(
    VideoUNet.denoiser(small),
    { batch: 2, frames, height: 2, width: 4, tokens: 3 },
    weights,
  )

const predicted = (graph: TensorGraph.TensorGraph, inputs: typeof clip) =>
  Reference.evaluate(
    graph,
    Object.fromEntries(Object.entries(inputs).map(([key, tensor]) => [key, elements(tensor)])),
  )["prediction"]!

describe("a small VideoUNet", () => {
  const weights = scattered(VideoUNet.weightSpecs(small), 5)

  for (const [what, inputs] of Object.entries({ "a clip": clip, "an image": image }))
    it.live(
      `the runtime predicts for ${what} what the reference evaluator does`,
      () =>
        run(
          Effect.gen(function* () {
            const graph = graphOf(inputs.latents.shape[2]!, weights)
            TensorGraph.verify(graph)
            const { prediction } = yield* evaluate(graph, inputs)
            const exact = predicted(graph, inputs)
            assert.isAtMost(maxDifference(prediction, Tensor.f32(exact.shape, exact.data)), 1e-4)
            assert.isAbove(Math.max(...exact.data.map(Math.abs)), 0.1)
          }),
        ),
      180_000,
    )

  it("padded text has no part in the prediction, and text and other frames have", () => {
    const graph = graphOf(2, weights)
    const changed = (key: "latents" | "text", which: (i: number) => boolean) =>
      predicted(graph, {
        ...clip,
        [key]: Tensor.f32(
          clip[key].shape,
          clip[key].data.map((x, i) => (which(i) ? x + 1 : x)),
        ),
      }).data
    const token = (i: number) => Math.floor(i / 3) % 3
    const frame = (i: number) => Math.floor(i / 8) % 2
    const base = changed("text", () => false)
    const differs = (other: Float64Array, where: (i: number) => boolean) =>
      other.some((value, i) => where(i) && Math.abs(value - base[i]!) > 1e-4)
    assert.deepStrictEqual([...changed("text", (i) => token(i) === 2)], [...base])
    assert.isTrue(
      differs(
        changed("text", (i) => token(i) === 1),
        () => true,
      ),
    )
    assert.isTrue(
      differs(
        changed("latents", (i) => frame(i) === 1),
        (i) => frame(i) === 0,
      ),
    )
  }, 180_000)

  it("asks for the mask that textMask declares", () => {
    const { mask: _, ...inputs } = clip
    const values = Object.fromEntries(
      Object.entries(inputs).map(([key, tensor]) => [key, Ops.constant(tensor)]),
    ) as unknown as VideoUNet.Inputs
    const constants = Object.fromEntries(
      Object.entries(weights).map(([key, tensor]) => [key, Ops.constant(tensor)]),
    )
    assert.throws(() => VideoUNet.forward(small, values, constants), /needs the input `mask`/)
    const plain = { ...small, textMask: false }
    assert.doesNotThrow(() => VideoUNet.forward(plain, values, constants))
  })

  it("begins with what it adds to its own input at zero", () => {
    const zeros = Object.entries(VideoUNet.initialize(small, 7)).flatMap(([key, { data }]) =>
      key.startsWith("down_blocks.0.") && key.endsWith(".weight") && data.every((x) => x === 0) ? [key] : [],
    )
    assert.deepStrictEqual(zeros, [
      "down_blocks.0.resnets.0.conv2.weight",
      "down_blocks.0.temp_convs.0.conv4.3.weight",
      "down_blocks.0.attentions.0.proj_out.weight",
      "down_blocks.0.temp_attentions.0.proj_out.weight",
    ])
  })
})

const directory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "reel-models-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true })),
)

describe("a model file of a VideoUNet", () => {
  it.live("says what it is, and gives its denoiser back", () =>
    Effect.gen(function* () {
      const path = join(yield* directory, "unet.safetensors")
      const spec = {
        kind: "denoiser",
        model: "VideoUNet",
        config: small,
        prediction: "v",
        schedule: { kind: "flow", shift: 3 },
        vae: "0".repeat(64),
        textEncoder: "words",
        tokens: 3,
        latents: [2, 2, 4],
      } as const satisfies ModelFile.Spec
      const weights = VideoUNet.initialize(small, 3)
      yield* ModelFile.write(path, { spec, weights }, "f32")
      const read = yield* ModelFile.read("denoiser", path)
      assert.deepStrictEqual(read.spec, spec)
      assert.deepStrictEqual(Object.keys(read.weights), Object.keys(weights))
      assert.isTrue(Object.keys(weights).every((key) => Tensor.identical(read.weights[key]!, weights[key]!)))
      assert.strictEqual(ModelFile.denoiserOf(read.spec).name, "VideoUNet")
      const error = yield* Effect.flip(ModelFile.read("vae", path))
      assert.strictEqual(error._tag, "ModelFileInvalid")
    }).pipe(Effect.scoped),
  )
})
