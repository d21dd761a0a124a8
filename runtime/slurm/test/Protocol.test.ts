/**
 * What driver and workers do about each object of theirs that is gone, damaged, cut short, somebody else's, or another
 * one's: the rows of docs/protocol/slurm.md. The calls are made, once each for whoever asked; or the run ends with a
 * sentence. It never waits for ever.
 */
import { assert, describe, it } from "@effect/vitest"
import { BlobStoreMemory, Objects, StoreUnreadable, StoreUnwritable } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"

import * as SessionObjects from "../src/SessionObjects.ts"
import * as Results from "../src/Results.ts"
import * as RunKey from "../src/RunKey.ts"
import * as Memory from "./inMemory.ts"

const { ask, make, once, settle, shardOf } = Memory

const attempt: Results.Attempt = { job: 1, task: 0, restart: 0, token: "ffffffff", node: "cpu-1", gpus: "" }

/** What somebody could do to an object who can write the store, or a disk. */
const harms: ReadonlyArray<readonly [string, Memory.Meddle]> = [
  ["gone", () => undefined],
  ["empty", () => new Uint8Array()],
  ["cut short", (_, bytes) => bytes.subarray(0, bytes.length - 20)],
  ["changed in one bit", (_, bytes) => bytes.map((byte, i) => (i === bytes.length - 10 ? byte ^ 1 : byte))],
  ["without its seal", (_, bytes) => bytes.subarray(RunKey.sealBytes)],
  ["of another run", (name, bytes) => RunKey.seal(RunKey.make(), name, bytes.subarray(RunKey.sealBytes))],
  ["of 65 MiB", () => new Uint8Array(65 * 2 ** 20)],
]

/** Runs two shards with one object of a kind harmed, and looks that everything is made. */
const despite = (pattern: RegExp, harm: Memory.Meddle, options: Memory.Options = {}) =>
  Effect.gen(function* () {
    const meddle = once(pattern, harm)
    const cluster = yield* make({ ...options, meddle })
    yield* Effect.forkScoped(cluster.driver.run)
    const asked = [
      yield* ask(cluster.driver, shardOf([1, 2, 3])),
      yield* ask(cluster.driver, shardOf([4, 5])),
    ]
    assert.isTrue(yield* settle(asked), "it waits for ever")
    assert.isTrue(meddle.done())
    for (const [i, { counts, problem, results }] of asked.entries()) {
      assert.isUndefined(problem())
      // Each position exactly once.
      assert.deepStrictEqual(
        [...counts].toSorted(([a], [b]) => a - b),
        (i === 0 ? [0, 1, 2] : [0, 1]).map((at) => [at, 1]),
      )
      assert.isTrue([...results.values()].every(({ what }) => what._tag === "Kept"))
    }
    return cluster
  }).pipe(Effect.scoped, Effect.provide(BlobStoreMemory.layer))

const kinds = {
  shard: /shards\/node-0\.json$/,
  assignment: /orders\/node-0\/0\.0\.json$/,
  registration: /results\/node-0\/worker\.0\./,
  results: /results\/node-0\/node-0\./,
  "record of a job": /jobs\/node-0\.json$/,
  "word of a driver": /driver\.json$/,
}

