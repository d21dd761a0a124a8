/** A runtime is an executor and nothing else: a second one, of a few lines, that knows nothing of workers or clusters. */
import { assert, describe, it } from "@effect/vitest"
import { Attempts, Call, Executor, ExecutorFailed, Failure, Invoke, type Lane } from "@reelgraph/call"
import { drop, Graph, keep, Operator } from "@reelgraph/core"
import { Journal, Lineage } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

import { Engine } from "../src/index.ts"
import { go, memory, Num, num, nums, version } from "./harness.ts"

const operators = {
  flaky: Operator.map("flaky", {
    version,
    input: Num,
    output: Num,
    worker: import.meta.url,
    run: ({ n }, _, { attempt, progress }) =>
      attempt === 1 && n % 5 === 0
        ? Effect.fail({ _tag: "Again", message: "again", retryable: true })
        : Effect.as(progress({ done: 1, total: 1, detail: `${n}` }), num(n * 2)),
  }),
  odd: Operator.filter("odd", {
    version,
    input: Num,
    worker: import.meta.url,
    run: ({ n }) => Effect.succeed(n % 4 === 0 ? keep : drop("odd", `${n}`)),
  }),
  pairs: Operator.batch("pairs", {
    version,
    input: Num,
    output: Num,
    size: 2,
    worker: import.meta.url,
    run: (records) => Effect.succeed(records.map(({ n }) => (n === 12 ? drop("twelve") : num(n + 1)))),
  }),
  sum: Operator.collect("sum", {
    version,
    input: Num,
    output: Num,
    sides: { all: Operator.all(Num) },
    params: Schema.Struct({ by: Schema.Int }),
    worker: import.meta.url,
    run: (records, { by }, { sides }) =>
      Effect.succeed([
        Operator.emit(
          num(records.reduce((total, { n }) => total + n, by + sides.all.length)),
          records.map((_, at) => at),
        ),
      ]),
  }),
}

/** Has calls made as another machine would: from data that went there and results that came back. */
const distant = (log: Array<string>): Layer.Layer<Executor> => {
  const travelled = <A>(value: A): A => JSON.parse(JSON.stringify(value)) as A
  const byName = new Map(Object.values(operators).map((operator) => [operator.name as string, operator]))
  const make: Attempts.Make = (call, started) =>
    Effect.gen(function* () {
      const there = travelled(call)
      const operator = byName.get(there.operator)!
      log.push(`${there.node} ${there.items.length} ${there.attempt}`)
      const records = yield* Invoke.decode(
        there.node,
        operator,
        there.items.map(({ record }) => record),
      )
      const decoded = Object.fromEntries(
        Object.entries(there.sides).map(([side, all]) => [
          side,
          typeof all === "string" ? JSON.parse(all) : all.map((one) => JSON.parse(one) as unknown),
        ]),
      )
      started()
      const view = new Invoke.View({
        operator: there.operator,
        items: () => Call.digestsOf(there),
        key: () => Call.keyOf(there),
        seed: there.seed,
        attempt: there.attempt,
        sides: decoded,
        report: () => {},
      })
      return travelled(yield* Invoke.invoke(there.node, operator, JSON.parse(there.params), records, view))
    }).pipe(Effect.mapError((error) => Failure.fromError(error))) as never
  return Layer.succeed(
    Executor,
    Executor.of({
      capacity: { name: "the moon", cores: 3, memoryGiB: 1, gpus: 0 },
      lacks: () => [],
      lane: ({ operator }): Lane | undefined =>
        operator.worker === undefined
          ? undefined
          : {
              slots: 3,
              shards: 2,
              waiting: 100,
              packing: { _tag: "Gathered", lingerMs: 0, items: (waiting) => Math.min(7, waiting) },
              run: (shard) =>
                Stream.map(Attempts.perform(travelled(shard), { concurrency: 3 }, make), (result) => ({
                  results: [travelled(result)],
                  place: "the moon",
                })),
            },
      notes: () => ["the moon is far"],
    }),
  )
}

const graph = Graph.make("anywhere", { version }, (g) => {
  const all = g.input("in", Num)
  const kept = all.pipe(operators.flaky(), operators.odd())
  return {
    pairs: kept.pipe(operators.pairs()),
    sum: kept.pipe(operators.sum({ by: 1 }).with({ all })),
  }
})

describe("an executor", () => {
  it.live("gives what the engine's own process gives, with retries, drops, batches, lineage and places", () =>
    Effect.gen(function* () {
      const inputs = { in: nums(20) }
      const told = (run: Effect.Success<ReturnType<typeof go>>) => ({
        outputs: [run.out("pairs"), run.out("sum")],
        ledger: Object.entries(run.report.ledger).map(([id, node]) => [id, { ...node, busyMs: 0 }]),
      })
      const here = yield* Effect.provide(Effect.map(go(graph, inputs), told), memory, { local: true })
      const log: Array<string> = []
      yield* Effect.gen(function* () {
        const there = yield* go(graph, inputs)
        assert.deepStrictEqual(told(there), here)
        assert.deepStrictEqual(there.report.warnings, ["the moon is far"])
        assert.isAbove(log.length, 20)
        const journal = yield* Journal
        const [sum] = journal.runItems(journal.run(there.report.run)!.id, "out:sum")
        const walk = Lineage.up(journal, [sum!])
        assert.deepStrictEqual(
          [...new Set([...walk.values()].flatMap(({ links }) => links.map(({ step }) => step.place)))],
          ["the moon"],
        )
        const again = yield* go(graph, inputs)
        assert.deepStrictEqual(
          Object.values(again.report.ledger).map((node) => node.in - node.cached),
          [0, 0, 0, 0],
        )
      }).pipe(Effect.provide(Layer.mergeAll(memory, distant(log)), { local: true }))
    }),
  )

  it.live("that takes no call ends the run with its reason", () =>
    Effect.gen(function* () {
      const executor = yield* Executor
      const refusing: Lane = {
        slots: 1,
        shards: 1,
        waiting: 10,
        packing: { _tag: "Fixed", items: 1 },
        run: ({ node }) =>
          Stream.fail(new ExecutorFailed({ node, place: "the moon", problem: "it is not in sight" })),
      }
      const failure = yield* Engine.run(graph, { in: Stream.fromIterable(nums(3)) }).pipe(
        Effect.provideService(Executor, { ...executor, lane: () => refusing }),
        Effect.flip,
      )
      assert.match(failure.message, /cannot run in the moon: it is not in sight$/)
    }).pipe(Effect.provide(memory)),
  )
})
