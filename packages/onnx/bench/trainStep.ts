/**
 * CPU time of one training step of a small video DiT: 6 layers, width 256, 128 tokens, batch 8, adaLN-zero, 3-D
 * rotary positions, AdamW with clipping. `node packages/onnx/bench/trainStep.ts [steps]`
 */
import { Effect } from "effect"

import * as Neural from "../src/Neural.ts"
import * as Onnx from "../src/Onnx.ts"
import * as Ops from "../src/Ops.ts"
import * as Schedule from "../src/Schedule.ts"
import * as Session from "../src/Session.ts"
import * as Tensor from "../src/Tensor.ts"
import * as TensorGraph from "../src/TensorGraph.ts"
import * as Trainer from "../src/Trainer.ts"
import * as TrainStep from "../src/TrainStep.ts"
import type { Value } from "../src/Value.ts"

const [layers, width, heads, batch, channels] = [6, 256, 4, 8, 16]
const grid = [8, 4, 4]
const tokens = 128

type F = Value<"f32">

const parameters: Record<string, TrainStep.Parameter> = {
  "patch.weight": { shape: [width, channels] },
  "time.weight": { shape: [width, 64] },
  "out.weight": { shape: [channels, width] },
}
for (let i = 0; i < layers; i++) {
  Object.assign(parameters, {
    [`${i}.modulation`]: { shape: [6 * width, width] },
    [`${i}.qkv`]: { shape: [3 * width, width] },
    [`${i}.o`]: { shape: [width, width] },
    [`${i}.f1`]: { shape: [4 * width, width] },
    [`${i}.f2`]: { shape: [width, 4 * width] },
  })
}

const tables = Neural.ropeTables({ grid, dims: [24, 20, 20] })

const step = TrainStep.make({
  name: "dit",
  parameters,
  batch: {
    x: TensorGraph.spec("f32", [batch, tokens, channels]),
    t: TensorGraph.spec("f32", [batch]),
    target: TensorGraph.spec("f32", [batch, tokens, channels]),
  },
  loss: (p, { t, target, x }) => {
    const of = (name: string): F => p[name]
    const [cos, sin] = [Ops.constant(tables.cos), Ops.constant(tables.sin)]
    const e = Ops.silu(Ops.linear(Neural.timestepEmbedding(t, 64), of("time.weight")))
    const modulated = (h: F, scale: F, shift: F) =>
      Ops.add(Ops.mul(Neural.layerNorm(h), Ops.add(scale, 1)), shift)
    let h: F = Ops.linear(x, of("patch.weight"))
    for (let i = 0; i < layers; i++) {
      const m = Ops.reshape(Ops.linear(e, of(`${i}.modulation`)), [batch, 1, 6 * width])
      const [s1, c1, g1, s2, c2, g2] = Ops.chunk(m, 2, 6) as readonly [F, F, F, F, F, F]
      const [q, k, v] = Ops.chunk(Ops.linear(modulated(h, c1, s1), of(`${i}.qkv`)), 2, 3).map((part) =>
        Neural.splitHeads(part, heads),
      ) as [F, F, F]
      const a = Neural.attention(Neural.rope(q, cos, sin), Neural.rope(k, cos, sin), v)
      h = Ops.add(h, Ops.mul(Ops.linear(Neural.mergeHeads(a), of(`${i}.o`)), g1))
      const f = Ops.linear(Ops.gelu(Ops.linear(modulated(h, c2, s2), of(`${i}.f1`))), of(`${i}.f2`))
      h = Ops.add(h, Ops.mul(f, g2))
    }
    return { loss: Ops.meanSquaredError(Ops.linear(Neural.layerNorm(h), of("out.weight")), target) }
  },
  optimizer: { schedule: Schedule.constant(1e-3), clip: 1 },
})

const noise = (shape: ReadonlyArray<number>, scale: number) => {
  let seed = 1
  const next = () => ((seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 31 - 1) * scale
  return Tensor.f32(shape, Array.from({ length: shape.reduce((a, b) => a * b, 1) }, next))
}

const count = Number(process.argv[2] ?? 8)

await Effect.runPromise(
  Effect.gen(function* () {
    const begun = performance.now()
    const { bytes, graph } = Onnx.model(step.single)
    const built = performance.now()
    const trainer = yield* Trainer.make(step, { provider: "cpu", threads: 1 })
    const opened = performance.now()
    yield* trainer.initialize(
      Object.fromEntries(
        Object.entries(parameters).map(([name, { shape }]) => [name, noise(shape, 1 / Math.sqrt(shape[1]))]),
      ),
    )
    const feeds = {
      x: noise([batch, tokens, channels], 1),
      t: noise([batch], 1000),
      target: noise([batch, tokens, channels], 0.5),
    }
    yield* trainer.step(feeds)
    const losses: Array<number> = []
    const before = process.cpuUsage()
    const from = performance.now()
    for (let i = 0; i < count; i++) losses.push((yield* trainer.step(feeds))["loss"])
    const used = process.cpuUsage(before)
    console.log(`nodes ${TensorGraph.nodes(graph).length}, ${(bytes.length / 1024).toFixed(0)} KiB`)
    console.log(`write ${(built - begun).toFixed(0)} ms, open ${(opened - built).toFixed(0)} ms`)
    console.log(
      `step ${((used.user + used.system) / 1000 / count).toFixed(0)} CPU-ms, ${((performance.now() - from) / count).toFixed(0)} ms; loss ${losses[0].toFixed(4)} to ${losses.at(-1)!.toFixed(4)}`,
    )
  }).pipe(Effect.scoped, Effect.provide(Session.layer())),
)
