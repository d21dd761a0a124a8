import { assert, describe, it } from "@effect/vitest"
import { Placement, Pool, Pools } from "@reelgraph/placement"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"

import { type Asks, chain } from "./graphs.ts"

const here = Pool.local({ cores: 8, memoryGiB: 32, pricePerNodeHour: 1 })
const cpu = Pool.slurm({ partition: "cpu", nodes: 20, cores: 64, memoryGiB: 250, pricePerNodeHour: 2 })
const h100 = Pool.slurm({
  partition: "h100",
  nodes: 750,
  cores: 96,
  memoryGiB: 1900,
  gpus: { model: "h100", count: 8, memoryGiB: 80 },
  pricePerGpuHour: 2.5,
})
const spot = { ...h100, pricePerGpuHour: 1, preemptible: true }

const placed = (
  operators: { readonly [name: string]: Asks },
  pools: Pools.Options["pools"],
  choices: Pools.Options["operators"] = {},
) => Placement.place(chain(operators), Pools.make({ pools, operators: choices }))

/** Of one operator: where it is, and what is said of it. */
const one = (asks: Asks, pools: Pools.Options["pools"], choice?: Pools.Options["operators"] & {}) =>
  Effect.map(placed({ work: asks }, pools, choice), ({ nodes }) => nodes[0]!)

const refused = (
  operators: { readonly [name: string]: Asks },
  pools: Pools.Options["pools"],
  choices: Pools.Options["operators"] = {},
) =>
  Effect.map(Effect.result(placed(operators, pools, choices)), (result) => {
    assert.isTrue(Result.isFailure(result), "was placed")
    return Result.isFailure(result) ? result.failure.problems.map(({ message }) => message) : []
  })

const gpu = (memoryGiB?: number, cores = 4): Asks => ({
  resources: { cores, gpu: { count: 1, ...(memoryGiB === undefined ? {} : { memoryGiB }) } },
})

