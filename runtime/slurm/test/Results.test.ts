import { assert, describe, it } from "@effect/vitest"
import type { Call } from "@reelgraph/call"
import * as Effect from "effect/Effect"

import * as Results from "../src/Results.ts"

const attempt: Results.Attempt = {
  job: 12,
  task: 3,
  restart: 1,
  token: "0a1b2c3d",
  node: "h100-1",
  gpus: "5",
}
const head = { ...attempt, shard: "paint-7", part: 2, whole: true }
const name = Results.partName(head)

const result = (at: number): Call.Result => ({
  at,
  what: { _tag: "Dropped", reason: "dark", detail: `${at} ümläut\n` },
  attempts: 1,
  startedMs: 1_700_000_000_000,
  ms: 1.5,
})

describe("Results", () => {
  it.effect("are read as they were written, however many", () =>
    Effect.gen(function* () {
      for (const count of [0, 1, 300]) {
        const results = Array.from({ length: count }, (_, at) => result(at))
        const read = yield* Results.decode(name, Results.encode(head, results))
        assert.deepStrictEqual(read.results, results)
        assert.deepInclude(read.head, { ...head, results: count })
      }
    }),
  )

  it.effect("that are cut short or changed anywhere are none", () =>
    Effect.gen(function* () {
      const bytes = Results.encode(head, [result(0), result(1)])
      for (let at = 0; at < bytes.length; at += 7) {
        const cut = yield* Effect.flip(Results.decode(name, bytes.subarray(0, at)))
        assert.strictEqual(cut._tag, "ResultsDamaged")
        const changed = Uint8Array.from(bytes)
        changed[at] = changed[at]! ^ 1
        const exit = yield* Effect.result(Results.decode(name, changed))
        // A flipped bit in the head may leave it readable, never with other results.
        if (exit._tag === "Success") assert.deepStrictEqual(exit.success.results, [result(0), result(1)])
      }
    }),
  )

  it.effect("of one name under another are none", () =>
    Effect.gen(function* () {
      const bytes = Results.encode(head, [result(0)])
      const other = Results.partName({ ...head, shard: "paint-8" })
      const { problem } = yield* Effect.flip(Results.decode(other, bytes))
      assert.strictEqual(problem, `they are those of ${name}`)
    }),
  )

  it("have names that say whose they are", () => {
    assert.deepStrictEqual(Results.parseName(Results.partName(head)), {
      _tag: "Part",
      shard: "paint-7",
      task: 3,
    })
    assert.deepStrictEqual(Results.parseName(Results.registrationName(attempt)), {
      _tag: "Registration",
      task: 3,
    })
    for (const other of ["", "paint-7.3.ndjson", "worker.x.1.0a.json", "paint-7.3.1.0a1b2c3d.2.ndjson.tmp"])
      assert.isUndefined(Results.parseName(other))
  })

  it("come from places that lead to their logs, and nowhere else", () => {
    const place = Results.placeOf(attempt, "curate-20260114-093042-3fa9c1")
    assert.strictEqual(place, "h100-1, job 12_3 (restart 1), GPU 5, session curate-20260114-093042-3fa9c1")
    assert.strictEqual(Results.logOf(place), "curate-20260114-093042-3fa9c1/12_3.log")
    for (const other of [
      "here",
      "n, job 1_2, session ..",
      "n, job 1_2, session ../x",
      "n, job ../1_2, session a/b",
    ])
      assert.isUndefined(Results.logOf(other))
  })
})
