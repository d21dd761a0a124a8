/**
 * Which node of a graph runs in which pool, and how: a function of the graph and the pools file alone.
 *
 * 1. An operator without a module of its own (`worker`) runs in the driver. Nothing else runs on the driver's machine
 *    unless the file has a local pool.
 * 2. What the file sets for a node goes before what it sets for the node's operator, field by field, and both before
 *    what follows. An operator's own `resources` are those of its work on CPUs: GPUs are asked for in the file, beside
 *    the param that makes the operator use them (`provider: "cuda"`).
 * 3. Every pool whose nodes hold the request is a candidate. Only when none does, a request of more GPUs than a node
 *    has becomes a gang with a rank for each GPU; a gang is held when the pool has room for all its ranks at once.
 *    Preemptible pools take neither gangs nor operators without retries, unless the file names them.
 * 4. Work without GPUs goes to pools without GPUs while one holds it: at any price, a GPU must not stand
 *    idle because its node's cores are taken.
 * 5. Then the cheapest goes first. An hour of a call costs its largest share of a node (cores, memory or GPUs: that
 *    share is lost to others) of the node's price. Of equal price, those that cannot be preempted go first, then the
 *    pool that holds more calls at once, then the first by name.
 * 6. Calls share a GPU by the memory they declare, and a core when they ask for less than one: so many that the pool
 *    holds as many calls at once as it can.
 */
import type { Graph, Resources } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

import * as Offers from "./internal/offers.ts"
import type * as Packing from "./internal/packing.ts"
import * as Reasons from "./internal/reasons.ts"
import * as Descriptions from "./internal/descriptions.ts"
import type * as Pool from "./Pool.ts"
import type * as Pools from "./Pools.ts"

/**
 * How a node's calls are made: by the driver itself (`driver`: the operator has no module of its own to load
 * elsewhere, so that it is quick), in child processes beside it (`local`), or under Slurm: in tasks of arrays, in
 * workers that are held, or as one job of several processes that begin together (`gang`).
 */
export type How = "driver" | "local" | "array" | "held" | "gang"

/** Where one node of a graph runs. */
export interface PlacedNode {
  readonly node: string
  readonly operator: string
  /** Name of the pool; for `driver`, of the pool of this machine, or {@link thisMachine} when there is none. */
  readonly pool: string
  readonly how: How
  /** Of one worker: of all its calls at once together. Of a gang: of each rank. Under Slurm in whole cores. */
  readonly resources: Resources.Resources
  /** Processes of a gang; 1 for everything else. */
  readonly ranks: number
  /** Calls that one worker makes at once, sharing its GPUs or cores. */
  readonly perWorker: number
  /** Workers that one task under Slurm is made of, each with a process and GPUs of its own. */
  readonly perTask: number
  /** Workers (of a gang: gangs) of this node that the pool holds at once, when nothing else is in it. */
  readonly workers: number
  /** Why this pool and not another, a sentence each. */
  readonly why: ReadonlyArray<string>
}

/** What one call of a node occupies of what its worker has, on the nodes of its pool. */
export const ofCall = (
  { perWorker, resources: { cores, gpu, memoryGiB } }: PlacedNode,
  { gpus }: Pool.Pool,
): Resources.Resources => {
  const gpuMemoryGiB = gpu?.memoryGiB ?? (perWorker > 1 ? gpus?.memoryGiB : undefined)
  return {
    cores: cores / perWorker,
    ...(memoryGiB === undefined ? {} : { memoryGiB: memoryGiB / perWorker }),
    ...(gpu === undefined
      ? {}
      : { gpu: { ...gpu, ...(gpuMemoryGiB === undefined ? {} : { memoryGiB: gpuMemoryGiB / perWorker }) } }),
  }
}

export interface Placement {
  readonly pools: Pools.Pools
  /** In the order of the graph. */
  readonly nodes: ReadonlyArray<PlacedNode>
}

/** The pool of operators that run in the driver, where the file has no local pool. */
export const thisMachine = "this machine"

/** A graph that cannot run in these pools. */
export class PlacementImpossible extends Schema.TaggedError<PlacementImpossible>()("PlacementImpossible", {
  graph: Schema.String,
  /** Of a node, or of a name in the file's `operators`. */
  problems: Schema.Array(Schema.Struct({ at: Schema.String, message: Schema.String })),
}) {
  override get message() {
    const lines = this.problems.map(({ message }) => `  ${message}`)
    return `graph ${this.graph} cannot be placed; change the pools file, or what the operators ask for:\n${lines.join("\n")}`
  }
}

