import { assert, describe, it } from "@effect/vitest"

import type { Float } from "../src/DType.ts"
import * as Gradient from "../src/Gradient.ts"
import * as Neural from "../src/Neural.ts"
import * as Ops from "../src/Ops.ts"
import * as Reference from "../src/Reference.ts"
import * as TensorGraph from "../src/TensorGraph.ts"
import type { Value } from "../src/Value.ts"
import { assertClose, type Case, check, random, randomFrom, runOrt } from "./check.ts"

type F = Value<Float>

const tables = Neural.ropeTables({ grid: [2, 1, 3], dims: [2, 2, 4], theta: 100 })
const table = (like: F, which: "cos" | "sin", shape: ReadonlyArray<number>) =>
  Ops.cast(Ops.reshape(Ops.constant(tables[which]), shape), like.dtype)

const cases: { readonly [name: string]: Case } = {
  softmax: { shapes: [[2, 5]], build: ([x]) => Neural.softmax(Ops.mul(x!, 3)) },
  "softmax of the middle axis": { shapes: [[2, 5, 3]], build: ([x]) => Neural.softmax(x!, 1) },
  layerNorm: { shapes: [[2, 3, 8]], build: ([x]) => Neural.layerNorm(x!) },
  "layerNorm, scale and bias": {
    shapes: [[2, 3, 8], [8], [8]],
    build: ([x, scale, bias]) => Neural.layerNorm(x!, { scale: scale!, bias: bias! }),
  },
  "layerNorm over two axes, scale": {
    shapes: [
      [2, 3, 4],
      [3, 4],
    ],
    build: ([x, scale]) => Neural.layerNorm(x!, { axes: 2, scale: scale! }),
  },
  rmsNorm: { shapes: [[2, 3, 8], [8]], build: ([x, scale]) => Neural.rmsNorm(x!, { scale: scale! }) },
  "rmsNorm over several axes": { shapes: [[2, 3, 4]], build: ([x]) => Neural.rmsNorm(x!, { axes: [1, 2] }) },
  groupNorm: { shapes: [[2, 6, 3]], build: ([x]) => Neural.groupNorm(Ops.add(x!, 3), { groups: 2 }) },
  "groupNorm over space, scale and bias": {
    shapes: [[2, 4, 2, 3], [4], [4]],
    build: ([x, scale, bias]) => Neural.groupNorm(x!, { groups: 2, scale: scale!, bias: bias! }),
  },
  "l2Norm over channels": { shapes: [[2, 4, 3]], build: ([x]) => Neural.l2Norm(x!, { axes: [1] }) },
  upsampleNearest: { shapes: [[1, 2, 2, 3]], build: ([x]) => Neural.upsampleNearest(Ops.square(x!), [1, 2]) },
  averagePool: { shapes: [[1, 2, 4, 6]], build: ([x]) => Neural.averagePool(Ops.square(x!), [2, 3]) },
  spaceToDepth: { shapes: [[1, 2, 2, 4, 6]], build: ([x]) => Neural.spaceToDepth(Ops.square(x!), [1, 2, 3]) },
  depthToSpace: { shapes: [[1, 12, 2, 3]], build: ([x]) => Neural.depthToSpace(Ops.square(x!), 2) },
  "rope, interleaved, [B,H,S,D]": {
    shapes: [[2, 2, 6, 8]],
    build: ([x]) =>
      Neural.rope(Ops.square(x!), table(x!, "cos", [6, 4]), table(x!, "sin", [6, 4]), { interleaved: true }),
  },
  "rope, halves, [B,S,H,D]": {
    shapes: [[2, 6, 2, 8]],
    build: ([x]) =>
      Neural.rope(Ops.square(x!), table(x!, "cos", [6, 1, 4]), table(x!, "sin", [6, 1, 4]), {
        interleaved: false,
      }),
  },
  "attention with a mask": {
    shapes: [
      [2, 2, 3, 4],
      [2, 2, 5, 4],
      [2, 2, 5, 4],
      [2, 1, 1, 5],
    ],
    build: ([q, k, v, mask]) => Neural.attention(q!, k!, v!, { mask: mask! }),
  },
  "heads apart and together": {
    shapes: [[2, 3, 8]],
    build: ([x]) => Neural.mergeHeads(Ops.square(Neural.splitHeads(x!, 2))),
  },
  "timestep embedding": {
    shapes: [[3]],
    build: ([t]) => Neural.timestepEmbedding(Ops.mul(t!, 5), 8),
    tolerance: 1e-4,
  },
}