describe("The protocol of driver and workers", () => {
  for (const kind of ["shard", "assignment", "registration", "results", "record of a job"] as const)
    for (const held of [false, true])
      it.effect.each(harms.map(([how, harm]) => ({ harm, how })))(
        `gets over an object that is $how: ${kind}, ${held ? "held" : "array"}`,
        ({ harm, how }) =>
          Effect.gen(function* () {
            const { driver } = yield* despite(kinds[kind], harm, { held })
            const told = driver.notes.lines.join("\n")
            if (kind === "shard") assert.match(told, /workers found no use for shards: /)
            if (kind === "assignment" && how !== "gone")
              assert.match(told, /found assignments that were damaged/)
            if (kind === "results" && how !== "gone") assert.match(told, /refused|left out/)
            if (kind === "registration" && how !== "gone") assert.match(told, /refused|left out/)
          }),
      )

  it.effect("makes nothing of a shard with a module of its own choice, and imports none", () =>
    Effect.gen(function* () {
      const evil = { ...shardOf([1, 2, 3]), module: "data:text/javascript,process.exit(1)" }
      const { driver, modules } = yield* despite(kinds.shard, () => Buffer.from(JSON.stringify(evil)))
      assert.deepStrictEqual([...modules], [Memory.module])
      assert.match(driver.notes.lines.join("\n"), /workers found no use for shards: it has no seal/)
    }),
  )

  it.effect("loads no module but those of the driver's graph, even when a shard is sealed", () =>
    Effect.gen(function* () {
      const key = RunKey.make()
      const evil = { ...shardOf([1, 2, 3]), module: "file:///tmp/other.ts" }
      const { driver, modules } = yield* despite(
        kinds.shard,
        (name) => RunKey.seal(key, name, Buffer.from(JSON.stringify(evil))),
        { key },
      )
      assert.deepStrictEqual([...modules], [Memory.module])
      assert.match(driver.notes.lines.join("\n"), /is none of the driver's graph/)
    }),
  )

  it.effect("commits no result that somebody without the key has written", () =>
    Effect.gen(function* () {
      const cluster = yield* make({ seconds: 60 })
      yield* Effect.forkScoped(cluster.driver.run)
      const asked = yield* ask(cluster.driver, shardOf([1]))
      yield* TestClock.adjust("10 seconds")
      const head = {
        ...attempt,
        shard: "node-0",
        part: 0,
        whole: true,
      }
      const what = { _tag: "Dropped" as const, reason: "forged", detail: "" }
      const forged = Results.encode(head, [{ at: 0, what, attempts: 1, startedMs: 0, ms: 1 }])
      const name = `${SessionObjects.resultsFolder(cluster.session, "node-0")}/${Results.partName(head)}`
      yield* cluster.objects.put(name, forged)
      yield* cluster.objects.put(
        name.replace("ffffffff", "fffffffe"),
        RunKey.seal(RunKey.make(), name.replace("ffffffff", "fffffffe"), forged),
      )
      // What its seal says is of another name.
      yield* cluster.objects.put(name.replace("ffffffff", "fffffffd"), RunKey.seal(cluster.key, name, forged))
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(asked.results.size, 0)
      assert.isTrue(yield* settle([asked]))
      assert.strictEqual(asked.results.get(0)?.what._tag, "Kept")
      assert.deepStrictEqual(cluster.made, [1])
      assert.match(cluster.driver.notes.lines.join("\n"), /of another origin\) were refused.*3 times/)
    }).pipe(Effect.scoped, Effect.provide(BlobStoreMemory.layer)),
  )

  it.effect("takes results of one shard for no other's: a replay under another name", () =>
    Effect.gen(function* () {
      let copied: Uint8Array | undefined
      const meddle: Memory.Meddle = (name, bytes) => {
        if (/results\/node-0\/node-0\./.test(name)) copied = bytes
        return bytes
      }
      const cluster = yield* make({ meddle, workers: 1, session: "another" })
      yield* Effect.forkScoped(cluster.driver.run)
      const before = yield* ask(cluster.driver, shardOf([1]))
      assert.isTrue(yield* settle([before]))
      const after = yield* ask(cluster.driver, shardOf([2]))
      const name = `${SessionObjects.resultsFolder(cluster.session, "node-1")}/node-1.0.0.ffffffff.0.ndjson`
      yield* cluster.objects.put(name, copied!)
      assert.isTrue(yield* settle([after]))
      assert.deepStrictEqual(cluster.made, [1, 2])
      assert.match(cluster.driver.notes.lines.join("\n"), /of another origin\) were refused/)
    }).pipe(Effect.scoped, Effect.provide(BlobStoreMemory.layer)),
  )

  it.effect("takes no word of a worker that would end the run, if no worker has written it", () =>
    Effect.gen(function* () {
      const cluster = yield* make({ seconds: 20 })
      yield* Effect.forkScoped(cluster.driver.run)
      const asked = yield* ask(cluster.driver, shardOf([1]))
      yield* TestClock.adjust("2 seconds")
      const registration: Results.Registration = { ...attempt, version: "1", clockMs: 0, refused: "stop" }
      const name = `${SessionObjects.resultsFolder(cluster.session, "node-0")}/${Results.registrationName(attempt)}`
      yield* cluster.objects.put(name, Buffer.from(JSON.stringify(registration)))
      assert.isTrue(yield* settle([asked]))
      assert.isUndefined(asked.problem())
      assert.strictEqual(asked.results.get(0)?.what._tag, "Kept")
    }).pipe(Effect.scoped, Effect.provide(BlobStoreMemory.layer)),
  )

  it.effect("ends with a sentence for each item when every shard that is written goes", () =>
    Effect.gen(function* () {
      const cluster = yield* make({
        meddle: (name, bytes) => (name.includes("/shards/") ? undefined : bytes),
      })
      yield* Effect.forkScoped(cluster.driver.run)
      const asked = yield* ask(cluster.driver, shardOf([1, 2]))
      assert.isTrue(yield* settle([asked], 30))
      assert.deepStrictEqual(
        [...asked.results.values()].map(({ what }) => (what._tag === "Failed" ? what.tag : what._tag)),
        ["WorkerLost", "WorkerLost"],
      )
      assert.deepStrictEqual(cluster.made, [])
    }).pipe(Effect.scoped, Effect.provide(BlobStoreMemory.layer)),
  )

  it.effect("ends with a sentence when a call is larger than any worker reads", () =>
    Effect.gen(function* () {
      const cluster = yield* make()
      const shard = { ...shardOf([1]), cardinality: "collect" as const, set: Memory.digest(9) }
      const items = [{ digest: Memory.digest(1), record: JSON.stringify("x".repeat(65 * 2 ** 20)) }]
      const error = yield* Effect.flip(ask(cluster.driver, { ...shard, items }))
      assert.strictEqual(error._tag, "ShardTooLarge")
      assert.match(error.message, /place node in a pool of this machine/)
    }).pipe(Effect.scoped, Effect.provide(BlobStoreMemory.layer)),
  )

  it.effect("ends with a sentence when the store does not answer any more", () =>
    Effect.gen(function* () {
      const cluster = yield* make({ seconds: 10_000 })
      let silent = false
      const { list } = cluster.objects
      Object.assign(cluster.objects, {
        list: (prefix: string) =>
          silent
            ? Stream.fail(new StoreUnreadable({ path: "store", cause: new Error("no route to host") }))
            : list(prefix),
      })
      yield* Effect.forkScoped(cluster.driver.run)
      const asked = yield* ask(cluster.driver, shardOf([1]))
      yield* TestClock.adjust("1 minute")
      silent = true
      assert.isTrue(yield* settle([asked], 20))
      assert.match(
        asked.problem() ?? "",
        /a look for results in the store has failed for 15 min: .*no route to host/,
      )
    }).pipe(Effect.scoped, Effect.provide(BlobStoreMemory.layer)),
  )

  it.effect("reads all others when one object cannot be read", () =>
    Effect.gen(function* () {
      const cluster = yield* make()
      const { get } = cluster.objects
      const unreadable = new Set<string>()
      Object.assign(cluster.objects, {
        get: (name: string, options?: { readonly maxBytes?: number }) => {
          // The first results of one shard, for ever.
          if (/results\/node-0\/node-0\./.test(name)) unreadable.add(name)
          return unreadable.has(name)
            ? Effect.fail(new StoreUnreadable({ path: name, cause: new Error("permission denied") }))
            : get(name, options)
        },
      })
      yield* Effect.forkScoped(cluster.driver.run)
      const asked = [yield* ask(cluster.driver, shardOf([1])), yield* ask(cluster.driver, shardOf([2]))]
      assert.isTrue(yield* settle(asked))
      assert.deepStrictEqual(
        asked.map(({ results }) => results.get(0)?.what._tag),
        ["Kept", "Kept"],
      )
      assert.match(cluster.driver.notes.lines.join("\n"), /could not be read were left out/)
    }).pipe(Effect.scoped, Effect.provide(BlobStoreMemory.layer)),
  )

  it.effect("writes a shard anew when the store fails while it does", () =>
    Effect.gen(function* () {
      let failures = 0
      const cluster = yield* make({ meddle: once(kinds.shard, () => undefined) })
      const { put } = cluster.objects
      Object.assign(cluster.objects, {
        put: (name: string, bytes: Uint8Array) => {
          // The second shard to be written is that of the first one's calls.
          if (!/shards\/node-1/.test(name) || failures++ >= 3) return put(name, bytes)
          return Effect.fail(new StoreUnreadable({ path: name, cause: new Error("busy") }))
        },
      })
      yield* Effect.forkScoped(cluster.driver.run)
      const asked = yield* ask(cluster.driver, shardOf([1, 2]))
      assert.isTrue(yield* settle([asked]))
      assert.deepStrictEqual(
        cluster.made.toSorted((a, b) => a - b),
        [1, 2],
      )
      assert.isAtLeast(failures, 1)
    }).pipe(Effect.scoped, Effect.provide(BlobStoreMemory.layer)),
  )

  it.effect("ends with a sentence when workers cannot write what they have made", () =>
    Effect.gen(function* () {
      const cluster = yield* make({ workers: 1 })
      const { put } = cluster.objects
      Object.assign(cluster.objects, {
        put: (name: string, bytes: Uint8Array) =>
          name.endsWith(".ndjson")
            ? Effect.fail(new StoreUnwritable({ path: name, cause: new Error("quota exceeded") }))
            : put(name, bytes),
      })
      yield* Effect.forkScoped(cluster.driver.run)
      const asked = yield* ask(cluster.driver, shardOf([1, 2]))
      assert.isTrue(yield* settle([asked]))
      // Not an item at a time, after its work was done over and over.
      assert.match(
        asked.problem() ?? "",
        /3 workers in pool cpu one after another could not .* write the store/,
      )
      assert.strictEqual(asked.results.size, 0)
    }).pipe(Effect.scoped, Effect.provide(BlobStoreMemory.layer)),
  )

  it.effect("brings every call to one end, whatever happens to a fifth of all objects", () =>
    Effect.gen(function* () {
      for (let seed = 1; seed <= 30; seed++) {
        // A generator of Park and Miller: each seed is another course of things.
        let state = seed * 48_271
        const draw = (below: number) => (state = (state * 48_271) % 2_147_483_647) % below
        const meddle: Memory.Meddle = (name, bytes) =>
          draw(5) === 0 ? harms[draw(harms.length - 1)]![1](name, bytes) : bytes
        yield* Effect.gen(function* () {
          const held = seed % 2 === 0
          const cluster = yield* make({ held, meddle, session: `session-${seed}`, workers: 3 })
          yield* Effect.forkScoped(cluster.driver.run)
          const numbers = Array.from({ length: 12 }, (_, i) => i)
          const asked = yield* Effect.forEach([0, 1, 2, 3], (i) =>
            ask(cluster.driver, shardOf(numbers.slice(3 * i, 3 * i + 3))),
          )
          assert.isTrue(yield* settle(asked, 60), `seed ${seed} waits for ever`)
          for (const { counts, problem, results } of asked) {
            assert.isUndefined(problem())
            assert.deepStrictEqual([...counts.values()], [1, 1, 1])
            for (const { what } of results.values()) assert.strictEqual(what._tag, "Kept", `seed ${seed}`)
          }
        }).pipe(Effect.scoped)
      }
    }).pipe(Effect.provide(BlobStoreMemory.layer)),
  )

  it.effect("never has more tasks in a pool than its maxJobs, whichever nodes they are of", () =>
    Effect.gen(function* () {
      const cluster = yield* make({ maxJobs: 2, nodes: ["a", "b", "c"], workers: 2, seconds: 5 })
      yield* Effect.forkScoped(cluster.driver.run)
      const asked = yield* Effect.forEach(
        ["a", "b", "c"].flatMap((node) => [node, node]),
        (node, i) => ask(cluster.driver, { ...shardOf([i], node) }),
      )
      assert.isTrue(yield* settle(asked))
      assert.strictEqual(cluster.most(), 2)
      assert.deepStrictEqual(
        cluster.made.toSorted((a, b) => a - b),
        [0, 1, 2, 3, 4, 5],
      )
    }).pipe(Effect.scoped, Effect.provide(BlobStoreMemory.layer)),
  )
})

