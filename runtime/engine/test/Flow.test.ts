import { assert, describe, it } from "@effect/vitest"
import { Graph, Operator } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"

import * as Flow from "../src/internal/Flow.ts"
import { go, memory, Num, num, nums, version } from "./harness.ts"

describe("backpressure", () => {
  it.effect("keeps a fast producer within the bound of a consumer that stands still", () =>
    Effect.gen(function* () {
      const gate = yield* Latch.make()
      const total = 20_000
      let taken = 0
      let made = 0
      const source = Stream.fromIterable(nums(total)).pipe(Stream.tap(() => Effect.sync(() => void taken++)))
      const graph = Graph.make("slow", { version }, (g) => ({
        out: g.input("in", Num).pipe(
          Operator.map("fast", {
            version,
            input: Num,
            output: Num,
            run: ({ n }) => Effect.sync(() => (made++, num(n + 1))),
          })(),
          Operator.map("slow", {
            version,
            input: Num,
            output: Num,
            run: ({ n }) => Effect.as(gate.await, num(n + 1)),
          })(),
        ),
      }))
      const fiber = yield* Effect.forkChild(go(graph, { in: source }))
      // Until nothing moves any more.
      let before = -1
      let still = 0
      while (still < 200) {
        yield* Effect.yieldNow
        still = made === before ? still + 1 : 0
        before = made
      }
      // In front of the slow node and of its calls, and one chunk in each pair of hands between.
      const ahead = Flow.capacity + Flow.chunk + 3 * Flow.chunk
      assert.isAbove(made, Flow.capacity)
      assert.isAtMost(made, ahead)
      // The source's own chunks (4096 at most) come on top.
      assert.isAtMost(taken, 2 * ahead + 4096)
      yield* gate.open
      const run = yield* Fiber.join(fiber)
      assert.strictEqual(run.numbers().length, total)
      assert.strictEqual(made, total)
    }).pipe(Effect.provide(memory)),
  )

  it.effect("a source that gives one item and then waits is not held back", () =>
    Effect.gen(function* () {
      const first = yield* Latch.make()
      const source = Stream.concat(Stream.make(num(1)), Stream.fromEffect(Effect.as(first.await, num(2))))
      const graph = Graph.make("trickle", { version }, (g) => ({
        out: g.input("in", Num).pipe(
          Operator.map("open", {
            version,
            input: Num,
            output: Num,
            run: (record) => Effect.as(first.open, record),
          })(),
        ),
      }))
      const run = yield* go(graph, { in: source })
      assert.deepStrictEqual(run.numbers(), [1, 2])
    }).pipe(Effect.provide(memory)),
  )

  it.effect("ends a batch of what is left when a queue ends", () =>
    Effect.gen(function* () {
      const inlet = yield* Flow.inlet()
      yield* Flow.send([inlet], [{ id: 1 }, { id: 2 }, { id: 3 }])
      yield* Flow.end([inlet])
      const sizes: Array<number> = []
      yield* Flow.forEachChunk(
        inlet,
        () => ({ min: 2, max: 2 }),
        (items) => Effect.sync(() => void sizes.push(items.length)),
      )
      assert.deepStrictEqual(sizes, [2, 1])
      assert.strictEqual(yield* Queue.size(inlet), 0)
    }),
  )
})

describe("concurrency", () => {
  for (const concurrency of [1, 3]) {
    it.effect(`makes ${concurrency} calls of an operator at once, and no more`, () =>
      Effect.gen(function* () {
        let running = 0
        let most = 0
        const Busy = Operator.map("busy", {
          version,
          input: Num,
          output: Num,
          concurrency,
          run: (record) =>
            Effect.gen(function* () {
              most = Math.max(most, ++running)
              for (let i = 0; i < 5; i++) yield* Effect.yieldNow
              running--
              return record
            }),
        })
        const graph = Graph.make("busy", { version }, (g) => ({ out: g.input("in", Num).pipe(Busy()) }))
        const run = yield* go(graph, { in: nums(200) })
        assert.strictEqual(most, concurrency)
        assert.strictEqual(run.numbers().length, 200)
      }).pipe(Effect.provide(memory)),
    )
  }
})
