import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"

import { assert, describe, it } from "@effect/vitest"
import { Executor, Failure } from "@reelgraph/call"
import { Graph, Operator, Port } from "@reelgraph/core"
import {
  BlobStore,
  BlobStoreFs,
  Journal,
  JournalError,
  JournalSqlite,
  OutOfSpace,
  S3Error,
  Status,
  StoreUnreadable,
} from "@reelgraph/store"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"

import { Engine } from "../src/index.ts"
import { go, inline, memory, Num, num, nums, version } from "./harness.ts"

class Busy extends Data.TaggedError("Busy")<{ readonly retryable: boolean }> {
  override get message() {
    return "the service is busy"
  }
}

type Run = (record: Num, attempt: number) => Effect.Effect<Num, unknown>

const failing = (run: Run, options: { readonly retries?: number; readonly timeoutMs?: number } = {}) =>
  Graph.make("failing", { version }, (g) => ({
    out: g.input("in", Num).pipe(
      Operator.map("fails", {
        version,
        input: Num,
        output: Num,
        ...options,
        run: (record, _, { attempt }) => run(record, attempt),
      })(),
    ),
  }))

describe("retries", () => {
  it.effect("wait 200, 400, ... ms between attempts, and note how many there were", () =>
    Effect.gen(function* () {
      const journal = yield* Journal
      const attempts: Array<number> = []
      const graph = failing((record, attempt) => {
        attempts.push(attempt)
        return attempt < 3 ? Effect.fail(new Busy({ retryable: true })) : Effect.succeed(record)
      })
      const fiber = yield* Effect.forkChild(go(graph, { in: nums(1) }), { startImmediately: true })
      const settled = Effect.forEach(Array.from({ length: 50 }), () => Effect.yieldNow)
      yield* settled
      for (const [ms, expected] of [
        [0, [1]],
        [199, [1]],
        [1, [1, 2]],
        [399, [1, 2]],
        [1, [1, 2, 3]],
      ] as const) {
        yield* TestClock.adjust(ms)
        yield* settled
        assert.deepStrictEqual(attempts, [...expected])
      }
      const run = yield* Fiber.join(fiber)
      assert.deepInclude(run.ledger("fails"), { kept: 1, failed: 0, retries: 2 })
      assert.strictEqual(run.report.status, "done")
      assert.deepStrictEqual(journal.failures(1), [])
    }).pipe(Effect.provide(memory)),
  )

  for (const [retryable, retries, expected] of [
    [false, 5, 1],
    [true, 0, 1],
    [true, 1, 2],
  ] as const) {
    it.live(`${expected} attempts at an error with retryable: ${retryable}, retries: ${retries}`, () =>
      Effect.gen(function* () {
        let attempts = 0
        const graph = failing(
          () => Effect.suspend(() => (attempts++, Effect.fail(new Busy({ retryable })))),
          { retries },
        )
        const run = yield* go(graph, { in: nums(1) })
        assert.strictEqual(attempts, expected)
        assert.deepStrictEqual(
          run.failures.map(({ detail, reason }) => [reason, detail]),
          [["Busy", "the service is busy"]],
        )
      }).pipe(Effect.provide(memory)),
    )
  }
})

