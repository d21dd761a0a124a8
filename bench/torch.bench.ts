/**
 * One training step against PyTorch on the CPU: the same video transformer, from the same weights on the same batch,
 * with the same optimiser, in turns on the same machine. `PYTHON` names the interpreter that has torch and
 * safetensors; python3 by default.
 */
import { spawn } from "node:child_process"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

import { VideoDiT } from "@reelgraph/models"
import {
  Onnx,
  Ops,
  Safetensors,
  Schedule,
  Session,
  Tensor,
  TensorGraph,
  Trainer,
  TrainStep,
} from "@reelgraph/onnx"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"

import { temporaryFolder } from "../test/curation.ts"
import type { Bench } from "./main.ts"

const script = fileURLToPath(new URL("torchStep.py", import.meta.url))

const batchSize = 8
const tokens = 32
const latents = [batchSize, 16, 8, 8, 8]
const grid = [8, 4, 4]
const [rate, decay, clip] = [1e-3, 0.01, 1]

const model = VideoDiT.config({
  dim: 256,
  heads: 4,
  layers: 6,
  ffn: 1024,
  textDim: 512,
  inChannels: 16,
  outChannels: 16,
})

/** What the other side builds its model from. */
const sizes = {
  dim: model.dim,
  heads: model.heads,
  layers: model.layers,
  ffn: model.ffn,
  textDim: model.textDim,
  freqDim: model.freqDim,
  inChannels: model.inChannels,
  outChannels: model.outChannels,
  patch: model.patch,
  eps: model.eps,
  grid,
}

const pairs = 5
const stepsPerBlock = 10
/** What the losses of the first steps may differ by. */
const tolerance = 1e-4

const specs = VideoDiT.weightSpecs(model)

const step = TrainStep.make({
  name: "flow",
  parameters: specs,
  batch: {
    ...VideoDiT.inputSpecs(model, { batch: batchSize, frames: 8, height: 8, width: 8, tokens }),
    target: TensorGraph.spec("f32", latents),
  },
  loss: (weights, { latents, target, text, timestep }) => ({
    loss: Ops.meanSquaredError(VideoDiT.forward(model, { latents, timestep, text }, weights), target),
  }),
  optimizer: { schedule: Schedule.constant(rate), clip, weightDecay: decay },
})

/** Uniform numbers in [-scale, scale), from one seed on. */
const noise = (() => {
  let seed = 1
  const next = () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 31 - 1
  return (shape: ReadonlyArray<number>, scale: number): Tensor.Tensor<"f32"> =>
    Tensor.f32(
      shape,
      Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => next() * scale),
    )
})()

/** New weights with a little noise on all, so that from the first step on a gradient reaches every one. */
const weights = Object.fromEntries(
  Object.entries(VideoDiT.initialize(model, 1)).map(([name, { data, shape }]) => {
    const little = noise(shape, 0.02).data
    return [
      name,
      Tensor.f32(
        shape,
        data.map((x, i) => x + little[i]!),
      ),
    ]
  }),
)

const batch = {
  latents: noise(latents, 1.7),
  timestep: Tensor.f32(
    [batchSize],
    Array.from({ length: batchSize }, (_, i) => 60 + 120 * i),
  ),
  text: noise([batchSize, tokens, model.textDim], 1),
  target: noise(latents, 1.7),
}

/** Some steps: milliseconds in all, and the loss of each. */
interface Block {
  readonly cpu: number
  readonly wall: number
  readonly losses: ReadonlyArray<number>
}

interface Side {
  readonly steps: (count: number) => Effect.Effect<Block>
}

/** PyTorch in a process of its own, or why there is none. */
const torchSide = (python: string, folder: string, threads: number) =>
  Effect.acquireRelease(
    Effect.callback<
      (Side & { readonly version: string; readonly end: () => void }) | { readonly absent: string }
    >((resume) => {
      const decays = Object.entries(specs).flatMap(([name, { decays }]) => (decays ? [name] : []))
      const settings = { threads, rate, clip, decay, decays, model: sizes }
      const child = spawn(python, [script, folder, JSON.stringify(settings)], {
        stdio: ["pipe", "pipe", "pipe"],
      })
      const waiting: Array<(line: string) => void> = []
      let problem = ""
      child.stderr.on("data", (data: Buffer) => void (problem = data.toString()))
      child.on("error", (cause) => resume(Effect.succeed({ absent: cause.message })))
      child.on("close", () =>
        resume(Effect.succeed({ absent: problem.trim().split("\n").at(-1) ?? "it ended" })),
      )
      createInterface(child.stdout).on("line", (line) => waiting.shift()?.(line))
      const line = Effect.callback<string>((resume) => {
        waiting.push((text) => resume(Effect.succeed(text)))
        child.once("close", () => resume(Effect.die(new Error(problem))))
      })
      waiting.push((first) => {
        const { torch } = JSON.parse(first) as { readonly torch: string }
        const steps = (count: number) =>
          Effect.suspend(() => {
            child.stdin.write(`${count}\n`)
            return Effect.map(line, (text) => JSON.parse(text) as Block)
          })
        resume(Effect.succeed({ version: torch, steps, end: () => child.stdin.end() }))
      })
    }),
    (side) => Effect.sync(() => ("absent" in side ? undefined : side.end())),
  )

