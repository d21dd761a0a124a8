import { assert, describe, it } from "@effect/vitest"
import { drop, Graph, keep, Operator, Port } from "@reelgraph/core"
import { Artifact, BlobStore, BlobStoreMemory, Journal, JournalSqlite } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

import { Plan } from "../src/index.ts"
import { go, memory, inline, Num, num, nums, version } from "./harness.ts"

interface Edits {
  readonly version?: string
  readonly by?: number
  readonly seeded?: boolean
  readonly fails?: number
  readonly add?: number
}

/** in -> add -> even -> total (of all), scaled by a side input. */
/** The number that fails: no part of the code, as a disk that is full is none. */
let poison: number | undefined

const pipeline = (edits: Edits = {}) =>
  Graph.make("pipeline", { version }, (g) => {
    poison = edits.fails
    const { add = 0, seeded = false } = edits
    const items = g.input("in", Num)
    const factor = g.input("factor", Num)
    const plus = items.pipe(
      Operator.map("plus", {
        version: edits.version ?? version,
        input: Num,
        output: Num,
        seeded,
        params: Schema.Struct({ by: Schema.Int }),
        run: ({ n }, { by }, { random }) =>
          n === poison
            ? Effect.fail(new Error("poison"))
            : Effect.succeed(num(n + by + add + (seeded ? random.k0 : 0))),
      })({ by: edits.by ?? 1 }),
    )
    const even = plus.pipe(
      Operator.filter("even", {
        version,
        input: Num,
        run: ({ n }) => Effect.succeed(n % 2 === 0 ? keep : drop("odd")),
      })(),
    )
    return {
      even,
      scaled: even.pipe(
        Operator.map("scaled", {
          version,
          input: Num,
          output: Num,
          sides: { factor: Operator.one(Num) },
          run: ({ n }, _, { sides }) => Effect.succeed(num(n * sides.factor.n)),
        })().with({ factor }),
      ),
      total: even.pipe(
        Operator.collect("total", {
          version,
          input: Num,
          output: Num,
          run: (records) =>
            Effect.succeed([
              Operator.emit(
                num(records.reduce((sum, { n }) => sum + n, 0)),
                records.map((_, at) => at),
              ),
            ]),
        })(),
      ),
    }
  })

const inputs = (count: number, factor = 3) => ({ in: nums(count), factor: [num(factor)] })

const plan = (
  graph: Graph.Graph,
  given: Partial<ReturnType<typeof inputs>>,
  options: { readonly seed?: number } = {},
) =>
  Effect.map(
    Plan.make(
      graph,
      { in: Stream.fromIterable(given.in ?? []), factor: Stream.fromIterable(given.factor ?? []) },
      options,
    ),
    ({ nodes }) =>
      Object.fromEntries(nodes.map(({ hits, id, misses, more }) => [id, { hits, misses, more }])),
  )

const executed = (run: { report: { ledger: Record<string, { in: number; cached: number }> } }) =>
  Object.fromEntries(Object.entries(run.report.ledger).map(([id, node]) => [id, node.in - node.cached]))

