/** A graph, run beside the driver and on a cluster, and what both made, compared byte by byte. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"

import { Graph } from "@reelgraph/core"
import { Engine } from "@reelgraph/engine"
import { LocalWorkers } from "@reelgraph/local"
import { type Placement, Pool, Pools } from "@reelgraph/placement"
import { BlobStore, Journal, JournalSqlite, StoreAt } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"

import * as Test from "../../../test/cluster/Cluster.ts"
import * as Cluster from "../src/Cluster.ts"
import * as SlurmClient from "../src/SlurmClient.ts"
import { Double, Num, Paint, Sieve, Sum, type Witness, witnessVariable } from "./operators.ts"

/** In three pools: two stages for CPUs, one for GPUs, and a last one on all. */
export const everywhere: () => ReadonlyArray<Placement.PlacedNode> = () => [
  placed("double", "cpu", 3),
  placed("sieve", "cpu", 1, { perWorker: 2, resources: { cores: 2 } }),
  placed("paint", "h100", 4),
  placed("sum", "cpu", 1),
]

/** What calls take: milliseconds, and for those of the first stage MiB of memory. */
export interface Costs {
  readonly double: number
  readonly paint: number
  readonly hungry?: number
}

/** Two stages for CPUs, one for GPUs, and a last one on all. */
export const graph = ({ double, hungry = 0, paint }: Costs) =>
  Graph.make("cluster-test", { version: "1.0.0" }, (g) => {
    const painted = g
      .input("nums", Num)
      .pipe(Double({ ms: double, mebibytes: hungry }), Sieve(), Paint({ ms: paint }))
    return { painted, sum: painted.pipe(Sum()) }
  })

export const pools = Pools.make({
  pools: {
    cpu: Pool.slurm({ partition: "cpu", nodes: 2, cores: 16, memoryGiB: 60 }),
    h100: Pool.slurm({
      partition: "h100",
      nodes: 2,
      cores: 32,
      memoryGiB: 190,
      gpus: { model: "h100", count: 8, memoryGiB: 80 },
    }),
    /** The GPUs for a minute at a time. */
    brief: Pool.slurm({
      partition: "h100",
      nodes: 2,
      cores: 32,
      memoryGiB: 190,
      gpus: { model: "h100", count: 8, memoryGiB: 80 },
      timeLimitMinutes: 1,
    }),
    spot: Pool.slurm({
      partition: "h100-spot",
      nodes: 2,
      cores: 32,
      memoryGiB: 190,
      gpus: { model: "h100", count: 8, memoryGiB: 80 },
      preemptible: true,
    }),
  },
})

/** A node in a pool, with some workers. */
export const placed = (
  node: string,
  pool: string,
  workers: number,
  more: Partial<Placement.PlacedNode> = {},
): Placement.PlacedNode => ({
  node,
  operator: node,
  pool,
  how: "array",
  resources: pool === "cpu" ? { cores: 1 } : { cores: 1, gpu: { count: 1 } },
  ranks: 1,
  perWorker: 1,
  perTask: 1,
  workers,
  why: [],
  ...more,
})

/** What a run left, without what differs from run to run. */
export interface Made {
  readonly report: Engine.Report
  /** Records of the outputs, sorted, and the bytes of their files. */
  readonly outputs: ReadonlyArray<string>
  readonly ledger: string
  readonly places: ReadonlyArray<string>
}

const bookOf = (report: Engine.Report): string =>
  JSON.stringify(
    Object.entries(report.ledger).map(([node, { dropped, failed, in: taken, kept, out }]) => [
      node,
      { taken, kept, dropped, failed, out },
    ]),
  )

/** A store in a folder of its own. */
export const folder = Effect.acquireRelease(
  Effect.sync(() => {
    const at = mkdtempSync(join(tmpdir(), "reelgraph-cluster-"))
    mkdirSync(join(at, "store"))
    mkdirSync(join(at, "witness"))
    return { store: join(at, "store"), witness: join(at, "witness") }
  }),
  ({ store }) => Effect.sync(() => rmSync(dirname(store), { recursive: true, force: true })),
)

