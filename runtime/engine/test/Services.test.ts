/** Services of operators in a run: what is refused before it begins, and when layers are built and closed. */
import { assert, describe, it } from "@effect/vitest"
import { Executor } from "@reelgraph/call"
import { Graph, Operator } from "@reelgraph/core"
import { BlobStore, BlobStoreMemory, Journal, JournalSqlite, Unfinished } from "@reelgraph/store"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"

import { Engine, Plan } from "../src/index.ts"
import { go, inline, memory, Num, num, nums, version } from "./harness.ts"

class Adder extends Context.Service<Adder, { readonly add: (n: number) => number }>()("test/Adder") {}

/** An operator that brings its adder. */
const adding = (layer: Layer.Layer<Adder>, rest: { readonly timeoutMs?: number } = {}) =>
  Graph.make("adding", { version }, (g) => ({
    out: g.input("in", Num).pipe(
      Operator.map("add", {
        version,
        input: Num,
        output: Num,
        layer,
        ...rest,
        run: ({ n }) => Adder.use(({ add }) => Effect.succeed(num(add(n)))),
      })(),
    ),
  }))

const noting = (notes: Array<string>, before: Effect.Effect<void> = Effect.void) =>
  Layer.effect(
    Adder,
    Effect.gen(function* () {
      notes.push("begun")
      yield* before
      yield* Effect.acquireRelease(
        Effect.sync(() => void notes.push("built")),
        () => Effect.sync(() => void notes.push("closed")),
      )
      return { add: (n: number) => n + 10 }
    }),
  )

/** An operator that leaves its adder to whoever runs it. */
const needing = Graph.make("needing", { version }, (g) => ({
  out: g.input("in", Num).pipe(
    Operator.map("add", {
      version,
      input: Num,
      output: Num,
      needs: [Adder],
      run: ({ n }) => Adder.use(({ add }) => Effect.succeed(num(add(n)))),
    })().as("sum"),
  ),
}))

/** A store of which a program gives its blobs alone. */
const blobsAlone = Layer.mergeAll(
  JournalSqlite.layerMemory,
  inline,
  Layer.provide(Layer.effect(BlobStore, BlobStore), BlobStoreMemory.layer),
)

const inputs = { in: Stream.fromIterable(nums(3)) }

describe("layers of operators", () => {
  it.effect("are built once in a run and closed at its end, and not at all when every result is cached", () =>
    Effect.gen(function* () {
      const notes: Array<string> = []
      const graph = adding(noting(notes))
      const cold = yield* go(graph, { in: nums(300) })
      assert.deepStrictEqual(
        cold.numbers(),
        nums(300, 10).map(({ n }) => n),
      )
      assert.deepStrictEqual(notes, ["begun", "built", "closed"])
      assert.deepStrictEqual(cold.report.warnings, [])
      const warm = yield* go(graph, { in: nums(300) })
      assert.strictEqual(warm.ledger("add").cached, 300)
      assert.deepStrictEqual(notes, ["begun", "built", "closed"])
    }).pipe(Effect.provide(memory)),
  )

  it.effect("are closed when the run is interrupted", () =>
    Effect.gen(function* () {
      const notes: Array<string> = []
      const working = yield* Deferred.make<void>()
      const graph = Graph.make("waiting", { version }, (g) => ({
        out: g.input("in", Num).pipe(
          Operator.map("wait", {
            version,
            input: Num,
            output: Num,
            layer: noting(notes),
            run: () => Adder.use(() => Effect.andThen(Deferred.succeed(working, undefined), Effect.never)),
          })(),
        ),
      }))
      const run = yield* Effect.forkChild(Engine.run(graph, inputs))
      yield* Deferred.await(working)
      yield* Fiber.interrupt(run)
      assert.deepStrictEqual(notes, ["begun", "built", "closed"])
      assert.strictEqual((yield* Journal).runs()[0]!.status, "interrupted")
    }).pipe(Effect.provide(memory)),
  )

  it.live("that take longer than a call may are there for the next attempt", () =>
    Effect.gen(function* () {
      const notes: Array<string> = []
      const gate = yield* Deferred.make<void>()
      const graph = adding(noting(notes, Deferred.await(gate)), { timeoutMs: 200 })
      let live: Engine.Live | undefined
      const run = yield* Effect.forkChild(
        Engine.run(graph, { in: Stream.make(num(1)) }, { observe: (begun) => void (live = begun) }),
      )
      while ((live?.nodes[0]!.tally.retries ?? 0) === 0) yield* Effect.sleep(5)
      yield* Deferred.succeed(gate, undefined)
      const { ledger } = yield* Fiber.join(run)
      assert.deepInclude(ledger["add"], { kept: 1, failed: 0 })
      assert.deepStrictEqual(notes, ["begun", "built", "closed"])
    }).pipe(Effect.provide(memory)),
  )

  it.live("that are never built fail calls that may take only so long", () =>
    Effect.gen(function* () {
      const hanging = adding(Layer.effect(Adder, Effect.never), { timeoutMs: 20 })
      const { failures } = yield* go(hanging, { in: [num(1)] })
      assert.deepStrictEqual(
        failures.map(({ reason }) => reason),
        ["CallTimeout"],
      )
    }).pipe(Effect.provide(memory)),
  )

  it.effect("that fail are one failure for each item, and the run goes on", () =>
    Effect.gen(function* () {
      const graph = adding(Layer.effect(Adder, Effect.die(new Error("no model here"))))
      const { failures, report } = yield* go(graph, { in: nums(3) })
      assert.strictEqual(report.status, "finished-with-failures")
      assert.deepStrictEqual(
        failures.map(({ node, reason }) => [node, reason]),
        [0, 1, 2].map(() => ["add", "LayerFailed"]),
      )
      assert.include(failures[0]!.detail, "no model here")
    }).pipe(Effect.provide(memory)),
  )

  it.effect("that do not close are a warning of the report", () =>
    Effect.gen(function* () {
      const layer = Layer.effect(
        Adder,
        Effect.as(
          Effect.addFinalizer(() => Effect.die(new Error("the server is gone"))),
          { add: (n: number) => n },
        ),
      )
      const { report } = yield* go(adding(layer), { in: nums(3) })
      assert.strictEqual(report.status, "done")
      assert.deepStrictEqual(report.warnings, [
        "a layer of an operator failed while it was closed: the server is gone",
      ])
      assert.deepStrictEqual((yield* Journal).run(report.run)!.notes, report.warnings)
    }).pipe(Effect.provide(memory)),
  )
})

