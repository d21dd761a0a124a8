/** Layers of operators: when they are built and closed, who shares them, and what becomes of those that fail. */
import { assert, describe, it } from "@effect/vitest"
import { Environment, Failure } from "@reelgraph/call"
import { keep, Operator, Port, type Services } from "@reelgraph/core"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"

class Model extends Context.Service<Model, { readonly id: number }>()("test/Model") {}
class Store extends Context.Service<Store, { readonly path: string }>()("test/Store") {}
class Captioner extends Context.Service<Captioner, { readonly of: string }>()("test/Captioner") {}

class Unreachable extends Schema.TaggedError<Unreachable>()("Unreachable", { retryable: Schema.Boolean }) {
  override get message() {
    return "the model server cannot be reached"
  }
}

const Item = Port.make("Item", { record: Schema.Struct({}) })

const operatorOf = (name: string, layer?: Services.AnyLayer): Operator.Any =>
  Operator.filter(name, {
    version: "1.0.0",
    input: Item,
    run: () => Effect.succeed(keep),
    ...(layer === undefined ? {} : { layer }),
  })

/** A layer of a model that notes what becomes of it. `before` is waited for while it is built. */
const modelLayer = (notes: Array<string>, before: Effect.Effect<void, Unreachable> = Effect.void) =>
  Layer.effect(
    Model,
    Effect.gen(function* () {
      notes.push("begun")
      yield* Effect.addFinalizer(() => Effect.sync(() => void notes.push("closed")))
      yield* before
      notes.push("built")
      return { id: notes.length }
    }),
  )

const idOf = (environment: Environment.Service, operator: Operator.Any) =>
  environment.provide(
    "node",
    operator,
    Model.use(({ id }) => Effect.succeed(id)),
  ) as Effect.Effect<number, Environment.LayerFailed>

/** The failure that a call is recorded with. */
const failureOf = (exit: Exit.Exit<unknown, unknown>) =>
  Exit.isFailure(exit) ? Failure.fromCause(exit.cause) : assert.fail("it did not fail")