describe("a call", () => {
  it.live("that takes too long is interrupted, tried again and recorded", () =>
    Effect.gen(function* () {
      let interrupted = 0
      const graph = failing(
        ({ n }) =>
          n === 1
            ? Effect.onInterrupt(Effect.never, () => Effect.sync(() => void interrupted++))
            : Effect.succeed(num(n)),
        { timeoutMs: 30, retries: 1 },
      )
      const run = yield* go(graph, { in: nums(3) })
      assert.deepStrictEqual(run.numbers(), [0, 2])
      assert.strictEqual(interrupted, 2)
      assert.deepInclude(run.ledger("fails"), { failed: 1, retries: 1 })
      assert.include(run.failures[0]!.detail, "took longer than 30 ms; raise the operator's timeoutMs")
    }).pipe(Effect.provide(memory)),
  )

  it.effect("that throws, rejects, or gives nonsense is recorded with its cause", () =>
    Effect.gen(function* () {
      const graph = failing(({ n }) => {
        if (n === 0) throw new Error("thrown at once")
        if (n === 1) return Effect.promise(() => Promise.reject(new Error("rejected")))
        if (n === 2) return Effect.succeed({ n: 0.5 })
        if (n === 3) return Effect.succeed(undefined as never)
        if (n === 4) return Effect.fail("a string")
        return Effect.succeed(num(n))
      })
      const run = yield* go(graph, { in: nums(6) })
      assert.deepStrictEqual(run.numbers(), [5])
      assert.deepStrictEqual(run.failures.map(({ reason }) => reason).sort(), [
        "Defect",
        "Defect",
        "Error",
        "OutputInvalid",
        "OutputInvalid",
      ])
      assert.include(run.failures.map(({ detail }) => detail).join("\n"), "Expected an integer")
    }).pipe(Effect.provide(memory)),
  )

  it.effect("is refused a stored record that its port no longer allows", () =>
    Effect.gen(function* () {
      const Small = Port.make("Small", {
        record: Schema.Struct({ n: Schema.Int.check(Schema.isLessThan(2)) }),
      })
      const graph = Graph.make("small", { version }, (g) => ({
        out: g.input("in", Num).pipe(
          Operator.map("small", {
            version,
            input: Small,
            output: Num,
            run: (record) => Effect.succeed(record),
          })(),
        ),
      }))
      const run = yield* go(graph, { in: nums(4) })
      assert.deepStrictEqual(run.numbers(), [0, 1])
      assert.deepStrictEqual(
        run.failures.map(({ reason }) => reason),
        ["InputInvalid", "InputInvalid"],
      )
    }).pipe(Effect.provide(memory)),
  )

  it.effect("that failed is made again by the next run, and once by this one", () =>
    Effect.gen(function* () {
      let calls = 0
      let broken = true
      const graph = failing((record) =>
        Effect.suspend(() => (calls++, broken ? Effect.fail("broken") : Effect.succeed(record))),
      )
      const many = Array.from({ length: 2000 }, () => num(7))
      const run = yield* go(graph, { in: many })
      assert.strictEqual(calls, 1)
      assert.deepInclude(run.ledger("fails"), { in: 2000, failed: 2000 })
      broken = false
      const again = yield* go(graph, { in: many })
      assert.strictEqual(calls, 2)
      assert.deepInclude(again.ledger("fails"), { in: 2000, kept: 2000, failed: 0 })
      assert.strictEqual(again.report.status, "done")
      assert.strictEqual((yield* Journal).failures(1).length, 1)
    }).pipe(Effect.provide(memory)),
  )
})

