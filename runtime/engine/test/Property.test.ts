/** Random graphs over random inputs against a naive interpretation: cold, warm, and resumed after an interruption. */
import { assert, describe, it } from "@effect/vitest"
import { drop, Graph, keep, Operator } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

import { Engine } from "../src/index.ts"
import { go, memory, Num, num, version } from "./harness.ts"

/** A long time for graphs this small. */
const turns = Effect.forEach(Array.from({ length: 2000 }), () => Effect.yieldNow, { discard: true })

const Kinds = ["map", "filter", "flatMap", "batch", "collect", "side"] as const

/** A node: what it does, the edges it reads (by position, wrapping around) and a number to do it with. */
const Nodes = Schema.Array(
  Schema.Struct({
    kind: Schema.Literals(Kinds),
    from: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 20 })),
    side: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 20 })),
    by: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 5 })),
    concurrency: Schema.Literals([1, 2, 5]),
  }),
).check(Schema.isMaxLength(8))
type Node = (typeof Nodes.Type)[number]

const Numbers = Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: -50, maximum: 50 })))

const poisonous = (n: number): boolean => n % 13 === 6

/** What each kind makes of its items: shared by the operators and by the interpretation. */
const mapped = (n: number, by: number): number => n + by
const kept = (n: number, by: number): boolean => Math.abs(n) % (by + 1) !== 0
const many = (n: number, by: number): ReadonlyArray<number> =>
  Array.from({ length: Math.abs(n) % (by + 1) }, (_, i) => n + i)
const sum = (numbers: ReadonlyArray<number>): number => numbers.reduce((total, n) => total + n, 0)
const odd = (n: number): boolean => n % 2 !== 0

const By = Schema.Struct({ by: Schema.Int })

const operatorOf = ({ concurrency, kind }: Node, hook: Effect.Effect<void>): any => {
  const common = { version, input: Num, output: Num, params: By, concurrency }
  const failing = (n: number) => (poisonous(n) ? Effect.fail("poison") : Effect.succeed(n))
  switch (kind) {
    case "map":
      return Operator.map(`map-${concurrency}`, {
        ...common,
        run: ({ n }, { by }) =>
          Effect.andThen(
            hook,
            Effect.map(failing(n), (n) => num(mapped(n, by))),
          ),
      })
    case "filter":
      return Operator.filter(`filter-${concurrency}`, {
        ...common,
        run: ({ n }, { by }) => Effect.as(hook, kept(n, by) ? keep : drop("dropped")),
      })
    case "flatMap":
      return Operator.flatMap(`flat-map-${concurrency}`, {
        ...common,
        run: ({ n }, { by }) => Effect.as(hook, many(n, by).map(num)),
      })
    case "batch":
      return Operator.batch(`batch-${concurrency}`, {
        ...common,
        size: 3,
        run: (records, { by }) =>
          Effect.andThen(
            hook,
            Effect.forEach(records, ({ n }) => Effect.map(failing(n), (n) => num(mapped(n, by)))),
          ),
      })
    case "collect":
      return Operator.collect(`collect-${concurrency}`, {
        ...common,
        run: (records, { by }) =>
          Effect.as(hook, [
            Operator.emit(
              num(sum(records.map(({ n }) => n)) + by),
              records.map((_, at) => at),
            ),
            ...records.map(({ n }, at) => (odd(n) ? Operator.dropAt(at, drop("odd")) : Operator.pass(at))),
          ]),
      })
    case "side":
      return Operator.map(`side-${concurrency}`, {
        ...common,
        sides: { all: Operator.all(Num) },
        run: ({ n }, { by }, { sides }) =>
          Effect.as(hook, num(n + by * (sum(sides.all.map(({ n }) => n)) % 7))),
      })
  }
}

const graphOf = (nodes: ReadonlyArray<Node>, hook: Effect.Effect<void>) =>
  Graph.make("random", { version }, (g) => {
    const edges: Array<any> = [g.input("a", Num), g.input("b", Num)]
    // One value for each name: a graph holds no two operators of one name.
    const operators = new Map<string, any>()
    nodes.forEach((node, i) => {
      const name = `${node.kind} ${node.concurrency}`
      if (!operators.has(name)) operators.set(name, operatorOf(node, hook))
      const placed = operators.get(name)({ by: node.by }).as(`n${i}`)
      const side = edges[node.side % edges.length]
      edges.push(
        edges[node.from % edges.length].pipe(node.kind === "side" ? placed.with({ all: side }) : placed),
      )
    })
    return Object.fromEntries(edges.map((edge, i) => [`e${i}`, edge]))
  })

/** What every edge carries, without an engine. */
const interpret = (nodes: ReadonlyArray<Node>, a: ReadonlyArray<number>, b: ReadonlyArray<number>) => {
  const edges: Array<ReadonlyArray<number>> = [a, b]
  for (const { by, from, kind, side } of nodes) {
    const items = edges[from % edges.length]!
    const given = edges[side % edges.length]!
    const distinct = [...new Set(items)]
    edges.push(
      kind === "map" || kind === "batch"
        ? items.filter((n) => !poisonous(n)).map((n) => mapped(n, by))
        : kind === "filter"
          ? items.filter((n) => kept(n, by))
          : kind === "flatMap"
            ? items.flatMap((n) => many(n, by))
            : kind === "side"
              ? items.map((n) => n + by * (sum(given) % 7))
              : [sum(distinct) + by, ...distinct.filter((n) => !odd(n))],
    )
  }
  return edges.map((numbers) => [...new Set(numbers)].sort((x, y) => x - y))
}

describe("a random graph", () => {
  it.effect.prop(
    "gives what a naive interpretation gives: cold, warm, and after an interruption",
    [Nodes, Numbers, Numbers, Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 60 }))],
    ([nodes, a, b, stopAt]) =>
      Effect.gen(function* () {
        const expected = interpret(nodes, a, b)
        const inputs = { a: a.map(num), b: b.map(num) }
        const results = (graph: Graph.Graph) =>
          Effect.map(go(graph, inputs), (run) => ({
            numbers: expected.map((_, i) => run.numbers(`e${i}`)),
            failed: Object.values(run.report.ledger).some((node) => node.failed > 0),
          }))
        let made = 0
        const graph = graphOf(
          nodes,
          Effect.sync(() => void made++),
        )
        yield* Effect.gen(function* () {
          assert.deepStrictEqual((yield* results(graph)).numbers, expected)
          made = 0
          const warm = yield* results(graph)
          assert.deepStrictEqual(warm.numbers, expected)
          // Only what failed is called again.
          if (!warm.failed) assert.strictEqual(made, 0)
        }).pipe(Effect.provide(memory))
        yield* Effect.gen(function* () {
          let calls = 0
          const stop = yield* Latch.make()
          const hook = Effect.suspend(() =>
            ++calls > stopAt ? Effect.andThen(stop.open, Effect.never) : Effect.yieldNow,
          )
          const source = (numbers: ReadonlyArray<number>) => Stream.fromIterable(numbers.map(num))
          yield* Effect.exit(
            Effect.raceFirst(
              Engine.run(graphOf(nodes, hook), {
                a: source(a),
                b: source(b),
              }),
              // From within a call, or once everything has had time to end.
              Effect.andThen(Effect.raceFirst(stop.await, turns), Effect.interrupt),
            ),
          )
          assert.deepStrictEqual((yield* results(graph)).numbers, expected)
        }).pipe(Effect.provide(memory))
      }),
  )
})
