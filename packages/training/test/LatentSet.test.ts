/** Training sets in memory: what went into the shards comes out, and broken shards do not come in. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

import { assert, describe, it } from "@effect/vitest"
import * as CounterRandom from "@reelgraph/core/CounterRandom"
import * as Half from "@reelgraph/onnx/Half"
import * as Safetensors from "@reelgraph/onnx/Safetensors"
import * as Tensor from "@reelgraph/onnx/Tensor"
import * as Effect from "effect/Effect"

import { LatentSet } from "../src/index.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "reel-test-"))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true })),
)

const width = 8
const channels = 2

const halves = (seed: number, length: number): Uint16Array =>
  Half.fromFloat32("f16", Float32Array.from(CounterRandom.uniforms(CounterRandom.key(seed, "", ""), length)))

const f16 = (shape: ReadonlyArray<number>, data: Uint16Array): Tensor.Tensor =>
  Tensor.make("f16", shape, data)

interface Latents {
  readonly sizes: readonly [number, number, number]
  readonly count: number
}

interface Written {
  readonly items: ReadonlyArray<LatentSet.Item>
  readonly means: ReadonlyArray<Uint16Array>
  /** By item and caption. */
  readonly states: ReadonlyArray<ReadonlyArray<Uint16Array>>
}

/** A shard of latents for each of `groups`, and one of the states of all captions, `1 + (row % 4)` tokens each. */
const write = (root: string, groups: ReadonlyArray<Latents>, captions = 2) =>
  Effect.gen(function* () {
    const total = groups.reduce((sum, { count }) => sum + count, 0)
    const lengths = Array.from({ length: captions * total }, (_, row) => 1 + (row % 4))
    const offsets = lengths.reduce((all, length) => [...all, all.at(-1)! + length], [0])
    const all = halves(99, offsets.at(-1)! * width)
    const text = join(root, "text.safetensors")
    yield* Safetensors.write(text, {
      tensors: { offsets: Tensor.i64([offsets.length], offsets), states: f16([offsets.at(-1)!, width], all) },
    })
    const items: Array<LatentSet.Item> = []
    const means: Array<Uint16Array> = []
    for (const [g, { count, sizes }] of groups.entries()) {
      const [frames, height, columns] = sizes
      const size = channels * frames * height * columns
      const data = halves(g, count * size)
      const path = join(root, `latents-${g}.safetensors`)
      yield* Safetensors.write(path, { tensors: { mean: f16([count, channels, ...sizes], data) } })
      for (let row = 0; row < count; row++) {
        const at = items.length
        items.push({
          name: `clip-${at}`,
          captions: Array.from({ length: captions }, (_, c) => `caption ${c} of ${at}`),
          latents: { path, row },
          channels,
          frames,
          height,
          width: columns,
          vae: "vae",
          text: { path: text, row: captions * at },
          textEncoder: "text",
        })
        means.push(data.slice(row * size, (row + 1) * size))
      }
    }
    const states = items.map((_, i) =>
      Array.from({ length: captions }, (_, c) => {
        const row = captions * i + c
        return all.slice(offsets[row]! * width, offsets[row + 1]! * width)
      }),
    )
    return { items, means, states } satisfies Written
  })

const clips: Latents = { sizes: [4, 3, 5], count: 5 }
const images: Latents = { sizes: [1, 3, 5], count: 3 }

/** What a set has of each item, by name. */
const contents = (set: LatentSet.LatentSet) =>
  new Map(
    set.buckets.flatMap(({ count, name, sizes }) =>
      Array.from({ length: count }, (_, i) => {
        const size = set.channels * sizes[0] * sizes[1] * sizes[2]
        const latents = new Float32Array(size + 2).fill(7)
        set.latents(name, i, latents, 1)
        const captions = set.captions(name, i).map((text, which) => {
          const states = new Float32Array(set.tokens * set.width + 2).fill(7)
          const tokens = set.states(name, i, which, states, 1)
          assert.strictEqual(set.caption(name, i, which), text)
          return { text, tokens, states }
        })
        return [set.name(name, i), { bucket: name, latents, captions }] as const
      }),
    ),
  )