describe("a run", () => {
  it.effect("ends when more calls failed than it may lose, and keeps what was done", () =>
    Effect.gen(function* () {
      const journal = yield* Journal
      const graph = failing(({ n }) => (n % 10 === 9 ? Effect.fail("poison") : Effect.succeed(num(n))))
      const error = yield* Effect.flip(go(graph, { in: nums(1000) }, { maxFailures: 2 }))
      assert.strictEqual(error._tag, "TooManyFailures")
      assert.include(error.message, "fails: Error: poison")
      const [run] = journal.runs()
      assert.strictEqual(run!.status, "failed")
      const { kept } = JSON.parse(run!.ledger).fails
      assert.isAbove(kept, 0)
      const rest = yield* go(graph, { in: nums(1000) }, { maxFailures: 100 })
      assert.strictEqual(rest.report.status, "finished-with-failures")
      assert.deepInclude(rest.ledger("fails"), { in: 1000, kept: 900, failed: 100, cached: kept })
    }).pipe(Effect.provide(memory)),
  )

  it.effect("refuses a record that its input does not describe, and says which", () =>
    Effect.gen(function* () {
      const graph = failing((record) => Effect.succeed(record))
      const error = yield* Effect.flip(go(graph, { in: [...nums(300), { n: "x" }] }))
      assert.strictEqual(error._tag, "RecordInvalid")
      assert.match(error.message, /^record 300 of input in: Expected/u)
    }).pipe(Effect.provide(memory)),
  )

  it.effect("refuses inputs that are missing or unknown", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(go(failing(Effect.succeed), { other: [] }))
      assert.strictEqual(error.message, "graph failing needs the input in and has no input other (it has in)")
    }).pipe(Effect.provide(memory)),
  )

  it.effect("ends with the error of its source", () =>
    Effect.gen(function* () {
      const journal = yield* Journal
      const error = yield* Effect.flip(
        Engine.run(failing(Effect.succeed), {
          in: Stream.concat(Stream.make(num(1)), Stream.fail("no such file")),
        }),
      )
      assert.strictEqual(error, "no such file")
      assert.strictEqual(journal.runs()[0]!.status, "failed")
    }).pipe(Effect.provide(memory)),
  )

  it.effect("that is interrupted is marked so; the next one does only the rest", () =>
    Effect.gen(function* () {
      const journal = yield* Journal
      const here = yield* Latch.make()
      let calls = 0
      let stop = true
      const graph = failing(({ n }) =>
        Effect.suspend(() => {
          calls++
          return stop && n === 500 ? Effect.andThen(here.open, Effect.never) : Effect.succeed(num(n))
        }),
      )
      const fiber = yield* Effect.forkChild(go(graph, { in: nums(1000) }))
      yield* here.await
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(journal.runs()[0]!.status, "interrupted")
      stop = false
      const operator = journal.boundOperator(
        (journal.producers(journal.find(1, 1)!.outputs[0]!)[0] as any).operator.digest,
      )!
      const done = nums(1000).filter((_, i) => journal.find(i + 1, operator)?.status === Status.done).length
      assert.isAbove(done, 200)
      calls = 0
      const rest = yield* go(graph, { in: nums(1000) })
      assert.strictEqual(calls, 1000 - done)
      assert.deepInclude(rest.ledger("fails"), { in: 1000, kept: 1000, cached: done })
    }).pipe(Effect.provide(memory)),
  )

  it.effect("keeps what happened on its way, also when it fails or is interrupted", () =>
    Effect.gen(function* () {
      const journal = yield* Journal
      const notes = ["a node failed (cpu-0)"]
      const here = yield* Latch.make()
      const away = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
        Effect.updateService(effect, Executor, (executor) => ({ ...executor, notes: () => notes }))
      const graph = failing(({ n }) =>
        n === 2
          ? Effect.andThen(here.open, Effect.never)
          : n === 3
            ? Effect.fail("no")
            : Effect.succeed(num(n)),
      )
      const done = yield* away(go(graph, { in: nums(2) }))
      assert.deepStrictEqual(done.report.warnings, notes)
      const fails = Graph.make("failing", { version }, (g) => ({
        out: g.input("in", Num).pipe(
          Operator.map("fails", {
            version,
            input: Num,
            output: Num,
            run: () => Effect.fail("other code"),
          })(),
        ),
      }))
      yield* Effect.flip(away(Engine.run(fails, { in: Stream.make(num(9)) }, { maxFailures: 0 })))
      const fiber = yield* Effect.forkChild(away(go(graph, { in: nums(3) })))
      yield* here.await
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(
        journal.runs().map((run) => [run.status, run.notes]),
        [
          ["done", notes],
          ["failed", notes],
          ["interrupted", notes],
        ],
      )
    }).pipe(Effect.provide(memory)),
  )

  it.live("a store whose folder is removed in the middle ends the run: its items have not failed", () =>
    Effect.gen(function* () {
      const root = yield* Effect.acquireRelease(
        Effect.sync(() => join(mkdtempSync(join(tmpdir(), "reelgraph-engine-")), "store")),
        (path) => Effect.sync(() => rmSync(dirname(path), { recursive: true, force: true })),
      )
      let calls = 0
      const graph = (retries: number) =>
        Graph.make("stored", { version }, (g) => ({
          out: g.input("in", Num).pipe(
            Operator.map("store", {
              version,
              needs: [BlobStore],
              input: Num,
              output: Num,
              retries,
              run: (record) =>
                Effect.gen(function* () {
                  calls++
                  if (record.n === 3) rmSync(root, { recursive: true })
                  yield* BlobStore.use((blobs) => blobs.putBytes(new Uint8Array([record.n]), "a/b"))
                  return record
                }),
            })(),
          ),
        }))
      yield* Effect.gen(function* () {
        const journal = yield* Journal
        const error = yield* Effect.flip(Engine.run(graph(2), { in: Stream.fromIterable(nums(200)) }))
        assert.strictEqual(error._tag, "StoreFailed")
        assert.include(error.message, `the store failed in store: the store ${root} is gone`)
        // Not one by one, after their work.
        assert.strictEqual(calls, 4)
        const [run] = journal.runs()
        assert.strictEqual(run!.status, "failed")
        assert.include(run!.problem, "is gone")
        assert.deepStrictEqual(journal.failures(run!.id), [])
        assert.isFalse(existsSync(root))
      }).pipe(
        Effect.provide(
          Layer.mergeAll(JournalSqlite.layerMemory, BlobStoreFs.layer(root, { durability: "none" }), inline),
        ),
      )
    }).pipe(Effect.scoped),
  )

  it.effect(
    "an error is of the store when its cause says so, also of an operator that wraps or dies of it",
    () =>
      Effect.sync(() => {
        const full = new OutOfSpace({ path: "/store", cause: new Error("ENOSPC") })
        const wrapped = Object.assign(new Error("cannot write the clip"), { cause: full })
        const coded = Object.assign(new Error("disk full"), { code: "ENOSPC" })
        for (const error of [full, wrapped, coded]) {
          assert.isTrue(Failure.fromError(error).endsRun)
          assert.isTrue(Failure.fromCause(Cause.die(error)).endsRun)
        }
        const token = new S3Error.CredentialsRefused({ url: "s3://b", code: "ExpiredToken" })
        assert.isTrue(Failure.fromError(new StoreUnreadable({ path: "s3://b", cause: token })).endsRun)
        // Of one blob, and of an item.
        const eio = Object.assign(new Error("input/output error"), { code: "EIO" })
        for (const error of [
          new StoreUnreadable({ path: "/store/blobs/ab", cause: eio }),
          new Error("bad"),
          "bad",
        ])
          assert.isUndefined(Failure.fromError(error).endsRun)
      }),
  )

  it.live("passes on what fast calls gave while a slow one of the same stretch goes on", () =>
    Effect.gen(function* () {
      const gate = yield* Latch.make()
      const graph = Graph.make("mixed", { version }, (g) => ({
        out: g.input("in", Num).pipe(
          Operator.map("mixed", {
            version,
            input: Num,
            output: Num,
            run: ({ n }) => (n === 1500 ? Effect.as(gate.await, num(n)) : Effect.succeed(num(n))),
          })(),
          // Opened by what came before the slow one: a run that held that back would never end.
          Operator.map("after", {
            version,
            input: Num,
            output: Num,
            run: ({ n }) => (n === 1499 ? Effect.as(gate.open, num(n)) : Effect.succeed(num(n))),
          })(),
        ),
      }))
      const run = yield* go(graph, { in: nums(2000) })
      assert.strictEqual(run.numbers().length, 2000)
    }).pipe(Effect.provide(memory)),
  )

  it.effect("ends with one typed error when the journal cannot be read", () =>
    Effect.gen(function* () {
      const journal = yield* Journal
      const broken = Journal.of({
        ...journal,
        findAll: () => {
          throw new JournalError({ file: "journal.db", action: "read", problem: "disk I/O error" })
        },
      })
      const error = yield* Effect.flip(
        Effect.provideService(go(failing(Effect.succeed), { in: nums(3) }), Journal, broken),
      )
      assert.strictEqual(error.message, "the journal journal.db could not be read: disk I/O error")
    }).pipe(Effect.provide(memory)),
  )
})
