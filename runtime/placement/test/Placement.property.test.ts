/** Laws of placements, on random graphs and pools, against an allocation of one worker after another. */
import { assert, describe, it } from "@effect/vitest"
import { Resources } from "@reelgraph/core"
import { Placement, Pool, Pools } from "@reelgraph/placement"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

import { chain } from "./graphs.ts"

const Small = Schema.Literals([1, 2, 3, 4, 8])
const Cores = Schema.Literals([0.1, 0.25, 0.3, 0.6, 1, 1.5, 2, 3, 4, 7])
const GiB = Schema.Literals([0.1, 1, 3, 5, 10, 20, 33, 80])
const Model = Schema.Literals(["h100", "b200"])
const Price = Schema.Literals([0, 1, 2.5, 10])

const Asked = Schema.Struct({
  cores: Cores,
  memoryGiB: Schema.optionalKey(GiB),
  gpu: Schema.optionalKey(
    Schema.Struct({
      count: Small,
      memoryGiB: Schema.optionalKey(GiB),
      model: Schema.optionalKey(Model),
    }),
  ),
})
const Wanted = Schema.Struct({
  resources: Asked,
  ranks: Schema.Literals([1, 1, 1, 2, 5]),
  perGpu: Schema.Literals([0, 0, 0, 1, 3]),
  concurrency: Schema.optionalKey(Small),
  retries: Schema.Literals([0, 2]),
})
const Drawn = Schema.Struct({
  slurm: Schema.Boolean,
  nodes: Schema.Literals([1, 2, 3]),
  cores: Schema.Literals([1, 2, 4, 8, 12]),
  memoryGiB: Schema.Literals([1, 10, 40, 100]),
  gpus: Schema.optionalKey(Schema.Struct({ model: Model, count: Small, memoryGiB: GiB })),
  pricePerNodeHour: Price,
  pricePerGpuHour: Price,
  preemptible: Schema.Boolean,
  maxJobs: Schema.optionalKey(Small),
})

type Wanted = typeof Wanted.Type

const poolOf = ({ maxJobs, nodes, preemptible, slurm, ...node }: typeof Drawn.Type) =>
  slurm
    ? Pool.slurm({
        ...node,
        nodes,
        preemptible,
        partition: "p",
        ...(maxJobs === undefined ? {} : { maxJobs }),
      })
    : Pool.local(node)

const names = ["a", "b", "c", "d"]
const draw = (wanted: ReadonlyArray<Wanted>, drawn: ReadonlyArray<typeof Drawn.Type>) => {
  const operators = wanted.slice(0, 4).map((asks, n) => [`op-${n}`, asks] as const)
  return {
    graph: chain(
      Object.fromEntries(
        operators.map(([name, { concurrency, resources, retries }]) => [
          name,
          { resources, retries, ...(concurrency === undefined ? {} : { concurrency }) },
        ]),
      ),
    ),
    pools: Pools.make({
      pools: Object.fromEntries(drawn.slice(0, 4).map((pool, n) => [names[n]!, poolOf(pool)])),
      operators: Object.fromEntries(
        operators.map(([name, { perGpu, ranks }]) => [name, { ranks, ...(perGpu === 0 ? {} : { perGpu }) }]),
      ),
    }),
  }
}

const slack = 1e-6

/** Puts workers on the nodes of a pool one after another; how many find room, up to a number. */
const allocate = (
  pool: Pool.Pool,
  { cores, gpu, memoryGiB = 0 }: Resources.Resources,
  most: number,
): number => {
  const nodes = Array.from({ length: Pool.nodes(pool) }, () => ({
    cores: pool.cores,
    memoryGiB: pool.memoryGiB,
    gpus: pool.gpus?.count ?? 0,
  }))
  for (let placed = 0; placed < most; placed++) {
    const node = nodes.find(
      (free) =>
        free.cores >= cores - slack && free.memoryGiB >= memoryGiB - slack && free.gpus >= (gpu?.count ?? 0),
    )
    if (node === undefined) return placed
    node.cores -= cores
    node.memoryGiB -= memoryGiB
    node.gpus -= gpu?.count ?? 0
  }
  return most
}

/** The obvious reference: whether a request fits into an empty pool at all. */
const fits = (pool: Pool.Pool, wanted: Wanted, asSplit: boolean): boolean => {
  const { perGpu, ranks, resources, retries } = wanted
  const { gpu } = resources
  const isGang = ranks > 1 || asSplit
  if (isGang && pool._tag === "Local") return false
  if (pool._tag === "Slurm" && pool.preemptible && (isGang || retries === 0)) return false
  if (gpu !== undefined) {
    if (pool.gpus === undefined || (gpu.model !== undefined && gpu.model !== pool.gpus.model)) return false
    if ((gpu.memoryGiB ?? 0) > pool.gpus.memoryGiB) return false
  }
  const parts = asSplit ? gpu!.count : 1
  const together = isGang || perGpu === 0 ? 1 : perGpu
  const cores = (resources.cores / parts) * together
  const each = {
    cores: pool._tag === "Slurm" ? Math.ceil(cores - slack) : cores,
    memoryGiB: ((resources.memoryGiB ?? 0) / parts) * together || slack / 10,
    ...(gpu === undefined ? {} : { gpu: { count: asSplit ? 1 : gpu.count } }),
  }
  const needed = asSplit ? parts : ranks
  return allocate(pool, each, needed) === needed
}