const ourSide = (threads: number) =>
  Effect.gen(function* () {
    const trainer = yield* Trainer.make(step, { provider: "cpu", threads })
    yield* trainer.initialize(weights)
    const steps = (count: number): Effect.Effect<Block> =>
      Effect.gen(function* () {
        const [from, begun] = [process.cpuUsage(), performance.now()]
        const losses: Array<number> = []
        for (let i = 0; i < count; i++) losses.push((yield* trainer.step(batch))["loss"]!)
        const { system, user } = process.cpuUsage(from)
        return { cpu: (user + system) / 1000, wall: performance.now() - begun, losses }
      }).pipe(Effect.orDie)
    return { steps }
  })

const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  return (sorted[(sorted.length - 1) >> 1]! + sorted[sorted.length >> 1]!) / 2
}

const spread = (values: ReadonlyArray<number>, digits: number): string =>
  `${median(values).toFixed(digits)} (${Math.min(...values).toFixed(digits)}-${Math.max(...values).toFixed(digits)})`

const compare = (python: string, folder: string, threads: number) =>
  Effect.gen(function* () {
    const torch = yield* torchSide(python, folder, threads)
    if ("absent" in torch) return torch
    const ours = yield* ourSide(threads)
    const first = [yield* ours.steps(3), yield* torch.steps(3)] as const
    const differences = first[0].losses.map(
      (loss, i) => Math.abs(loss - first[1].losses[i]!) / first[1].losses[i]!,
    )
    const blocks: Array<readonly [Block, Block]> = []
    for (let pair = 0; pair < pairs; pair++)
      blocks.push([yield* ours.steps(stepsPerBlock), yield* torch.steps(stepsPerBlock)])
    const of = (side: 0 | 1, what: "cpu" | "wall") => blocks.map((block) => block[side][what] / stepsPerBlock)
    const ratios = (what: "cpu" | "wall") => blocks.map(([a, b]) => a[what] / b[what])
    const row = [
      threads,
      spread(of(0, "cpu"), 0),
      spread(of(1, "cpu"), 0),
      `**${median(ratios("cpu")).toFixed(2)}** ${spread(ratios("cpu"), 2).replace(/^\S+ /u, "")}`,
      spread(of(0, "wall"), 0),
      spread(of(1, "wall"), 0),
      spread(ratios("wall"), 2),
      `${Math.max(...differences).toExponential(1)}${Math.max(...differences) <= tolerance ? "" : ": NOT THE SAME"}`,
    ]
    return { version: torch.version, row: `| ${row.join(" | ")} |` }
  }).pipe(Effect.scoped)

const run = Effect.gen(function* () {
  const python = yield* Config.String("PYTHON").pipe(Config.withDefault("python3"))
  const folder = yield* temporaryFolder
  yield* Safetensors.write(join(folder, "weights.safetensors"), { tensors: weights })
  yield* Safetensors.write(join(folder, "batch.safetensors"), { tensors: batch })
  const rows = [yield* compare(python, folder, 1), yield* compare(python, folder, 2)]
  const absent = rows.find((row) => "absent" in row)
  if (absent !== undefined && "absent" in absent)
    return `Not run: ${python} has no PyTorch (${absent.absent}). \`pip install torch safetensors numpy\`, and name the interpreter in PYTHON.`
  const [{ version }] = rows as unknown as readonly [{ readonly version: string }]
  return [
    `A step of a video transformer: 6 layers, width 256, 128 tokens, batch ${batchSize}, ${tokens} text tokens by`,
    `cross attention, AdamW, clipping; ${(Object.values(weights).reduce((sum, { data }) => sum + data.length, 0) / 1e6).toFixed(1)} million parameters, float32.`,
    `Here: one graph of ${TensorGraph.nodes(step.single).length} nodes (${(Onnx.encode(step.single).length / 2 ** 20).toFixed(1)} MiB) on onnxruntime-node. There: PyTorch ${version}, eager, SDPA, fused AdamW,`,
    `not compiled, OMP_WAIT_POLICY=PASSIVE. In turns, ${pairs} blocks of ${stepsPerBlock} steps each after 3; median (least-most) in milliseconds a step, ratio below 1: this is cheaper.`,
    "",
    "| threads | CPU here | CPU PyTorch | CPU ratio | time here | time PyTorch | time ratio | losses of the first steps differ by, relative |",
    "|---|---|---|---|---|---|---|---|",
    ...rows.map((row) => ("row" in row ? row.row : "")),
  ].join("\n")
}).pipe(Effect.scoped, Effect.provide(Session.layer()), Effect.orDie)

export const bench: Bench = {
  description: "one training step against PyTorch, where there is one (4 minutes)",
  run,
}
