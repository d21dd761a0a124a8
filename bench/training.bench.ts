/**
 * Does training grow? Memory of one process over 2,000 steps of a small denoiser, with what belongs to a run: batches
 * drawn, windows, checkpoints. Linux only (/proc).
 */
import { readFileSync } from "node:fs"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"

import { CounterRandom } from "@reelgraph/core"
import { VideoDiT } from "@reelgraph/models"
import { Session } from "@reelgraph/onnx"
import { DenoiserRun, type LatentSet } from "@reelgraph/training"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { temporaryFolder } from "../test/curation.ts"
import type { Bench } from "./main.ts"

const steps = 2000
const shown = [100, 500, 1000, 1500, 2000]
const window = 50

const [channels, tokens, width] = [4, 8, 16]
const sizes: readonly [number, number, number] = [2, 6, 8]
const bucket = sizes.join("x")
const count = 64

const numbers = (what: string, length: number) =>
  CounterRandom.uniforms(CounterRandom.key(1, what, "bench/training"), length).map((u) => 4 * u - 2)

/** Random latents and captions. */
const set: LatentSet.LatentSet = {
  buckets: [{ name: bucket, sizes, count }],
  count,
  vae: "none",
  textEncoder: "none",
  channels,
  tokens,
  width,
  bytes: 0,
  name: (_bucket, index) => String(index),
  captions: () => ["a"],
  caption: () => "a",
  latents: (_bucket, index, out, offset) =>
    out.set(numbers(`latents ${index}`, channels * sizes[0] * sizes[1] * sizes[2]), offset),
  states: (_bucket, index, _which, out, offset) => {
    out.set(numbers(`states ${index}`, tokens * width), offset)
    return tokens
  },
}

const settings = Schema.decodeSync(DenoiserRun.Settings)({
  denoiser: {
    model: "VideoDiT",
    config: VideoDiT.config({
      dim: 32,
      heads: 2,
      layers: 2,
      ffn: 64,
      textDim: width,
      freqDim: 16,
      inChannels: channels,
      outChannels: channels,
      patch: [1, 2, 2],
      crossAttention: false,
      jointText: true,
      textMask: true,
      positions: true,
    }),
  },
  steps,
  batchPlaces: 8 * sizes[0] * sizes[1] * sizes[2],
  tokens,
  window,
  checkpointWindows: 2,
})

interface Sample {
  readonly step: number
  readonly resident: number
  readonly heap: number
  readonly external: number
  /** Milliseconds of CPU since the run began. */
  readonly cpu: number
}

const mebibytes = (bytes: number): number => bytes / 2 ** 20

/** Collects the driver's garbage: buffers that wait for it are up to 64 MiB, V8's limit, and would look like growth. */
const collect = (() => {
  setFlagsFromString("--expose-gc")
  return runInNewContext("gc") as () => void
})()

const sample = (step: number, from: NodeJS.CpuUsage): Sample => {
  collect()
  const status = readFileSync("/proc/self/status", "utf8")
  const { external, heapUsed } = process.memoryUsage()
  const { system, user } = process.cpuUsage(from)
  return {
    step,
    resident: Number(/VmRSS:\s+(\d+)/u.exec(status)![1]) / 1024,
    heap: mebibytes(heapUsed),
    external: mebibytes(external),
    cpu: (system + user) / 1000,
  }
}

/** The line through the points by least squares: what y grows by for each x. */
const slope = (points: ReadonlyArray<readonly [x: number, y: number]>): number => {
  const mean = (at: 0 | 1) => points.reduce((sum, point) => sum + point[at], 0) / points.length
  const [x, y] = [mean(0), mean(1)]
  const both = points.reduce((sum, point) => sum + (point[0] - x) * (point[1] - y), 0)
  return both / points.reduce((sum, point) => sum + (point[0] - x) ** 2, 0)
}

const run = Effect.gen(function* () {
  const folder = yield* temporaryFolder
  const samples: Array<Sample> = []
  const from = process.cpuUsage()
  yield* DenoiserRun.run({
    set,
    vae: "none",
    textEncoder: "none",
    settings,
    key: CounterRandom.key(1, "run", "bench/training"),
    folder,
    onWindow: ({ step }) => Effect.sync(() => void samples.push(sample(step, from))),
  })
  const row = ({ cpu, external, heap, resident, step }: Sample) =>
    `| ${[step, resident.toFixed(0), heap.toFixed(0), external.toFixed(0), (cpu / step).toFixed(1)].join(" | ")} |`
  const growth = (after: number) => {
    const points = samples
      .filter(({ step }) => step >= after)
      .map(({ resident, step }) => [step / 1000, resident] as const)
    return slope(points).toFixed(1)
  }
  return [
    `A transformer of 2 layers, width 32, batch 8 of ${bucket} latents; Muon, averages; a point every ${window} steps, a`,
    `checkpoint every ${2 * window}. Driver and the thread of the model are one process; the driver's garbage is collected before`,
    "each reading. CPU time is from its beginning, opening included.",
    "",
    "| step | resident MiB | JS heap MiB | external MiB | CPU ms a step so far |",
    "|---|---|---|---|---|",
    ...samples.filter(({ step }) => shown.includes(step)).map(row),
    "",
    `Growth of resident memory, least squares over all points: ${growth(100)} MiB per 1,000 steps from step 100 on,`,
    `${growth(1000)} from step 1,000 on.`,
  ].join("\n")
}).pipe(Effect.scoped, Effect.provide(Session.layer()), Effect.orDie)

export const bench: Bench = {
  description: "memory over 2,000 steps of training (1 minute)",
  run,
}
