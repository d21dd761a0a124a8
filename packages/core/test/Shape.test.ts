import { assert, describe, it } from "@effect/vitest"
import { Tensor } from "@reelgraph/core"
import * as Schema from "effect/Schema"

import * as Shape from "../src/Shape.ts"

const Whole = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 10_000 }))
const Factor = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 64 }))

describe("Shape", () => {
  it("a scaled symbol binds its symbol", () => {
    const bindings: Shape.Bindings = new Map()
    assert.isUndefined(Shape.unify("H/8", 90, bindings))
    assert.strictEqual(bindings.get("H"), 720)
    assert.isUndefined(Shape.unify("T*2", 48, bindings))
    assert.strictEqual(bindings.get("T"), 24)
  })

  it.prop("what unify bound, valueOf gives back", [Whole, Factor, Factor], ([size, up, down]) => {
    const dim = `N*${up}/${down}`
    const bindings: Shape.Bindings = new Map()
    const problem = Shape.unify(dim, size, bindings)
    if ((size * down) % up === 0) {
      assert.isUndefined(problem)
      assert.strictEqual(Shape.valueOf(dim, bindings, "x"), size)
    } else {
      assert.include(problem, "N would not be a whole number")
      assert.strictEqual(bindings.size, 0)
    }
  })

  it.prop("unifying again changes nothing; another size is a problem", [Whole, Whole], ([a, b]) => {
    const bindings: Shape.Bindings = new Map()
    Shape.unify("H", a, bindings)
    assert.strictEqual(Shape.unify("H", b, bindings) === undefined, a === b)
    assert.strictEqual(bindings.get("H"), a)
  })

  it.prop("scaling up and down by one factor is the identity", [Factor, Factor], ([a, b]) => {
    const free = Shape.valueOf("H", new Map(), "videos")!
    assert.deepStrictEqual(Shape.valueOf(`H*${a}/${b}*${b}/${a}`, new Map(), "videos"), free)
    assert.deepStrictEqual(
      Shape.valueOf(`H*${a}/${b}`, new Map(), "videos"),
      Shape.valueOf(`H/${b}*${a}`, new Map(), "videos"),
    )
  })

  it("a symbol of somebody further up travels through scales", () => {
    const given = Shape.valueOf("H/8", new Map(), "videos")!
    assert.strictEqual(Shape.show(given), "videos.H/8")
    const bindings: Shape.Bindings = new Map()
    assert.isUndefined(Shape.unify("H/8", given, bindings))
    assert.strictEqual(Shape.show(bindings.get("H")!), "videos.H")
    assert.isUndefined(Shape.unify("H", Shape.valueOf("H", new Map(), "videos")!, bindings))
  })

  it("problems say what is taken and what is given", () => {
    const bound = (symbol: string, value: number): Shape.Bindings => new Map([[symbol, value]])
    assert.strictEqual(Shape.unify(720, 72, new Map()), "takes 720, is given 72")
    assert.strictEqual(
      Shape.unify(720, Shape.valueOf("H", new Map(), "videos")!, new Map()),
      "takes 720, is given videos.H, which need not be 720",
    )
    assert.strictEqual(
      Shape.unify("H/8", 91, bound("H", 720)),
      "takes H/8 with H = 720 from another dimension, is given 91",
    )
    assert.strictEqual(
      Shape.unify("T*8", 12, new Map()),
      "takes T*8, is given 12: T would not be a whole number",
    )
  })

  it("shapeOf solves a tensor, or names the dimension that is not whole", () => {
    const latent = Tensor.make({ dtype: "f32", shape: ["T/8", 16, "H/8"] })
    assert.deepStrictEqual(
      Shape.shapeOf(
        latent,
        new Map([
          ["T", 120],
          ["H", 720],
        ]),
        "encode",
      ),
      [15, 16, 90],
    )
    assert.strictEqual(
      Shape.shapeOf(
        latent,
        new Map([
          ["T", 120],
          ["H", 724],
        ]),
        "encode",
      ),
      "H/8 is not a whole number here",
    )
  })
})

describe("Tensor", () => {
  it("shows what it is", () => {
    assert.strictEqual(
      Tensor.show({ dtype: "u8", shape: ["T", 3, 720], space: "pixels", fps: 24, range: "limited" }),
      "u8 [T, 3, 720] in pixels at 24 fps, limited range",
    )
    assert.strictEqual(Tensor.show({ dtype: "f32", shape: [] }), "f32 []")
  })

  it.each(["H", "H/8", "T*2/3", "text.length", 720])("takes the dimension %s", (dim) => {
    assert.isTrue(Schema.is(Tensor.Dim)(dim))
  })

  it.each(["", "H/0", "8/H", "H+1", "H/", 0, -1, 1.5])("refuses the dimension %s", (dim) => {
    assert.isFalse(Schema.is(Tensor.Dim)(dim))
  })
})
