import { assert, describe, it } from "@effect/vitest"
import { StoreLocation } from "@reelgraph/store"
import * as Effect from "effect/Effect"

describe("StoreLocation", () => {
  for (const text of [
    "s3://key:hunter2@bucket/prefix",
    "s3://bucket/prefix?endpoint=http://key:hunter2@host:9000",
    "s3://bucket/prefix?endpoint=http%3A%2F%2Fkey%3Ahunter2%40host",
    "s3://key:p@hunter2@bucket/prefix",
    "https://key:hunter2@host/bucket",
  ])
    it.effect(`refuses credentials and does not repeat them: ${text.slice(0, 30)}`, () =>
      Effect.gen(function* () {
        const refused = yield* Effect.flip(StoreLocation.parse(text))
        assert.notInclude(refused.message, "hunter2")
        assert.include(refused.location, "***@")
      }),
    )

  it.effect("refuses long texts in little time", () =>
    Effect.gen(function* () {
      const started = performance.now()
      yield* Effect.flip(StoreLocation.parse(`ftp://${"://".repeat(100_000)}`))
      assert.isBelow(performance.now() - started, 2000)
    }),
  )
})
