import { assert, describe, it } from "@effect/vitest"

import { Progress } from "../src/index.ts"

const at = (atMs: number, done: number, more: Partial<Progress.Progress> = {}): Progress.Timed => ({
  atMs,
  report: { done, total: 2000, detail: "", ...more },
})

describe("Progress", () => {
  it("is a share where there is a total", () => {
    const share = (done: number, total: number) => Progress.share({ done, total, detail: "" })
    assert.strictEqual(share(400, 2000), 0.2)
    assert.strictEqual(share(3000, 2000), 1)
    for (const total of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) assert.isUndefined(share(1, total))
    assert.isUndefined(share(Number.NaN, 1))
  })

  it("takes the time left from the report, else from the pace since the first", () => {
    assert.strictEqual(Progress.remaining(at(0, 0), at(500, 1, { remainingMillis: 9000 }), 1500), 8000)
    assert.strictEqual(Progress.remaining(at(0, 0), at(0, 1, { remainingMillis: 10 }), 1500), 0)
    // From 1000 to 1500 in 5 s: 500 more take 5 s, of which 1 s has gone by.
    assert.strictEqual(Progress.remaining(at(0, 1000), at(5000, 1500), 6000), 4000)
    assert.isUndefined(Progress.remaining(at(0, 1000), at(0, 1000), 6000))
    assert.isUndefined(Progress.remaining(at(0, 0), at(5000, 1500, { total: 0 }), 6000))
  })

  it("travels without what does not belong to it", () => {
    const given = { done: 1, total: 2, detail: "x".repeat(10_000), callback: () => 1 }
    const sent = structuredClone(Progress.plain(given))
    assert.deepStrictEqual(sent, { done: 1, total: 2, detail: "x".repeat(200) })
  })
})
