/** What long calls are given: a key that stays theirs, and somebody to report to. */
import { assert, describe, it } from "@effect/vitest"
import { drop, Graph, Operator, type Progress } from "@reelgraph/core"
import { Journal } from "@reelgraph/store"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

import { Engine } from "../src/index.ts"
import { go, memory, Num, num, nums, version } from "./harness.ts"

const graphOf = (node: any, sides: any = {}) =>
  Graph.make("g", { version }, (g) => {
    const given = Object.fromEntries(Object.keys(sides).map((side) => [side, g.input(side, Num)]))
    const placed = Object.keys(sides).length === 0 ? node : node.with(given)
    return { out: g.input("in", Num).pipe(placed) } as any
  })

/** Whether calls fail: no part of the code, as a disk that is full is none. */
let failing = false

/** The keys that calls were made with, by the numbers they got, in a new store. */
const keys = (
  options: {
    readonly name?: string
    readonly version?: string
    readonly by?: number
    readonly seeded?: boolean
    readonly seed?: number
    readonly side?: number
    readonly items?: number
    readonly fails?: boolean
  } = {},
) =>
  Effect.gen(function* () {
    const seen: { [call: string]: string } = {}
    failing = options.fails ?? false
    const sides = options.side === undefined ? {} : { side: Operator.one(Num) }
    const Step = Operator.map(options.name ?? "step", {
      version: options.version ?? version,
      input: Num,
      output: Num,
      params: Schema.Struct({ by: Schema.Int }),
      sides,
      seeded: options.seeded ?? false,
      run: ({ n }, _, { attempt, key }) => {
        seen[`${n}#${attempt}`] = key
        return failing
          ? Effect.fail({ _tag: "Again", message: "again", retryable: true })
          : Effect.succeed(num(n))
      },
    })
    yield* go(
      graphOf((Step as any)({ by: options.by ?? 1 }), sides),
      {
        in: nums(options.items ?? 2),
        ...(options.side === undefined ? {} : { side: [num(options.side)] }),
      },
      { seed: options.seed ?? 0 },
    )
    return seen
  }).pipe(Effect.provide(memory, { local: true }))

describe("the key of a call", () => {
  it.live("is the same in every attempt and run, and another for whatever results depend on", () =>
    Effect.gen(function* () {
      const first = yield* keys()
      assert.match(first["0#1"]!, /^[0-9a-f]{64}$/u)
      assert.notStrictEqual(first["0#1"], first["1#1"])
      // Of an item, whoever comes along with it; of a seed that is not drawn from; of a later attempt.
      for (const same of [yield* keys({ items: 1 }), yield* keys({ seed: 5 }), yield* keys({ fails: true })])
        assert.strictEqual(same["0#1"], first["0#1"])
      const failing = yield* keys({ fails: true, items: 1 })
      assert.deepStrictEqual(Object.keys(failing), ["0#1", "0#2", "0#3"])
      assert.strictEqual(new Set(Object.values(failing)).size, 1)

      const others = yield* Effect.forEach(
        [
          {},
          { name: "other" },
          { version: "1.0.1" },
          { by: 2 },
          { seeded: true, seed: 1 },
          { seeded: true, seed: 2 },
          { side: 1 },
          { side: 2 },
        ],
        (options) => Effect.map(keys(options), (seen) => seen["0#1"]!),
      )
      assert.strictEqual(new Set(others).size, others.length)
    }),
  )

  it.effect("of a batch is that of its items, in their order; of a collect that of the set", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const note = (key: string) => Effect.sync(() => void seen.push(key))
      const Batch = Operator.batch("batch", {
        version,
        input: Num,
        output: Num,
        size: 2,
        run: (records, _, { key }) =>
          Effect.as(
            note(key),
            records.map(() => drop("seen")),
          ),
      })
      const Collect = Operator.collect("collect", {
        version,
        input: Num,
        output: Num,
        run: (_, __, { key }) => Effect.as(note(key), []),
      })
      const run = (node: any, items: ReadonlyArray<Num>) =>
        Effect.suspend(() => {
          seen.length = 0
          return Effect.map(go(graphOf(node), { in: items }), () => [...seen])
        }).pipe(Effect.provide(memory, { local: true }))
      const [a, b] = yield* run(Batch(), nums(4))
      assert.deepStrictEqual(yield* run(Batch(), nums(2)), [a])
      assert.deepStrictEqual(yield* run(Batch(), nums(2, 2)), [b])
      const [single] = yield* run(Batch(), nums(1))
      const [turned] = yield* run(Batch(), [num(1), num(0)])
      const [all] = yield* run(Collect(), nums(2))
      assert.deepStrictEqual(yield* run(Collect(), [num(1), num(0)]), [all])
      assert.strictEqual(new Set([a, b, single, turned, all]).size, 5)
    }),
  )
})

