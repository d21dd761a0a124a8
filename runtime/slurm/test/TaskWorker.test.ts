/** What one task of a job does, with a store in memory and calls that take as long as the test says. */
import { spawnSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

import { assert, describe, it } from "@effect/vitest"
import { Attempts, type Call } from "@reelgraph/call"
import { LocalWorkers } from "@reelgraph/local"
import { BlobStoreMemory, Objects, StoreAt } from "@reelgraph/store"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"

import * as SessionObjects from "../src/SessionObjects.ts"
import * as Results from "../src/Results.ts"
import * as RunKey from "../src/RunKey.ts"
import * as TaskWorker from "../src/TaskWorker.ts"

const session = "test-session"
const label = "node-0"
const key = RunKey.make()
const digest = (text: string): string => text.repeat(64).slice(0, 64)

/** So many items of one node. */
const shardOf = (items: number): Call.Shard => ({
  node: "node",
  module: "file:///nowhere.ts",
  operator: "node",
  version: "1.0.0",
  code: digest("a"),
  cardinality: "filter",
  batchSize: 1,
  retries: 0,
  resources: { cores: 1 },
  params: "{}",
  sides: {},
  bound: digest("b"),
  items: Array.from({ length: items }, (_, i) => ({ digest: digest(String(i)), record: "{}" })),
})

const slot = (gpus: string, seconds: number, made: Array<string> = []): TaskWorker.Slot => ({
  gpus,
  workers: LocalWorkers.LocalWorkers.of({
    capacity: { name: "here", cores: 1, memoryGiB: 1, gpus: 0 },
    perform: (shard, options) =>
      Attempts.perform(shard, options, (_call, started) =>
        Effect.gen(function* () {
          started()
          yield* Effect.sleep(seconds * 1000)
          made.push(gpus)
          return [{ _tag: "Kept" }]
        }),
      ),
  }),
})

/** Says what task 0 is to do. */
const say = (turn: number, shards: ReadonlyArray<number>, last: boolean, idleSeconds = 5) =>
  Effect.gen(function* () {
    const objects = yield* Objects
    const json = (value: unknown) => Buffer.from(JSON.stringify(value))
    const ids = shards.map((_, i) => `node-${turn}-${i}`)
    const put = (name: string, value: unknown) => objects.put(name, RunKey.seal(key, name, json(value)))
    yield* Effect.forEach(shards, (items, i) =>
      put(SessionObjects.shardName(session, ids[i]!), shardOf(items)),
    )
    const assignment: SessionObjects.Assignment = {
      format: SessionObjects.format,
      version: "1",
      session,
      label,
      shards: ids,
      modules: ["file:///nowhere.ts"],
      perWorker: 1,
      cores: 1,
      last,
      idleSeconds,
    }
    yield* put(SessionObjects.assignmentName(session, label, 0, turn), assignment)
  })

const work = (slots: ReadonlyArray<TaskWorker.Slot>) =>
  Effect.gen(function* () {
    const warned = yield* Deferred.make<void>()
    const attempt = { job: 1, task: 0, restart: 0, token: "00000000", node: "n", gpus: "0,1" }
    const options = {
      session,
      label,
      key,
      attempt,
      slots,
      rank: 0,
      ranks: 1,
      version: "1",
      graceMs: 0,
      warned,
    }
    return { warned, fiber: yield* Effect.forkChild(TaskWorker.work(options)) }
  })

/** Shards of which there are results, with the GPUs that made them. */
const results = Effect.gen(function* () {
  const objects = yield* Objects
  const folder = SessionObjects.resultsFolder(session, label)
  const names = yield* Stream.runCollect(objects.list(folder))
  const parts = names.filter((name) => name.endsWith(".ndjson"))
  return yield* Effect.forEach(parts, (name) =>
    Effect.gen(function* () {
      const bytes = yield* objects.get(name)
      if (bytes._tag === "None") return ""
      const opened = yield* RunKey.open(key, name, bytes.value)
      const { head, results: made } = yield* Results.decode(name, opened)
      return `${head.shard} ${made.length} ${head.whole} GPU ${head.gpus}`
    }),
  )
})

describe("TaskWorker", () => {
  it.effect("makes a shard in each slot at once, and says which GPUs made it", () =>
    Effect.gen(function* () {
      yield* say(0, [1, 1, 1], true)
      const { fiber } = yield* work([slot("0", 10), slot("1", 10)])
      yield* TestClock.adjust("11 seconds")
      assert.deepStrictEqual((yield* results).toSorted(), ["node-0-0 1 true GPU 0", "node-0-1 1 true GPU 1"])
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* Fiber.join(fiber), "through")
      assert.lengthOf(yield* results, 3)
    }).pipe(Effect.provide(BlobStoreMemory.layer)),
  )

  it.effect("is idle since its last shard ended, not while one of its slots is at work", () =>
    Effect.gen(function* () {
      yield* say(0, [2, 1], false)
      const { fiber } = yield* work([slot("0", 10), slot("1", 10)])
      // One slot has nothing to do for longer than it would wait alone.
      yield* TestClock.adjust("19 seconds")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("4 seconds")
      assert.isUndefined(fiber.pollUnsafe())
      yield* say(1, [1], false)
      yield* TestClock.adjust("13 seconds")
      assert.isTrue((yield* results).some((line) => line.startsWith("node-1-0 1 true")))
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(yield* Fiber.join(fiber), "idle")
    }).pipe(Effect.provide(BlobStoreMemory.layer)),
  )

  it.effect("waits as long after a long shard as after a short one", () =>
    Effect.gen(function* () {
      yield* say(0, [1], false)
      const { fiber } = yield* work([slot("0", 10)])
      yield* TestClock.adjust("14 seconds")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* Fiber.join(fiber), "idle")
    }).pipe(Effect.provide(BlobStoreMemory.layer)),
  )

  it.effect("leaves when it is warned, with what it has", () =>
    Effect.gen(function* () {
      yield* say(0, [3, 1], true)
      const made: Array<string> = []
      const { fiber, warned } = yield* work([slot("0", 10, made)])
      yield* TestClock.adjust("12 seconds")
      yield* Deferred.succeed(warned, undefined)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(fiber), "warned")
      assert.deepStrictEqual(yield* results, ["node-0-0 1 false GPU 0"])
      assert.lengthOf(made, 1)
    }).pipe(Effect.provide(BlobStoreMemory.layer)),
  )

  it.effect("says of a result that no driver could read that it is too large", () =>
    Effect.gen(function* () {
      yield* say(0, [2], true)
      let calls = 0
      const large: TaskWorker.Slot = {
        gpus: "",
        workers: LocalWorkers.LocalWorkers.of({
          capacity: { name: "here", cores: 1, memoryGiB: 1, gpus: 0 },
          perform: (shard, options) =>
            Attempts.perform(shard, options, () =>
              Effect.sync(() => {
                const record = JSON.stringify("x".repeat(calls++ === 0 ? 57 * 2 ** 20 : 10))
                return [{ _tag: "Made", items: [{ digest: digest("c"), record, artifacts: [] }] }]
              }),
            ),
        }),
      }
      const { fiber } = yield* work([large])
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* Fiber.join(fiber), "through")
      const objects = yield* Objects
      const names = yield* Stream.runCollect(objects.list(SessionObjects.resultsFolder(session, label)))
      const tags: Array<string> = []
      for (const name of names.filter((each) => each.endsWith(".ndjson"))) {
        const found = yield* objects.get(name)
        const bytes = yield* RunKey.open(key, name, Option.getOrThrow(found))
        for (const { what } of (yield* Results.decode(name, bytes)).results)
          tags.push(what._tag === "Failed" ? `${what.tag} ${what.message}` : what._tag)
      }
      assert.lengthOf(tags, 2)
      assert.include(tags, "Made")
      assert.match(tags.join("\n"), /ResultTooLarge node gave records of \d+ bytes, more than the \d+/u)
    }).pipe(Effect.provide(BlobStoreMemory.layer)),
  )
})