describe("layers of operators", () => {
  it.effect("are built by the first of many calls, once, and closed with the environment", () =>
    Effect.gen(function* () {
      const notes: Array<string> = []
      const environment = yield* Environment.make
      const operator = operatorOf("one", modelLayer(notes))
      yield* environment.provide("bare", operatorOf("bare"), Effect.void)
      assert.deepStrictEqual(notes, [])
      const ids = yield* Effect.all(
        Array.from({ length: 50 }, () => idOf(environment, operator)),
        { concurrency: "unbounded" },
      )
      assert.deepStrictEqual([...new Set(ids)], [2])
      assert.strictEqual(yield* idOf(environment, operator), 2)
      assert.deepStrictEqual(notes, ["begun", "built"])
      assert.deepStrictEqual(yield* environment.close, [])
      assert.deepStrictEqual(notes, ["begun", "built", "closed"])
    }),
  )

  it.effect("cost an operator without one nothing: its calls are what they were", () =>
    Effect.gen(function* () {
      const environment = yield* Environment.make
      const call = Effect.succeed(1)
      assert.strictEqual(environment.provide("bare", operatorOf("bare"), call), call)
      assert.deepStrictEqual(yield* environment.close, [])
    }),
  )

  it.effect(
    "are shared by operators that name the same one, also as a part of theirs",
    () =>
      Effect.gen(function* () {
        const notes: Array<string> = []
        const model = modelLayer(notes)
        const captioner = Layer.effect(
          Captioner,
          Model.use(({ id }) => Effect.succeed({ of: `model ${id}` })),
        )
        const environment = yield* Environment.make
        yield* idOf(environment, operatorOf("one", model))
        yield* idOf(environment, operatorOf("two", model))
        const whole = operatorOf("three", Layer.merge(model, Layer.provide(captioner, model)))
        const of = yield* environment.provide(
          "node",
          whole,
          Captioner.use(({ of }) => Effect.succeed(of)),
        )
        assert.strictEqual(of, "model 2")
        assert.deepStrictEqual(notes, ["begun", "built"])
        yield* environment.close
        assert.deepStrictEqual(notes, ["begun", "built", "closed"])
      }) as Effect.Effect<void, Environment.LayerFailed>,
  )

  it.effect("are built with the services of whoever makes the environment", () =>
    Effect.gen(function* () {
      const environment = yield* Environment.make
      const layer = Layer.effect(
        Captioner,
        Store.use(({ path }) => Effect.succeed({ of: path })),
      )
      const of = environment.provide(
        "node",
        operatorOf("one", layer),
        Captioner.use((one) => Effect.succeed(one.of)),
      )
      assert.strictEqual(yield* of as Effect.Effect<string, Environment.LayerFailed>, "/store")
      yield* environment.close
    }).pipe(Effect.provideService(Store, { path: "/store" })),
  )

  it.effect("that fail for good fail every call with their error, and are not built again", () =>
    Effect.gen(function* () {
      const notes: Array<string> = []
      const environment = yield* Environment.make
      const operator = operatorOf(
        "one",
        modelLayer(notes, Effect.fail(new Unreachable({ retryable: false }))),
      )
      for (let call = 0; call < 3; call++)
        assert.deepStrictEqual(failureOf(yield* Effect.exit(idOf(environment, operator))), {
          tag: "LayerFailed",
          message:
            "node cannot begin, as the layer of one@1.0.0 could not be built: the model server cannot be reached (Unreachable); mend that and run again",
          retryable: false,
        })
      assert.deepStrictEqual(notes, ["begun", "closed"])
      assert.deepStrictEqual(yield* environment.close, [])
    }),
  )

  it.effect("that throw fail calls too", () =>
    Effect.gen(function* () {
      const environment = yield* Environment.make
      const operator = operatorOf("one", Layer.effect(Model, Effect.die(new Error("no such file"))))
      const { message, tag } = failureOf(yield* Effect.exit(idOf(environment, operator)))
      assert.strictEqual(tag, "LayerFailed")
      assert.include(message, "no such file (Defect)")
    }),
  )

  it.effect("that fail for now are built again, each time anew", () =>
    Effect.gen(function* () {
      const notes: Array<string> = []
      const environment = yield* Environment.make
      const before = Effect.suspend(() =>
        notes.filter((note) => note === "begun").length < 3
          ? Effect.fail(new Unreachable({ retryable: true }))
          : Effect.void,
      )
      const layer = modelLayer(notes, before)
      const calls = yield* Effect.forkChild(
        Effect.all([1, 2].map(() => idOf(environment, operatorOf("one", layer)))),
      )
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(calls)
      assert.deepStrictEqual(notes, ["begun", "closed", "begun", "closed", "begun", "built"])
    }),
  )

  it.effect("that go on failing are not built for ever", () =>
    Effect.gen(function* () {
      const notes: Array<string> = []
      const environment = yield* Environment.make
      const layer = modelLayer(notes, Effect.fail(new Unreachable({ retryable: true })))
      const call = yield* Effect.forkChild(Effect.exit(idOf(environment, operatorOf("one", layer))))
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual(failureOf(yield* Fiber.join(call)).retryable, false)
      assert.strictEqual(notes.filter((note) => note === "begun").length, Environment.buildsAtMost)
      yield* Effect.exit(idOf(environment, operatorOf("two", layer)))
      assert.strictEqual(notes.length, 2 * Environment.buildsAtMost)
    }),
  )

  it.effect("go on being built when a call is interrupted or takes too long, for the next one", () =>
    Effect.gen(function* () {
      const notes: Array<string> = []
      const gate = yield* Deferred.make<void>()
      const environment = yield* Environment.make
      const operator = operatorOf("one", modelLayer(notes, Deferred.await(gate)))
      const interrupted = yield* Effect.forkChild(idOf(environment, operator))
      const late = yield* Effect.forkChild(Effect.timeoutOption(idOf(environment, operator), "1 second"))
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(late))._tag, "None")
      yield* Fiber.interrupt(interrupted)
      assert.deepStrictEqual(notes, ["begun"])
      const next = yield* Effect.forkChild(idOf(environment, operator))
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual(yield* Fiber.join(next), 2)
      yield* environment.close
      assert.deepStrictEqual(notes, ["begun", "built", "closed"])
    }),
  )

  it.effect("that are being built are given up when the environment is closed", () =>
    Effect.gen(function* () {
      const notes: Array<string> = []
      const environment = yield* Environment.make
      const call = yield* Effect.forkChild(
        Effect.exit(idOf(environment, operatorOf("one", modelLayer(notes, Effect.never)))),
      )
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* environment.close, [])
      assert.strictEqual(failureOf(yield* Fiber.join(call)).tag, "LayerFailed")
      assert.deepStrictEqual(notes, ["begun", "closed"])
    }),
  )

  it.effect("that hang or fail when they are closed are reported", () =>
    Effect.gen(function* () {
      const closing = (finalizer: Effect.Effect<void>) =>
        Layer.effect(
          Model,
          Effect.as(
            Effect.addFinalizer(() => finalizer),
            { id: 1 },
          ),
        )
      const problemsOf = Effect.fnUntraced(function* (finalizer: Effect.Effect<void>) {
        const environment = yield* Environment.make
        yield* idOf(environment, operatorOf("one", closing(finalizer)))
        const close = yield* Effect.forkChild(environment.close)
        yield* TestClock.adjust("5 seconds")
        return yield* Fiber.join(close)
      })
      assert.deepStrictEqual(yield* problemsOf(Effect.never), [
        "layers of operators were not closed within 5 seconds; what they hold ends with the process",
      ])
      assert.deepStrictEqual(yield* problemsOf(Effect.die(new Error("it is gone"))), [
        "a layer of an operator failed while it was closed: it is gone",
      ])
    }),
  )

  it("are given the services of a store, and no others", () => {
    assert.deepStrictEqual(
      Environment.ofStore.map(({ key }) => key),
      ["BlobStore", "Scratch", "Unfinished", "Objects"].map((name) => `reelgraph/store/${name}`),
    )
    assert.isFalse(Environment.isOfStore(Model))
  })
})
