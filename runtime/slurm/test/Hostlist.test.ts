import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"

import { Hostlist } from "../src/index.ts"

describe("Hostlist", () => {
  it("expands names of nodes", () => {
    assert.deepStrictEqual(Hostlist.expand(""), [])
    assert.deepStrictEqual(Hostlist.expand("a,b-1"), ["a", "b-1"])
    assert.deepStrictEqual(Hostlist.expand("h100-[0-2,07],cpu"), [
      "h100-0",
      "h100-1",
      "h100-2",
      "h100-07",
      "cpu",
    ])
    assert.deepStrictEqual(Hostlist.expand("r[1-2]n[08-10]"), [
      "r1n08",
      "r1n09",
      "r1n10",
      "r2n08",
      "r2n09",
      "r2n10",
    ])
  })

  it("reads the indices of tasks that wait, and leaves out what was cut off", () => {
    assert.deepStrictEqual(Hostlist.indices("3-5%2"), [3, 4, 5])
    assert.deepStrictEqual(Hostlist.indices("1,4,70-71"), [1, 4, 70, 71])
    assert.deepStrictEqual(Hostlist.indices("0-8:4"), [0, 4, 8])
    assert.deepStrictEqual(Hostlist.indices("1,4,7,..."), [1, 4, 7])
    assert.deepStrictEqual(Hostlist.indices("0-99999999999"), [])
  })

  it.prop(
    "compresses indices to what it reads again",
    [Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 200 })))],
    ([numbers]) => {
      const sorted = [...new Set(numbers)].sort((a, b) => a - b)
      assert.deepStrictEqual(Hostlist.indices(Hostlist.compress(numbers)), sorted)
    },
  )
})