describe("the progress of a call", () => {
  it.live("is there to be read while the call goes on, and in nothing that is kept", () =>
    Effect.gen(function* () {
      let live: Engine.Live | undefined
      const node = () => live!.nodes[0]!
      const seen: Array<ReadonlyArray<string>> = []
      const look = () => void seen.push([...node().underway].map(({ latest }) => latest!.report.detail))
      const both = yield* Deferred.make<void>()
      let late: Effect.Effect<void> = Effect.void
      const Slow = Operator.map("slow", {
        version,
        input: Num,
        output: Num,
        concurrency: 2,
        run: ({ n }, _, { progress }) =>
          Effect.gen(function* () {
            const tell = (done: number): Effect.Effect<void> =>
              progress({ done, total: 2, detail: `${n}: ${done}` })
            look()
            yield* tell(1)
            look()
            // The first goes on when the second has reported; the second when the first has ended.
            if (n === 0) yield* Deferred.await(both)
            else {
              yield* Deferred.succeed(both, undefined)
              while (node().underway.size > 1) yield* Effect.sleep(1)
            }
            yield* tell(2)
            late = tell(3)
            look()
            return num(n)
          }),
      })
      const graph = graphOf(Slow())
      const inputs = { in: Stream.fromIterable(nums(2)) }
      const report = yield* Engine.run(graph, inputs, { observe: (begun) => void (live = begun) })
      assert.deepStrictEqual(seen, [[], ["0: 1"], ["0: 1"], ["0: 1", "1: 1"], ["0: 2", "1: 1"], ["1: 2"]])
      // Nobody is told anything of a call that has ended.
      yield* late
      assert.strictEqual(node().underway.size, 0)
      const journal = yield* Journal
      const run = journal.run(report.run)!
      assert.notInclude(JSON.stringify([report, run, journal.runItems(run.id, "out:out")]), "0: 1")
    }).pipe(Effect.provide(memory)),
  )

  it.live("may be told 100,000 times: the latest counts, and it costs next to nothing", () =>
    Effect.gen(function* () {
      let live: Engine.Live | undefined
      let latest: Progress.Progress | undefined
      const took = { empty: 0, progress: 0 }
      const Flood = Operator.map("flood", {
        version,
        input: Num,
        output: Num,
        run: (record, _, { progress }) =>
          Effect.gen(function* () {
            const begun = performance.now()
            for (let done = 1; done <= 100_000; done++) yield* Effect.sync(() => done)
            took.empty = performance.now() - begun
            for (let done = 1; done <= 100_000; done++)
              yield* progress({ done, total: 100_000, detail: "flooding" })
            took.progress = performance.now() - begun - took.empty
            latest = [...live!.nodes[0]!.underway][0]!.latest!.report
            return record
          }),
      })
      yield* Engine.run(graphOf(Flood()), { in: Stream.make(num(1)) }, { observe: (l) => void (live = l) })
      assert.strictEqual(latest!.done, 100_000)
      // Of the same order as doing nothing as often. Measured: 2 to 4 times.
      assert.isBelow(took.progress, 100 * took.empty)
    }).pipe(Effect.provide(memory)),
  )
})
