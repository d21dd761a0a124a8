import { spawnSync } from "node:child_process"

import { assert, describe, it } from "@effect/vitest"
import { ThreadClient, ThreadLost } from "@reelgraph/threads"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"

import type * as Calculator from "./calculator.ts"
import type * as Summing from "./summing.ts"
import type * as Waiting from "./waiting.ts"

class TooLarge extends Schema.TaggedError<TooLarge>()("TooLarge", {
  n: Schema.Finite,
  asked: Schema.String,
}) {}

const options: ThreadClient.Options<Calculator.Request, Calculator.Failure, TooLarge | ThreadLost> = {
  name: "the calculator",
  module: new URL("./calculator.ts", import.meta.url),
  errorOf: (cause, request) =>
    cause._tag === "NotSafe" ? new TooLarge({ n: cause.n, asked: request._tag }) : cause,
}

const calculator = ThreadClient.scoped<
  Calculator.Request,
  Calculator.Response,
  Calculator.Failure,
  TooLarge | ThreadLost
>(options)

const summing = ThreadClient.scoped<Summing.Request, Summing.Response, string, string | ThreadLost>({
  name: "sums",
  module: new URL("./summing.ts", import.meta.url),
  errorOf: (cause) => cause,
})

const waiting = {
  name: "those who wait",
  module: new URL("./waiting.ts", import.meta.url),
  errorOf: (cause: string | ThreadLost) => cause,
}

/** A number that threads share, and a function that sets it: who waits for it goes on. */
const gate = () => {
  const until = new Int32Array(new SharedArrayBuffer(4))
  return {
    until,
    open: Effect.sync(() => {
      Atomics.store(until, 0, 7)
      Atomics.notify(until, 0)
    }),
  }
}

const lost = (exit: Exit.Exit<unknown, TooLarge | ThreadLost>): string =>
  Exit.match(exit, {
    onFailure: () => {
      const error = Exit.findErrorOption(exit)
      return error._tag === "Some" && error.value instanceof ThreadLost
        ? error.value.message
        : "another error"
    },
    onSuccess: () => "no error",
  })

