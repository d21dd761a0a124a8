/** `reel generate` with models of random weights: from a prompt to an mp4 that is decoded again. */
import { hash } from "node:crypto"
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"

import { assert, layer, vi } from "@effect/vitest"
import { Standardize, Verify } from "@reelgraph/media"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

import { models, store } from "../../../operators/models/test/fixtures.ts"
import type { Generated } from "../src/commands/Generate.ts"
import { ModelMissing } from "../src/UsageError.ts"
import { folder, reel } from "./reel.ts"

// Nothing waits for it: what decodes or runs models is slow where others work too.
vi.setConfig({ testTimeout: 240_000 })

class Models extends Context.Service<Models, Effect.Success<typeof models>>()("test/Models") {}

const modelsLayer = Layer.unwrap(
  Effect.map(folder, (at) => Layer.effect(Models, models).pipe(Layer.provide(store(at)))),
)

const prompt = "a red ball rises"

/** Generates with few steps, into a store of its own unless one is given. */
const generate = Effect.fnUntraced(function* (text: string, ...args: ReadonlyArray<string>) {
  const { denoiserPath, vaePath } = yield* Models
  const here = yield* folder
  const out = join(here, "video.mp4")
  const own = [
    ...(args.includes("--model") ? [] : ["--model", denoiserPath]),
    ...(args.includes("--vae") ? [] : ["--vae", vaePath]),
    ...(args.includes("--store") ? [] : ["--store", join(here, "store")]),
    ...(args.includes("--out") ? [] : ["--out", out]),
  ]
  const ended = yield* reel("generate", text, ...own, "--set", "sample.steps=2", ...args)
  return { ...ended, out, here }
})

const digest = (path: string): string => hash("sha256", readFileSync(path))

layer(modelsLayer, { timeout: "5 minutes", excludeTestServices: true })("reel generate", (it) => {
  it.effect("writes a standard mp4, the same for the same seed whatever else is made, and its lineage", () =>
    Effect.gen(function* () {
      const one = yield* generate(prompt)
      assert.strictEqual(one.code, 0, one.stderr)
      yield* Verify.verifyClip(one.out, Standardize.standardTarget)
      assert.include(one.stdout, `${one.out}: 1280x720, 120 frames, 5.0 s`)
      assert.include(one.stdout, `sha256 ${digest(one.out)}`)
      const [, command] = /`reel (lineage [^`]+)`/.exec(one.stdout)!
      const lineage = yield* reel(...command!.split(" "))
      assert.strictEqual(lineage.code, 0, lineage.stderr)
      for (const text of [
        "interpolate@1.0.0",
        "decode@1.0.0",
        "sample@1.0.0",
        "denoiser.safetensors",
        prompt,
      ])
        assert.include(lineage.stdout, text)

      // Smaller, for the encoder's sake; alone, then as one of two in another store.
      const small = ["--set", "interpolate.width=320", "--set", "interpolate.height=180"]
      const inStore = ["--store", join(one.here, "store")]
      const alone = yield* generate(prompt, ...small, ...inStore)
      const two = yield* generate(prompt, "--count", "2", "--json", ...small)
      assert.strictEqual(two.code, 0, two.stderr)
      const { videos } = JSON.parse(two.stdout) as { readonly videos: ReadonlyArray<Generated> }
      assert.deepStrictEqual(
        videos.map(({ file, frames, sample }) => [file, frames, sample]),
        [0, 1].map((sample) => [join(two.here, `video-${sample}.mp4`), 120, sample]),
      )
      assert.strictEqual(videos[0]!.sha256, digest(alone.out))
      assert.strictEqual(videos[1]!.sha256, digest(videos[1]!.file))
      assert.notStrictEqual(videos[1]!.sha256, videos[0]!.sha256)

      // In the same store and to the same file, which is replaced.
      const again = yield* generate(prompt, "--seed", "1", ...inStore, "--out", one.out, ...small)
      assert.strictEqual(again.code, 0, again.stderr)
      assert.notStrictEqual(digest(one.out), videos[0]!.sha256)
    }).pipe(Effect.scoped),
  )

  it.effect("makes other sizes and durations", () =>
    Effect.gen(function* () {
      const sizes = { "sample.frames": 1, "sample.rows": 9, "sample.columns": 8, "interpolate.height": 180 }
      const set = Object.entries(sizes).flatMap(([param, value]) => ["--set", `${param}=${value}`])
      const made = yield* generate(prompt, ...set)
      assert.strictEqual(made.code, 0, made.stderr)
      yield* Verify.verifyClip(made.out, { width: 160, height: 180, fps: 24, frames: 60 })
    }).pipe(Effect.scoped),
  )

  it.effect("refuses a bad prompt with its reason and code 1, and writes nothing", () =>
    Effect.gen(function* () {
      const { code, out, stderr, stdout } = yield* generate("zebras gallop")
      assert.strictEqual(code, 1, stderr)
      assert.include(stderr, "reel: prompt-unknown: expected words that the model was trained with, such as")
      assert.notMatch(stderr, /\n\s+at /)
      assert.strictEqual(stdout, "")
      assert.isFalse(existsSync(out))
    }).pipe(Effect.scoped),
  )

  it.effect("refuses files that are no denoiser, or not there, and files in the way", () =>
    Effect.gen(function* () {
      const { vaePath } = yield* Models
      const swapped = yield* generate(prompt, "--model", vaePath, "--json")
      assert.strictEqual(swapped.code, 1)
      assert.include(swapped.stderr, "it is the file of a video autoencoder")
      assert.strictEqual(
        (JSON.parse(swapped.stdout) as { readonly error: { readonly tag: string } }).error.tag,
        "GenerationFailed",
      )

      const missing = yield* generate(prompt, "--vae", "/nowhere/vae.safetensors")
      assert.strictEqual(missing.code, 2)
      assert.include(missing.stderr, "--vae: /nowhere/vae.safetensors is no file")
      const shipped = new ModelMissing({ option: "model", file: "weights/d.safetensors", isDefault: true })
      assert.include(shipped.message, "--model FILE and --vae FILE")

      const here = yield* folder
      const mine = join(here, "mine.mp4")
      writeFileSync(mine, "mine")
      const taken = yield* generate(prompt, "--out", mine)
      assert.strictEqual(taken.code, 2)
      assert.include(taken.stderr, "was not made by reel in this store")
      assert.strictEqual(readFileSync(mine, "utf8"), "mine")
      // A file that the store only refers to is not the store's to replace.
      const { code, stderr } = yield* generate(prompt, "--out", vaePath)
      assert.strictEqual(code, 2, stderr)
      assert.isTrue(existsSync(vaePath))
    }).pipe(Effect.scoped),
  )
})
