import { assert, describe, it } from "@effect/vitest"
import { Attributes } from "@reelgraph/world"

const names = ["colour", "shape", "motion", "background"] as const

/** The distinct (attribute, value, attribute, value) of some combinations. */
const pairs = (combinations: ReadonlyArray<Attributes.Attributes>): Set<string> =>
  new Set(
    combinations.flatMap((attributes) =>
      names.flatMap((a) => names.map((b) => `${a} ${attributes[a]} ${b} ${attributes[b]}`)),
    ),
  )

describe("Attributes", () => {
  it("all has each of the 1,120 combinations once, at its index", () => {
    assert.strictEqual(Attributes.all.length, 1120)
    Attributes.all.forEach((attributes, i) => assert.strictEqual(Attributes.index(attributes), i))
  })

  it("each combination is either trained or held out", () => {
    const trained = Attributes.trained.map(Attributes.index)
    const heldOut = Attributes.heldOut.map(Attributes.index)
    assert.strictEqual(trained.length, 1008)
    assert.strictEqual(heldOut.length, 112)
    assert.strictEqual(new Set([...trained, ...heldOut]).size, 1120)
  })

  it("training shows every pair of values", () => {
    assert.deepStrictEqual(pairs(Attributes.trained), pairs(Attributes.all))
  })

  it("each value is held out about as often as it occurs", () => {
    for (const name of names)
      for (const value of new Set(Attributes.all.map((attributes) => attributes[name]))) {
        const has = (attributes: Attributes.Attributes): boolean => attributes[name] === value
        const share = Attributes.heldOut.filter(has).length / Attributes.all.filter(has).length
        assert.isAtLeast(share, 0.07, value)
        assert.isAtMost(share, 0.13, value)
      }
  })

  it("the split stays the same: weights are trained on one part", () => {
    assert.deepStrictEqual(Attributes.heldOut.slice(0, 4).map(Attributes.index), [0, 866, 750, 565])
  })
})
