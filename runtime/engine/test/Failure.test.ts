import { assert, describe, it } from "@effect/vitest"
import { drop, Graph, Operator } from "@reelgraph/core"
import { Journal } from "@reelgraph/store"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

import { Failure } from "@reelgraph/call"
import { Engine } from "../src/index.ts"
import { memory, Num, num, version } from "./harness.ts"

const url = "https://bucket.example/key?X-Amz-Credential=AKIASECRET&X-Amz-Signature=5ecret&part=1"

const graphOf = (node: any) =>
  Graph.make("g", { version }, (g) => ({ out: g.input("in", Num).pipe(node) }) as any)

describe("what is recorded of a failure", () => {
  it("an error that is a record is its JSON, not `Object: Object`", () => {
    for (const error of [{ code: 7, why: "no" }, Object.assign(Object.create(null), { code: 7, why: "no" })])
      assert.deepStrictEqual(Failure.fromError(error), {
        tag: "Error",
        message: `{"code":7,"why":"no"}`,
        retryable: false,
      })
    assert.strictEqual(Failure.fromError({ _tag: "Odd", code: 7 }).message, `{"_tag":"Odd","code":7}`)
    assert.strictEqual(Failure.fromError([1, 2]).message, "[1,2]")
    const circular: { self?: unknown } = {}
    circular.self = circular
    assert.strictEqual(Failure.fromError(circular).message, "a value that cannot be shown")
    assert.strictEqual(Failure.fromError({ text: "x".repeat(1e6) }).message.length, 2000)
    assert.strictEqual(Failure.fromCause(Cause.die({ code: 7 })).message, `{"code":7}`)
  })

  it.prop("whatever an operator fails with or throws has a tag and a message", [Schema.Json], ([value]) => {
    for (const { message, tag } of [Failure.fromError(value), Failure.fromCause(Cause.die(value))]) {
      assert.notStrictEqual(tag, "")
      assert.isString(message)
      assert.notInclude(message, "[object Object]")
    }
  })

  it.effect("holds no secrets of URLs: of failures, drops and the end of a run", () =>
    Effect.gen(function* () {
      const Fetch = Operator.filter("fetch", {
        version,
        input: Num,
        run: ({ n }) =>
          n === 1 ? Effect.fail(new Error(`403 of ${url}`)) : Effect.succeed(drop("gone", url)),
      })
      const report = yield* Engine.run(graphOf(Fetch()), { in: Stream.make(num(1), num(2)) }, {})
      const failing = Stream.concat(Stream.make(num(3)), Stream.fail(new Error(`cannot list ${url}`)))
      yield* Effect.exit(Engine.run(graphOf(Fetch()), { in: failing }, {}))
      const journal = yield* Journal
      const { id } = journal.run(report.run)!
      const text = JSON.stringify([journal.runs(), journal.failures(id), journal.dropped(id)])
      assert.notInclude(text, "5ecret")
      assert.notInclude(text, "AKIASECRET")
      assert.strictEqual(text.split("X-Amz-Signature=***&part=1").length - 1, 3)
    }).pipe(Effect.provide(memory)),
  )
})
