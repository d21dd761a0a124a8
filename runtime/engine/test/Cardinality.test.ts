import { assert, describe, it } from "@effect/vitest"
import { drop, Graph, keep, Operator } from "@reelgraph/core"
import { Journal } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { go, memory, Num, num, nums, version } from "./harness.ts"

const one = (node: any) => Graph.make("one", { version }, (g) => ({ out: g.input("in", Num).pipe(node) }))

const Add = Operator.map("add", {
  version,
  input: Num,
  output: Num,
  params: Schema.Struct({ by: Schema.Int }),
  run: ({ n }, { by }) => Effect.succeed(num(n + by)),
})

const Even = Operator.filter("even", {
  version,
  input: Num,
  run: ({ n }) => Effect.succeed(n % 2 === 0 ? keep : drop(n % 3 === 0 ? "three" : "odd", `${n}`)),
})

describe("map", () => {
  it.effect("gives one item for each", () =>
    Effect.gen(function* () {
      const run = yield* go(one(Add({ by: 10 })), { in: nums(1000) })
      assert.deepStrictEqual(
        run.numbers(),
        nums(1000, 10).map(({ n }) => n),
      )
      assert.deepInclude(run.ledger("add"), { in: 1000, kept: 1000, failed: 0, out: 1000, cached: 0 })
    }).pipe(Effect.provide(memory)),
  )

  it.effect("runs a graph whose input has no items", () =>
    Effect.gen(function* () {
      const run = yield* go(one(Add({ by: 1 })), { in: [] })
      assert.strictEqual(run.report.status, "done")
      assert.deepStrictEqual(run.numbers(), [])
      assert.deepStrictEqual(run.report.inputs, { in: 0 })
    }).pipe(Effect.provide(memory)),
  )

  it.effect("may drop, by failing with a drop", () =>
    Effect.gen(function* () {
      const Some = Operator.map("some", {
        version,
        input: Num,
        output: Num,
        run: (record) => (record.n < 3 ? Effect.fail(drop("small")) : Effect.succeed(record)),
      })
      const run = yield* go(one(Some()), { in: nums(5) })
      assert.deepStrictEqual(run.numbers(), [3, 4])
      assert.deepInclude(run.ledger("some"), { in: 5, kept: 2, dropped: { small: 3 }, failed: 0 })
    }).pipe(Effect.provide(memory)),
  )
})

describe("filter", () => {
  it.effect("passes the very item on, and counts drops by reason", () =>
    Effect.gen(function* () {
      const journal = yield* Journal
      const run = yield* go(one(Even()), { in: nums(10) })
      assert.deepStrictEqual(run.numbers(), [0, 2, 4, 6, 8])
      assert.deepInclude(run.ledger("even"), { in: 10, kept: 5, dropped: { odd: 3, three: 2 }, out: 5 })
      const { id } = journal.run(run.report.run)!
      const taken = journal.runItems(id, "in:in")
      for (const item of journal.runItems(id, "out:out")) assert.include(taken, item)
      assert.deepStrictEqual(
        journal
          .dropped(id)
          .map(({ detail, reason }) => [detail, reason])
          .sort(([a], [b]) => (a! < b! ? -1 : 1)),
        [
          ["1", "odd"],
          ["3", "three"],
          ["5", "odd"],
          ["7", "odd"],
          ["9", "three"],
        ],
      )
    }).pipe(Effect.provide(memory)),
  )
})

describe("flatMap", () => {
  it.effect("gives none, one or many", () =>
    Effect.gen(function* () {
      const Count = Operator.flatMap("count", {
        version,
        input: Num,
        output: Num,
        run: ({ n }) => Effect.succeed(Array.from({ length: n }, (_, i) => num(n * 10 + i))),
      })
      const graph = one(Count())
      const run = yield* go(graph, { in: nums(4) })
      assert.deepStrictEqual(run.numbers(), [10, 20, 21, 30, 31, 32])
      assert.deepInclude(run.ledger("count"), { in: 4, kept: 4, out: 6 })
      const again = yield* go(graph, { in: nums(4) })
      assert.deepStrictEqual(again.numbers(), run.numbers())
      assert.deepInclude(again.ledger("count"), { in: 4, kept: 4, out: 6, cached: 4 })
    }).pipe(Effect.provide(memory)),
  )
})