describe("A driver that follows another", () => {
  /** A driver that ends in the middle: its workers have made some calls, and its Slurm begins no more. */
  const abandoned = (key: RunKey.RunKey, shards: ReadonlyArray<ReadonlyArray<number>>) =>
    Effect.gen(function* () {
      const first = yield* make({ session: "first", key, begins: false })
      const running = yield* Effect.forkScoped(first.driver.run)
      for (const numbers of shards) yield* ask(first.driver, shardOf(numbers))
      yield* TestClock.adjust("3 seconds")
      running.interruptUnsafe()
      return first
    })

  it.effect("takes results for calls of their own session alone, though shards are numbered alike", () =>
    Effect.gen(function* () {
      const key = RunKey.make()
      const first = yield* abandoned(key, [[1], [2]])
      const second = yield* make({ session: "second" })
      assert.strictEqual(yield* second.driver.adopt("first", key), 2)
      yield* Effect.forkScoped(second.driver.run)
      // Its first shard has the number of one that was taken over.
      const own = yield* ask(second.driver, shardOf([3]))
      const taken = yield* ask(second.driver, shardOf([1, 2]))
      const head = {
        ...attempt,
        part: 0,
        whole: true,
      }
      for (const [i, label] of ["node-0", "node-0"].entries()) {
        const part = { ...head, task: i, shard: `node-${i}` }
        const name = `${SessionObjects.resultsFolder("first", label)}/${Results.partName(part)}`
        const what = { _tag: "Dropped" as const, reason: "first", detail: String(i) }
        const bytes = Results.encode(part, [{ at: 0, what, attempts: 1, startedMs: 0, ms: 1 }])
        yield* first.objects.put(name, RunKey.seal(key, name, bytes))
      }
      assert.isTrue(yield* settle([own, taken]))
      assert.strictEqual(own.results.get(0)?.what._tag, "Kept")
      assert.deepStrictEqual(
        [0, 1].map((at) => taken.results.get(at)?.what),
        ["0", "1"].map((detail) => ({ _tag: "Dropped" as const, reason: "first", detail })),
      )
    }).pipe(Effect.scoped, Effect.provide(BlobStoreMemory.layer)),
  )

  it.effect("takes over nothing that is not sealed with that driver's key, and makes it again", () =>
    Effect.gen(function* () {
      yield* abandoned(RunKey.make(), [[1], [2]])
      const second = yield* make({ session: "second" })
      assert.strictEqual(yield* second.driver.adopt("first", RunKey.make()), 0)
      yield* Effect.forkScoped(second.driver.run)
      const asked = yield* ask(second.driver, shardOf([1, 2]))
      assert.isTrue(yield* settle([asked]))
      assert.deepStrictEqual(
        second.made.toSorted((a, b) => a - b),
        [1, 2],
      )
      assert.match(second.driver.notes.lines.join("\n"), /were not taken over: their objects are damaged/)
    }).pipe(Effect.scoped, Effect.provide(BlobStoreMemory.layer)),
  )

  it.effect("makes again what it took over and whose jobs are gone, for a node of another name, too", () =>
    Effect.gen(function* () {
      const key = RunKey.make()
      yield* abandoned(key, [[1], [2]])
      const second = yield* make({ session: "second", nodes: ["renamed"] })
      assert.strictEqual(yield* second.driver.adopt("first", key), 2)
      yield* Effect.forkScoped(second.driver.run)
      const asked = yield* ask(second.driver, shardOf([1, 2], "renamed"))
      assert.isTrue(yield* settle([asked]))
      assert.deepStrictEqual(
        second.made.toSorted((a, b) => a - b),
        [1, 2],
      )
    }).pipe(Effect.scoped, Effect.provide(BlobStoreMemory.layer)),
  )

  it.effect("of which a shard is damaged takes over the others", () =>
    Effect.gen(function* () {
      const key = RunKey.make()
      yield* abandoned(key, [[1], [2]])
      const objects = yield* Objects
      yield* objects.put(SessionObjects.shardName("first", "node-0"), Buffer.from("{}"))
      const second = yield* make({ session: "second" })
      assert.strictEqual(yield* second.driver.adopt("first", key), 1)
      yield* Effect.forkScoped(second.driver.run)
      const asked = yield* ask(second.driver, shardOf([1, 2]))
      assert.isTrue(yield* settle([asked]))
      assert.match(second.driver.notes.lines.join("\n"), /shards of an earlier driver were not taken over/)
      assert.isFalse([...asked.counts.values()].some((count) => count !== 1))
    }).pipe(Effect.scoped, Effect.provide(BlobStoreMemory.layer)),
  )
})
