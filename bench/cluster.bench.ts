/**
 * What a cluster costs beside the calls: on a Slurm of our own, all of it on this machine.
 *
 * `CLUSTER_ITEMS` bounds the run of many items (default 1,000,000).
 */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

import { Graph } from "@reelgraph/core"
import { Engine } from "@reelgraph/engine"
import { LocalWorkers } from "@reelgraph/local"
import { Overheads, type Placement, Pool, Pools, Profile, Simulation } from "@reelgraph/placement"
import { Cluster, SlurmClient } from "@reelgraph/slurm"
import { Journal, JournalSqlite, StoreAt } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"

import * as Slurm from "../test/cluster/Cluster.ts"
import { Doze, Nothing, Num, Sleep } from "./clusterOperators.ts"
import { table } from "./table.ts"

const pools = Pools.make({
  pools: {
    h100: Pool.slurm({
      partition: "h100",
      nodes: 4,
      cores: 32,
      memoryGiB: 190,
      gpus: { model: "h100", count: 8, memoryGiB: 80 },
    }),
    cpu: Pool.slurm({ partition: "cpu", nodes: 2, cores: 16, memoryGiB: 60 }),
  },
})

const onGpus = (node: string, workers: number, perTask = 1): Placement.PlacedNode => ({
  node,
  operator: node,
  pool: "h100",
  how: "array",
  resources: { cores: 1, gpu: { count: 1 } },
  ranks: 1,
  perWorker: 1,
  perTask,
  workers,
  why: [],
})

const onCores = (node: string, workers: number): Placement.PlacedNode => ({
  ...onGpus(node, workers),
  pool: "cpu",
  resources: { cores: 1 },
})

const one = (ms: number) =>
  Graph.make("bench-one", { version: "1.0.0" }, (g) => ({ out: g.input("nums", Num).pipe(Sleep({ ms })) }))

const two = (first: number, second: number) =>
  Graph.make("bench-two", { version: "1.0.0" }, (g) => ({
    out: g.input("nums", Num).pipe(Sleep({ ms: first }), Doze({ ms: second })),
  }))

const nothing = Graph.make("bench-nothing", { version: "1.0.0" }, (g) => ({
  out: g.input("nums", Num).pipe(Nothing()),
}))

interface Ran {
  readonly seconds: number
  /** From the beginning until each job was submitted, in seconds. */
  readonly submitted: ReadonlyArray<number>
  /** Most of the resident memory of this process, in MiB, by how much was done. */
  readonly memory: ReadonlyArray<number>
  readonly out: number
  /** From the beginning until each worker's first call, in seconds. */
  readonly first: ReadonlyArray<number>
}

/** A client that notes when jobs were submitted. */
const noting = (at: Array<number>, since: () => number) =>
  Layer.effect(
    SlurmClient.SlurmClient,
    Effect.map(SlurmClient.SlurmClient, (client) =>
      SlurmClient.SlurmClient.of({
        ...client,
        submit: (job, options) =>
          Effect.tap(client.submit(job, options), () => Effect.sync(() => at.push(since()))),
      }),
    ),
  )

const ran = (graph: Graph.Graph, count: number, nodes: ReadonlyArray<Placement.PlacedNode>, looks = 10) =>
  Effect.scoped(
    Effect.gen(function* () {
      const { environment } = yield* Slurm.Cluster
      const store = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "reelgraph-bench-"))),
        (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true })),
      )
      let begun = Date.now()
      const since = () => (Date.now() - begun) / 1000
      const submitted: Array<number> = []
      const memory: Array<number> = []
      const places = Cluster.layer({
        placement: { pools, nodes },
        graph: graph.name,
        store,
        logs: join(store, "logs"),
      })
      const services = places.pipe(
        Layer.provide(noting(submitted, since)),
        Layer.provideMerge(SlurmClient.layer({ environment })),
        Layer.provideMerge(LocalWorkers.layer({ store })),
        Layer.provideMerge(JournalSqlite.layer(join(store, "journal.db"))),
        Layer.provideMerge(StoreAt.layer(store)),
      )
      const nums = Stream.map(Stream.range(1, count), (n) => {
        if (n % Math.ceil(count / looks) === 0) memory.push(process.memoryUsage.rss() / 2 ** 20)
        return { n }
      })
      return yield* Effect.gen(function* () {
        begun = Date.now()
        const report = yield* Engine.run(graph, { nums })
        const seconds = since()
        memory.push(process.memoryUsage.rss() / 2 ** 20)
        const journal = yield* Journal
        const first = new Map<string, number>()
        // Of few items: those of many are in memory that is measured.
        const items = count <= 10_000 ? journal.runItems(journal.run(report.run)!.id, "out:out") : []
        for (const id of items)
          for (const { place = "", startedMs } of journal.producers(id))
            first.set(place, Math.min(first.get(place) ?? Infinity, (startedMs - begun) / 1000))
        return {
          seconds,
          submitted,
          memory,
          out: report.outputs["out"]!,
          first: [...first.values()],
        } satisfies Ran
      }).pipe(Effect.provide(services))
    }),
  )

const mean = (values: ReadonlyArray<number>): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length

/** Runs of each case that is compared with its simulation. */
const rounds = 3

