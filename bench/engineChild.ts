/** One measured phase, in a process of its own: `child.ts PHASE JSON` prints what it measured as JSON. */
import { createHash } from "node:crypto"
import { DatabaseSync } from "node:sqlite"

import { Canonical, Digest } from "@reelgraph/core"
import { layerInline } from "@reelgraph/call"
import { Engine, Plan } from "@reelgraph/engine"
import { Journal, StoreFs } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

import { graph, rows, type Variant } from "./engineGraph.ts"

export interface Task extends Variant {
  readonly store: string
  readonly items: number
}

export interface Measured {
  readonly ms: number
  readonly hits: number
  readonly calls: number
  readonly failed: number
  /** Nodes whose ledger does not add up. */
  readonly imbalances: number
  /** Digest of the outputs. */
  readonly outputs: string
  /** MiB: resident when the run has ended and garbage is collected, at most, and of that V8's heap. */
  readonly rss: number
  readonly peak: number
  readonly heap: number
  /** Seconds of processor time of all threads while it ran. */
  readonly cpu: number
}

const mib = (bytes: number): number => Math.round((bytes / 2 ** 20) * 10) / 10

const timed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const begun = performance.now()
    const value = yield* effect
    return { value, ms: performance.now() - begun }
  })

const run = ({ items, ...variant }: Task) =>
  Effect.gen(function* () {
    const journal = yield* Journal
    const before = process.cpuUsage()
    const { ms, value: report } = yield* timed(Engine.run(graph(variant), { in: rows(items) }))
    const used = process.cpuUsage(before)
    ;(globalThis as { gc?: () => void }).gc?.()
    const { heapUsed, rss } = process.memoryUsage()
    const peak = process.resourceUsage().maxRSS * 1024
    const ledgers = Object.values(report.ledger)
    const sum = (count: (ledger: (typeof ledgers)[number]) => number) =>
      ledgers.reduce((total, ledger) => total + count(ledger), 0)
    const digests = journal
      .runItems(journal.run(report.run)!.id, "out:out")
      .map((id) => journal.item(id)!.digest)
      .sort()
    return {
      ms,
      hits: sum((ledger) => ledger.cached),
      calls: sum((ledger) => ledger.in - ledger.cached),
      failed: sum((ledger) => ledger.failed),
      imbalances: ledgers.filter((ledger) => ledger.in !== ledger.kept + ledger.failed).length,
      outputs: createHash("sha256").update(digests.join("\n")).digest("hex"),
      rss: mib(rss),
      peak: mib(peak),
      heap: mib(heapUsed),
      cpu: (used.user + used.system) / 1e6,
    } satisfies Measured
  })

const plan = ({ items, ...variant }: Task) =>
  Effect.map(timed(Plan.make(graph(variant), { in: rows(items) })), ({ ms, value }) => ({
    ms,
    hits: value.nodes.reduce((total, node) => total + node.hits, 0),
  }))

/**
 * The floor: the same rows in the same tables, written by prepared statements in transactions of 256 calls on
 * this thread alone. Records and digests are made before the clock starts.
 */
const floor = ({ items, store }: Task) =>
  Effect.sync(() => {
    const db = new DatabaseSync(store)
    db.exec(`PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-16384; PRAGMA wal_autocheckpoint=16384;
CREATE TABLE items(id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, record TEXT NOT NULL) STRICT;
CREATE TABLE calls(id INTEGER PRIMARY KEY, input INTEGER NOT NULL, operator INTEGER NOT NULL, status INTEGER NOT NULL,
  output INTEGER, reason TEXT, detail TEXT, attempts INTEGER NOT NULL, started_ms INTEGER NOT NULL, ms REAL NOT NULL,
  run INTEGER NOT NULL, UNIQUE(input, operator)) STRICT;
CREATE INDEX calls_output ON calls(output) WHERE output IS NOT NULL;
CREATE TABLE run_calls(run INTEGER NOT NULL, node INTEGER NOT NULL, call INTEGER NOT NULL, cached INTEGER NOT NULL, PRIMARY KEY(run, node, call)) STRICT, WITHOUT ROWID;`)
    const item = db.prepare("INSERT INTO items(digest, record) VALUES(?,?) ON CONFLICT DO NOTHING")
    const call = db.prepare(
      "INSERT INTO calls VALUES(NULL,?,?,0,?,NULL,NULL,1,?,0.01,1) ON CONFLICT DO NOTHING",
    )
    const runCall = db.prepare("INSERT INTO run_calls VALUES(1,?,?,0)")
    let ms = 0
    let cpu = 0
    const caption =
      "a slow pan over a harbour at dawn, fishing boats leaving, gulls above the water, soft light"
    for (let from = 0; from < items; from += 256) {
      for (let node = 1; node <= 5; node++) {
        const batch = Array.from({ length: Math.min(256, items - from) }, (_, i) => {
          const record = Canonical.stringify({
            id: from + i,
            source: `s3://bench/videos/${from + i}.mp4`,
            caption,
            node,
          })
          return { record, digest: Buffer.from(Digest.ofBytes(record), "hex") }
        })
        const before = process.cpuUsage()
        const begun = performance.now()
        db.exec("BEGIN IMMEDIATE")
        for (const { digest, record } of batch) {
          const output = item.run(digest, record).lastInsertRowid
          const id = call.run(output, node, output, 1_700_000_000_000).lastInsertRowid
          runCall.run(node, id)
        }
        db.exec("COMMIT")
        ms += performance.now() - begun
        const used = process.cpuUsage(before)
        cpu += (used.user + used.system) / 1e6
      }
    }
    db.close()
    return { ms, cpu }
  })

const phases = new Map<string | undefined, (task: Task) => Effect.Effect<unknown, any, any>>([
  ["run", run],
  ["plan", plan],
  ["floor", floor],
])

const [phase, json] = process.argv.slice(2) as [string, string]
const task = JSON.parse(json) as Task
const workers = layerInline({ name: "here", cores: 2, memoryGiB: 8, gpus: 0 })
const result = phases.get(phase)!(task)
const provided =
  phase === "floor" ? result : Effect.provide(result, Layer.mergeAll(StoreFs.layer(task.store), workers))
void Effect.runPromise(
  Effect.map(provided as Effect.Effect<unknown>, (value) => void process.stdout.write(JSON.stringify(value))),
)
