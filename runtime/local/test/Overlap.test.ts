/** Calls on a store in a bucket overlap: inputs are fetched and results stored while others compute. */
import { createHash } from "node:crypto"
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Graph } from "@reelgraph/core"
import { Engine } from "@reelgraph/engine"
import { BlobStore, BlobStoreS3, Journal, JournalSqlite, StoreAt } from "@reelgraph/store"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"

import * as S3 from "../../../packages/store/test/s3.ts"
import { LocalWorkers } from "../src/index.ts"
import { Change, changed, Count, File, Tell } from "./stages.ts"

// Of the driver alone: those that make calls have one for each test. Variables are read once.
const driversCache = mkdtempSync(join(tmpdir(), "reelgraph-cache-"))
process.env["REEL_CACHE"] = driversCache

let server: S3.Server
beforeAll(async () => void (server = await S3.start()))
afterAll(async () => {
  await server.close()
  rmSync(driversCache, { recursive: true })
})

const fileBytes = 300_000

const contentOf = (n: number) => Uint8Array.from({ length: fileBytes }, (_, at) => (at * (n + 3)) >> 5)

/** The end of the key of a blob. */
const keyOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex").slice(2)

/** Waits for a state. */
const until = (condition: () => boolean, seconds = 60) =>
  Effect.gen(function* () {
    for (let waited = 0; !condition(); waited += 20) {
      if (waited > seconds * 1000) return yield* Effect.die(new Error(`not within ${seconds} s`))
      yield* Effect.sleep(20)
    }
  })

/** A promise that is kept when it is opened. */
const gate = () => {
  let open!: () => void
  const opened = new Promise<void>((resolve) => void (open = resolve))
  return { opened, open }
}

const isBlob = (method: string) => (request: string) =>
  request.startsWith(`${method} `) && request.includes("/blobs/")

/** A folder, files in a store of this name, and what runs a graph on them in one slot. */
const setUp = (
  name: string,
  count: number,
  proxyOptions: S3.ProxyOptions = {},
  options: Partial<LocalWorkers.Options> = {},
) =>
  Effect.gen(function* () {
    const folder = yield* S3.temporary
    const log = join(folder, "log")
    const files = yield* Effect.forEach(Array.from({ length: count }).keys(), (n) =>
      Effect.map(
        BlobStore.use((store) => store.putBytes(contentOf(n), "application/octet-stream")),
        (file) => ({ n, file }),
      ),
    ).pipe(
      // Not the cache of those that make calls.
      Effect.provide(BlobStoreS3.layer(server.location(name), { cache: join(folder, "source") })),
    )
    const proxy = yield* S3.proxy(server.endpoint, proxyOptions)
    const store = `s3://${S3.bucket}/${name}?endpoint=${encodeURIComponent(proxy.endpoint)}`
    const runtime = (overlap: boolean) =>
      JournalSqlite.layer(join(folder, "journal.db")).pipe(
        Layer.provideMerge(
          Layer.mergeAll(
            StoreAt.layer(store),
            LocalWorkers.layer({
              store,
              cores: 1,
              ...options,
              overlap,
              environment: { REEL_CACHE: join(folder, "cache") },
            }),
          ),
        ),
      )
    const lines = () => (existsSync(log) ? readFileSync(log, "utf8").trim().split("\n") : [])
    const change = Graph.make("change", { version: "1.0.0" }, (g) => ({
      out: g.input("in", File).pipe(Change({ ms: 1, log })),
    }))
    return { files, lines, log, proxy, runtime, change }
  })

const results = (run: string) =>
  Effect.map(Journal, (journal) => {
    const { id } = journal.run(run)!
    const records = journal.runItems(id, "out:out").map((item) => journal.item(item)!.record)
    return { records: records.sort(), failures: journal.failures(id) }
  })

