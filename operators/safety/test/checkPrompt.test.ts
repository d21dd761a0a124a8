/** Prompts are refused for the reason that is theirs, before any model is loaded. */
import { truncateSync, writeFileSync } from "node:fs"
import { join } from "node:path"

import { assert, layer, vi } from "@effect/vitest"
import { type Drop, keep } from "@reelgraph/core"
import { CheckPrompt } from "@reelgraph/operators/safety"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

import {
  denoiserSpec,
  folder,
  registered,
  run,
  store,
  writeDenoiser,
  writeVae,
} from "../../models/test/fixtures.ts"

const storeLayer = Layer.unwrap(Effect.map(folder, store))

const denoiserOf = (change: Parameters<typeof denoiserSpec>[0] = {}) =>
  Effect.gen(function* () {
    const path = join(yield* folder, "denoiser.safetensors")
    yield* writeDenoiser(path, denoiserSpec(change))
    return yield* registered(path, "denoiser.safetensors")
  })

const decided = (
  prompt: string,
  denoiser: unknown,
  negative = "",
): Effect.Effect<typeof keep | Drop, { readonly _tag: string; readonly message: string }, any> =>
  run<typeof keep | Drop, any>(CheckPrompt(), { prompt, negative, sample: 0 }, { sides: { denoiser } }).pipe(
    Effect.catchTag("Drop", (dropped) => Effect.succeed(dropped as unknown as Drop)),
  )

// Nothing waits for it: what decodes or runs models is slow where others work too.
vi.setConfig({ testTimeout: 120_000 })

layer(storeLayer, { timeout: "2 minutes", excludeTestServices: true })("CheckPrompt", (it) => {
  it.effect.each([
    ["", "", "prompt-empty", "expected a description in words, found nothing"],
    [" \t\n ", "", "prompt-empty", "found nothing"],
    ["12 !!", "", "prompt-empty", '"12 !!"'],
    ["a red ball ".repeat(20), "", "prompt-too-long", "expected at most 16 tokens"],
    ["a ".repeat(10_000), "", "prompt-too-long", "expected at most 512 characters, found 20000"],
    ["красный мяч поднимается", "", "prompt-language", "Cyrillic"],
    ["der rote Ball fliegt über die Wiese und das Haus", "", "prompt-language", "German"],
    ["zebras gallop gracefully", "", "prompt-unknown", "zebras, gallop, gracefully"],
    ["a red ball rises", "zebras gallop", "prompt-unknown", "negative prompt: expected words"],
    [
      "a red ball rises",
      "blue ".repeat(40),
      "prompt-too-long",
      "negative prompt: expected at most 16 tokens",
    ],
  ] as const)("drops %j with the negative prompt %j: %s", ([prompt, negative, reason, says]) =>
    Effect.gen(function* () {
      const drop = yield* decided(prompt, yield* denoiserOf(), negative)
      assert.notStrictEqual(drop, keep)
      assert.strictEqual((drop as Drop).reason, reason)
      assert.include((drop as Drop).detail, says)
    }).pipe(Effect.scoped),
  )

  it.effect("keeps prompts of words that the denoiser knows, and any words where none are listed", () =>
    Effect.gen(function* () {
      const denoiser = yield* denoiserOf()
      assert.strictEqual(yield* decided("a red ball rises", denoiser), keep)
      assert.strictEqual(yield* decided("a red ball rises", denoiser, "  "), keep)
      assert.strictEqual(yield* decided("a red ball rises", denoiser, "blue"), keep)
      const { vocabulary: _, ...open } = denoiserSpec({})
      const path = join(yield* folder, "open.safetensors")
      yield* writeDenoiser(path, open)
      assert.strictEqual(yield* decided("zebras gallop gracefully", yield* registered(path, "open")), keep)
    }).pipe(Effect.scoped),
  )

  it.effect("fails with what is wrong with the denoiser's file", () =>
    Effect.gen(function* () {
      const at = yield* folder
      const vae = join(at, "vae.safetensors")
      yield* writeVae(vae)
      const short = join(at, "short.safetensors")
      yield* writeDenoiser(short, denoiserSpec({}))
      truncateSync(short, 5000)
      const text = join(at, "text.safetensors")
      writeFileSync(text, "not a model at all, but long enough for a header's length")
      for (const [path, tag, says] of [
        [vae, "ModelFileInvalid", "is not the file of a denoiser: it is the file of a video autoencoder"],
        [short, "SafetensorsInvalid", "is no whole safetensors file"],
        [text, "SafetensorsInvalid", "is no whole safetensors file"],
      ] as const) {
        const error = yield* Effect.flip(decided("a red ball rises", yield* registered(path, "given")))
        assert.strictEqual(error._tag, tag)
        assert.include(error.message, says)
        assert.include(error.message, path)
      }
    }).pipe(Effect.scoped),
  )
})