/** Seconds from the submission of one item for each of so many workers until its call, on the mean. */
const started = (workers: number) =>
  Effect.map(ran(one(1), workers, [onGpus("bench-sleep", workers)]), ({ first, submitted }) =>
    mean(first.map((at) => at - submitted[0]!)),
  )

/** The overheads of this cluster on this machine, for the simulation, from runs of other sizes than those compared. */
const overheads = Effect.gen(function* () {
  // The first of all finds no compiled modules.
  yield* started(1)
  const alone = mean([yield* started(1), yield* started(1), yield* started(1)])
  // Processes that start at once share two cores: n of them take n times as long, after what Slurm takes.
  const together = 24
  const share = ((yield* started(together)) - alone) / (together - 1)
  return Overheads.make({
    submitSeconds: Math.max(0, alone - share),
    startsPerSecond: 40,
    workerStartSeconds: 0,
    startShareSeconds: share,
    pollSeconds: 0.3,
    commitSeconds: 0.05,
  })
})

const simulated = (
  here: Overheads.Overheads,
  graph: Graph.Graph,
  count: number,
  nodes: ReadonlyArray<Placement.PlacedNode>,
  seconds: ReadonlyArray<number>,
) =>
  Simulation.run({
    graph,
    placement: { pools, nodes },
    profile: Profile.make({
      items: { nums: count },
      overheads: here,
      operators: Object.fromEntries(graph.nodes.map(({ id }, i) => [id, { seconds: seconds[i]! }])),
    }),
  })

const number = (value: number, digits = 1): string => value.toFixed(digits)

const measured = Effect.gen(function* () {
  const many = Number(process.env["CLUSTER_ITEMS"] ?? 1_000_000)
  const lines: Array<string> = []

  const here = yield* overheads
  lines.push("1,024 items of one second on 32 GPU slots, of which 32 s are ideal:", "")
  const forms = yield* Effect.forEach(
    [
      ["a node with eight slots", 8],
      ["one slot", 1],
    ] as const,
    ([name, perTask]) =>
      Effect.map(ran(one(1000), 1024, [onGpus("bench-sleep", 32, perTask)]), (packed) => [
        name,
        packed.submitted.length,
        number(packed.submitted[0]!),
        number(Math.max(...packed.first)),
        number(packed.seconds),
        `**${number(packed.seconds / 32, 2)}**`,
      ]),
  )
  lines.push(
    table(
      [
        "a task is",
        "jobs",
        "submitted after, s",
        "last worker begins after, s",
        "ends after, s",
        "of the ideal",
      ],
      forms,
    ),
    "",
  )
  const wide = yield* ran(one(1), 10_000, [onGpus("bench-sleep", 32)])
  const last = Math.max(...wide.submitted)
  lines.push(
    `10,000 items, null operators: all submitted after ${number(last)} s, in ${wide.submitted.length} jobs; ended after ${number(wide.seconds)} s.`,
    "",
  )
  const long = yield* ran(nothing, many, [onCores("bench-nothing", 4)])
  lines.push(
    `${many.toLocaleString("en")} items, null operators in batches of 256: ${number(long.seconds, 0)} s; resident memory of the driver, MiB, at each tenth: ${long.memory.map((value) => value.toFixed(0)).join(", ")}.`,
    "",
  )

  const cases: ReadonlyArray<
    readonly [string, Graph.Graph, number, ReadonlyArray<Placement.PlacedNode>, ReadonlyArray<number>]
  > = [
    ["one stage, 8 workers", one(500), 400, [onGpus("bench-sleep", 8)], [0.5]],
    ["one stage, 16 workers", one(1000), 640, [onGpus("bench-sleep", 16)], [1]],
    [
      "two stages, 8 and 4 workers",
      two(400, 300),
      300,
      [onCores("bench-sleep", 8), onGpus("bench-doze", 4)],
      [0.4, 0.3],
    ],
  ]
  const rows = yield* Effect.forEach(cases, ([name, graph, count, nodes, seconds]) =>
    Effect.gen(function* () {
      const times = yield* Effect.forEach(Array.from({ length: rounds }), () => ran(graph, count, nodes))
      const reals = times.map((real) => real.seconds)
      const real = mean(reals)
      const simulation = yield* simulated(here, graph, count, nodes, seconds)
      return [
        name,
        count,
        `${number(real)} (${number(Math.min(...reals))} to ${number(Math.max(...reals))})`,
        number(simulation.seconds),
        number(simulation.seconds / real, 2),
      ]
    }),
  )
  lines.push(
    `Simulated with the overheads of this cluster (a submission ${number(here.submitSeconds, 2)} s; the start of n workers at once ${number(here.startShareSeconds, 2)} n s, as runs of 1 and 24 workers took; a look for results every 0.3 s) against the mean of ${rounds} real runs:`,
    "",
    table(["run", "items", "real, s", "simulated, s", "simulated / real"], rows),
  )
  return lines.join("\n")
})

export const bench = {
  description: "overhead, submission, memory and simulation of runs on a Slurm of our own",
  run:
    Slurm.unavailable === undefined
      ? Effect.provide(measured, Slurm.layer({ gpuNodes: 4, cpuNodes: 2 })).pipe(Effect.orDie)
      : Effect.succeed(`There is no Slurm here: ${Slurm.unavailable}.`),
}
