import { assert, describe, it } from "@effect/vitest"
import { Graph, Operator } from "@reelgraph/core"
import { Journal } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { go, memory, Num, num, nums, version } from "./harness.ts"

const Scale = (calls: { count: number }) =>
  Operator.map("scale", {
    version,
    input: Num,
    output: Num,
    sides: { factor: Operator.one(Num) },
    run: ({ n }, _, { sides }) => {
      calls.count++
      return Effect.succeed(num(n * sides.factor.n))
    },
  })

const CountAll = Operator.map("count-all", {
  version,
  input: Num,
  output: Num,
  sides: { all: Operator.all(Num) },
  run: ({ n }, _, { sides }) => Effect.succeed(num(n + 10 * sides.all.length)),
})

const scaled = (calls = { count: 0 }) =>
  Graph.make("scaled", { version }, (g) => ({
    out: g.input("in", Num).pipe(Scale(calls)().with({ factor: g.input("factor", Num) })),
  }))

describe("a side input of one item", () => {
  it.effect("is given to every call and part of the cache key", () =>
    Effect.gen(function* () {
      const calls = { count: 0 }
      const graph = scaled(calls)
      const run = yield* go(graph, { in: nums(4), factor: [num(3)] })
      assert.deepStrictEqual(run.numbers(), [0, 3, 6, 9])
      yield* go(graph, { in: nums(5), factor: [num(3)] })
      assert.strictEqual(calls.count, 5)
      const other = yield* go(graph, { in: nums(4), factor: [num(5)] })
      assert.deepStrictEqual(other.numbers(), [0, 5, 10, 15])
      assert.strictEqual(calls.count, 9)
    }).pipe(Effect.provide(memory)),
  )

  for (const count of [0, 2]) {
    it.effect(`fails the run when there are ${count}`, () =>
      Effect.gen(function* () {
        const journal = yield* Journal
        const error = yield* Effect.flip(go(scaled(), { in: nums(3000), factor: nums(count) }))
        assert.strictEqual(error._tag, "SideCount")
        assert.strictEqual(error.message, `scale takes exactly one item as factor, and factor gave ${count}`)
        const [run] = journal.runs()
        assert.strictEqual(run!.status, "failed")
        assert.strictEqual(run!.problem, error.message)
      }).pipe(Effect.provide(memory)),
    )
  }
})

describe("a side input of all items", () => {
  it.effect("whose producer also feeds the main input does not block, however many there are", () =>
    Effect.gen(function* () {
      const graph = Graph.make("both", { version }, (g) => {
        const items = g.input("in", Num).pipe(
          Operator.map("same", {
            version,
            input: Num,
            output: Num,
            run: (record) => Effect.succeed(record),
          })(),
        )
        return { out: items.pipe(CountAll().with({ all: items })) }
      })
      const run = yield* go(graph, { in: nums(5000) })
      assert.deepStrictEqual(
        run.numbers(),
        nums(5000, 50_000).map(({ n }) => n),
      )
    }).pipe(Effect.provide(memory)),
  )

  it.effect("may have no items", () =>
    Effect.gen(function* () {
      const graph = Graph.make("none", { version }, (g) => ({
        out: g.input("in", Num).pipe(CountAll().with({ all: g.input("all", Num) })),
      }))
      const run = yield* go(graph, { in: nums(2), all: [] })
      assert.deepStrictEqual(run.numbers(), [0, 1])
    }).pipe(Effect.provide(memory)),
  )

  it.effect("does not depend on the order in which its items were made", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const See = Operator.map("see", {
        version,
        input: Num,
        output: Num,
        sides: { all: Operator.all(Num) },
        params: Schema.Struct({ again: Schema.Int }),
        run: (record, _, { sides }) => {
          seen.push(JSON.stringify(sides.all))
          return Effect.succeed(record)
        },
      })
      for (const again of [1, 2]) {
        const graph = Graph.make("see", { version }, (g) => ({
          out: g.input("in", Num).pipe(See({ again }).with({ all: g.input("all", Num) })),
        }))
        yield* go(graph, { in: [num(1)], all: again === 1 ? nums(50) : nums(50).toReversed() })
      }
      assert.strictEqual(seen.length, 2)
      assert.strictEqual(seen[0], seen[1])
    }).pipe(Effect.provide(memory)),
  )
})