/** Convolutions: kernel, stride, padding, groups, on an input whose size leaves a remainder. */
const convolutions: ReadonlyArray<{
  readonly space: ReadonlyArray<number>
  readonly kernel: ReadonlyArray<number>
  readonly stride?: number | ReadonlyArray<number>
  readonly padding?: Neural.Padding
  readonly groups?: number
}> = [
  { space: [5, 4], kernel: [3, 3], padding: 1 },
  { space: [5, 4], kernel: [1, 1] },
  { space: [6, 7], kernel: [3, 3], stride: 2, padding: 1 },
  {
    space: [6, 5],
    kernel: [3, 3],
    stride: 2,
    padding: [
      [0, 1],
      [0, 1],
    ],
  },
  {
    space: [5, 4],
    kernel: [3, 2],
    padding: [
      [2, 1],
      [0, 1],
    ],
    groups: 2,
  },
  { space: [6, 5], kernel: [2, 3], stride: [2, 1], padding: 1, groups: 2 },
  { space: [4, 4], kernel: [1, 1], padding: 2 },
  {
    space: [3, 2, 3],
    kernel: [3, 2, 3],
    padding: [
      [2, 0],
      [0, 1],
      [1, 1],
    ],
  },
  { space: [2, 4, 4], kernel: [1, 2, 2], stride: [1, 2, 2] },
]

describe("Neural: forward against the reference, gradient against finite differences", () => {
  for (const [name, each] of Object.entries(cases)) it(name, () => check(name, each))

  for (const { groups = 1, kernel, padding = 0, space, stride = 1 } of convolutions)
    it(`conv [${space.join()}] by [${kernel.join()}], stride ${JSON.stringify(stride)}, padding ${JSON.stringify(padding)}, groups ${groups}`, () =>
      check("conv", {
        shapes: [[2, 2, ...space], [4, 2 / groups, ...kernel], [4]],
        build: ([x, weight, bias]) => Neural.conv(x!, weight!, { bias: bias!, stride, padding, groups }),
      }))
})