describe("Plan", () => {
  it.effect("of a first run: everything is new, and what is not known yet is said", () =>
    Effect.gen(function* () {
      const journal = yield* Journal
      assert.deepStrictEqual(yield* plan(pipeline(), inputs(10)), {
        plus: { hits: 0, misses: { "new item": 10 }, more: false },
        even: { hits: 0, misses: {}, more: true },
        scaled: { hits: 0, misses: {}, more: true },
        total: { hits: 0, misses: {}, more: true },
      })
      assert.deepStrictEqual(journal.runs(), [])
    }).pipe(Effect.provide(memory)),
  )

  it.effect("of a second run: everything is there, and nothing is executed", () =>
    Effect.gen(function* () {
      const first = yield* go(pipeline(), inputs(10))
      assert.deepStrictEqual(yield* plan(pipeline(), inputs(10)), {
        plus: { hits: 10, misses: {}, more: false },
        even: { hits: 10, misses: {}, more: false },
        scaled: { hits: 5, misses: {}, more: false },
        total: { hits: 1, misses: {}, more: false },
      })
      const again = yield* go(pipeline(), inputs(10))
      assert.deepStrictEqual(executed(again), { plus: 0, even: 0, scaled: 0, total: 0 })
      for (const output of ["even", "scaled", "total"])
        assert.deepStrictEqual(again.out(output), first.out(output))
    }).pipe(Effect.provide(memory)),
  )

  for (const [why, edits, options, misses] of [
    ["version", { version: "1.1.0" }, {}, "version 1.0.0 -> 1.1.0"],
    ["params", { by: 4 }, {}, "params changed: by: 1 -> 4"],
  ] as const) {
    it.effect(`says that the ${why} changed`, () =>
      Effect.gen(function* () {
        yield* go(pipeline(), inputs(10))
        const planned = yield* plan(pipeline(edits), inputs(10), options)
        assert.deepStrictEqual(planned["plus"], { hits: 0, misses: { [misses]: 10 }, more: false })
      }).pipe(Effect.provide(memory)),
    )
  }

  it.effect("says that the seed changed, for operators that draw alone", () =>
    Effect.gen(function* () {
      const graph = pipeline({ seeded: true })
      yield* go(graph, inputs(4), { seed: 1 })
      const planned = yield* plan(graph, inputs(4), { seed: 2 })
      assert.deepStrictEqual(planned["plus"], { hits: 0, misses: { "seed 1 -> 2": 4 }, more: false })
      assert.strictEqual((yield* plan(graph, inputs(4), { seed: 1 }))["plus"]!.hits, 4)
      yield* go(pipeline({ version: "2.0.0" }), inputs(4), { seed: 1 })
      assert.strictEqual(
        (yield* plan(pipeline({ version: "2.0.0" }), inputs(4), { seed: 2 }))["plus"]!.hits,
        4,
      )
    }).pipe(Effect.provide(memory)),
  )

  it.effect("says what failed before, what a side input changed, and what waits", () =>
    Effect.gen(function* () {
      yield* go(pipeline({ fails: 1 }), inputs(4))
      const failed = yield* plan(pipeline(), inputs(4))
      assert.deepStrictEqual(failed["plus"], { hits: 3, misses: { "failed before: Error": 1 }, more: false })
      yield* go(pipeline(), inputs(4))
      yield* go(pipeline(), inputs(0, 5))
      const side = yield* plan(pipeline(), inputs(4, 5))
      assert.deepStrictEqual(side["scaled"], { hits: 0, misses: { "a side input changed": 2 }, more: false })
      const unknown = yield* plan(pipeline(), inputs(4, 99))
      assert.deepStrictEqual(unknown["scaled"], {
        hits: 0,
        misses: { "waits for a side input": 2 },
        more: false,
      })
      const fewer = yield* plan(pipeline(), inputs(2))
      assert.deepStrictEqual(fewer["total"]!.misses, { "this set of items was not seen before": 1 })
    }).pipe(Effect.provide(memory)),
  )

  it.effect("counts the calls that the run then makes", () =>
    Effect.gen(function* () {
      yield* go(pipeline(), inputs(10))
      const twice = { in: [...nums(14), ...nums(14)], factor: [num(3)] }
      const planned = yield* plan(pipeline(), twice)
      assert.deepStrictEqual(planned["plus"], { hits: 20, misses: { "new item": 4 }, more: false })
      const run = yield* go(pipeline(), twice)
      assert.deepStrictEqual(executed(run)["plus"], 4)
    }).pipe(Effect.provide(memory)),
  )

  it.effect(
    "makes results again when code changed under a version, or reuses them when asked to, with a warning",
    () =>
      Effect.gen(function* () {
        const changed = (body: (record: Num) => Effect.Effect<Num>) =>
          Graph.make("changed", { version }, (g) => ({
            out: g
              .input("in", Num)
              .pipe(Operator.map("changed", { version, input: Num, output: Num, run: body })()),
          }))
        const first = yield* go(
          changed((record) => Effect.succeed(record)),
          { in: nums(2) },
        )
        assert.deepStrictEqual(first.report.warnings, [])
        const edited = changed(({ n }) => Effect.succeed({ n: n + 1 }))
        assert.deepStrictEqual((yield* plan(edited, { in: nums(2) }))["changed"]!.misses, {
          "its code changed": 2,
        })
        assert.deepStrictEqual(yield* Plan.changedOperators(edited), [
          "changed@1.0.0 has cached results of other code under the same version; a run makes them again (--changed-code reuse reuses them)",
        ])
        const reusing = yield* go(edited, { in: nums(2) }, { changedCode: "reuse" })
        assert.deepStrictEqual(reusing.numbers(), [0, 1])
        assert.deepStrictEqual(reusing.report.warnings, [
          "2 cached results of changed@1.0.0 came from other code under the same version and are reused; --changed-code recompute makes them again",
        ])
        const second = yield* go(edited, { in: nums(2) })
        assert.deepStrictEqual(second.numbers(), [1, 2])
        assert.deepStrictEqual(second.report.warnings, [])
      }).pipe(Effect.provide(memory)),
  )
})