describe("ThreadClient", () => {
  it.live("gives each of many who ask at once their own answer", () =>
    Effect.gen(function* () {
      const { ask } = yield* Effect.map(calculator, (client) => ({ ask: client.ask.bind(client) }))
      const numbers = Array.from({ length: 200 }, (_, n) => n)
      const squares = yield* Effect.forEach(numbers, (n) => ask({ _tag: "Square", n }), {
        concurrency: "unbounded",
      })
      assert.deepStrictEqual(
        squares,
        numbers.map((n) => n ** 2),
      )
    }).pipe(Effect.scoped),
  )

  it.live("fails one request with the thread's own error, and answers the next", () =>
    Effect.gen(function* () {
      const client = yield* calculator
      const error = yield* Effect.flip(client.ask({ _tag: "Square", n: 5000 }))
      assert.deepInclude(error, { _tag: "TooLarge", n: 5000, asked: "Square" })
      assert.strictEqual(yield* client.ask({ _tag: "Square", n: 5 }), 25)
    }).pipe(Effect.scoped),
  )

  it.live("an error that cannot be made of a failure is a defect of who asked, and harms nobody else", () =>
    Effect.gen(function* () {
      const client = yield* ThreadClient.scoped<
        Calculator.Request,
        Calculator.Response,
        Calculator.Failure,
        never
      >({
        ...options,
        errorOf: () => {
          throw new Error("no such error")
        },
      })
      assert.isTrue(Exit.hasDies(yield* Effect.exit(client.ask({ _tag: "Square", n: 5000 }))))
      assert.strictEqual(yield* client.ask({ _tag: "Square", n: 3 }), 9)
    }).pipe(Effect.scoped),
  )

  it.live("a thread that crashes fails everybody who waits, and everybody who asks later", () =>
    Effect.gen(function* () {
      const client = yield* calculator
      const first = yield* Effect.forkChild(client.ask({ _tag: "Crash" }))
      const second = yield* Effect.forkChild(client.ask({ _tag: "Square", n: 2 }))
      const sentence = "the thread of the calculator has ended: out of paper"
      assert.strictEqual(lost(yield* Fiber.await(first)), sentence)
      assert.strictEqual(lost(yield* Fiber.await(second)), sentence)
      assert.strictEqual(lost(yield* Effect.exit(client.ask({ _tag: "Square", n: 2 }))), sentence)
      assert.isTrue(client.ended)
      yield* client.gone
    }).pipe(Effect.scoped),
  )

  it.live("a thread that leaves by itself is reported with its exit code", () =>
    Effect.gen(function* () {
      const client = yield* calculator
      assert.strictEqual(
        lost(yield* Effect.exit(client.ask({ _tag: "Exit", code: 3 }))),
        "the thread of the calculator has ended: exit code 3",
      )
    }).pipe(Effect.scoped),
  )

  it.live("a module that is not there is reported to who asks, and closes", () =>
    Effect.gen(function* () {
      const client = yield* ThreadClient.scoped<
        Calculator.Request,
        Calculator.Response,
        Calculator.Failure,
        TooLarge | ThreadLost
      >({ ...options, module: new URL("./nowhere.ts", import.meta.url) })
      assert.match(lost(yield* Effect.exit(client.ask({ _tag: "Square", n: 2 }))), /Cannot find module/)
    }).pipe(Effect.scoped),
  )

  it.live("a value that cannot be sent ends the thread instead of leaving who asked waiting", () =>
    Effect.gen(function* () {
      const client = yield* calculator
      assert.match(lost(yield* Effect.exit(client.ask({ _tag: "Unclonable" }))), /could not be cloned/)
    }).pipe(Effect.scoped),
  )

  it.live("a request that cannot be sent is a defect of who asked, and harms nobody else", () =>
    Effect.gen(function* () {
      const client = yield* calculator
      const request = { _tag: "Square", n: (() => 1) as unknown as number } as const
      assert.isTrue(Exit.hasDies(yield* Effect.exit(client.ask(request))))
      assert.strictEqual(yield* client.ask({ _tag: "Square", n: 3 }), 9)
    }).pipe(Effect.scoped),
  )

  it.live("buffers are handed over in both directions", () =>
    Effect.gen(function* () {
      const client = yield* calculator
      const values = new Float32Array([1, 2, 3])
      const doubled = yield* client.ask({ _tag: "Double", values }, [values.buffer])
      assert.deepStrictEqual(doubled, new Float32Array([2, 4, 6]))
      assert.strictEqual(values.length, 0)
    }).pipe(Effect.scoped),
  )

  it.live("who is interrupted leaves the thread and the others alone", () =>
    Effect.gen(function* () {
      const client = yield* calculator
      const { open, until } = gate()
      const waits = yield* Effect.forkChild(client.ask({ _tag: "Wait", until }))
      const behind = yield* Effect.forkChild(client.ask({ _tag: "Square", n: 4 }))
      yield* Fiber.interrupt(waits)
      yield* open
      assert.strictEqual(yield* Fiber.join(behind), 16)
    }).pipe(Effect.scoped),
  )

  it.live("is closed when all that was asked is answered", () =>
    Effect.gen(function* () {
      const { open, until } = gate()
      const asked = yield* Effect.scoped(
        Effect.gen(function* () {
          const client = yield* calculator
          const ask = (request: Calculator.Request) =>
            Effect.forkDetach(client.ask(request), { startImmediately: true })
          const fibers = [yield* ask({ _tag: "Wait", until }), yield* ask({ _tag: "Square", n: 9 })]
          yield* Effect.addFinalizer(() => open)
          return fibers
        }),
      )
      assert.deepStrictEqual(yield* Effect.forEach(asked, Fiber.join), [7, 81])
    }),
  )

  it.live("one that is given up fails who waits at once, and ends after the request that it is at", () =>
    Effect.gen(function* () {
      const client = yield* calculator
      const { open, until } = gate()
      const ask = (request: Calculator.Request) =>
        Effect.forkChild(client.ask(request), { startImmediately: true })
      const fibers = [yield* ask({ _tag: "Wait", until }), yield* ask({ _tag: "Square", n: 2 })]
      client.giveUp()
      client.giveUp()
      const sentence = "the thread of the calculator has ended: it was given up"
      assert.deepStrictEqual((yield* Effect.forEach(fibers, Fiber.await)).map(lost), [sentence, sentence])
      const gone = yield* Effect.forkChild(client.gone, { startImmediately: true })
      assert.isUndefined(gone.pollUnsafe())
      yield* open
      yield* Fiber.join(gone)
    }).pipe(Effect.scoped),
  )

  it("one that need not keep the process does so only while something is asked of it", () => {
    const program = `
      import { ThreadClient } from "@reelgraph/threads"
      import * as Effect from "effect/Effect"
      const client = new ThreadClient.ThreadClient({
        name: "the calculator",
        module: new URL(${JSON.stringify(options.module.href)}),
        execArgv: [],
        keepsProcess: false,
        errorOf: (cause) => cause,
      })
      console.log(await Effect.runPromise(client.ask({ _tag: "Square", n: 6 })))`
    const { status, stdout } = spawnSync(process.execPath, ["--input-type=module", "-e", program], {
      encoding: "utf8",
      cwd: import.meta.dirname,
    })
    assert.deepStrictEqual({ status, stdout }, { status: 0, stdout: "36\n" })
  })
})