describe("Neural: layouts", () => {
  it("depthToSpace undoes spaceToDepth", async () => {
    const graph = TensorGraph.make(
      "there and back",
      { x: TensorGraph.spec("f32", [2, 3, 4, 6]) },
      ({ x }) => ({
        y: Neural.depthToSpace(Neural.spaceToDepth(x, [2, 3]), [2, 3]),
      }),
    )
    const x = random([2, 3, 4, 6], randomFrom(3))
    assertClose("y", (await runOrt(graph, { x }))["y"]!, x, 0)
  })

  it("spaceToDepth orders channels as pixel_unshuffle", () => {
    const graph = TensorGraph.make("unshuffle", { x: TensorGraph.spec("f32", [1, 2, 2, 2]) }, ({ x }) => ({
      y: Neural.spaceToDepth(x, 2),
    }))
    const y = Reference.evaluate(graph, { x: Reference.elements([1, 2, 2, 2], [0, 1, 2, 3, 4, 5, 6, 7]) })[
      "y"
    ]!
    assert.deepStrictEqual([...y.data], [0, 1, 2, 3, 4, 5, 6, 7])
    assert.deepStrictEqual([...y.shape], [1, 8, 1, 1])
  })

  it("a causal convolution does not see the future", async () => {
    const specs = { x: TensorGraph.spec("f32", [1, 2, 5, 3, 3]), w: TensorGraph.spec("f32", [2, 2, 3, 3, 3]) }
    const graph = TensorGraph.make("causal", specs, ({ w, x }) => ({
      y: Neural.conv3d(x, w, {
        padding: [
          [2, 0],
          [1, 1],
          [1, 1],
        ],
      }),
    }))
    const next = randomFrom(5)
    const [x, w] = [random([1, 2, 5, 3, 3], next), random([2, 2, 3, 3, 3], next)]
    const later = Reference.elements(
      x.shape,
      x.data.map((value, i) => (Math.floor(i / 9) % 5 >= 3 ? value + 1 : value)),
    )
    const [a, b] = [await runOrt(graph, { x, w }), await runOrt(graph, { x: later, w })]
    a["y"]!.data.forEach((value, i) => {
      if (Math.floor(i / 9) % 5 < 3) assert.strictEqual(value, b["y"]!.data[i])
    })
    assert.notDeepEqual(a["y"]!.data, b["y"]!.data)
  })

  it("rope turns by the position: scores depend on distances only", () => {
    const line = Neural.ropeTables({ grid: [6], dims: [8] })
    const graph = TensorGraph.make(
      "scores",
      { q: TensorGraph.spec("f32", [8]), k: TensorGraph.spec("f32", [8]) },
      ({ k, q }) => {
        const everywhere = (x: Value<"f32">) =>
          Neural.rope(
            Ops.expand(Ops.reshape(x, [1, 8]), [6, 8]),
            Ops.constant(line.cos),
            Ops.constant(line.sin),
          )
        return { scores: Ops.matmul(everywhere(q), everywhere(k), { transposeB: true }) }
      },
    )
    const next = randomFrom(9)
    const { scores } = Reference.evaluate(graph, { q: random([8], next), k: random([8], next) })
    for (let i = 0; i + 1 < 6; i++)
      for (let j = 0; j + 1 < 6; j++)
        assert.closeTo(scores!.data[i * 6 + j]!, scores!.data[(i + 1) * 6 + j + 1]!, 1e-6)
  })

  it("timestep embedding: the numbers of diffusers' own test", () => {
    const graph = TensorGraph.make("time", { t: TensorGraph.spec("f32", [128]) }, ({ t }) => ({
      y: Neural.timestepEmbedding(t, 64, { cosFirst: false, shift: 1 }),
    }))
    const { y } = Reference.evaluate(graph, {
      t: Reference.elements(
        [128],
        Array.from({ length: 128 }, (_, i) => i),
      ),
    })
    const expected = [0.9646, 0.9804, 0.9892, 0.9615, 0.9787, 0.9882, 0.9582, 0.9769, 0.9872]
    const found = [23, 24, 25].flatMap((row) => [47, 48, 49].map((column) => y!.data[row * 64 + column]!))
    found.forEach((value, i) => assert.closeTo(value, expected[i]!, 1e-3))
  })
})

