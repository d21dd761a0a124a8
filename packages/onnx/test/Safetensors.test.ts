import fs from "node:fs"
import os from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Result } from "effect"

import * as DType from "../src/DType.ts"
import * as Half from "../src/Half.ts"
import * as Safetensors from "../src/Safetensors.ts"
import * as Tensor from "../src/Tensor.ts"
import { randomFrom } from "./check.ts"

const fixture = fileURLToPath(new URL("../../../test/oracle/onnx/types.safetensors", import.meta.url))

const temporary = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(join(os.tmpdir(), "reelgraph-test-"))),
  (path) => Effect.sync(() => fs.rmSync(path, { recursive: true, force: true })),
)

/** A file around a header, with the given number of data bytes. */
const fileOf = (header: unknown, dataBytes = 0): Uint8Array => {
  const json = Buffer.from(typeof header === "string" ? header : JSON.stringify(header))
  const bytes = Buffer.alloc(8 + json.length + dataBytes)
  bytes.writeBigUInt64LE(BigInt(json.length))
  bytes.set(json, 8)
  return bytes
}

const f32 = (shape: ReadonlyArray<number>, begin: number, end: number) => ({
  dtype: "F32",
  shape,
  data_offsets: [begin, end],
})

const reasonOf = (bytes: Uint8Array) =>
  Effect.map(Effect.result(Safetensors.decode(bytes)), (result) => {
    assert.isTrue(Result.isFailure(result))
    return Result.isFailure(result) ? result.failure.reason : undefined
  })

describe("Safetensors: files of Python", () => {
  it.effect("every element type reads as it was written", () =>
    Effect.gen(function* () {
      const reader = yield* Safetensors.open(fixture)
      assert.deepStrictEqual(reader.metadata, { "made by": "numpy", ünï: "✓" })
      const read = (name: string) =>
        Effect.map(reader.read(name), ({ data, dtype }) => ({ dtype, data: [...data] }))
      const values = [0, -0, 1, -2.5, 65504, 1e-7]
      assert.deepStrictEqual(yield* read("f64"), { dtype: "f64", data: values })
      assert.deepStrictEqual(yield* read("f32"), { dtype: "f32", data: values.map(Math.fround) })
      const halves = yield* reader.readF32("f16", { shape: [2, 3] })
      assert.deepStrictEqual([...halves.data], [0, -0, 1, -2.5, 65504, Math.fround(2 * 2 ** -24)])
      const brains = yield* reader.readF32("bf16")
      assert.deepStrictEqual(
        [...brains.data],
        [0, -0, 1, -2.5, 65536, Half.toNumber("bf16", Half.fromNumber("bf16", 1e-7))],
      )
      assert.deepStrictEqual(yield* read("i64"), { dtype: "i64", data: [-(2n ** 63n), 2n ** 63n - 1n, 0n] })
      assert.deepStrictEqual(yield* read("i32"), { dtype: "i32", data: [-(2 ** 31), 2 ** 31 - 1, 0] })
      assert.deepStrictEqual(yield* read("i16"), { dtype: "i16", data: [-(2 ** 15), 2 ** 15 - 1] })
      assert.deepStrictEqual(yield* read("i8"), { dtype: "i8", data: [-128, 127, 0] })
      assert.deepStrictEqual(yield* read("u8"), { dtype: "u8", data: [0, 255, 7] })
      assert.deepStrictEqual(yield* read("bool"), { dtype: "bool", data: [1, 0, 1] })
      const scalar = yield* reader.read("scalar")
      assert.deepStrictEqual([scalar.shape, [...scalar.data]], [[], [3.5]])
      assert.deepStrictEqual((yield* reader.read("empty")).shape, [0, 4])
    }),
  )

  it.effect("what was read and is written again is the same file, byte by byte", () =>
    Effect.gen(function* () {
      const reader = yield* Safetensors.open(fixture)
      const tensors: Record<string, Tensor.Tensor> = {}
      for (const name of reader.entries.keys()) tensors[name] = yield* reader.read(name)
      const again = Safetensors.encode({ tensors, metadata: reader.metadata })
      assert.deepStrictEqual(Buffer.from(again), fs.readFileSync(fixture))
    }),
  )
})