describe("calls on a store in a bucket", { timeout: 120_000 }, () => {
  it.live("take no longer than their longest stage, with the same bytes as one after the other", () =>
    Effect.gen(function* () {
      const count = 16
      const stageMs = 250
      const measured = (overlap: boolean) =>
        Effect.gen(function* () {
          // Fetching, computing and storing take the same time.
          const bytesPerSecond = (fileBytes / stageMs) * 1000
          const { files, lines, log, runtime } = yield* setUp(`ratio-${overlap}`, count, { bytesPerSecond })
          const graph = Graph.make("change", { version: "1.0.0" }, (g) => ({
            out: g.input("in", File).pipe(Change({ ms: stageMs, log })),
          }))
          return yield* Effect.gen(function* () {
            const report = yield* Engine.run(graph, { in: Stream.fromIterable(files) })
            const endMs = Date.now()
            // Without what it takes to start a process, and the thread that moves blobs.
            const begun = lines().filter((line) => line.startsWith("begin"))
            const beginMs = Number(begun[3]!.split(" ")[3])
            const journal = yield* Journal
            const { records, failures } = yield* results(report.run)
            assert.deepStrictEqual(failures, [])
            // All calls in one process.
            assert.strictEqual(new Set(lines().map((line) => line.split(" ")[2])).size, 1)
            const store = yield* BlobStore
            const stored = yield* store.hasAll(
              records.map((record) => (JSON.parse(record) as (typeof files)[number]).file),
            )
            assert.strictEqual(stored.size, count)
            const { meanMs } = journal.history("change-file", "1.0.0")
            return { records, meanMs, seconds: (endMs - beginMs) / 1000 }
          }).pipe(Effect.provide(runtime(overlap)))
        })
      const overlapped = yield* measured(true)
      const sequential = yield* measured(false)
      assert.deepStrictEqual(overlapped.records, sequential.records)
      assert.isBelow(overlapped.seconds, 0.6 * sequential.seconds)
      // The time of a call is that of computing.
      assert.isBelow(overlapped.meanMs, 0.7 * sequential.meanMs)
    }).pipe(Effect.scoped),
  )

  it.live("are given their slot while the last one's blob is stored; none counts before it is", () =>
    Effect.gen(function* () {
      const { open, opened } = gate()
      const { change, files, lines, proxy, runtime } = yield* setUp("held", 6, {
        hold: (method, url) => (isBlob("PUT")(`${method} ${url}`) ? opened : undefined),
      })
      yield* Effect.gen(function* () {
        const journal = yield* Journal
        const running = yield* Effect.forkChild(Engine.run(change, { in: Stream.fromIterable(files) }))
        // The third call has computed, and waits for room; the input of the fourth has been fetched.
        yield* until(() => lines().filter((line) => line.startsWith("end")).length === 3)
        yield* until(() => proxy.requests.filter(isBlob("GET")).length >= 4)
        yield* until(() => proxy.requests.some(isBlob("PUT")))
        assert.deepStrictEqual(journal.history("change-file", "1.0.0").calls, 0)
        assert.strictEqual(lines().length, 6)
        open()
        const { records, failures } = yield* results((yield* Fiber.join(running)).run)
        assert.deepStrictEqual([records.length, failures], [6, []])
      }).pipe(Effect.provide(runtime(true)))
    }).pipe(Effect.scoped),
  )

  it.live("lose nothing that was computed when their worker is killed before it is stored", () =>
    Effect.gen(function* () {
      const { open, opened } = gate()
      const { change, files, lines, proxy, runtime } = yield* setUp("killed", 4, {
        hold: (method, url) => (isBlob("PUT")(`${method} ${url}`) ? opened : undefined),
      })
      yield* Effect.gen(function* () {
        const journal = yield* Journal
        const running = yield* Effect.forkChild(Engine.run(change, { in: Stream.fromIterable(files) }))
        yield* until(() => lines().filter((line) => line.startsWith("end")).length === 3)
        yield* until(() => proxy.requests.some(isBlob("PUT")))
        assert.strictEqual(journal.history("change-file", "1.0.0").calls, 0)
        const pid = Number(lines()[0]!.split(" ")[2])
        process.kill(pid, "SIGKILL")
        yield* until(() => !existsSync(`/proc/${pid}`))
        open()
        const { records, failures } = yield* results((yield* Fiber.join(running)).run)
        assert.deepStrictEqual([records.length, failures], [4, []])
        // Each was made once, the later ones in another process.
        assert.strictEqual(lines().filter((line) => line.startsWith("begin")).length, 4)
        assert.strictEqual(new Set(lines().map((line) => line.split(" ")[2])).size, 2)
      }).pipe(Effect.provide(runtime(true)))
    }).pipe(Effect.scoped),
  )

  it.live("fail alone when their blob cannot be stored", () =>
    Effect.gen(function* () {
      const refused = createHash("sha256")
        .update(changed(contentOf(2)))
        .digest("hex")
        .slice(2)
      const { change, files, runtime } = yield* setUp("refused", 5, {
        answer: (method, url) =>
          method === "PUT" && url.includes(refused) ? { status: 400, code: "EntityTooLarge" } : undefined,
      })
      yield* Effect.gen(function* () {
        const report = yield* Engine.run(change, { in: Stream.fromIterable(files) })
        const { records, failures } = yield* results(report.run)
        assert.deepStrictEqual(
          records.map((record) => (JSON.parse(record) as { n: number }).n).sort((a, b) => a - b),
          [0, 1, 3, 4],
        )
        assert.strictEqual(failures.length, 1)
        assert.include(JSON.stringify(failures), "EntityTooLarge")
        assert.include(JSON.stringify(failures), "StoreUnwritable")
      }).pipe(Effect.provide(runtime(true)))
    }).pipe(Effect.scoped),
  )

  it.live("come through although a fifth of all requests fails", () =>
    Effect.gen(function* () {
      const { change, files, runtime } = yield* setUp("faulty", 10, {
        fraction: 0.2,
        kinds: ["500", "reset", "cut", "flip"],
      })
      yield* Effect.gen(function* () {
        const report = yield* Engine.run(change, { in: Stream.fromIterable(files) })
        const { records, failures } = yield* results(report.run)
        assert.deepStrictEqual([records.length, failures], [10, []])
      }).pipe(Effect.provide(runtime(true)))
    }).pipe(Effect.scoped),
  )

  it.live("of an operator that reads no blobs have few fetched", () =>
    Effect.gen(function* () {
      const { files, proxy, runtime } = yield* setUp("unread", 30)
      const graph = Graph.make("count", { version: "1.0.0" }, (g) => ({
        out: g.input("in", File).pipe(Count()),
      }))
      yield* Effect.gen(function* () {
        const report = yield* Engine.run(graph, { in: Stream.fromIterable(files) })
        const { records, failures } = yield* results(report.run)
        assert.deepStrictEqual([records.length, failures], [30, []])
        // What the next call might have read while the first was made, and nothing once that had read none.
        assert.isAtMost(proxy.requests.filter(isBlob("GET")).length, 2)
      }).pipe(Effect.provide(runtime(true)))
    }).pipe(Effect.scoped),
  )

  it.live("that tell others of a blob in an object have stored it before", () =>
    Effect.gen(function* () {
      const { proxy, runtime } = yield* setUp("told", 0)
      const graph = Graph.make("tell", { version: "1.0.0" }, (g) => ({
        out: g.input("in", Tell.input).pipe(Tell()),
      }))
      yield* Effect.gen(function* () {
        const report = yield* Engine.run(graph, { in: Stream.make({ n: 1 }) })
        const { records, failures } = yield* results(report.run)
        assert.deepStrictEqual(failures, [])
        assert.isTrue((JSON.parse(records[0]!) as { has: boolean }).has)
        const blob = proxy.requests.findIndex(isBlob("PUT"))
        const object = proxy.requests.findIndex((request) => /^PUT .*\/objects\/told\//.test(request))
        assert.isAbove(blob, -1)
        assert.isAbove(object, blob)
      }).pipe(Effect.provide(runtime(true)))
    }).pipe(Effect.scoped),
  )

  it.live("that wait for their input do not begin when calls are to end, and keep nobody waiting", () =>
    Effect.gen(function* () {
      const { open, opened } = gate()
      yield* Effect.addFinalizer(() => Effect.sync(open))
      const stopping = yield* Deferred.make<void>()
      // All but the input of the first call.
      const isHeld = (request: string) => isBlob("GET")(request) && !request.includes(keyOf(contentOf(0)))
      const { change, files, lines, proxy, runtime } = yield* setUp(
        "stopping",
        4,
        { hold: (method, url) => (isHeld(`${method} ${url}`) ? opened : undefined) },
        { stopping: Deferred.await(stopping) },
      )
      yield* Effect.gen(function* () {
        const running = yield* Effect.forkChild(Engine.run(change, { in: Stream.fromIterable(files) }))
        yield* until(() => lines().some((line) => line.startsWith("end")))
        yield* until(() => proxy.requests.some(isHeld))
        yield* Deferred.succeed(stopping, undefined)
        const { records, failures } = yield* results((yield* Fiber.join(running)).run)
        assert.deepStrictEqual([records.length, failures.length], [1, 3])
        assert.strictEqual(JSON.stringify(failures).split('"CallsStopped"').length, 4)
        assert.strictEqual(lines().length, 2)
      }).pipe(Effect.provide(runtime(true)))
    }).pipe(Effect.scoped),
  )

  it.live("that are interrupted while they are stored end, with the thread that is at it", () =>
    Effect.gen(function* () {
      const { open, opened } = gate()
      const { change, files, proxy, runtime } = yield* setUp("interrupted", 6, {
        hold: (method, url) => (isBlob("PUT")(`${method} ${url}`) ? opened : undefined),
      })
      yield* Effect.addFinalizer(() => Effect.sync(open))
      const running = yield* Effect.forkChild(
        Effect.provide(Engine.run(change, { in: Stream.fromIterable(files) }), runtime(true)),
      )
      yield* until(() => proxy.requests.some(isBlob("PUT")))
      // With the thread that is at it, and the workers: the gate is still closed.
      yield* Fiber.interrupt(running)
    }).pipe(Effect.scoped),
  )
})
