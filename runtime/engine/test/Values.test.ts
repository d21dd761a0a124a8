/** Records are values: what an operator is given is what the JSON of a record tells, whoever had it before. */
import { assert, describe, it } from "@effect/vitest"
import { Graph, keep, Operator, Port } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { go, memory, Num, num, nums, version } from "./harness.ts"

class Size extends Schema.Class<Size>("test/Size")({
  width: Schema.Int,
  tags: Schema.Array(Schema.String),
}) {}

const Row = Port.make("Row", {
  record: Schema.Struct({
    id: Schema.Int,
    tags: Schema.Array(Schema.String),
    made: Schema.Date,
    size: Size,
    ratio: Schema.Finite,
    note: Schema.optionalKey(Schema.String),
  }),
})
type Row = Port.RecordOf<typeof Row>

const Seen = Port.make("Seen", { record: Schema.Struct({ by: Schema.String, text: Schema.String }) })

/** Everything that can be seen of a record. */
const seen = (record: Row): string =>
  JSON.stringify([
    Object.keys(record).sort(),
    record.tags,
    record.made instanceof Date && record.made.getTime(),
    record.size instanceof Size && [record.size.width, record.size.tags],
    Object.is(record.ratio, -0) ? "-0" : record.ratio,
    (record as { readonly extra?: unknown }).extra,
  ])

/** Gives more than its port tells, and keeps what it has given to change it later. */
const graph = (given: Array<any>) => {
  const Make = Operator.map("make", {
    version,
    input: Num,
    output: Row,
    run: ({ n }) =>
      Effect.sync(() => {
        for (const earlier of given) earlier.tags.push("later")
        const record = {
          id: n,
          tags: [`z${n}`, "a"],
          made: new Date(n * 1000),
          size: new Size({ width: n, tags: ["s"] }),
          ratio: -0,
          extra: "not in the port",
        }
        given.push(record)
        return record
      }),
  })
  /** Changes what it is given, as JavaScript lets it. */
  const Meddle = Operator.map("meddle", {
    version,
    input: Row,
    output: Seen,
    run: (record) =>
      Effect.sync(() => {
        const text = seen(record)
        ;(record.tags as Array<string>).sort()
        record.made.setTime(0)
        ;(record as { id: number }).id = -1
        return { by: "meddle", text }
      }),
  })
  const Pass = Operator.filter("pass", {
    version,
    input: Row,
    run: (record) =>
      Effect.sync(() => {
        ;(record.tags as Array<string>).reverse()
        return keep
      }),
  })
  const Look = Operator.map("look", {
    version,
    input: Row,
    output: Seen,
    run: (record) => Effect.sync(() => ({ by: "look", text: seen(record) })),
  })
  return Graph.make("values", { version }, (g) => {
    const made = g.input("in", Num).pipe(Make())
    return {
      meddled: made.pipe(Meddle()),
      looked: made.pipe(Look().as("beside")),
      passed: made.pipe(Pass(), Look().as("behind")),
    }
  })
}

describe("records are values", () => {
  it.effect("no operator sees what another does to a record, cold or from the cache", () =>
    Effect.gen(function* () {
      const texts = (numbers: ReadonlyArray<number>) =>
        numbers
          .map((n) =>
            JSON.stringify([
              ["id", "made", "ratio", "size", "tags"],
              [`z${n}`, "a"],
              n * 1000,
              [n, ["s"]],
              0,
              null,
            ]),
          )
          .sort()
      const check = (run: Effect.Success<ReturnType<typeof go>>) => {
        for (const output of ["meddled", "looked", "passed"])
          assert.deepStrictEqual(
            run
              .out(output)
              .map(({ text }) => text as string)
              .sort(),
            texts([0, 1, 2, 3]),
          )
      }
      check(yield* go(graph([]), { in: nums(4) }))
      const warm = yield* go(graph([]), { in: nums(4) })
      check(warm)
      assert.strictEqual(warm.ledger("make").cached, 4)
    }).pipe(Effect.provide(memory)),
  )

  it.effect("what calls share cannot be changed: params and side inputs", () =>
    Effect.gen(function* () {
      const Table = Port.make("Table", { record: Schema.Struct({ rows: Schema.Array(Schema.Int) }) })
      const Meddle = Operator.map("meddle", {
        version,
        input: Num,
        output: Num,
        params: Schema.Struct({ add: Schema.Array(Schema.Int) }),
        sides: { table: Operator.one(Table) },
        run: ({ n }, { add }, { sides }) =>
          Effect.sync(() => {
            if (n === 0) (add as Array<number>).push(1)
            if (n === 1) (sides.table.rows as Array<number>).push(1)
            return num(n + add.length + sides.table.rows.length)
          }),
      })
      const run = yield* go(
        Graph.make("shared", { version }, (g) => ({
          out: g.input("in", Num).pipe(Meddle({ add: [5] }).with({ table: g.input("table", Table) })),
        })),
        { in: nums(4), table: [{ rows: [1, 2] }] },
      )
      assert.deepStrictEqual(run.numbers(), [5, 6])
      assert.deepStrictEqual(
        run.failures.map(({ detail, reason }) => [reason, /not extensible/.test(detail)]),
        [
          ["Defect", true],
          ["Defect", true],
        ],
      )
    }).pipe(Effect.provide(memory)),
  )
})