/** Places a graph. Fails with everything that is in the way of it. */
export const place = (
  graph: Graph.Graph,
  pools: Pools.Pools,
): Effect.Effect<Placement, PlacementImpossible> =>
  Effect.suspend(() => {
    const problems = unknownPools(pools)
    const nodes = graph.nodes.flatMap((node): ReadonlyArray<PlacedNode> => {
      const choice = choiceOf(pools, node)
      if (choice.pool !== undefined && !Object.hasOwn(pools.pools, choice.pool)) return []
      const placed =
        node.operator.worker === undefined ? inDriver(node, choice, pools) : inPools(node, choice, pools)
      if (Result.isSuccess(placed)) return [placed.success]
      problems.push({ at: node.id, message: `${node.id} ${placed.failure}` })
      return []
    })
    return problems.length === 0
      ? Effect.succeed({ pools, nodes })
      : Effect.fail(new PlacementImpossible({ graph: graph.name, problems }))
  })

/** What is not wrong with a placement, but hardly meant. */
export const warnings = (graph: Graph.Graph, { nodes, pools }: Placement): ReadonlyArray<string> => {
  const known = new Set(graph.nodes.flatMap(({ id, operator }) => [id, operator.name]))
  const elsewhere = Object.keys(pools.operators).filter((name) => !known.has(name))
  const placed = graph.nodes.map((node) => ({
    node,
    choice: choiceOf(pools, node),
    at: nodes.find((at) => at.node === node.id)!,
  }))
  const workers = placed.filter(({ at }) => at.how !== "driver")
  const named = (those: typeof placed) => those.map(({ node }) => node.id).join(", ")
  const withoutMemory = workers.filter(({ at }) => at.resources.memoryGiB === undefined)
  const withoutGpuMemory = workers.filter(
    ({ at, choice }) =>
      at.resources.gpu !== undefined &&
      at.resources.gpu.memoryGiB === undefined &&
      at.ranks === 1 &&
      choice.perGpu === undefined,
  )
  return [
    ...idle(pools, nodes),
    ...(elsewhere.length === 0
      ? []
      : [
          `the pools file speaks of ${elsewhere.join(", ")}: graph ${graph.name} has no such node or operator`,
        ]),
    ...(withoutMemory.length === 0
      ? []
      : [`no memory declared, so that nodes may run out of it: ${named(withoutMemory)}`]),
    ...(withoutGpuMemory.length === 0
      ? []
      : [`no GPU memory declared, so that no GPU is shared: ${named(withoutGpuMemory)}`]),
    ...placed.flatMap(({ at, choice, node }) => doubts(node, choice, at, pools)),
  ]
}

const idle = (pools: Pools.Pools, nodes: Placement["nodes"]): ReadonlyArray<string> => {
  const all = namedPools(pools)
  const given = (name: string) => nodes.filter((node) => node.pool === name)
  const empty = all.filter(({ name, pool }) => pool.gpus === undefined && given(name).length === 0)
  const gpus = all.filter(
    ({ name, pool }) =>
      pool.gpus !== undefined && given(name).every(({ resources }) => resources.gpu === undefined),
  )
  const listed = (those: typeof all) =>
    those.map(({ name, pool }) => Descriptions.pool(name, pool)).join(", ")
  return [
    ...(empty.length === 0 ? [] : [`nothing is placed in ${listed(empty)}`]),
    ...(gpus.length === 0
      ? []
      : [`GPUs stay idle in ${listed(gpus)}: nothing that asks for one is placed there`]),
  ]
}

/** Settings of the file for a node that have no effect, or are risky. */
const doubts = (
  node: Graph.Placed,
  choice: Pools.Choice,
  at: PlacedNode,
  pools: Pools.Pools,
): ReadonlyArray<string> => {
  const pool = Object.hasOwn(pools.pools, at.pool) ? pools.pools[at.pool] : undefined
  const told: Array<string> = []
  const unused = (["resources", "perGpu", "allocation"] as const).filter(
    (field) =>
      choice[field] !== undefined &&
      (at.how === "driver" ||
        (at.how === "gang" && field !== "resources") ||
        (at.how === "local" && field === "allocation")),
  )
  if (unused.length > 0)
    told.push(
      `${unused.join(" and ")} of ${node.id} in the pools file ${unused.length === 1 ? "has" : "have"} no effect: it runs ${at.how === "gang" ? "as a gang" : at.how === "local" ? "on this machine" : "in the driver"}`,
    )
  if (pool?._tag !== "Slurm" || at.how === "driver") return told
  const { retries, timeoutMs } = node.operator
  if (pool.preemptible && at.how === "gang")
    told.push(
      `${node.id} is a gang in ${at.pool}, which may be preempted: one node that is taken away ends it`,
    )
  else if (pool.preemptible && retries === 0)
    told.push(`${node.id} is not retried, and ${at.pool} may be preempted`)
  if (timeoutMs !== undefined && timeoutMs > pool.timeLimitMinutes * 60_000)
    told.push(
      `a call of ${node.id} may take ${timeoutMs / 60_000} minutes, jobs of ${at.pool} ${pool.timeLimitMinutes}: give the pool more timeLimitMinutes`,
    )
  return told
}

type Problems = Array<{ readonly at: string; readonly message: string }>