describe("Gradient", () => {
  /** A transformer block as in Wan2.1, tiny: modulated self-attention with rope, cross-attention, feed-forward. */
  const block = (inputs: ReadonlyArray<F>) => {
    const [x, text, modulation, q, k, v, o, gain, cq, ck, cv, f1, f2] = inputs as readonly [
      F,
      F,
      F,
      F,
      F,
      F,
      F,
      F,
      F,
      F,
      F,
      F,
      F,
    ]
    const [shift, scale, gate, cshift, cscale, cgate] = Ops.chunk(modulation, 1, 6) as readonly [
      F,
      F,
      F,
      F,
      F,
      F,
    ]
    const modulated = (h: F, by: F, to: F) => Ops.add(Ops.mul(Neural.layerNorm(h), Ops.add(by, 1)), to)
    const heads = (h: F) => Neural.splitHeads(h, 2)
    const turned = (h: F) =>
      Neural.rope(heads(Neural.rmsNorm(h, { scale: gain })), table(h, "cos", [6, 4]), table(h, "sin", [6, 4]))
    const a = modulated(x, scale, shift)
    const self = Neural.attention(turned(Ops.linear(a, q)), turned(Ops.linear(a, k)), heads(Ops.linear(a, v)))
    const h = Ops.add(x, Ops.mul(gate, Ops.linear(Neural.mergeHeads(self), o)))
    const cross = Neural.attention(
      heads(Ops.linear(Neural.layerNorm(h), cq)),
      heads(Ops.linear(text, ck)),
      heads(Ops.linear(text, cv)),
    )
    const c = Ops.add(h, Neural.mergeHeads(cross))
    const inner = Ops.gelu(Ops.linear(modulated(c, cscale, cshift), f1))
    return Ops.add(c, Ops.mul(cgate, Ops.linear(inner, f2)))
  }
  const square = [16, 16]

  it("of a whole transformer block", () =>
    check("transformer block", {
      shapes: [
        [1, 6, 16],
        [1, 3, 16],
        [1, 6, 16],
        square,
        square,
        square,
        square,
        [16],
        square,
        square,
        square,
        [20, 16],
        [16, 20],
      ],
      build: (inputs) => {
        const [modulation] = inputs.slice(2)
        return block(inputs.with(2, Ops.reshape(modulation!, [1, 6, 16])))
      },
      domain: (x) => 0.4 * x,
    }))

  it("of a residual convolution block with down- and upsampling", () =>
    check("convolution block", {
      shapes: [
        [1, 2, 3, 4, 4],
        [2, 1, 1, 1],
        [2, 2, 3, 3, 3],
        [4, 2, 1, 3, 3],
        [2, 4, 3, 1, 1],
      ],
      build: ([x, gain, w1, w2, w3]) => {
        const normed = Ops.mul(Ops.mul(Neural.l2Norm(x!, { axes: [1] }), Math.SQRT2), gain!)
        const first = Neural.conv3d(Ops.silu(normed), w1!, {
          padding: [
            [2, 0],
            [1, 1],
            [1, 1],
          ],
        })
        const down = Neural.conv3d(Ops.add(x!, first), w2!, {
          stride: [1, 2, 2],
          padding: [
            [0, 0],
            [0, 1],
            [0, 1],
          ],
        })
        const up = Neural.upsampleNearest(Ops.silu(down), [1, 2, 2])
        return Ops.add(
          x!,
          Neural.conv3d(up, w3!, {
            padding: [
              [2, 0],
              [0, 0],
              [0, 0],
            ],
          }),
        )
      },
    }))

  it("is zeros for what the loss does not depend on", () => {
    const x = TensorGraph.input("x", "f32", [2, 3])
    const other = TensorGraph.input("other", "f32", [4])
    const [g] = Gradient.gradients(Ops.reduceSum(x), [other])
    const graph = TensorGraph.close("zeros", { x, other }, { g: g! })
    const found = Reference.evaluate(graph, {
      x: random([2, 3], randomFrom(1)),
      other: random([4], randomFrom(2)),
    })
    assert.deepStrictEqual([...found["g"]!.data], [0, 0, 0, 0])
  })

  it("does not pass through detach", () => {
    const x = TensorGraph.input("x", "f32", [2])
    const [g] = Gradient.gradients(Ops.reduceSum(Ops.mul(x, Ops.detach(x))), [x])
    const found = Reference.evaluate(TensorGraph.close("detached", { x }, { g: g! }), {
      x: Reference.elements([2], [3, 5]),
    })
    assert.deepStrictEqual([...found["g"]!.data], [3, 5])
  })

  it("through a checkpoint is the same to the last bit, and computes the body twice", async () => {
    const build = (checkpointed: boolean) =>
      TensorGraph.make(
        "checkpoint",
        { x: TensorGraph.spec("f32", [4, 8]), w: TensorGraph.spec("f32", [8, 8]) },
        ({ w, x }) => {
          const body = ([a, b]: ReadonlyArray<F>) => Ops.tanh(Ops.linear(Ops.gelu(Ops.linear(a!, b!)), b!))
          const y: F = checkpointed ? Gradient.checkpoint<Float>([x, w], body) : body([x, w])
          const [gx, gw] = Gradient.gradients(Ops.reduceSumSquare(y), [x, w])
          return { y, gx: gx!, gw: gw! }
        },
      )
    const next = randomFrom(11)
    const feeds = { x: random([4, 8], next), w: random([8, 8], next) }
    const [plain, twice] = [await runOrt(build(false), feeds), await runOrt(build(true), feeds)]
    for (const name of ["y", "gx", "gw"]) assert.deepStrictEqual(twice[name]!.data, plain[name]!.data)
    assert.isAbove(TensorGraph.count(build(true))["Gemm"]!, TensorGraph.count(build(false))["Gemm"]!)
  })
})