describe("The process of a worker", () => {
  const main = fileURLToPath(new URL("../src/taskWorkerMain.ts", import.meta.url))

  /** Runs one in a store with an order that nobody has sealed. */
  const run = (variables: Readonly<Record<string, string>>) =>
    Effect.acquireUseRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "reelgraph-worker-"))),
      (store) =>
        Effect.gen(function* () {
          const objects = yield* Objects
          yield* objects.put(SessionObjects.assignmentName(session, label, 0, 0), Buffer.from("{}"))
          const { PATH = "", HOME = "" } = process.env
          return spawnSync(process.execPath, [main, store, session, label, "1"], {
            env: { PATH, HOME, SLURM_JOB_ID: "1", ...variables },
            encoding: "utf8",
            timeout: 60_000,
          })
        }).pipe(Effect.provide(StoreAt.layer(store))),
      (store) => Effect.sync(() => rmSync(store, { recursive: true, force: true })),
    )

  it.live(
    "leaves with a number of its own when an order is not its driver's, and says so",
    () =>
      Effect.gen(function* () {
        const { status, stderr, stdout } = yield* run({ [RunKey.variable]: Redacted.value(key) })
        assert.strictEqual(status, 76, stdout + stderr)
        assert.match(
          stdout + stderr,
          /assignment cluster\/test-session\/orders\/node-0\/0\.0\.json was refused/u,
        )
        assert.notInclude(stdout + stderr, Redacted.value(key))
      }),
    60_000,
  )

  it.live(
    "does nothing without a key, and says what is missing",
    () =>
      Effect.gen(function* () {
        const { status, stderr, stdout } = yield* run({})
        assert.strictEqual(status, 1)
        assert.match(stdout + stderr, /REELGRAPH_RUN_KEY is not set: a worker is started by its driver/u)
      }),
    60_000,
  )
})