/** Numbers of halves between two sevens, with zeros up to a length. */
const framed = (values: Uint16Array, length = values.length): Float32Array => {
  const out = new Float32Array(length + 2)
  out.set(Half.toFloat32("f16", values), 1)
  out[0] = out[length + 1] = 7
  return out
}

describe("LatentSet", () => {
  it.effect("gives what is in the shards, by size, and writes nowhere else", () =>
    Effect.gen(function* () {
      const { items, means, states } = yield* write(yield* folder, [clips, images])
      // In another order than in the shards, without some, and with one twice.
      const order = [6, 2, 0, 7, 3, 3]
      const set = yield* LatentSet.load(order.map((i) => items[i]!))
      assert.deepStrictEqual(set.buckets, [
        { name: "1x3x5", sizes: [1, 3, 5], count: 2 },
        { name: "4x3x5", sizes: [4, 3, 5], count: 4 },
      ])
      assert.deepInclude(set, { count: 6, channels, width, tokens: 4, vae: "vae", textEncoder: "text" })
      assert.deepStrictEqual(
        ["1x3x5", "4x3x5"].map((bucket) => [0, 1].map((i) => set.name(bucket, i))),
        [
          ["clip-6", "clip-7"],
          ["clip-2", "clip-0"],
        ],
      )
      const found = contents(set)
      for (const i of new Set(order)) {
        const { bucket, captions, latents } = found.get(`clip-${i}`)!
        assert.strictEqual(bucket, i < 5 ? "4x3x5" : "1x3x5")
        assert.deepStrictEqual(latents, framed(means[i]!))
        captions.forEach(({ states: padded, text, tokens }, c) => {
          assert.strictEqual(text, items[i]!.captions[c])
          assert.strictEqual(tokens * width, states[i]![c]!.length)
          assert.deepStrictEqual(padded, framed(states[i]![c]!, 4 * width))
        })
      }
      assert.throws(() => set.name("1x3x5", 2), RangeError)
      assert.throws(() => set.states("1x3x5", 0, 2, new Float32Array(32), 0), RangeError)
    }).pipe(Effect.scoped),
  )

  it.effect("pads to as many tokens as asked, and refuses longer captions", () =>
    Effect.gen(function* () {
      const { items } = yield* write(yield* folder, [clips])
      const set = yield* LatentSet.load(items, { tokens: 6 })
      const out = new Float32Array(6 * width).fill(7)
      const tokens = set.states("4x3x5", 1, 0, out, 0)
      assert.isTrue(out.subarray(tokens * width).every((value) => value === 0))
      assert.strictEqual((yield* Effect.flip(LatentSet.load(items, { tokens: 3 })))._tag, "ItemsInvalid")
    }).pipe(Effect.scoped),
  )

  it.effect("says how much memory it takes, and refuses to take more", () =>
    Effect.gen(function* () {
      const { items, means, states } = yield* write(yield* folder, [clips, images])
      const bytes = [...means, ...states.flat()].reduce((sum, { byteLength }) => sum + byteLength, 0)
      assert.strictEqual((yield* LatentSet.load(items, { maxBytes: bytes })).bytes, bytes)
      const error = yield* Effect.flip(LatentSet.load(items, { maxBytes: bytes - 1 }))
      assert.deepInclude(error, { _tag: "LatentSetTooLarge", bytes, maxBytes: bytes - 1 })
    }).pipe(Effect.scoped),
  )

  it.effect("refuses items that do not belong together, and none at all", () =>
    Effect.gen(function* () {
      const { items } = yield* write(yield* folder, [clips])
      const failing = (change: Partial<LatentSet.Item>) =>
        Effect.map(
          Effect.flip(LatentSet.load([items[0]!, { ...items[1]!, ...change }])),
          ({ _tag, message }) => `${_tag}: ${message}`,
        )
      const expected = [
        [{ vae: "other" }, /ItemsInvalid.*clip-0 has the autoencoder vae, and clip-1 other/],
        [{ textEncoder: "other" }, /ItemsInvalid.*text encoder/],
        [{ channels: 3 }, /ItemsInvalid.*channels/],
        [{ captions: [] }, /ItemsInvalid.*clip-1 has no caption/],
        [{ frames: 0 }, /ItemsInvalid/],
        [{ height: 4 }, /ShardInvalid.*mean is \[5, 2, 4, 3, 5\], not \[N, 2, 4, 4, 5\]/],
        [{ latents: { ...items[1]!.latents, row: 5 } }, /ShardInvalid.*no row 5 of 5/],
        [{ latents: { ...items[1]!.latents, row: -1 } }, /ShardInvalid.*no row -1/],
        [{ latents: { ...items[1]!.latents, row: 0.5 } }, /ShardInvalid.*no row 0.5/],
        [{ text: { ...items[1]!.text, row: 9 } }, /ShardInvalid.*no rows 9 to 10 of 10/],
        [{ latents: items[1]!.text }, /TensorMissing/],
        [{ text: { path: "nowhere", row: 0 } }, /SafetensorsUnreadable/],
      ] as const
      for (const [change, pattern] of expected) assert.match(yield* failing(change), pattern)
      assert.strictEqual((yield* Effect.flip(LatentSet.load([])))._tag, "ItemsInvalid")
    }).pipe(Effect.scoped),
  )

  it.effect("refuses broken shards", () =>
    Effect.gen(function* () {
      const root = yield* folder
      const { items } = yield* write(root, [clips])
      const path = join(root, "broken.safetensors")
      const mean = f16([5, channels, 4, 3, 5], halves(0, 600))
      const states = f16([4, width], halves(1, 4 * width))
      const broken = (tensors: { readonly [name: string]: Tensor.Tensor }) =>
        Effect.gen(function* () {
          yield* Safetensors.write(path, { tensors })
          const row = { path, row: 0 }
          const change = "mean" in tensors ? { latents: row } : { text: row, captions: ["one"] }
          const error = yield* Effect.flip(LatentSet.load([{ ...items[0]!, ...change }]))
          return `${error._tag}: ${error.message}`
        })
      const nan = halves(0, 600)
      nan[7] = 0x7e00
      const infinite = halves(1, 4 * width)
      infinite[3] = 0xfc00
      const offsets = (...values: ReadonlyArray<number>) => Tensor.i64([values.length], values)
      const cases = [
        [{ mean: f16(mean.shape, nan) }, /ShardInvalid.*not finite at 7 of row 0/],
        [{ mean: Tensor.zeros("f32", mean.shape) }, /TensorMismatch/],
        [{ states, offsets: offsets(0, 3, 2, 4) }, /ShardInvalid.*offsets do not rise/],
        [{ states, offsets: offsets(0, 2, 5) }, /ShardInvalid.*offsets do not rise/],
        [{ states, offsets: offsets(1, 4) }, /ShardInvalid.*offsets do not rise/],
        [{ states, offsets: offsets() }, /ShardInvalid.*offsets do not rise/],
        [
          { states: f16([4 * width], halves(1, 4 * width)), offsets: offsets(0, 4) },
          /ShardInvalid.*not \[tokens, D\]/,
        ],
        [{ states: f16(states.shape, infinite), offsets: offsets(0, 4) }, /ShardInvalid.*not finite at 3/],
        [{ states: Tensor.zeros("f32", states.shape), offsets: offsets(0, 4) }, /TensorMismatch/],
        [{ states }, /TensorMissing/],
      ] as const
      for (const [tensors, pattern] of cases) assert.match(yield* broken(tensors), pattern)
    }).pipe(Effect.scoped),
  )
})
