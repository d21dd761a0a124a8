import { assert, describe, it } from "@effect/vitest"
import { Canonical, Difference, Digest } from "@reelgraph/core"
import * as Schema from "effect/Schema"

/** The same value with the members of every object in reverse order. */
const reversed = (value: Canonical.Json): Canonical.Json => {
  if (Array.isArray(value)) return value.map((item: Canonical.Json) => reversed(item))
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .toReversed()
      .map(([key, member]) => [key, reversed(member as Canonical.Json)]),
  )
}

const nested = (depth: number): Canonical.Json =>
  JSON.parse("[".repeat(depth) + "]".repeat(depth)) as Canonical.Json

describe("Canonical", () => {
  it.prop("does not depend on key order", [Schema.Json], ([value]) => {
    assert.strictEqual(Canonical.stringify(reversed(value)), Canonical.stringify(value))
  })

  it.prop("means what it came from, and is its own canonical form", [Schema.Json], ([value]) => {
    const text = Canonical.stringify(value)
    assert.deepStrictEqual(JSON.parse(text), JSON.parse(JSON.stringify(value)))
    assert.strictEqual(Canonical.stringify(JSON.parse(text) as Canonical.Json), text)
  })

  it("writes the sample of RFC 8785, section 3.2.2", () => {
    const value = JSON.parse(String.raw`{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }`) as Canonical.Json
    assert.strictEqual(
      Canonical.stringify(value),
      String.raw`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`,
    )
  })

  it("sorts keys by UTF-16 code units, as in RFC 8785, section 3.2.3", () => {
    const value = { "\u20ac": 5, "\r": 1, "\ufb33": 7, "1": 2, "\u{1f600}": 6, "\u0080": 3, "\u00f6": 4 }
    assert.deepStrictEqual(
      Canonical.stringify(value)
        .match(/:\d/g)
        ?.map((text) => Number(text.slice(1))),
      [1, 2, 3, 4, 5, 6, 7],
    )
  })

  it.each([
    ["0000000000000000", "0"],
    ["8000000000000000", "0"],
    ["0000000000000001", "5e-324"],
    ["7fefffffffffffff", "1.7976931348623157e+308"],
    ["4340000000000001", "9007199254740994"],
    ["444b1ae4d6e2ef4f", "999999999999999900000"],
    ["444b1ae4d6e2ef50", "1e+21"],
    ["3eb0c6f7a0b5ed8d", "0.000001"],
    ["3eb0c6f7a0b5ed8c", "9.999999999999997e-7"],
    ["41b3de4355555557", "333333333.33333343"],
  ])("writes the number %s of RFC 8785, appendix B, as %s", (bits, text) => {
    const number = Buffer.from(bits, "hex").readDoubleBE()
    assert.strictEqual(Canonical.stringify(number), text)
  })

  it("leaves undefined members out, wherever they stand", () => {
    assert.strictEqual(Canonical.stringify({ a: undefined, b: 1, c: undefined }), '{"b":1}')
    assert.strictEqual(Canonical.stringify({ a: undefined }), "{}")
  })

  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])("refuses %s", (number) => {
    assert.throws(() => Canonical.stringify({ a: [number] }), RangeError, "has no canonical JSON form")
  })

  it.each([
    ["Date", new Date(0)],
    ["Map", new Map([["a", 1]])],
    ["Float32Array", new Float32Array(2)],
    ["bigint", 1n],
    ["function", () => 1],
    ["undefined", [undefined]],
  ])("refuses %s, which would read {}", (what, value) => {
    assert.throws(
      () => Canonical.stringify(value as never),
      TypeError,
      `a value of type ${what} has no canonical JSON form`,
    )
  })

  it("takes a member that is called toJSON, and objects without a prototype", () => {
    assert.strictEqual(Canonical.stringify({ toJSON: "a" }), '{"toJSON":"a"}')
    const bare = Object.assign(Object.create(null) as object, { a: 1 })
    assert.strictEqual(Canonical.stringify(bare as never), '{"a":1}')
  })

  it("refuses hostile nesting before the stack overflows", () => {
    const deepest = nested(Canonical.maxDepth)
    assert.strictEqual(Canonical.stringify(deepest), JSON.stringify(deepest))
    assert.throws(() => Canonical.stringify(nested(100_000)), RangeError, "nested deeper than 500 levels")
    assert.throws(() => Difference.lines(nested(100_000), nested(100_001)), RangeError, "nested deeper")
  })
})

describe("Digest", () => {
  it("is that of FIPS 180-4 for bytes and strings", () => {
    const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert.strictEqual(Digest.ofBytes("abc"), abc)
    assert.strictEqual(Digest.ofBytes(new TextEncoder().encode("abc")), abc)
  })

  it("of JSON is that of the canonical text as UTF-8", () => {
    assert.strictEqual(Digest.ofJson({ b: "é", a: 1 }), Digest.ofBytes('{"a":1,"b":"é"}'))
  })

  it.prop("of JSON does not depend on key order", [Schema.Json], ([value]) => {
    assert.strictEqual(Digest.ofJson(reversed(value)), Digest.ofJson(value))
  })

  it("has a schema that takes only digests", () => {
    const is = Schema.is(Digest.Digest)
    assert.isTrue(is(Digest.ofBytes("")))
    assert.isFalse(is(Digest.ofBytes("").toUpperCase()))
    assert.isFalse(is(`${Digest.ofBytes("")}0`))
  })
})

describe("Difference", () => {
  it.prop("is empty exactly when the values are equal", [Schema.Json, Schema.Json], ([a, b]) => {
    assert.deepStrictEqual(Difference.lines(a, reversed(a)), [])
    assert.strictEqual(Difference.lines(a, b).length === 0, Canonical.stringify(a) === Canonical.stringify(b))
  })

  it.prop("has as many lines in both directions", [Schema.Json, Schema.Json], ([a, b]) => {
    assert.strictEqual(Difference.lines(a, b).length, Difference.lines(b, a).length)
  })

  it("names paths, also into arrays and through keys that are no identifiers", () => {
    assert.deepStrictEqual(
      Difference.lines(
        { a: { crf: 20, old: null, "x.y": 1 }, shape: ["T", 3, 72], same: [1] },
        { a: { crf: 18, new: [true], "x.y": 2 }, shape: ["T", 3, 72, 128], same: [1] },
      ),
      [
        "a.crf: 20 -> 18",
        "a.new: added [true]",
        "a.old: removed null",
        'a["x.y"]: 1 -> 2',
        "shape[3]: added 128",
      ],
    )
    assert.deepStrictEqual(Difference.lines(1, "1"), ['value: 1 -> "1"'])
  })

  it("long texts are shown from where they differ", () => {
    const [line] = Difference.lines("a".repeat(200) + "b", "a".repeat(200) + "c")
    assert.strictEqual(line, `value: ...${"a".repeat(16)}b" -> ...${"a".repeat(16)}c"`)
    const [added] = Difference.lines({}, { text: "a".repeat(200) })
    assert.isBelow(added!.length, 100)
  })

  it("a key that every object inherits", () => {
    const value = JSON.parse('{"constructor": 1, "toString": 2, "__proto__": 3}') as Canonical.Json
    assert.deepStrictEqual(Difference.lines({}, value), [
      "__proto__: added 3",
      "constructor: added 1",
      "toString: added 2",
    ])
    assert.deepStrictEqual(Difference.lines(value, value), [])
  })
})