describe("the cache", () => {
  it.effect("re-runs an edited operator and what depends on it, and only new items otherwise", () =>
    Effect.gen(function* () {
      yield* go(pipeline(), inputs(10))
      const edited = yield* go(pipeline({ version: "1.1.0", add: 2 }), inputs(10))
      // What the edited one gives that was given before (4, 6, 8, 10 and the odd ones) is known further down.
      assert.deepStrictEqual(executed(edited), { plus: 10, even: 2, scaled: 1, total: 5 })
      const more = yield* go(pipeline(), inputs(12))
      assert.deepStrictEqual(executed(more), { plus: 2, even: 0, scaled: 0, total: 6 })
    }).pipe(Effect.provide(memory)),
  )

  it.effect("draws the same numbers whatever the order and the concurrency", () =>
    Effect.gen(function* () {
      const Draw = (concurrency: number) =>
        Graph.make("draw", { version }, (g) => ({
          out: g.input("in", Num).pipe(
            Operator.map("draw", {
              version,
              input: Num,
              output: Num,
              seeded: true,
              concurrency,
              run: ({ n }, _, { random }) =>
                Effect.gen(function* () {
                  for (let i = 0; i < n % 5; i++) yield* Effect.yieldNow
                  return num(random.k0 >>> 1)
                }),
            })(),
          ),
        }))
      const drawn = (concurrency: number, records: ReadonlyArray<Num>, seed: number) =>
        Effect.map(go(Draw(concurrency), { in: records }, { seed }), (run) => run.numbers()).pipe(
          Effect.provide(memory),
        )
      const one = yield* drawn(1, nums(300), 1)
      assert.strictEqual(new Set(one).size, 300)
      assert.deepStrictEqual(yield* drawn(7, nums(300).toReversed(), 1), one)
      assert.notDeepEqual(yield* drawn(1, nums(300), 2), one)
    }),
  )

  it.effect("a result whose blob was cut short is a miss, of a plan and of a run", () =>
    Effect.gen(function* () {
      const bytes = new Map<string, BlobStoreMemory.MemoryBlob>()
      const Stored = Port.make("Stored", { record: Schema.Struct({ file: Artifact }) })
      const graph = Graph.make("stored", { version }, (g) => ({
        out: g.input("in", Num).pipe(
          Operator.map("store", {
            version,
            needs: [BlobStore],
            input: Num,
            output: Stored,
            run: ({ n }) =>
              Effect.map(
                Effect.flatMap(BlobStore, (store) => store.putBytes(new Uint8Array([n, n]), "a/b")),
                (file) => ({ file }),
              ),
          })(),
        ),
      }))
      yield* Effect.gen(function* () {
        const first = yield* go(graph, { in: nums(3) })
        const { sha256 } = first.out("out")[0].file
        bytes.set(sha256, { bytes: new Uint8Array(1), mtimeMs: 0 })
        const plan = yield* Plan.make(graph, { in: Stream.fromIterable(nums(3)) })
        assert.deepInclude(plan.nodes[0]!, { hits: 2, misses: { "its blob is damaged": 1 } })
        const second = yield* go(graph, { in: nums(3) })
        assert.strictEqual(second.ledger("store").cached, 2)
        assert.lengthOf(bytes.get(sha256)!.bytes, 2)
      }).pipe(
        Effect.provide(Layer.mergeAll(JournalSqlite.layerMemory, BlobStoreMemory.layerFrom(bytes), inline)),
      )
    }),
  )

  it.effect("makes results again whose blobs are lost, once, also when they come out different", () =>
    Effect.gen(function* () {
      const blobs = yield* BlobStore
      const Stored = Port.make("Stored", { record: Schema.Struct({ file: Artifact }) })
      let calls = 0
      const graph = Graph.make("stored", { version }, (g) => ({
        out: g.input("in", Num).pipe(
          Operator.map("store", {
            version,
            needs: [BlobStore],
            input: Num,
            output: Stored,
            run: ({ n }) =>
              Effect.map(
                Effect.flatMap(BlobStore, (store) =>
                  // As from an encoder that never gives the same bytes twice.
                  store.putBytes(new Uint8Array([n, calls++]), "application/octet-stream"),
                ),
                (file) => ({ file }),
              ),
          })(),
        ),
      }))
      const many = [...nums(3), ...nums(3)]
      const first = yield* go(graph, { in: many })
      assert.strictEqual(calls, 3)
      yield* blobs.remove(first.out("out")[1].file.sha256)
      // A plan says what the run does.
      const plan = yield* Plan.make(graph, { in: Stream.fromIterable(many) })
      assert.deepInclude(plan.nodes[0]!, { hits: 4, misses: { "its blob is missing": 1 } })
      const second = yield* go(graph, { in: many })
      assert.strictEqual(calls, 4)
      assert.deepInclude(second.ledger("store"), { in: 6, kept: 6, cached: 5 })
      const third = yield* go(graph, { in: many })
      assert.strictEqual(calls, 4)
      for (const { file } of third.out("out")) assert.isTrue(yield* blobs.has(file.sha256))
    }).pipe(Effect.provide(memory)),
  )
})
