/** Models that stay open between calls. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"

import * as OpenModels from "../src/internal/openModels.ts"

interface Key {
  readonly file: string
  readonly size: number
}

/** Opens models that note what becomes of them; those of a file `bad` cannot be opened. */
const opening = (notes: Array<string>) =>
  OpenModels.make(({ file, size }: Key) =>
    Effect.acquireRelease(
      Effect.suspend(() => {
        notes.push(`open ${file} ${size}`)
        return file === "bad" ? Effect.fail("unreadable") : Effect.succeed({ file, size })
      }),
      () => Effect.sync(() => void notes.push(`close ${file} ${size}`)),
    ),
  )

describe("open models", () => {
  it.effect("are the same for equal keys, while in use and for a minute after", () =>
    Effect.gen(function* () {
      const notes: Array<string> = []
      const open = yield* opening(notes)
      const one = yield* Effect.scoped(open({ file: "a", size: 1 }))
      assert.strictEqual(yield* Effect.scoped(open({ file: "a", size: 1 })), one)
      yield* Effect.scoped(open({ file: "a", size: 2 }))
      assert.deepStrictEqual(notes, ["open a 1", "open a 2"])
      yield* TestClock.adjust("59 seconds")
      yield* Effect.scoped(open({ file: "a", size: 1 }))
      yield* TestClock.adjust("59 seconds")
      assert.deepStrictEqual(notes, ["open a 1", "open a 2", "close a 2"])
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(notes.at(-1), "close a 1")
    }),
  )

  it.effect("are closed with the scope, whether or not a minute has gone by", () =>
    Effect.gen(function* () {
      const notes: Array<string> = []
      yield* Effect.scoped(
        Effect.gen(function* () {
          const open = yield* opening(notes)
          yield* Effect.scoped(open({ file: "a", size: 1 }))
          assert.deepStrictEqual(notes, ["open a 1"])
        }),
      )
      assert.deepStrictEqual(notes, ["open a 1", "close a 1"])
    }),
  )

  it.effect("that could not be opened are tried again", () =>
    Effect.gen(function* () {
      const notes: Array<string> = []
      const open = yield* opening(notes)
      for (let call = 0; call < 2; call++)
        assert.strictEqual(yield* Effect.flip(Effect.scoped(open({ file: "bad", size: 1 }))), "unreadable")
      assert.deepStrictEqual(notes, ["open bad 1", "open bad 1"])
    }),
  )
})