describe("Safetensors: writing", () => {
  it.effect("write and open: what goes in comes out, and nothing else is left in the folder", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const path = join(folder, "state.safetensors")
      const next = randomFrom(3)
      const tensors = Object.fromEntries(
        DType.all.map((dtype, i) => {
          const tensor = Tensor.zeros(dtype, [i, 3])
          new Uint8Array(tensor.data.buffer).forEach(
            (_, at, bytes) => (bytes[at] = dtype === "bool" ? 1 : Math.floor((next() + 1) * 128)),
          )
          return [`tensor.${dtype}`, tensor]
        }),
      )
      yield* Safetensors.write(path, { tensors, metadata: { step: "7" } })
      assert.deepStrictEqual(fs.readdirSync(folder), ["state.safetensors"])
      const reader = yield* Safetensors.open(path)
      assert.deepStrictEqual(reader.metadata, { step: "7" })
      for (const [name, tensor] of Object.entries(tensors))
        assert.isTrue(Tensor.identical(yield* reader.read(name), tensor), name)
      assert.deepStrictEqual(
        new Uint8Array(fs.readFileSync(path)),
        Safetensors.encode({ tensors, metadata: { step: "7" } }),
      )
    }),
  )

  it("the bytes do not depend on the order of tensors or metadata, and every tensor is aligned", () => {
    const a = Tensor.f32([3], [1, 2, 3])
    const b = Tensor.make("u8", [3], Uint8Array.of(1, 2, 3))
    const c = Tensor.i64([1], [9])
    const one = Safetensors.encode({ tensors: { b, a, c }, metadata: { x: "1", y: "2" } })
    assert.deepStrictEqual(Safetensors.encode({ tensors: { c, b, a }, metadata: { y: "2", x: "1" } }), one)
    const { dataStart, entries } = Effect.runSync(Safetensors.decode(one))
    for (const { begin, dtype } of entries.values())
      assert.strictEqual((dataStart + begin) % DType.bytesOf(dtype), 0)
  })

  it.effect("bytes at an odd place in a Buffer read as well", () =>
    Effect.gen(function* () {
      const a = Tensor.f32([3], [1, 2, 3])
      const file = Buffer.concat([Buffer.alloc(1), Safetensors.encode({ tensors: { a } })])
      const reader = yield* Safetensors.decode(file.subarray(1))
      assert.isTrue(Tensor.identical(yield* reader.read("a"), a))
    }),
  )

  it.effect("a folder that is not there is a typed error", () =>
    Effect.gen(function* () {
      const failed = yield* Effect.flip(Safetensors.write("/nonexistent/x", { tensors: {} }))
      assert.strictEqual(failed._tag, "SafetensorsUnreadable")
      assert.strictEqual(
        (yield* Effect.flip(Safetensors.open("/nonexistent/x")))._tag,
        "SafetensorsUnreadable",
      )
    }),
  )
})

describe("Safetensors: what is asked for", () => {
  it.effect("a missing tensor, another type, another shape and NaN are named", () =>
    Effect.gen(function* () {
      const tensors = {
        w: Tensor.f32([2], [1, Number.NaN]),
        h: Tensor.make("f16", [1], Uint16Array.of(0x7c00)),
      }
      const reader = yield* Safetensors.decode(Safetensors.encode({ tensors }), "model")
      const messages = yield* Effect.all([
        Effect.flip(reader.read("nope")),
        Effect.flip(reader.read("w", { dtype: "f16" })),
        Effect.flip(reader.read("w", { shape: [2, 1] })),
        Effect.flip(reader.read("w", { finite: true })),
        Effect.flip(reader.readF32("h", { finite: true })),
      ])
      assert.deepStrictEqual(
        messages.map(({ message }) => message),
        [
          "model has no tensor nope; it has w, h",
          "tensor w of model is f32 [2], not f16 [2]",
          "tensor w of model is f32 [2], not f32 [2,1]",
          "tensor w of model is not finite at element 1, not finite everywhere",
          "tensor h of model is not finite at element 0, not finite everywhere",
        ],
      )
    }),
  )
})