const isPlaceable = (pools: Pools.Pools, wanted: Wanted): boolean => {
  const all = Object.values(pools.pools)
  if (all.some((pool) => fits(pool, wanted, false))) return true
  const count = wanted.resources.gpu?.count ?? 0
  return (
    wanted.ranks === 1 &&
    all.some((pool) => pool.gpus !== undefined && count > pool.gpus.count && fits(pool, wanted, true))
  )
}

/** Calls at once with so many in a worker, and none refused: what packing has to reach. */
const callsWith = (pool: Pool.Pool, perWorker: number, { resources }: Wanted): number => {
  const { cores, gpu, memoryGiB } = resources
  const each = {
    cores: pool._tag === "Slurm" ? Math.ceil(cores * perWorker - slack) : cores * perWorker,
    ...(memoryGiB === undefined ? {} : { memoryGiB: memoryGiB * perWorker }),
    ...(gpu === undefined ? {} : { gpu: { count: gpu.count } }),
  }
  const jobs = pool._tag === "Slurm" ? (pool.maxJobs ?? 1000) : 1000
  return perWorker * allocate(pool, each, jobs)
}

const Operators = Schema.Array(Wanted)
const Drawns = Schema.Array(Drawn)
const runs = { arbitrary: { runs: 400 } }

describe("Placement, for all graphs and pools", () => {
  it.effect.prop(
    "refuses exactly what fits into no pool",
    [Operators, Drawns],
    ([wanted, drawn]) =>
      Effect.gen(function* () {
        const { graph, pools } = draw(wanted, drawn)
        const result = yield* Effect.result(Placement.place(graph, pools))
        const refused = Result.isFailure(result) ? result.failure.problems.map(({ at }) => at) : []
        const expected = wanted
          .slice(0, 4)
          .flatMap((asks, n) => (isPlaceable(pools, asks) ? [] : [`op-${n}`]))
        assert.deepStrictEqual(refused, expected)
      }),
    runs,
  )

  it.effect.prop(
    "commits no node to more than it has, and packs as much as there is room for",
    [Wanted, Drawn],
    ([asks, drawn]) =>
      Effect.gen(function* () {
        const { graph, pools } = draw([asks], [drawn])
        const result = yield* Effect.result(Placement.place(graph, pools))
        if (Result.isFailure(result)) return
        const [at] = result.success.nodes
        const pool = pools.pools[at!.pool]!
        const { perWorker, ranks, resources, workers } = at!
        assert.isAtLeast(workers, 1)
        assert.strictEqual(allocate(pool, resources, workers * ranks), workers * ranks)
        if (pool._tag === "Slurm") {
          assert.isAtMost(workers, pool.maxJobs ?? Number.POSITIVE_INFINITY)
          assert.isTrue(Number.isInteger(resources.cores))
        }
        if (ranks > 1) return
        // What the calls of a worker asked for is in what it has.
        assert.isAtLeast(resources.cores + slack, perWorker * asks.resources.cores)
        assert.isAtLeast((resources.memoryGiB ?? 0) + slack, perWorker * (asks.resources.memoryGiB ?? 0))
        const { gpu } = asks.resources
        assert.strictEqual(resources.gpu?.count, gpu?.count)
        if (asks.concurrency !== undefined && asks.perGpu === 0)
          assert.isAtMost(workers * perWorker, asks.concurrency)
        if (asks.perGpu > 0) return assert.strictEqual(perWorker, asks.perGpu)
        if (gpu?.memoryGiB !== undefined)
          assert.isAtMost(perWorker * gpu.memoryGiB, pool.gpus!.memoryGiB + slack)
        else if (gpu !== undefined) assert.strictEqual(perWorker, 1)
        if (asks.concurrency !== undefined) return
        const room =
          gpu?.memoryGiB !== undefined
            ? Math.floor(pool.gpus!.memoryGiB / gpu.memoryGiB + slack)
            : gpu === undefined && pool._tag === "Slurm"
              ? Math.floor(1 / asks.resources.cores + slack)
              : 1
        for (let other = 1; other <= Math.min(64, Math.max(1, room)); other++)
          assert.isAtLeast(workers * perWorker, callsWith(pool, other, asks))
      }),
    runs,
  )

  it.effect.prop(
    "says the same of the same pools, in whatever order they are written",
    [Operators, Drawns],
    ([wanted, drawn]) =>
      Effect.gen(function* () {
        const { graph, pools } = draw(wanted, drawn)
        const turned = Pools.make({
          pools: Object.fromEntries(Object.entries(pools.pools).toReversed()),
          operators: pools.operators,
        })
        const [result, again] = yield* Effect.all(
          [pools, turned].map((given) =>
            Placement.place(graph, given).pipe(
              Effect.map(({ nodes }) => nodes),
              Effect.catch(({ problems }) => Effect.succeed(problems)),
            ),
          ),
        )
        assert.deepStrictEqual(again, result)
      }),
    runs,
  )
})
