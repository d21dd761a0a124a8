/**
 * Fetching, computing and storing in worker processes over a bucket behind a slow network: the time of a run beside that
 * of its longest stage alone, and beside the same calls one stage after the other.
 */
import { mkdirSync, readFileSync } from "node:fs"
import { join } from "node:path"

import { Graph } from "@reelgraph/core"
import { Engine } from "@reelgraph/engine"
import { LocalWorkers } from "@reelgraph/local"
import { BlobStore, BlobStoreS3, JournalSqlite, StoreAt } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"

import * as S3 from "../packages/store/test/s3.ts"
import { Change, File } from "../runtime/local/test/stages.ts"
import { temporaryFolder } from "../test/curation.ts"
import type { Bench } from "./main.ts"
import { table } from "./table.ts"

const calls = 32
const fileBytes = 500_000
const bytesPerSecond = 1_000_000
const stageMs = (fileBytes / bytesPerSecond) * 1000

/** Milliseconds from when the first operator begins until the run has ended. */
const wallOf = Effect.fnUntraced(function* (folder: string, overlap: boolean) {
  const name = overlap ? "overlap" : "sequence"
  const at = join(folder, name)
  yield* Effect.sync(() => mkdirSync(at))
  const server = yield* Effect.acquireRelease(
    Effect.promise(() => S3.start()),
    (started) => Effect.promise(() => started.close()),
  )
  const contentOf = (n: number) =>
    Uint8Array.from({ length: fileBytes }, (_, index) => (index * (n + 3)) >> 5)
  const files = yield* Effect.forEach(Array.from({ length: calls }).keys(), (n) =>
    Effect.map(
      BlobStore.use((store) => store.putBytes(contentOf(n), "application/octet-stream")),
      (file) => ({ n, file }),
    ),
  ).pipe(Effect.provide(BlobStoreS3.layer(server.location(name), { cache: join(at, "source") })))
  const proxy = yield* S3.proxy(server.endpoint, { bytesPerSecond })
  const store = `s3://${S3.bucket}/${name}?endpoint=${encodeURIComponent(proxy.endpoint)}`
  const log = join(at, "log")
  const graph = Graph.make("change", { version: "1.0.0" }, (g) => ({
    out: g.input("in", File).pipe(Change({ ms: stageMs, log })),
  }))
  const environment = { REEL_CACHE: join(at, "cache") }
  const runtime = JournalSqlite.layer(join(at, "journal.db")).pipe(
    Layer.provideMerge(
      Layer.mergeAll(StoreAt.layer(store), LocalWorkers.layer({ store, cores: 1, overlap, environment })),
    ),
  )
  return yield* Effect.gen(function* () {
    const report = yield* Engine.run(graph, { in: Stream.fromIterable(files) })
    const made = report.ledger["change-file"]!.kept
    if (made !== calls) return yield* Effect.die(new Error(`${made} of ${calls} results`))
    return Date.now() - Number(readFileSync(log, "utf8").split("\n", 1)[0]!.split(" ")[3])
  }).pipe(Effect.provide(runtime))
}, Effect.scoped)

const run = Effect.gen(function* () {
  const folder = yield* temporaryFolder
  // The cache of this process, which makes no call. Variables are read once.
  // oxlint-disable-next-line node/no-process-env -- a process boundary
  process.env["REEL_CACHE"] = join(folder, "driver")
  const overlapped = yield* wallOf(folder, true)
  const sequential = yield* wallOf(folder, false)
  const longest = calls * stageMs
  const row = (what: string, ms: number) => [what, (ms / 1000).toFixed(1), (ms / longest).toFixed(2)]
  return [
    `${calls} calls in one slot, on files of ${fileBytes / 1000} kB in a bucket: each fetches one, computes for ${stageMs} ms, in`,
    `which it blocks its process, and stores one. The network passes ${bytesPerSecond / 1e6} MB/s in each direction, so that all three`,
    "stages take the same time. The server is s3rver behind a proxy, in the process of the driver. Measured from when",
    `the first operator begins: what that call fetches and the last one stores overlap with nothing, ${(1 + 2 / calls).toFixed(2)} at best.`,
    "",
    table(
      ["", "seconds", "x longest stage"],
      [
        row("the longest stage alone", longest),
        row("stages overlap", overlapped),
        row("one stage after the other (`overlap: false`)", sequential),
      ],
    ),
  ].join("\n")
}).pipe(Effect.scoped, Effect.orDie)

export const bench: Bench = {
  description: "fetching, computing and storing side by side over a slow network (2 minutes)",
  run,
}