describe("Safetensors: files that are not trusted", () => {
  const cases: ReadonlyArray<readonly [string, Uint8Array, Safetensors.Problem]> = [
    ["no bytes", new Uint8Array(0), "Truncated"],
    ["seven bytes", new Uint8Array(7), "Truncated"],
    ["a header longer than the file", Buffer.from("6400000000000000", "hex"), "Truncated"],
    ["a header of 2^63 bytes", Buffer.from("0000000000000080", "hex"), "HeaderTooLarge"],
    ["a header of 100 MB and one", Buffer.from("01e1f50500000000", "hex"), "HeaderTooLarge"],
    ["no header", Buffer.alloc(8), "BadJson"],
    ["not JSON", fileOf("{nope"), "BadJson"],
    ["a JSON list", fileOf("[]"), "BadJson"],
    ["spaces first", fileOf("  {}"), "BadJson"],
    ["not UTF-8", Buffer.from("03000000000000007bff7d", "hex"), "BadJson"],
    ["an entry that is a number", fileOf({ a: 3 }), "BadEntry"],
    ["an unknown dtype", fileOf({ a: { dtype: "F8", shape: [1], data_offsets: [0, 1] } }, 1), "BadEntry"],
    ["a negative dimension", fileOf({ a: f32([-1], 0, 4) }, 4), "BadEntry"],
    ["a dimension that is no whole number", fileOf({ a: f32([0.5], 0, 2) }, 2), "BadEntry"],
    ["a size beyond counting", fileOf({ a: f32([2 ** 40, 2 ** 40], 0, 4) }, 4), "BadEntry"],
    ["offsets the wrong way round", fileOf({ a: f32([1], 4, 0) }, 4), "BadEntry"],
    ["more elements than bytes", fileOf({ a: f32([2], 0, 4) }, 4), "BadEntry"],
    ["bytes that are not there", fileOf({ a: f32([2], 0, 8) }, 4), "Truncated"],
    ["tensors that overlap", fileOf({ a: f32([2], 0, 8), b: f32([1], 4, 8) }, 8), "Overlapping"],
    ["a gap between tensors", fileOf({ a: f32([1], 0, 4), b: f32([1], 8, 12) }, 12), "Gap"],
    ["bytes after the last tensor", fileOf({ a: f32([1], 0, 4) }, 8), "Gap"],
    ["metadata that is not text", fileOf({ __metadata__: { a: 1 } }), "BadEntry"],
  ]
  for (const [name, bytes, reason] of cases)
    it.effect(name, () => Effect.map(reasonOf(bytes), (found) => assert.strictEqual(found, reason)))

  it.effect("a header that claims 100 MB in a file of 16 bytes is refused without reading on", () =>
    Effect.gen(function* () {
      const path = join(yield* temporary, "small")
      fs.writeFileSync(path, Buffer.concat([Buffer.from("00e1f50500000000", "hex"), Buffer.alloc(8)]))
      const before = process.memoryUsage().arrayBuffers
      const failed = yield* Effect.flip(Effect.scoped(Safetensors.open(path)))
      assert.strictEqual(failed._tag === "SafetensorsInvalid" && failed.reason, "Truncated")
      assert.isBelow(process.memoryUsage().arrayBuffers - before, 50_000_000)
    }),
  )

  it.effect(
    "every truncation, and headers with bytes changed at random, end in a typed error or a whole file",
    () =>
      Effect.gen(function* () {
        const whole = Safetensors.encode({
          tensors: { a: Tensor.f32([2, 2], [1, 2, 3, 4]), b: Tensor.i64([1], [5]) },
          metadata: { k: "v" },
        })
        for (let length = 0; length < whole.length; length++)
          assert.include(["Truncated", "BadJson", "Gap"], yield* reasonOf(whole.slice(0, length)))
        const next = randomFrom(8)
        let refused = 0
        for (let round = 0; round < 2000; round++) {
          const damaged = whole.slice()
          for (let i = 0; i < 1 + (round % 3); i++)
            damaged[Math.floor(((next() + 1) / 2) * (whole.length - 24))] = Math.floor((next() + 1) * 128)
          const exit = yield* Effect.exit(
            Effect.gen(function* () {
              const reader = yield* Safetensors.decode(damaged)
              for (const name of reader.entries.keys()) yield* reader.read(name)
            }),
          )
          if (Exit.isFailure(exit)) {
            refused++
            for (const reason of exit.cause.reasons)
              assert.strictEqual(reason._tag === "Fail" && reason.error._tag, "SafetensorsInvalid")
          }
        }
        assert.isAbove(refused, 1000)
      }),
  )
})

describe("Half: fast conversions against the definition", () => {
  for (const half of ["f16", "bf16"] as const) {
    it(`${half}: all 65,536 values`, () => {
      const bits = Uint16Array.from({ length: 65536 }, (_, i) => i)
      const values = Half.toFloat32(half, bits)
      bits.forEach((each) => {
        if (!Object.is(values[each], Half.toNumber(half, each))) assert.fail(`${each}: ${values[each]}`)
      })
      const back = Half.fromFloat32(half, values)
      bits.forEach((each) => {
        if (back[each] !== each && !Number.isNaN(values[each]))
          assert.fail(`${each} came back as ${back[each]}`)
        if (Number.isNaN(values[each]) && !Number.isNaN(Half.toNumber(half, back[each]!)))
          assert.fail(`${each} lost its NaN`)
      })
    })

    it(`${half}: rounds to nearest, ties to even, at every boundary and at random`, () => {
      const next = randomFrom(4)
      const edges = [
        0,
        -0,
        65504,
        65519.996,
        65520,
        1e-8,
        2 ** -25,
        2 ** -24,
        3 * 2 ** -26,
        2 ** -14,
        3.4e38,
        Infinity,
        -Infinity,
        1 + 2 ** -11,
        1 + 3 * 2 ** -11,
        1 + 2 ** -8,
        1 + 3 * 2 ** -8,
      ]
      const values = Float32Array.from([
        ...edges,
        ...edges.map((x) => -x),
        ...Array.from({ length: 3000 }, () => next() * 2 ** (next() * 40)),
      ])
      Half.fromFloat32(half, values).forEach((bits, i) => {
        if (bits !== Half.fromNumber(half, values[i]!))
          assert.fail(`${values[i]}: ${bits} is not ${Half.fromNumber(half, values[i]!)}`)
      })
    })
  }

  it("NaN stays NaN", () => {
    for (const half of ["f16", "bf16"] as const)
      assert.isNaN(Half.toFloat32(half, Half.fromFloat32(half, Float32Array.of(Number.NaN)))[0])
  })
})
