/** `reel train` on one small video with models of random weights, and what it refuses before it does anything. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"

import { assert, layer, vi } from "@effect/vitest"
import { FrameWriter } from "@reelgraph/media"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

import { denoiserConfig, models, store } from "../../../operators/models/test/fixtures.ts"
import type { Trained } from "../src/commands/Train.ts"
import { folder, reel } from "./reel.ts"

// Nothing waits for it: what decodes or trains is slow where others work too.
vi.setConfig({ testTimeout: 240_000 })

class Models extends Context.Service<Models, Effect.Success<typeof models>>()("test/Models") {}

const modelsLayer = Layer.unwrap(
  Effect.map(folder, (at) => Layer.effect(Models, models).pipe(Layer.provide(store(at)))),
)

/** Five seconds of a bright square that crosses a dark floor. */
const crossing = (out: string) => {
  const [width, height] = [214, 120]
  const target = { width: 854, height: 480, fps: 24, frames: 120 }
  return FrameWriter.write({ out, width, height, target }, (index, into) => {
    for (let y = 0, o = 0; y < height; y++)
      for (let x = 0; x < width; x++, o += 3) {
        const isInside = Math.abs(x - 30 - index * 1.3) < 25 && Math.abs(y - 60) < 30
        into.fill(isInside ? 230 : 30 + ((x * 7 + y * 13) % 11), o, o + 3)
      }
  })
}

/** For the models of the tests: their frames, tokens and sizes. */
const small = {
  "sample-frames.frames": 8,
  "embed-captions.maxTokens": 16,
  "train.tokens": 16,
  "train.batchPlaces": 288,
  "train.window": 1,
  "train.warmup": 1,
  "train.timesteps": '{"kind":"uniform"}',
}

const structure = JSON.stringify({ model: "VideoDiT", config: denoiserConfig })

layer(modelsLayer, { timeout: "5 minutes", excludeTestServices: true })("reel train", (it) => {
  it.effect("goes on from a model, writes a checkpoint with its curve, and both have their lineage", () =>
    Effect.gen(function* () {
      const { denoiserPath, vaePath } = yield* Models
      const here = yield* folder
      const videos = join(here, "videos")
      const texts = join(here, "texts")
      for (const path of [videos, texts]) mkdirSync(path)
      yield* crossing(join(videos, "crossing.mp4"))
      writeFileSync(join(texts, "crossing.txt"), "a red ball rises\n")
      const out = join(here, "made", "mine.safetensors")
      const inStore = ["--store", join(here, "store")]
      const train = (...args: ReadonlyArray<string>) =>
        reel(
          "train",
          videos,
          "--captions",
          texts,
          "--vae",
          vaePath,
          "--out",
          out,
          "--steps",
          "2",
          ...Object.entries(small).flatMap(([param, value]) => ["--set", `${param}=${value}`]),
          ...inStore,
          ...args,
        )

      const first = yield* train("--initial", denoiserPath)
      assert.strictEqual(first.code, 0, first.stderr)
      assert.match(first.stdout, /^train@1\.0\.0: done/)
      assert.include(first.stdout, `${out}: 2 steps, loss `)
      const curve = readFileSync(join(here, "made", "mine.csv"), "utf8")
      // Far below the 0.002 for a model that has learned nothing.
      assert.isAtMost(Number(curve.trim().split("\n").at(-1)!.split(",")[3]), 0.0002)
      assert.include(readFileSync(join(here, "made", "mine.svg"), "utf8"), "<svg")
      const lineage = yield* reel("lineage", out, ...inStore)
      for (const text of ["train@1.0.0", "crossing.mp4", "crossing.txt"]) assert.include(lineage.stdout, text)

      // From nothing, over what was there; from the cache up to the training itself.
      const fromNothing = yield* train("--initial", "none", "--set", `train.denoiser=${structure}`, "--json")
      assert.strictEqual(fromNothing.code, 0, fromNothing.stderr)
      const { checkpoint, inputs, ledger } = JSON.parse(fromNothing.stdout) as {
        readonly checkpoint: Trained
        readonly inputs: object
        readonly ledger: { readonly [node: string]: { readonly cached: number } }
      }
      assert.deepStrictEqual(inputs, { videos: 1, captions: 1, vae: 1 })
      assert.strictEqual(ledger["standardize"]!.cached, 1)
      assert.strictEqual(checkpoint.step, 2)
      assert.strictEqual(checkpoint.file, out)

      // A video that was made with it goes back to the videos that it was trained on.
      const video = join(here, "video.mp4")
      const size = { "sample.steps": 1, "interpolate.width": 320, "interpolate.height": 180 }
      const generated = yield* reel(
        "generate",
        "a red ball rises",
        "--model",
        out,
        "--vae",
        vaePath,
        "--out",
        video,
        ...Object.entries(size).flatMap(([param, value]) => ["--set", `${param}=${value}`]),
        ...inStore,
      )
      assert.strictEqual(generated.code, 0, generated.stderr)
      const whole = yield* reel("lineage", video, ...inStore)
      for (const text of ["taken in as a file that was made here", "train@1.0.0", "crossing.mp4"])
        assert.include(whole.stdout, text)
      assert.match(whole.stdout, /sources: .*crossing\.mp4/)
      assert.notMatch(whole.stdout, /sources: .*mine\.safetensors/)
    }).pipe(Effect.scoped),
  )

  it.effect("refuses what is not there or in the way, and says when no clip was left", () =>
    Effect.gen(function* () {
      const { denoiserPath, vaePath } = yield* Models
      const here = yield* folder
      const train = (videos: string, ...args: ReadonlyArray<string>) =>
        reel("train", videos, "--vae", vaePath, "--store", join(here, "store"), ...args)

      const missing = yield* train(here, "--initial", "/nowhere/d.safetensors")
      assert.strictEqual(missing.code, 2)
      assert.include(missing.stderr, "--initial: /nowhere/d.safetensors is no file")

      const empty = yield* train(here, "--initial", denoiserPath)
      assert.strictEqual(empty.code, 2)
      assert.include(empty.stderr, "input videos")

      const videos = join(here, "videos")
      mkdirSync(videos)
      writeFileSync(join(videos, "notes.mp4"), "no video")
      writeFileSync(join(videos, "notes.txt"), "a red ball")
      const mine = join(here, "mine.csv")
      writeFileSync(mine, "mine")
      const out = join(here, "mine.safetensors")
      const taken = yield* train(videos, "--initial", "none", "--out", out)
      assert.strictEqual(taken.code, 2, taken.stderr)
      assert.include(taken.stderr, "mine.csv was not made by reel in this store")

      const wrong = yield* train(videos, "--initial", "none", "--steps", "0")
      assert.strictEqual(wrong.code, 2)
      assert.include(wrong.stderr, "train.steps")

      const nothing = yield* train(videos, "--initial", "none", "--out", join(here, "other.safetensors"))
      assert.strictEqual(nothing.code, 1, nothing.stderr)
      assert.include(nothing.stdout, "not-a-video")
      assert.include(nothing.stderr, "nothing was trained: no clip was left")
      assert.isFalse(existsSync(join(here, "other.safetensors")))
    }).pipe(Effect.scoped),
  )
})