export interface Setup {
  readonly store: string
  readonly count: number
  readonly graph?: Graph.Graph
  readonly witness?: string
  readonly seed?: number
}

const made = (graph: Graph.Graph, count: number, seed: number) =>
  Effect.gen(function* () {
    const journal = yield* Journal
    const blobs = yield* BlobStore
    const nums = Stream.fromIterable(Array.from({ length: count }, (_, i) => ({ n: i + 1 })))
    const report = yield* Engine.run(graph, { nums }, { seed })
    const run = journal.run(report.run)!
    const items = Object.keys(graph.outputs).flatMap((output) => journal.runItems(run.id, `out:${output}`))
    const outputs = yield* Effect.forEach(items, (id) => {
      const { record } = journal.item(id)!
      const { file } = JSON.parse(record) as { file?: { sha256: string } }
      return file === undefined
        ? Effect.succeed(record)
        : Effect.map(blobs.get(file), (bytes) => `${record} ${Buffer.from(bytes).toString("utf8")}`)
    })
    const places = items.flatMap((id) => journal.producers(id).map(({ place }) => place ?? "here"))
    return { report, outputs: outputs.toSorted(), ledger: bookOf(report), places } satisfies Made
  })

/** Of a store in a bucket, beside the witnesses. */
const journalOf = (store: string, witness: string | undefined): string =>
  store.startsWith("s3://") ? join(witness!, "journal.db") : join(store, "journal.db")

const bucketVariables = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "REEL_CACHE"]

/** Of this process: what a store in a bucket is reached with. */
const own = () =>
  // oxlint-disable-next-line node/no-process-env -- what a driver's environment is to its workers
  Object.fromEntries(bucketVariables.map((name) => [name, process.env[name] ?? ""]))

/** Runs beside this process, in a store of its own. */
export const local = ({ count, graph: given, seed = 5, store, witness }: Setup) =>
  made(given ?? graph({ double: 0, paint: 0 }), count, seed).pipe(
    Effect.provide(
      LocalWorkers.layer({ store }).pipe(
        Layer.provideMerge(JournalSqlite.layer(journalOf(store, witness))),
        Layer.provideMerge(StoreAt.layer(store)),
      ),
    ),
  )

/** Runs on the cluster that is up. */
export const remote = (
  setup: Setup,
  nodes: ReadonlyArray<Placement.PlacedNode>,
  options: Partial<Cluster.Options> = {},
) => Effect.flatMap(Test.Cluster, ({ environment }) => remoteOf(setup, nodes, environment, options))

/** Runs on the cluster of an environment. */
export const remoteOf = (
  { count, graph: given, seed = 5, store, witness }: Setup,
  nodes: ReadonlyArray<Placement.PlacedNode>,
  environment: Readonly<Record<string, string>>,
  options: Partial<Cluster.Options> = {},
) =>
  Effect.gen(function* () {
    const places = Cluster.layer({
      placement: { pools, nodes },
      graph: "cluster-test",
      store,
      logs: join(witness ?? tmpdir(), "logs"),
      lookMs: 200,
      pollMs: 1000,
      ...options,
      environment: {
        ...(witness === undefined ? {} : { [witnessVariable]: witness }),
        ...options.environment,
      },
    })
    return yield* made(given ?? graph({ double: 0, paint: 0 }), count, seed).pipe(
      Effect.provide(
        places.pipe(
          Layer.provideMerge(
            SlurmClient.layer({ environment: { ...own(), ...environment }, pass: bucketVariables }),
          ),
          Layer.provideMerge(LocalWorkers.layer({ store })),
          Layer.provideMerge(JournalSqlite.layer(journalOf(store, witness))),
          Layer.provideMerge(StoreAt.layer(store)),
        ),
      ),
    )
  })

/** What operators reported of where they ran. */
export const witnesses = (at: string): ReadonlyArray<Witness> =>
  readFileSync(join(at, "witness.ndjson"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Witness)