describe("batch", () => {
  const batches = (sizes: Array<number>, poison?: number) =>
    Operator.batch("batch", {
      version,
      input: Num,
      output: Num,
      size: 4,
      run: (records) => {
        sizes.push(records.length)
        return records.some(({ n }) => n === poison)
          ? Effect.fail(new Error("poison"))
          : Effect.succeed(records.map(({ n }) => (n === 2 ? drop("two") : num(n + 100))))
      },
    })

  it.effect("fills batches up, the last one with what is left", () =>
    Effect.gen(function* () {
      const sizes: Array<number> = []
      const run = yield* go(one(batches(sizes)()), { in: nums(10) })
      assert.deepStrictEqual(sizes, [4, 4, 2])
      assert.deepStrictEqual(run.numbers(), [100, 101, 103, 104, 105, 106, 107, 108, 109])
      assert.deepInclude(run.ledger("batch"), { in: 10, kept: 9, dropped: { two: 1 }, failed: 0 })
    }).pipe(Effect.provide(memory)),
  )

  it.effect("a poison item costs only itself", () =>
    Effect.gen(function* () {
      const sizes: Array<number> = []
      const run = yield* go(one(batches(sizes, 5)()), { in: nums(10) })
      assert.deepStrictEqual(sizes, [4, 4, 1, 1, 1, 1, 2])
      assert.deepInclude(run.ledger("batch"), { in: 10, kept: 8, dropped: { two: 1 }, failed: 1 })
      assert.deepStrictEqual(
        run.failures.map(({ detail, node }) => [node, detail]),
        [["batch", "poison"]],
      )
    }).pipe(Effect.provide(memory)),
  )

  it.effect("is cached item by item, whatever the batches", () =>
    Effect.gen(function* () {
      const sizes: Array<number> = []
      const graph = one(batches(sizes)())
      yield* go(graph, { in: nums(10) })
      sizes.length = 0
      const run = yield* go(graph, { in: [...nums(3), ...nums(5, 8)] })
      assert.deepStrictEqual(sizes, [3])
      assert.deepInclude(run.ledger("batch"), { in: 8, kept: 7, dropped: { two: 1 }, cached: 5 })
    }).pipe(Effect.provide(memory)),
  )

  it.effect("of another number of results fails its items one by one", () =>
    Effect.gen(function* () {
      const Short = Operator.batch("short", {
        version,
        input: Num,
        output: Num,
        size: 3,
        run: (records) => Effect.succeed(records.slice(1)),
      })
      const run = yield* go(one(Short()), { in: nums(3) })
      assert.deepInclude(run.ledger("short"), { in: 3, kept: 0, failed: 3 })
      assert.include(run.failures[0]!.detail, "a batch of 1 gives 1 results, this one gave 0")
    }).pipe(Effect.provide(memory)),
  )
})