describe("records have one form", () => {
  it.effect("fields are in the order of the port's schema, cold and from the cache", () =>
    Effect.gen(function* () {
      const Titled = Port.make("Titled", {
        record: Schema.Struct({ title: Schema.String, caption: Schema.String }),
      })
      const graph = Graph.make("ordered", { version }, (g) => ({
        out: g.input("in", Num).pipe(
          Operator.map("make", {
            version,
            input: Num,
            output: Titled,
            run: () => Effect.succeed({ caption: "c", title: "t" }),
          })(),
          Operator.map("look", {
            version,
            input: Titled,
            output: Seen,
            params: Schema.Struct({ by: Schema.String }),
            run: (record, { by }) => Effect.succeed({ by, text: Object.keys(record).join() }),
          })({ by: "cold" }),
        ),
      }))
      const texts = (run: Effect.Success<ReturnType<typeof go>>) =>
        run.out("out").map(({ text }) => text as string)
      assert.deepStrictEqual(texts(yield* go(graph, { in: nums(1) })), ["title,caption"])
      const warm = Graph.configure(graph, { look: { by: "warm" } })
      const second = yield* go(warm, { in: nums(1) })
      assert.strictEqual(second.ledger("make").cached, 1)
      assert.deepStrictEqual(texts(second), ["title,caption"])
    }).pipe(Effect.provide(memory)),
  )

  it.effect("params and side inputs that cannot be frozen are read anew for each call", () =>
    Effect.gen(function* () {
      const Table = Port.make("Table", { record: Schema.Struct({ when: Schema.Date }) })
      const Later = Operator.map("later", {
        version,
        input: Num,
        output: Num,
        params: Schema.Struct({ when: Schema.Date }),
        sides: { table: Operator.one(Table) },
        run: (_, { when }, { sides }) =>
          Effect.sync(() => {
            const years = when.getUTCFullYear() + sides.table.when.getUTCFullYear()
            when.setUTCFullYear(1999)
            sides.table.when.setUTCFullYear(1999)
            return num(years)
          }),
      })
      const run = yield* go(
        Graph.make("dates", { version }, (g) => ({
          out: g.input("in", Num).pipe(Later({ when: new Date(0) }).with({ table: g.input("table", Table) })),
        })),
        { in: nums(3), table: [{ when: new Date(0) }] },
      )
      // Equal records are one.
      assert.deepStrictEqual(run.numbers(), [3940])
    }).pipe(Effect.provide(memory)),
  )
})

describe("run gives no Effect", () => {
  for (const [what, given, advice] of [
    [
      "a Promise",
      () => Promise.reject(new Error("later")),
      /gave a Promise instead of an Effect; wrap it: Effect.tryPromise/,
    ],
    ["nothing", () => undefined, /gave nothing instead of an Effect; return one/],
    ["a record", () => num(1), /gave an object instead of an Effect; return one/],
  ] as const)
    it.effect(`${what} is one failed item with advice, and the run goes on`, () =>
      Effect.gen(function* () {
        const Odd = Operator.map("odd", {
          version,
          input: Num,
          output: Num,
          run: ({ n }) => (n === 1 ? (given() as never) : Effect.succeed(num(n))),
        })
        const run = yield* go(
          Graph.make("odd", { version }, (g) => ({ out: g.input("in", Num).pipe(Odd()) })),
          { in: nums(3) },
        )
        assert.deepStrictEqual(run.numbers(), [0, 2])
        assert.deepStrictEqual(
          run.failures.map(({ reason }) => reason),
          ["NotAnEffect"],
        )
        assert.match(run.failures[0]!.detail, advice)
      }).pipe(Effect.provide(memory)),
    )
})
