import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"

import { ResourcePool } from "../src/internal/ResourcePool.ts"

/** A request that holds its cores until it is told to give them back. */
const hold = (pool: ResourcePool, cores: number, priority: number, name: string, order: Array<string>) =>
  Effect.gen(function* () {
    const done = yield* Deferred.make<void>()
    const fiber = yield* Effect.forkChild(
      pool.use({ cores }, priority, () =>
        Effect.andThen(
          Effect.sync(() => void order.push(name)),
          Deferred.await(done),
        ),
      ),
      { startImmediately: true },
    )
    return { done: Effect.andThen(Deferred.succeed(done, undefined), Fiber.join(fiber)), fiber }
  })

describe("ResourcePool", () => {
  it.effect("grants by priority, then in order; a large request is not overtaken by smaller ones", () =>
    Effect.gen(function* () {
      const pool = new ResourcePool({ cores: 2 })
      const order: Array<string> = []
      const first = yield* hold(pool, 1, 0, "first", order)
      const large = yield* hold(pool, 2, 1, "large", order)
      const small = yield* hold(pool, 1, 0, "small", order)
      const late = yield* hold(pool, 1, 2, "late", order)
      assert.deepStrictEqual(order, ["first", "late"])
      yield* late.done
      yield* first.done
      assert.deepStrictEqual(order, ["first", "late", "large"])
      yield* large.done
      yield* small.done
      assert.deepStrictEqual(order, ["first", "late", "large", "small"])
      assert.strictEqual(pool.freeCores, 2)
    }),
  )

  it.effect("lets a call wait for memory although cores are free", () =>
    Effect.gen(function* () {
      const pool = new ResourcePool({ cores: 4, memoryGiB: 16 })
      const order: Array<string> = []
      const done = yield* Deferred.make<void>()
      const hold = (name: string, memoryGiB: number) =>
        Effect.forkChild(
          pool.use({ cores: 1, memoryGiB }, 0, () =>
            Effect.andThen(
              Effect.sync(() => void order.push(name)),
              Deferred.await(done),
            ),
          ),
          { startImmediately: true },
        )
      const fibers = [yield* hold("first", 10), yield* hold("second", 10), yield* hold("small", 1)]
      assert.deepStrictEqual(order, ["first"])
      yield* Deferred.succeed(done, undefined)
      yield* Fiber.joinAll(fibers)
      assert.deepStrictEqual(order, ["first", "second", "small"])
      assert.strictEqual(pool.freeCores, 4)
    }),
  )

  it.effect("shares a core by fractions that add up exactly, and caps what is more than all", () =>
    Effect.gen(function* () {
      const pool = new ResourcePool({ cores: 1 })
      const order: Array<string> = []
      const tenths = yield* Effect.forEach(Array.from({ length: 11 }), (_, i) =>
        hold(pool, 0.1, 0, `${i}`, order),
      )
      assert.strictEqual(order.length, 10)
      for (const tenth of tenths) yield* tenth.done
      assert.strictEqual(pool.freeCores, 1)
      const more = yield* hold(pool, 64, 0, "more", order)
      assert.strictEqual(pool.freeCores, 0)
      yield* more.done
    }),
  )

  it.effect(
    "interrupting a request that waits lets those behind it go, one that runs gives its cores back",
    () =>
      Effect.gen(function* () {
        const pool = new ResourcePool({ cores: 2 })
        const order: Array<string> = []
        const first = yield* hold(pool, 1, 0, "first", order)
        const large = yield* hold(pool, 2, 0, "large", order)
        yield* hold(pool, 1, 0, "small", order)
        yield* Fiber.interrupt(large.fiber)
        assert.deepStrictEqual(order, ["first", "small"])
        yield* Fiber.interrupt(first.fiber)
        assert.strictEqual(pool.freeCores, 1)
      }),
  )

  const Requests = Schema.Array(
    Schema.Struct({
      cores: Schema.Literals([0.25, 0.5, 1, 2, 3]),
      priority: Schema.Literals([0, 1, 2]),
      interrupt: Schema.Boolean,
    }),
  )
  it.effect.prop("never gives more than there is, and serves every request", [Requests], ([requests]) =>
    Effect.gen(function* () {
      const pool = new ResourcePool({ cores: 2 })
      let held = 0
      let served = 0
      const fibers = yield* Effect.forEach(requests, ({ cores, priority }, i) =>
        Effect.forkChild(
          pool.use({ cores }, priority, () =>
            Effect.gen(function* () {
              held += Math.min(cores, 2)
              assert.isAtMost(held, 2)
              yield* Effect.forEach(Array.from({ length: i % 3 }), () => Effect.yieldNow)
              held -= Math.min(cores, 2)
              served++
            }).pipe(Effect.onInterrupt(() => Effect.sync(() => void (held -= Math.min(cores, 2))))),
          ),
          { startImmediately: true },
        ),
      )
      yield* Effect.yieldNow
      let gone = 0
      for (const [i, { interrupt }] of requests.entries()) {
        if (!interrupt) continue
        const before = served
        yield* Fiber.interrupt(fibers[i]!)
        if (served === before) gone++
      }
      for (const [i, { interrupt }] of requests.entries()) if (!interrupt) yield* Fiber.join(fibers[i]!)
      assert.isAtLeast(served + gone, requests.length - requests.filter(({ interrupt }) => interrupt).length)
      assert.strictEqual(pool.freeCores, 2)
    }),
  )

  it.effect(
    "shares GPUs by memory, the fullest first, and gives one alone to who does not say how much",
    () =>
      Effect.gen(function* () {
        const pool = new ResourcePool({ cores: 16, gpus: [80, 80] })
        const given = new Map<string, ReadonlyArray<number>>()
        const hold = (name: string, gpu: { count: number; memoryGiB?: number }) =>
          Effect.gen(function* () {
            const done = yield* Deferred.make<void>()
            const fiber = yield* Effect.forkChild(
              pool.use({ cores: 1, gpu }, 0, (devices) =>
                Effect.andThen(
                  Effect.sync(() => void given.set(name, devices)),
                  Deferred.await(done),
                ),
              ),
              { startImmediately: true },
            )
            return Effect.andThen(Deferred.succeed(done, undefined), Fiber.join(fiber))
          })
        const small = yield* hold("small", { count: 1, memoryGiB: 24 })
        // Beside the first, although the other GPU is empty: who wants one alone finds it so.
        const other = yield* hold("other", { count: 1, memoryGiB: 40 })
        const alone = yield* hold("alone", { count: 1 })
        assert.deepStrictEqual(Object.fromEntries(given), { small: [0], other: [0], alone: [1] })
        const both = yield* hold("both", { count: 2, memoryGiB: 10 })
        assert.isFalse(given.has("both"))
        yield* alone
        assert.deepStrictEqual(given.get("both"), [0, 1])
        // No room beside 24, 40 and 10.
        const late = yield* hold("late", { count: 1, memoryGiB: 75 })
        assert.isFalse(given.has("late"))
        yield* both
        assert.deepStrictEqual(given.get("late"), [1])
        for (const done of [small, other, late]) yield* done
      }),
  )
})
