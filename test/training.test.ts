/**
 * Training by real processes: an autoencoder, then a denoiser of its latents; one that is killed ends with the same
 * bytes as one that nobody disturbed.
 */
import { spawn } from "node:child_process"
import { copyFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

import { assert, it } from "@effect/vitest"
import * as ModelFile from "@reelgraph/models/ModelFile"
import * as VideoDiT from "@reelgraph/models/VideoDiT"
import * as Effect from "effect/Effect"

import { temporaryFolder } from "./curation.ts"

const bin = fileURLToPath(new URL("../packages/cli/src/bin.ts", import.meta.url))

interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs `reel` as the head of a process group, and kills the group as soon as `isTime`. */
const reel = (args: ReadonlyArray<string>, isTime?: () => boolean): Effect.Effect<Ended> =>
  Effect.callback((resume) => {
    const child = spawn(process.execPath, [bin, ...args], {
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
    })
    const text = { stdout: "", stderr: "" }
    child.stdout.on("data", (data: Buffer) => void (text.stdout += data.toString()))
    child.stderr.on("data", (data: Buffer) => void (text.stderr += data.toString()))
    const killGroup = () => process.kill(-child.pid!, "SIGKILL")
    const timer = setInterval(() => {
      if (isTime?.() !== true) return
      clearInterval(timer)
      killGroup()
    }, 5)
    child.on("close", (code, signal) => {
      clearInterval(timer)
      resume(Effect.succeed({ code, signal, ...text }))
    })
    return Effect.sync(() => {
      clearInterval(timer)
      if (child.exitCode === null && child.signalCode === null) killGroup()
    })
  })

const endings = { file: ".safetensors", curveCsv: ".csv" }

/** The file that a field of the only record of an output names. */
const fileOf = (out: string, field: keyof typeof endings): string => {
  const files = readdirSync(join(out, "checkpoint")).filter((name) => name.endsWith(endings[field]))
  assert.lengthOf(files, 1, out)
  return join(out, "checkpoint", files[0]!)
}

const settings = (node: string, params: { readonly [param: string]: unknown }) =>
  Object.entries(params).flatMap(([param, value]) => ["--set", `${node}.${param}=${JSON.stringify(value)}`])

const level = { width: 8, blocks: 1, expansion: 1 }

const vaeSettings = settings("train-vae", {
  model: {
    zDim: 4,
    fine: 4,
    space: 8,
    time: 4,
    encoder: { fine: level, coarse: level },
    decoder: { fine: level, coarse: level },
    latentsMean: [0, 0, 0, 0],
    latentsStd: [1, 1, 1, 1],
  },
  steps: 40,
  batch: 4,
  cropWidth: 24,
  cropHeight: 16,
  measured: 16,
})

const steps = 240

const trainSettings = settings("train", {
  denoiser: {
    model: "VideoDiT",
    config: VideoDiT.config({
      dim: 16,
      heads: 2,
      layers: 1,
      ffn: 32,
      textDim: 512,
      freqDim: 8,
      inChannels: 4,
      outChannels: 4,
      patch: [1, 2, 2],
      crossAttention: false,
      jointText: true,
      textMask: true,
      positions: true,
    }),
  },
  steps,
  batchPlaces: 256,
  warmup: 10,
  window: 10,
  checkpointWindows: 1,
})

/** The curve without the times that steps took. */
const curveOf = (path: string) =>
  readFileSync(path, "utf8")
    .trim()
    .split("\n")
    .map((line) => line.split(",").filter((_, column) => column !== 4))

/** The latest checkpoint of a training that has not ended. */
const unfinished = (store: string): string | undefined => {
  const top = join(store, "unfinished")
  if (!existsSync(top)) return undefined
  return readdirSync(top)
    .map((key) => join(top, key, "checkpoint.safetensors"))
    .find((path) => existsSync(path))
}

it.live(
  "trains models by processes that may be killed",
  () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const sets = join(folder, "sets.json")
      writeFileSync(
        sets,
        JSON.stringify({
          name: "tiny",
          seed: 1,
          count: 24,
          frames: 8,
          width: 48,
          height: 32,
          captionsPerClip: 1,
        }),
      )
      const run = (graph: string, store: string, out: string, args: ReadonlyArray<string>) =>
        [
          "run",
          graph,
          "--input",
          `sets=${sets}`,
          "--store",
          join(folder, store),
          "--out",
          join(folder, out),
        ].concat(args)
      const finished = (args: ReadonlyArray<string>) =>
        Effect.map(reel(args), (ended) => {
          assert.strictEqual(ended.code, 0, ended.stderr)
          return ended.stdout
        })

      yield* finished(run("world-vae", "whole", "vae", vaeSettings))
      const vae = join(folder, "vae.safetensors")
      copyFileSync(fileOf(join(folder, "vae"), "file"), vae)
      const { spec } = yield* ModelFile.read("vae", vae)
      assert.strictEqual(spec.config.zDim, 4)
      assert.notDeepEqual(spec.config.latentsStd, [1, 1, 1, 1])

      const train = (store: string, out: string, initial = "") =>
        run("world-train", store, out, [
          "--input",
          `vae=${vae}`,
          "--input",
          `initial=${initial}`,
          ...trainSettings,
        ])
      yield* finished(train("whole", "undisturbed"))
      const checkpoint = join(folder, "checkpoint.safetensors")
      copyFileSync(fileOf(join(folder, "undisturbed"), "file"), checkpoint)

      const broken = join(folder, "broken")
      const killed = yield* reel(train("broken", "resumed"), () => unfinished(broken) !== undefined)
      assert.strictEqual(killed.signal, "SIGKILL", killed.stderr)
      const left = readFileSync(unfinished(broken)!)
      assert.isFalse(left.equals(readFileSync(checkpoint)), "it was killed after its end")
      yield* finished(train("broken", "resumed"))
      const resumed = join(folder, "resumed")
      assert.isTrue(readFileSync(fileOf(resumed, "file")).equals(readFileSync(checkpoint)))
      const curve = curveOf(fileOf(join(folder, "undisturbed"), "curveCsv"))
      assert.lengthOf(curve, 1 + steps / 10)
      assert.deepStrictEqual(curveOf(fileOf(resumed, "curveCsv")), curve)
      const last = (rows: typeof curve) => Number(rows.at(-1)![1])
      assert.isBelow(last(curve), Number(curve[1]![1]))

      const lineage = yield* finished(["lineage", checkpoint, "--store", join(folder, "whole")])
      for (const name of ["train@", "encode-latents@", "render-world@", "world-scenes@"])
        assert.include(lineage, name)
      assert.match(lineage, /tiny/)

      yield* finished(train("whole", "further", checkpoint))
      const further = curveOf(fileOf(join(folder, "further"), "curveCsv"))
      assert.deepStrictEqual([further[1]![0], further.at(-1)![0]], [String(steps + 10), String(2 * steps)])
      assert.isBelow(last(further), last(curve))
    }).pipe(Effect.scoped),
  300_000,
)
