/** Worker processes on a store in a bucket, behind a network that fails. */
import { createHash } from "node:crypto"
import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Graph, Ledger } from "@reelgraph/core"
import { Engine } from "@reelgraph/engine"
import { Journal, JournalSqlite, StoreAt } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"

import * as S3 from "../../../packages/store/test/s3.ts"
import { LocalWorkers } from "../src/index.ts"
import { content, Num, Read, Write } from "./files.ts"

// What this machine, its worker processes included, has of stores in buckets. Variables are read once.
const cache = mkdtempSync(join(tmpdir(), "reelgraph-cache-"))
process.env["REEL_CACHE"] = cache

let server: S3.Server
beforeAll(async () => void (server = await S3.start()))
afterAll(async () => {
  await server.close()
  rmSync(cache, { recursive: true })
})

const graph = Graph.make("files", { version: "1.0.0" }, (g) => ({
  out: g.input("in", Num).pipe(Write()).pipe(Read()),
}))

describe("workers on a store in a bucket", () => {
  it.live(
    "a token that expires in the middle ends the run, and no item has failed",
    () =>
      Effect.gen(function* () {
        let expired = false
        const puts = { count: 0 }
        const proxy = yield* S3.proxy(server.endpoint, {
          answer: (method, url) => {
            if (method === "PUT" && url.includes("/blobs/") && ++puts.count === 5) expired = true
            return expired ? { status: 400, code: "ExpiredToken" } : undefined
          },
        })
        const store = `s3://${S3.bucket}/expires?endpoint=${encodeURIComponent(proxy.endpoint)}`
        const runtime = JournalSqlite.layer(yield* StoreAt.journalFile(store)).pipe(
          Layer.provideMerge(Layer.mergeAll(StoreAt.layer(store), LocalWorkers.layer({ store, cores: 2 }))),
        )
        yield* Effect.gen(function* () {
          const inputs = { in: Stream.fromIterable(Array.from({ length: 200 }, (_, n) => ({ n }))) }
          const error = yield* Effect.flip(Engine.run(graph, inputs))
          assert.strictEqual(error._tag, "StoreFailed", error.message)
          assert.include(error.message, "have expired (ExpiredToken)")
          const journal = yield* Journal
          assert.deepEqual(journal.failures(journal.runs()[0]!.id), [])
          assert.isBelow(puts.count, 10)
        }).pipe(Effect.provide(runtime))
      }),
    120_000,
  )

  it.live(
    "a store that is gone when a worker starts is not made anew by it, and ends the run",
    () =>
      Effect.gen(function* () {
        const folder = yield* S3.temporary
        const store = join(folder, "store")
        const runtime = JournalSqlite.layerMemory.pipe(
          Layer.provideMerge(Layer.mergeAll(StoreAt.layer(store), LocalWorkers.layer({ store, cores: 2 }))),
        )
        yield* Effect.gen(function* () {
          rmSync(store, { recursive: true })
          const error = yield* Effect.flip(Engine.run(graph, { in: Stream.make({ n: 1 }, { n: 2 }) }))
          assert.strictEqual(error._tag, "StoreFailed", error.message)
          assert.include(error.message, `the store ${store} is gone`)
          assert.isFalse(existsSync(store))
        }).pipe(Effect.provide(runtime))
      }),
    120_000,
  )

  it.live(
    "every file comes through although a fifth of all requests fails, and a later run reuses them",
    () =>
      Effect.gen(function* () {
        const proxy = yield* S3.proxy(server.endpoint, { fraction: 0.2 })
        const store = `s3://${S3.bucket}/workers?endpoint=${encodeURIComponent(proxy.endpoint)}&timeout=3`
        const file = yield* StoreAt.journalFile(store)
        assert.isTrue(file.startsWith(cache))
        const runtime = JournalSqlite.layer(file).pipe(
          Layer.provideMerge(Layer.mergeAll(StoreAt.layer(store), LocalWorkers.layer({ store, cores: 2 }))),
        )
        const numbers = Array.from({ length: 30 }, (_, n) => n)
        const run = Effect.gen(function* () {
          const report = yield* Engine.run(graph, { in: Stream.fromIterable(numbers.map((n) => ({ n }))) })
          const journal = yield* Journal
          const { id } = journal.run(report.run)!
          const out = journal
            .runItems(id, "out:out")
            .map((item) => JSON.parse(journal.item(item)!.record) as { n: number; sha256: string })
          return { report, out: out.sort((a, b) => a.n - b.n), failures: journal.failures(id) }
        })
        const first = yield* Effect.provide(run, runtime)
        assert.deepEqual(first.failures, [])
        assert.deepEqual(Ledger.imbalances(first.report.ledger), [])
        assert.deepEqual(
          first.out,
          numbers.map((n) => ({ n, sha256: createHash("sha256").update(content(n)).digest("hex") })),
        )
        const failed = [...proxy.faults.values()].reduce((sum, count) => sum + count, 0)
        assert.isAbove(failed, 5)
        const again = yield* Effect.provide(run, Layer.fresh(runtime))
        assert.deepEqual(again.out, first.out)
        assert.strictEqual(again.report.ledger["write-file"]!.cached, 30)
      }),
    120_000,
  )
})