const unknownPools = ({ operators, pools }: Pools.Pools): Problems =>
  Object.entries(operators).flatMap(([at, { pool }]) =>
    pool === undefined || Object.hasOwn(pools, pool)
      ? []
      : [
          {
            at,
            message: `${at} is given to the pool ${pool}, which the pools file does not have; it has ${Object.keys(pools).join(", ") || "none"}`,
          },
        ],
  )

const saidOf = ({ operators }: Pools.Pools, name: string): Pools.Choice =>
  Object.hasOwn(operators, name) ? operators[name]! : {}

const choiceOf = (pools: Pools.Pools, { id, operator }: Graph.Placed): Pools.Choice => ({
  ...saidOf(pools, operator.name),
  ...saidOf(pools, id),
})

/** By name, so that a placement does not depend on the order in which they are written. */
const namedPools = ({ pools }: Pools.Pools): ReadonlyArray<Offers.Named> =>
  Object.entries(pools)
    .map(([name, pool]) => ({ name, pool }))
    .sort(Offers.byName)

const inDriver = (
  node: Graph.Placed,
  choice: Pools.Choice,
  pools: Pools.Pools,
): Result.Result<PlacedNode, string> => {
  const { name, resources } = node.operator
  const noModule = "has no module of its own (`worker: import.meta.url`) to be loaded elsewhere"
  const pinned = choice.pool === undefined ? undefined : pools.pools[choice.pool]
  if (pinned?._tag === "Slurm")
    return Result.fail(
      `${noModule}: the pools file cannot give it to ${Descriptions.pool(choice.pool!, pinned)}`,
    )
  if ((choice.ranks ?? 1) > 1) return Result.fail(`${noModule}: it cannot be a gang of ${choice.ranks}`)
  if (resources.gpu !== undefined)
    return Result.fail(
      `asks for ${Descriptions.request(resources)} and ${noModule}: the driver has no GPU for it`,
    )
  const local = namedPools(pools).filter(({ pool }) => pool._tag === "Local")
  const asked = choice.pool === undefined ? local : local.filter(({ name }) => name === choice.pool)
  const wanted: Offers.Wanted = {
    request: { resources, ranks: 1, perGpu: undefined, concurrency: undefined },
    retryable: true,
    byHand: false,
  }
  const offers = Offers.all(asked, wanted)
  const [best] = Offers.ranked(offers, wanted.request)
  const refused = Offers.nearest(offers, wanted.request)
  if (best === undefined && refused !== undefined)
    return Result.fail(`${noModule}, and asks for ${Descriptions.request(resources)}: ${refusal(refused)}`)
  return Result.succeed({
    node: node.id,
    operator: name,
    pool: best?.name ?? thisMachine,
    how: "driver",
    resources,
    ranks: 1,
    perWorker: 1,
    perTask: 1,
    workers: 1,
    why: ["no module of its own: runs in the driver"],
  })
}

const refusal = ({ name, pool, why }: Offers.Refused): string =>
  `${Descriptions.pool(name, pool)}, which ${why}`

const inPools = (
  node: Graph.Placed,
  choice: Pools.Choice,
  pools: Pools.Pools,
): Result.Result<PlacedNode, string> => {
  const { operator } = node
  const all = namedPools(pools)
  const byHand = choice.pool !== undefined
  const request: Packing.Request = {
    resources: choice.resources ?? operator.resources,
    ranks: choice.ranks ?? 1,
    perGpu: choice.perGpu,
    concurrency: operator.concurrency,
  }
  const offers = Offers.all(byHand ? all.filter(({ name }) => name === choice.pool) : all, {
    request,
    retryable: operator.retries > 0,
    byHand,
  })
  const ranked = Offers.ranked(offers, request)
  const [best] = ranked
  if (best === undefined) {
    const asks = `asks for ${request.ranks > 1 ? `${Descriptions.counted(request.ranks, "rank")} of ` : ""}${Descriptions.request(request.resources)}`
    const refused = Offers.nearest(offers, request)
    return Result.fail(
      refused === undefined
        ? `${asks}, and the pools file has no pools`
        : byHand
          ? `${asks}; the pools file gives it to ${refusal(refused)}`
          : `${asks}: ${all.length > 1 ? "nearest is " : ""}${refusal(refused)}`,
    )
  }
  const { fit, name, pool } = best
  return Result.succeed({
    node: node.id,
    operator: operator.name,
    pool: name,
    how: fit.ranks > 1 ? "gang" : pool._tag === "Local" ? "local" : (choice.allocation ?? pool.allocation),
    resources: fit.resources,
    ranks: fit.ranks,
    perWorker: fit.perWorker,
    perTask: fit.perTask,
    workers: fit.workers,
    why: [
      ...(fit.ranks > 1 ? Reasons.ofGang(best, request) : Reasons.ofForm(best)),
      ...(byHand ? ["pinned by the pools file"] : Reasons.ofChoice(ranked, offers, request)),
      ...Reasons.ofBounds(best),
    ],
  })
}