describe("a fake in a test", () => {
  it.effect("takes the place of a layer, and its results are not those of the real one", () =>
    Effect.gen(function* () {
      const notes: Array<string> = []
      const layer = noting(notes)
      const graph = adding(layer)
      const faked = Graph.replaceLayer(graph, layer, Layer.succeed(Adder, { add: (n) => n + 7 }))
      assert.deepStrictEqual((yield* go(faked, { in: nums(3) })).numbers(), [7, 8, 9])
      assert.deepStrictEqual(notes, [])
      assert.deepStrictEqual((yield* go(graph, { in: nums(3) })).numbers(), [10, 11, 12])
      assert.strictEqual((yield* go(faked, { in: nums(3) })).ledger("add").cached, 3)
      assert.deepStrictEqual(
        (yield* go(graph, { in: nums(4) }, { changedCode: "reuse" })).numbers(),
        [10, 11, 12, 13],
      )
      // Two fakes differ by nothing that could be read.
      const other = Graph.replaceLayer(graph, layer, Layer.succeed(Adder, { add: (n) => n + 1 }))
      assert.deepStrictEqual((yield* go(other, { in: nums(3) })).numbers(), [1, 2, 3])
    }).pipe(Effect.provide(memory)),
  )
})

describe("services that an operator leaves to whoever runs it", () => {
  it.effect("are given to the run", () =>
    Effect.gen(function* () {
      const report = yield* Engine.run(needing, inputs)
      assert.strictEqual(report.ledger["sum"]!.kept, 3)
    }).pipe(Effect.provideService(Adder, { add: (n) => n }), Effect.provide(memory)),
  )

  const message =
    "sum needs the service test/Adder, which nothing gives where the calls of its operator add@1.0.0 are made; let the operator bring a layer that gives it, or provide it to Engine.run"

  it.effect("and that nobody gives are refused before a run or a plan begins", () =>
    Effect.gen(function* () {
      const erased: Graph.Graph = needing
      for (const refused of [
        yield* Effect.flip(Engine.run(erased, inputs)),
        yield* Effect.flip(Plan.make(erased, inputs)),
      ]) {
        assert.strictEqual(refused._tag, "GraphInvalid")
        assert.strictEqual(refused.message, `graph needing has 1 problem:\n  ${message}`)
      }
      assert.deepStrictEqual((yield* Journal).runs(), [])
    }).pipe(Effect.provide(memory)),
  )

  it.effect("are refused where calls are made elsewhere, as other processes do not have them", () =>
    Effect.gen(function* () {
      const executor = yield* Executor
      const elsewhere = Executor.of({
        ...executor,
        lane: () => ({
          slots: 1,
          shards: 1,
          waiting: 1,
          packing: { _tag: "Fixed", items: 1 },
          run: () => Stream.die("no call is made"),
        }),
      })
      const refused = yield* Effect.flip(
        Effect.provideService(Engine.run(needing, inputs), Executor, elsewhere),
      )
      assert.strictEqual(refused._tag, "GraphInvalid")
      assert.include(refused.message, "sum needs the service test/Adder")
    }).pipe(Effect.provideService(Adder, { add: (n) => n }), Effect.provide(memory)),
  )

  it.effect("of a store are refused where the engine's process has none", () =>
    Effect.gen(function* () {
      const graph = Graph.make("keeping", { version }, (g) => ({
        out: g.input("in", Num).pipe(
          Operator.map("keep", {
            version,
            input: Num,
            output: Num,
            needs: [Unfinished],
            run: (record) => Effect.as(Unfinished, record),
          })(),
        ),
      }))
      const erased: Graph.Graph = graph
      const refused = yield* Effect.flip(Engine.run(erased, inputs))
      assert.include(refused.message, "keep needs the service reelgraph/store/Unfinished")
      // A plan may be made where there is no store; calls have one.
      assert.strictEqual((yield* Plan.make(erased, inputs)).graph, "keeping")
    }).pipe(Effect.provide(blobsAlone)),
  )
})