describe("Placement", () => {
  it.effect("keeps operators without a module in the driver, others away from it", () =>
    Effect.gen(function* () {
      const { nodes } = yield* placed({ rule: { worker: false }, probe: {} }, { cpu })
      assert.deepStrictEqual(
        nodes.map(({ how, pool }) => [pool, how]),
        [
          [Placement.thisMachine, "driver"],
          ["cpu", "array"],
        ],
      )
      const at = yield* one({ worker: false }, { cpu, here })
      assert.deepStrictEqual([at.pool, at.how, at.workers], ["here", "driver", 1])
      assert.deepStrictEqual(yield* refused({ work: {} }, {}), [
        "work asks for 1 core, and the pools file has no pools",
      ])
    }),
  )

  it.effect("takes the cheapest share of a node, and says what it costs", () =>
    Effect.gen(function* () {
      const at = yield* one({ resources: { cores: 1 } }, { here, cpu, h100 })
      assert.deepStrictEqual(at, {
        node: "work",
        operator: "work",
        pool: "cpu",
        how: "array",
        resources: { cores: 1 },
        ranks: 1,
        perWorker: 1,
        perTask: 1,
        workers: 1280,
        why: ["needs no GPU: h100 is left to nodes that do", "cpu costs 0.031 per call-hour, here 0.13"],
      })
      // Memory is the larger share here: 25 of 32 GiB, 25 of 250.
      const large = yield* one({ resources: { cores: 1, memoryGiB: 25 } }, { here, cpu })
      assert.include(large.why, "cpu costs 0.2 per call-hour, here 0.78")
    }),
  )

  it.effect("keeps CPU work off GPUs whatever they cost, unless nothing else holds it", () =>
    Effect.gen(function* () {
      const free = { ...h100, pricePerGpuHour: 0 }
      const at = yield* one({ resources: { cores: 8 } }, { cpu, free })
      assert.deepStrictEqual([at.pool, at.why], ["cpu", ["needs no GPU: free is left to nodes that do"]])
      const large = yield* one({ resources: { cores: 80 } }, { cpu, free })
      assert.strictEqual(large.pool, "free")
      assert.include(large.why.join(), "no pool without GPUs holds it")
    }),
  )

  it.effect("decides equal prices by room, then by name", () =>
    Effect.gen(function* () {
      const small = { ...cpu, nodes: 2 }
      const at = yield* one({}, { small, cpu })
      assert.deepStrictEqual(
        [at.pool, at.why],
        ["cpu", ["of equal price; cpu holds 1,280 calls at once, small 128"]],
      )
      assert.strictEqual((yield* one({}, { b: cpu, a: cpu })).pool, "a")
    }),
  )

  it.effect("packs calls on one GPU by memory, within the cores of the node", () =>
    Effect.gen(function* () {
      const roomy = yield* one(gpu(20, 3), { h100 })
      assert.deepStrictEqual(roomy.resources, { cores: 12, gpu: { count: 1, memoryGiB: 80 } })
      assert.deepStrictEqual([roomy.perWorker, roomy.workers], [4, 6000])
      assert.deepStrictEqual(roomy.why, ["asks for 1 GPU with 20 GiB: h100 has 80 GiB each, so 4 share one"])

      // 12 calls of 8 cores fill a node's 96: two a GPU on six of them are as many as four on three.
      const tight = yield* one(gpu(20, 8), { h100 })
      assert.deepStrictEqual([tight.perWorker, tight.workers], [2, 6 * 750])
      assert.match(tight.why[0]!, /room for 4; 2 share one, for its nodes hold no more calls \(96 cores/)

      const alone = yield* one(gpu(), { h100 })
      assert.deepStrictEqual([alone.perWorker, alone.workers], [1, 6000])
      const forced = yield* one(gpu(20, 3), { h100 }, { work: { perGpu: 6 } })
      assert.deepStrictEqual([forced.perWorker, forced.resources.cores], [6, 18])
      assert.deepStrictEqual(yield* refused({ work: gpu(20, 20) }, { h100 }, { work: { perGpu: 5 } }), [
        "work asks for 20 cores, 1 GPU with 20 GiB: h100 (partition h100), which falls short: 100 cores of 96 for 5 calls that share",
      ])
    }),
  )

  it.effect("packs calls of less than a core into whole cores, under Slurm alone", () =>
    Effect.gen(function* () {
      const at = yield* one({ resources: { cores: 0.3 } }, { cpu })
      assert.deepStrictEqual([at.perWorker, at.resources.cores, at.workers], [3, 1, 1280])
      // Memory for four only: they take no less of the node in workers of their own.
      const heavy = yield* one({ resources: { cores: 0.25, memoryGiB: 60 } }, { cpu })
      assert.deepStrictEqual([heavy.perWorker * heavy.workers, heavy.resources.cores], [80, 1])
      const local = yield* one({ resources: { cores: 0.3 } }, { here })
      assert.deepStrictEqual(
        [local.perWorker, local.resources.cores, local.workers, local.how],
        [1, 0.3, 26, "local"],
      )
    }),
  )

  it.effect("takes preemptible pools for what is retried, when they are cheaper", () =>
    Effect.gen(function* () {
      const at = yield* one(gpu(40), { h100, spot })
      assert.strictEqual(at.pool, "spot")
      assert.include(at.why, "spot may be preempted: its calls are made again")
      assert.strictEqual((yield* one({ ...gpu(40), retries: 0 }, { h100, spot })).pool, "h100")
      assert.strictEqual(
        (yield* one(gpu(40), { h100, aspot: { ...spot, pricePerGpuHour: 2.5 } })).pool,
        "h100",
      )
      const gang = yield* one(gpu(), { h100, spot }, { work: { ranks: 16 } })
      assert.deepStrictEqual([gang.pool, gang.how], ["h100", "gang"])
      assert.include(gang.why, "spot may be preempted: that ends all of a gang")
      // By hand, with a warning.
      const graph = chain({ work: gpu() })
      const pools = Pools.make({ pools: { spot }, operators: { work: { ranks: 16, pool: "spot" } } })
      const byHand = yield* Placement.place(graph, pools)
      assert.include(Placement.warnings(graph, byHand).join("\n"), "one node that is taken away ends it")
    }),
  )

  it.effect("makes gangs of ranks, and of more GPUs than a node has", () =>
    Effect.gen(function* () {
      const train = { resources: { cores: 12, gpu: { count: 1 } }, ranks: 6000 }
      const at = yield* one({}, { cpu, h100 }, { work: train })
      assert.deepStrictEqual(
        [at.how, at.ranks, at.perWorker, at.workers, at.resources],
        ["gang", 6000, 1, 1, train.resources],
      )
      assert.include(at.why, "6,000 ranks begin together, on 750 nodes of h100")
      assert.deepStrictEqual(
        yield* refused({ work: {} }, { cpu, h100 }, { work: { ...train, ranks: 6001 } }),
        [
          "work asks for 6,001 ranks of 12 cores, 1 GPU: nearest is h100 (partition h100), which falls short: 6,001 ranks at once of 6,000",
        ],
      )
      const wide: Asks = { resources: { cores: 40, memoryGiB: 320, gpu: { count: 32 } } }
      const split = yield* one(wide, { h100 })
      assert.deepStrictEqual(
        [split.how, split.ranks, split.resources],
        ["gang", 32, { cores: 2, memoryGiB: 10, gpu: { count: 1 } }],
      )
      assert.deepStrictEqual(split.why, [
        "asks for 32 GPUs, of which a node has 8: 32 ranks begin together, on 4 nodes of h100",
      ])
      // One node that has them is faster than four that have them together.
      const wideNode = { ...h100, gpus: { model: "h100", count: 32, memoryGiB: 80 }, pricePerGpuHour: 9 }
      assert.deepStrictEqual((yield* one(wide, { h100, wideNode })).how, "array")
      assert.include(
        (yield* refused({ work: {} }, { here }, { work: { ranks: 2 } })).join(),
        "2 processes that begin together, which need Slurm",
      )
    }),
  )

  it.effect("does what the file says, of a node before its operator", () =>
    Effect.gen(function* () {
      const pools = { cpu, here, h100 }
      const pinned = yield* one({}, pools, { work: { pool: "here" } })
      assert.deepStrictEqual([pinned.pool, pinned.why], ["here", ["pinned by the pools file"]])
      assert.strictEqual((yield* one({}, pools, { work: { allocation: "held" } })).how, "held")
      assert.deepStrictEqual(yield* refused({ work: {} }, pools, { other: { pool: "h200" } }), [
        "other is given to the pool h200, which the pools file does not have; it has cpu, here, h100",
      ])
      assert.deepStrictEqual(yield* refused({ work: { worker: false } }, pools, { work: { pool: "cpu" } }), [
        "work has no module of its own (`worker: import.meta.url`) to be loaded elsewhere: the pools file cannot give it to cpu (partition cpu)",
      ])
      const graph = chain({ work: {} })
      const renamed = { ...graph, nodes: [{ ...graph.nodes[0]!, id: "work-2" }] }
      const { nodes } = yield* Placement.place(
        renamed,
        Pools.make({
          pools,
          operators: { work: { pool: "cpu", resources: { cores: 2 } }, "work-2": { pool: "here" } },
        }),
      )
      assert.deepStrictEqual([nodes[0]!.pool, nodes[0]!.resources.cores], ["here", 2])
    }),
  )

  it.effect("refuses with a line for each node, the nearest pool and what it lacks", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(
        placed(
          {
            fine: {},
            huge: { resources: { cores: 128, memoryGiB: 10 } },
            newest: { resources: { cores: 1, gpu: { count: 1, model: "b200" } } },
            pinned: gpu(),
            driven: { worker: false, resources: { cores: 1, gpu: { count: 1 } } },
          },
          { cpu, h100 },
          { pinned: { pool: "cpu" } },
        ),
      )
      assert.strictEqual(
        error.message,
        `graph test cannot be placed; change the pools file, or what the operators ask for:
  huge asks for 128 cores, 10 GiB: nearest is h100 (partition h100), which falls short: 128 cores of 96
  newest asks for 1 core, 1 GPU of model b200: nearest is h100 (partition h100), which falls short: GPU model b200, has h100
  pinned asks for 4 cores, 1 GPU; the pools file gives it to cpu (partition cpu), which falls short: 1 GPU of 0
  driven asks for 1 core, 1 GPU and has no module of its own (\`worker: import.meta.url\`) to be loaded elsewhere: the driver has no GPU for it`,
      )
    }),
  )

  it.effect("bounds workers by the jobs of the pool and the calls of the operator", () =>
    Effect.gen(function* () {
      const at = yield* one({}, { cpu: { ...cpu, maxJobs: 100 } })
      assert.deepStrictEqual([at.workers, at.why], [100, ["cpu takes 100 tasks of it at once"]])
      const few = yield* one({ ...gpu(20, 1), concurrency: 6 }, { h100 })
      assert.isAtMost(few.workers * few.perWorker, 6)
      // With few jobs, more calls in each.
      const packed = yield* one(gpu(20, 8), { h100: { ...h100, maxJobs: 10 } })
      assert.deepStrictEqual([packed.perWorker, packed.workers], [4, 10])
    }),
  )

  it.effect("takes whole nodes where a pool's tasks are nodes", () =>
    Effect.gen(function* () {
      const nodes = { ...h100, task: "node" } as const
      const at = yield* one(gpu(), { h100: nodes })
      assert.deepStrictEqual([at.perTask, at.workers, at.resources.gpu?.count], [8, 6000, 1])
      assert.include(at.why, "8 workers to a task")
      // As few alike tasks as hold them all.
      const twelve = yield* one({ ...gpu(), concurrency: 12 }, { h100: nodes })
      assert.deepStrictEqual([twelve.perTask, twelve.workers], [6, 12])
      const three = yield* one({ ...gpu(), concurrency: 3 }, { h100: nodes })
      assert.deepStrictEqual([three.perTask, three.workers], [3, 3])
      // The bound on what is taken at once is one of tasks.
      const few = yield* one(gpu(), { h100: { ...nodes, maxJobs: 2 } })
      assert.deepStrictEqual([few.perTask, few.workers], [8, 16])
      assert.include(few.why, "h100 takes 2 tasks of it at once")
      // A gang is a task for each rank already.
      const gang = yield* one({ resources: { cores: 64, gpu: { count: 16 } } }, { h100: nodes })
      assert.deepStrictEqual([gang.how, gang.ranks, gang.perTask], ["gang", 16, 1])
    }),
  )

  it.effect("warns of what is hardly meant", () =>
    Effect.gen(function* () {
      const graph = chain({ rule: { worker: false }, work: { timeoutMs: 18_000_000 } })
      const pools = Pools.make({
        pools: { cpu, here: { ...here, pricePerNodeHour: 9 }, h100 },
        operators: { sample: {}, rule: { resources: { cores: 2 } } },
      })
      assert.deepStrictEqual(Placement.warnings(graph, yield* Placement.place(graph, pools)), [
        "GPUs stay idle in h100 (partition h100): nothing that asks for one is placed there",
        "the pools file speaks of sample: graph test has no such node or operator",
        "no memory declared, so that nodes may run out of it: work",
        "resources of rule in the pools file has no effect: it runs in the driver",
        "a call of work may take 300 minutes, jobs of cpu 240: give the pool more timeLimitMinutes",
      ])
    }),
  )
})

describe("Pools", () => {
  it("name variables of the environment, and nothing else in their place", () => {
    const make = (environment: ReadonlyArray<string>) => Pools.make({ pools: { here }, environment })
    assert.deepStrictEqual(make(["HF_TOKEN", "WANDB_*"]).environment, ["HF_TOKEN", "WANDB_*"])
    for (const wrong of ["", "*", "A=B", "A,B", "A B", "1A", "A*B", "$(id)"])
      assert.throws(() => make([wrong]), /environment\.0/u)
  })
})