describe("ThreadServer.serveConcurrently", () => {
  const start = ThreadClient.scoped<Waiting.Request, Waiting.Response, string, string | ThreadLost>(waiting)

  it.live("answers others while one waits, and fails each alone", () =>
    Effect.gen(function* () {
      const client = yield* start
      const { open, until } = gate()
      const waits = yield* Effect.forkChild(client.ask({ _tag: "Wait", until }), { startImmediately: true })
      assert.strictEqual(yield* client.ask({ _tag: "Square", n: 3 }), 9)
      assert.strictEqual(yield* Effect.flip(client.ask({ _tag: "Square", n: 2000 })), "2000 is too large")
      assert.isUndefined(waits.pollUnsafe())
      yield* open
      assert.strictEqual(yield* Fiber.join(waits), 7)
    }).pipe(Effect.scoped),
  )

  it.live("is closed when all that was asked is answered", () =>
    Effect.gen(function* () {
      const waits = yield* Effect.scoped(
        Effect.gen(function* () {
          const client = yield* start
          const { open, until } = gate()
          const fiber = yield* Effect.forkDetach(client.ask({ _tag: "Wait", until }), {
            startImmediately: true,
          })
          yield* Effect.addFinalizer(() => open)
          return fiber
        }),
      )
      assert.strictEqual(yield* Fiber.join(waits), 7)
    }),
  )

  it.live("one that is given up is gone though what it is at never ends", () =>
    Effect.gen(function* () {
      const client = yield* start
      const { until } = gate()
      const waits = yield* Effect.forkChild(client.ask({ _tag: "Wait", until }), { startImmediately: true })
      assert.strictEqual(yield* client.ask({ _tag: "Square", n: 3 }), 9)
      client.giveUp()
      yield* client.gone
      assert.isTrue(Exit.isFailure(yield* Fiber.await(waits)))
    }).pipe(Effect.scoped),
  )
})

describe("ThreadServer.serveBatches", () => {
  it.live("answers what waits together at once, in its order, and no more than the largest batch", () =>
    Effect.gen(function* () {
      const client = yield* summing
      const { open, until } = gate()
      const waits = yield* Effect.forkChild(client.ask({ _tag: "Wait", until }), { startImmediately: true })
      const counts = yield* Effect.forEach([0, 1, -2, 3, 4, 5], (n) =>
        Effect.forkChild(Effect.exit(client.ask({ _tag: "Count", n })), { startImmediately: true }),
      )
      yield* open
      yield* Fiber.join(waits)
      const ended = yield* Effect.forEach(counts, Fiber.join)
      assert.deepStrictEqual(ended[2], Exit.fail("-2 < 0"))
      const given = ended.flatMap((exit) => (Exit.isSuccess(exit) ? [exit.value] : []))
      assert.deepStrictEqual(
        given.map(([n]) => n),
        [0, 1, 3, 4, 5],
      )
      const together = given.map(([, count]) => count)
      assert.isAtMost(Math.max(...together), 4)
      // The first may have been taken with the one that waited; of the others, at least two came together.
      assert.isAbove(Math.max(...together), 1)
    }).pipe(Effect.scoped),
  )

  it.live("ends when it is closed, after what came before", () =>
    Effect.gen(function* () {
      const asked = yield* Effect.scoped(
        Effect.gen(function* () {
          const client = yield* summing
          return yield* Effect.forEach([1, 2, 3, 4, 5, 6], (n) =>
            Effect.forkDetach(client.ask({ _tag: "Count", n }), { startImmediately: true }),
          )
        }),
      )
      const given = yield* Effect.forEach(asked, Fiber.join)
      assert.deepStrictEqual(
        given.map(([n]) => n),
        [1, 2, 3, 4, 5, 6],
      )
    }),
  )
})