describe("collect", () => {
  const collects = (calls: Array<ReadonlyArray<number>>) =>
    Operator.collect("collect", {
      version,
      input: Num,
      output: Num,
      run: (records) => {
        calls.push(records.map(({ n }) => n))
        return Effect.succeed([
          Operator.emit(
            num(records.reduce((sum, { n }) => sum + n, 1000)),
            records.map((_, i) => i),
          ),
          ...records.map(({ n }, at) =>
            n % 2 === 0 ? Operator.pass(at) : Operator.dropAt(at, drop("odd", `${n}`)),
          ),
        ])
      },
    })

  it.effect("emits, passes on and drops, the same from the cache", () =>
    Effect.gen(function* () {
      const journal = yield* Journal
      const calls: Array<ReadonlyArray<number>> = []
      const graph = one(collects(calls)())
      const run = yield* go(graph, { in: nums(7) })
      assert.deepStrictEqual(run.numbers(), [0, 2, 4, 6, 1021])
      assert.deepInclude(run.ledger("collect"), { in: 7, kept: 4, dropped: { odd: 3 }, out: 5, cached: 0 })
      const again = yield* go(graph, { in: nums(7).toReversed() })
      assert.deepStrictEqual(again.numbers(), run.numbers())
      assert.deepInclude(again.ledger("collect"), { in: 7, kept: 4, dropped: { odd: 3 }, out: 5, cached: 7 })
      assert.strictEqual(calls.length, 1)
      for (const { report } of [run, again])
        assert.strictEqual(journal.dropped(journal.run(report.run)!.id).length, 3)
      // Lineage: the sum comes from all, what was passed on from itself.
      const { id } = journal.run(run.report.run)!
      const sum = journal.runItems(id, "out:out").find((item) => journal.item(item)!.record.includes("1021"))!
      assert.strictEqual(journal.producers(sum)[0]!.inputs.length, 7)
    }).pipe(Effect.provide(memory)),
  )

  it.effect("takes a record that comes twice once", () =>
    Effect.gen(function* () {
      const calls: Array<ReadonlyArray<number>> = []
      const run = yield* go(one(collects(calls)()), { in: [...nums(3), ...nums(3), num(0)] })
      assert.sameMembers([...calls[0]!], [0, 1, 2])
      assert.deepInclude(run.ledger("collect"), { in: 7, kept: 2, dropped: { odd: 1, repeated: 4 }, out: 3 })
    }).pipe(Effect.provide(memory)),
  )

  it.effect("is called with nothing when nothing comes", () =>
    Effect.gen(function* () {
      const calls: Array<ReadonlyArray<number>> = []
      const run = yield* go(one(collects(calls)()), { in: [] })
      assert.deepStrictEqual(calls, [[]])
      assert.deepStrictEqual(run.numbers(), [1000])
    }).pipe(Effect.provide(memory)),
  )

  it.effect("that fails costs all its items", () =>
    Effect.gen(function* () {
      const Broken = Operator.collect("broken", {
        version,
        input: Num,
        output: Num,
        run: (records) => Effect.succeed([Operator.pass(records.length)]),
      })
      const run = yield* go(one(Broken()), { in: nums(4) })
      assert.strictEqual(run.report.status, "finished-with-failures")
      assert.deepInclude(run.ledger("broken"), { in: 4, kept: 0, failed: 4 })
      assert.include(run.failures[0]!.detail, "it refers to input 4 of 4")
    }).pipe(Effect.provide(memory)),
  )
})

describe("a graph", () => {
  it.effect("fans out and in again, with several outputs", () =>
    Effect.gen(function* () {
      const Sum = Operator.map("sum", {
        version,
        input: Num,
        output: Num,
        sides: { others: Operator.all(Num) },
        run: ({ n }, _, { sides }) => Effect.succeed(num(n + sides.others.length * 1000)),
      })
      const graph = Graph.make("diamond", { version }, (g) => {
        const items = g.input("in", Num)
        const plus = items.pipe(Add({ by: 1 }))
        const even = plus.pipe(Even())
        const more = plus.pipe(Add({ by: 2 }).as("more"))
        return { even, more, sum: more.pipe(Sum().with({ others: even })), in: items }
      })
      const run = yield* go(graph, { in: nums(6) })
      assert.deepStrictEqual(run.numbers("even"), [2, 4, 6])
      assert.deepStrictEqual(run.numbers("more"), [3, 4, 5, 6, 7, 8])
      assert.deepStrictEqual(run.numbers("sum"), [3003, 3004, 3005, 3006, 3007, 3008])
      assert.deepStrictEqual(run.numbers("in"), [0, 1, 2, 3, 4, 5])
      assert.deepStrictEqual(run.report.outputs, { even: 3, more: 6, sum: 6, in: 6 })
    }).pipe(Effect.provide(memory)),
  )

  it.effect("calls once for an item that comes many times", () =>
    Effect.gen(function* () {
      let calls = 0
      const Counted = Operator.map("counted", {
        version,
        input: Num,
        output: Num,
        run: (record) => Effect.sync(() => (calls++, record)),
      })
      const run = yield* go(one(Counted()), { in: Array.from({ length: 3000 }, (_, i) => num(i % 7)) })
      assert.strictEqual(calls, 7)
      assert.deepInclude(run.ledger("counted"), { in: 3000, kept: 3000, out: 3000, cached: 2993 })
    }).pipe(Effect.provide(memory)),
  )
})
