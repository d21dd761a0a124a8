import { assert, describe, it } from "@effect/vitest"
import { CounterRandom } from "@reelgraph/core"
import * as Schema from "effect/Schema"

const words = (text: string) => text.split(" ").map((word) => Number.parseInt(word, 16))

const blockOf = (key: ReadonlyArray<number>, counter: ReadonlyArray<number>): ReadonlyArray<number> => {
  const out = new Uint32Array(4)
  CounterRandom.block({ k0: key[0]!, k1: key[1]! }, counter as [number, number, number, number], out)
  return [...out]
}

/** Philox 4x32-10 with 64-bit products as BigInt: slow and obvious. */
const reference = (key: ReadonlyArray<number>, counter: ReadonlyArray<number>): ReadonlyArray<number> => {
  const mask = 0xffff_ffffn
  let [k0, k1] = key.map(BigInt) as [bigint, bigint]
  let [c0, c1, c2, c3] = counter.map(BigInt) as [bigint, bigint, bigint, bigint]
  for (let round = 0; round < 10; round++) {
    const product0 = 0xd251_1f53n * c0
    const product1 = 0xcd9e_8d57n * c2
    ;[c0, c1, c2, c3] = [
      (product1 >> 32n) ^ c1 ^ k0,
      product1 & mask,
      (product0 >> 32n) ^ c3 ^ k1,
      product0 & mask,
    ]
    k0 = (k0 + 0x9e37_79b9n) & mask
    k1 = (k1 + 0xbb67_ae85n) & mask
  }
  return [c0, c1, c2, c3].map(Number)
}

const Word = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0xffff_ffff }))
const key = CounterRandom.key(7, "item", "sample")

describe("CounterRandom", () => {
  it.each([
    ["00000000 00000000", "00000000 00000000 00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"],
    ["ffffffff ffffffff", "ffffffff ffffffff ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"],
    ["a4093822 299f31d0", "243f6a88 85a308d3 13198a2e 03707344", "d16cfe09 94fdcceb 5001e420 24126ea1"],
  ])("gives Random123's known answer for key %s, counter %s", (key, counter, expected) => {
    assert.deepStrictEqual(blockOf(words(key), words(counter)), words(expected))
  })

  it.prop("equals the reference in BigInt", [Word, Word, Word, Word, Word, Word], ([k0, k1, ...counter]) => {
    assert.deepStrictEqual(blockOf([k0, k1], counter), reference([k0, k1], counter))
  })

  it.prop(
    "uniforms do not depend on how they are cut into chunks",
    [
      Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 40 })),
      Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 40 })),
    ],
    ([blocks, rest]) => {
      const whole = CounterRandom.uniforms(key, blocks * 4 + rest)
      const parts = [...CounterRandom.uniforms(key, blocks * 4), ...CounterRandom.uniforms(key, rest, blocks)]
      assert.deepStrictEqual([...whole], parts)
      assert.isTrue(parts.every((u) => u >= 0 && u < 1))
    },
  )

  it("uniforms go on past 2^32 blocks", () => {
    const out = new Uint32Array(4)
    CounterRandom.block(key, [1, 1, 0, 0], out)
    assert.deepStrictEqual(
      [...CounterRandom.uniforms(key, 4, 2 ** 32 + 1)],
      Array.from(out, (word) => word / 2 ** 32),
    )
  })

  it("uniforms have the mean and variance of the uniform distribution", () => {
    const n = 100_000
    const numbers = CounterRandom.uniforms(key, n)
    const mean = numbers.reduce((sum, u) => sum + u, 0) / n
    const variance = numbers.reduce((sum, u) => sum + (u - mean) ** 2, 0) / n
    // Five standard errors: 1 / sqrt(12 n) and 1 / sqrt(180 n).
    assert.approximately(mean, 1 / 2, 5 / Math.sqrt(12 * n))
    assert.approximately(variance, 1 / 12, 5 / Math.sqrt(180 * n))
  })

  it("keys differ by seed, item and operator, and not by where one name ends", () => {
    const keys = [
      CounterRandom.key(1, "a", "b"),
      CounterRandom.key(2, "a", "b"),
      CounterRandom.key(1, "b", "a"),
      CounterRandom.key(1, "ab", ""),
      CounterRandom.key(1, "", "ab"),
    ].map(({ k0, k1 }) => `${k0} ${k1}`)
    assert.strictEqual(new Set(keys).size, keys.length)
    assert.deepStrictEqual(CounterRandom.key(1, "a", "b"), CounterRandom.key(1, "a", "b"))
  })
})
