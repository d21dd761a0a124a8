import { assert, describe, it } from "@effect/vitest"
import { Ledger } from "@reelgraph/core"
import * as Schema from "effect/Schema"

const Count = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1_000_000 }))

const ledger = (change: Partial<Ledger.NodeLedger>): Ledger.NodeLedger => ({
  in: 10,
  kept: 6,
  dropped: { "too-dark": 2, "too-short": 1 },
  failed: 1,
  out: 6,
  cached: 0,
  retries: 0,
  busyMs: 0,
  ...change,
})

describe("Ledger", () => {
  it("is silent when it adds up, and names the node and its numbers when it does not", () => {
    assert.deepStrictEqual(Ledger.imbalances({ a: ledger({}) }), [])
    assert.deepStrictEqual(Ledger.imbalances({ a: ledger({}), b: ledger({ failed: 0 }) }), [
      "b: in 10 is not kept 6 + dropped 3 + failed 0",
    ])
  })

  it.prop(
    "adds up exactly when in = kept + dropped + failed, whatever the reasons are called",
    [
      Count,
      Count,
      Schema.Record(Schema.String, Count),
      Schema.Int.check(Schema.isBetween({ minimum: -1, maximum: 1 })),
    ],
    ([kept, failed, dropped, off]) => {
      const sum = Object.values(dropped).reduce((total, count) => total + count, kept + failed)
      const node = ledger({ in: sum + off, kept, failed, dropped })
      assert.strictEqual(Ledger.imbalances({ node }).length, off === 0 ? 0 : 1)
      assert.strictEqual(Ledger.droppedOf(node), sum - kept - failed)
    },
  )

  it("its schema refuses negative and fractional counts", () => {
    const is = Schema.is(Ledger.Ledger)
    assert.isTrue(is({ a: ledger({}) }))
    assert.isFalse(is({ a: ledger({ kept: -1 }) }))
    assert.isFalse(is({ a: ledger({ dropped: { dark: 0.5 } }) }))
  })
})
