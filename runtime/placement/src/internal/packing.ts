/**
 * How many calls of a request a pool holds at once, and what a worker that makes them asks for.
 *
 * A worker is one process on this machine, or of a Slurm task: its only one, unless the pool's tasks are whole nodes.
 * One with GPUs makes as many calls on them as their
 * memory has room for; one without makes one call, or several that share a core when each asks for less than one.
 * Of the numbers of calls that a worker may make, the one with which the pool holds most calls is taken (a node may
 * run out of cores before it runs out of GPUs), among equal ones that with the smallest share of a node per call,
 * then the smallest.
 */
import { Resources } from "@reelgraph/core"
import * as Result from "effect/Result"

import * as Pool from "../Pool.ts"
import * as Descriptions from "./descriptions.ts"

/** What a node of a graph asks for. */
export interface Request {
  /** Of one call; of a gang, of each rank. */
  readonly resources: Resources.Resources
  readonly ranks: number
  /** Calls on one GPU, or on one share of cores, when that was decided by hand. */
  readonly perGpu: number | undefined
  /** Calls at once that the operator allows. */
  readonly concurrency: number | undefined
}

/** A request in a pool. */
export interface Fit {
  /** Of one worker; of a gang, of each rank. */
  readonly resources: Resources.Resources
  readonly ranks: number
  readonly perWorker: number
  /** Calls of which the GPUs' memory, or the core, has room: `perWorker` is less when something else runs out. */
  readonly room: number
  /** Workers, or ranks, that one node of the pool holds. */
  readonly perNode: number
  /** Workers of one task. */
  readonly perTask: number
  /** Workers that the pool holds at once; of gangs, gangs. */
  readonly workers: number
  /** Price of an hour of one call. */
  readonly price: number
}

/** Most calls that one worker makes at once: each is a process or a thread of its own. */
const mostCalls = 64

/** Sums and quotients of decimal fractions are not exact: 3 x 0.1 is more than 0.3. */
const tidy = (value: number): number => Math.round(value * 1e9) / 1e9
const holds = (available: number, each: number): number => Math.floor(available / each + 1e-9)

/** Calls at once. */
export const calls = ({ perWorker, workers }: Fit): number => perWorker * workers

/** What so many calls of one worker ask for together: of Slurm whole cores, which is how it gives them. */
export const together = (
  { cores, gpu, memoryGiB }: Resources.Resources,
  count: number,
  pool: Pool.Pool,
): Resources.Resources => ({
  cores: pool._tag === "Slurm" ? Math.ceil(tidy(cores * count)) : tidy(cores * count),
  ...(memoryGiB === undefined ? {} : { memoryGiB: tidy(memoryGiB * count) }),
  ...(gpu === undefined ? {} : { gpu: gpuOf(gpu, count, pool) }),
})

/** Calls that were put on one GPU by hand may have declared more than it has: the hand knows better. */
const gpuOf = (
  gpu: NonNullable<Resources.Resources["gpu"]>,
  count: number,
  { gpus }: Pool.Pool,
): NonNullable<Resources.Resources["gpu"]> =>
  gpu.memoryGiB === undefined || count === 1
    ? gpu
    : { ...gpu, memoryGiB: Math.min(tidy(gpu.memoryGiB * count), gpus?.memoryGiB ?? Infinity) }

/** How often resources fit into one node. */
const perNodeOf = ({ cores, gpu, memoryGiB }: Resources.Resources, pool: Pool.Pool): number =>
  Math.min(
    holds(pool.cores, cores),
    memoryGiB === undefined ? Infinity : holds(pool.memoryGiB, memoryGiB),
    gpu === undefined ? Infinity : holds(pool.gpus?.count ?? 0, gpu.count),
  )

/** The largest of a request's shares of a node's cores, memory and GPUs: what others cannot use. */
const shareOf = ({ cores, gpu, memoryGiB }: Resources.Resources, pool: Pool.Pool): number =>
  Math.max(
    cores / pool.cores,
    (memoryGiB ?? 0) / pool.memoryGiB,
    gpu === undefined ? 0 : gpu.count / (pool.gpus?.count ?? gpu.count),
  )

const nodePrice = ({ gpus, pricePerGpuHour, pricePerNodeHour }: Pool.Pool): number =>
  pricePerNodeHour + pricePerGpuHour * (gpus?.count ?? 0)

const jobsOf = (pool: Pool.Pool): number =>
  pool._tag === "Slurm" && pool.maxJobs !== undefined ? pool.maxJobs : Infinity

/** A request of more GPUs than a node has, as a gang with a rank for each GPU; others as they are. */
export const split = (request: Request, pool: Pool.Pool): Request => {
  const { cores, gpu, memoryGiB } = request.resources
  if (request.ranks > 1 || gpu === undefined || gpu.count <= (pool.gpus?.count ?? gpu.count)) return request
  return {
    ...request,
    ranks: gpu.count,
    resources: {
      cores: tidy(cores / gpu.count),
      ...(memoryGiB === undefined ? {} : { memoryGiB: tidy(memoryGiB / gpu.count) }),
      gpu: { ...gpu, count: 1 },
    },
  }
}

/** The best form of a request in a pool, or what the pool lacks. */
export const fit = (
  name: string,
  pool: Pool.Pool,
  request: Request,
): Result.Result<Fit, ReadonlyArray<string>> =>
  request.ranks > 1 ? fitGang(name, pool, request) : fitWorkers(name, pool, request)

const lacksOf = (name: string, pool: Pool.Pool, resources: Resources.Resources): ReadonlyArray<string> =>
  Resources.shortfall(resources, Pool.capacity(name, pool))

const fitWorkers = (
  name: string,
  pool: Pool.Pool,
  request: Request,
): Result.Result<Fit, ReadonlyArray<string>> => {
  const lacks = lacksOf(name, pool, together(request.resources, 1, pool))
  if (lacks.length > 0) return Result.fail(lacks)
  const { perGpu } = request
  if (perGpu !== undefined) {
    const missing = lacksOf(name, pool, together(request.resources, perGpu, pool))
    return missing.length > 0
      ? Result.fail(missing.map((lack) => `${lack} for ${perGpu} calls that share`))
      : Result.succeed(workersOf(pool, request, perGpu, perGpu))
  }
  const room = Math.max(1, Math.min(roomOf(request, pool), request.concurrency ?? Infinity, mostCalls))
  let best = workersOf(pool, request, 1, room)
  for (let perWorker = 2; perWorker <= room; perWorker++) {
    const other = workersOf(pool, request, perWorker, room)
    if (isBetter(pool, other, best)) best = other
  }
  return Result.succeed(best)
}

const roomOf = ({ resources: { cores, gpu } }: Request, pool: Pool.Pool): number =>
  gpu === undefined
    ? pool._tag === "Slurm"
      ? holds(1, cores)
      : 1
    : gpu.memoryGiB === undefined || pool.gpus === undefined
      ? 1
      : holds(pool.gpus.memoryGiB, gpu.memoryGiB)

const isBetter = (pool: Pool.Pool, a: Fit, b: Fit): boolean => {
  if (calls(a) !== calls(b)) return calls(a) > calls(b)
  return tidy(shareOf(a.resources, pool) / a.perWorker) < tidy(shareOf(b.resources, pool) / b.perWorker)
}

const workersOf = (pool: Pool.Pool, request: Request, perWorker: number, room: number): Fit => {
  const resources = together(request.resources, perWorker, pool)
  const perNode = perNodeOf(resources, pool)
  const allowed =
    request.concurrency === undefined ? Infinity : Math.max(1, Math.floor(request.concurrency / perWorker))
  const most = pool._tag === "Slurm" && pool.task === "node" ? perNode : 1
  const workers = Math.min(perNode * Pool.nodes(pool), jobsOf(pool) * most, allowed)
  return {
    resources,
    ranks: 1,
    perWorker,
    room,
    perNode,
    // Tasks of an array are alike: twelve workers on nodes that hold eight are two tasks of six.
    perTask: Math.ceil(workers / Math.ceil(workers / most)),
    workers,
    price: tidy((nodePrice(pool) * shareOf(resources, pool)) / perWorker),
  }
}

const fitGang = (
  name: string,
  pool: Pool.Pool,
  { concurrency, ranks, resources }: Request,
): Result.Result<Fit, ReadonlyArray<string>> => {
  if (pool._tag === "Local")
    return Result.fail([`${Descriptions.count(ranks)} processes that begin together, which need Slurm`])
  const rank = together(resources, 1, pool)
  const lacks = lacksOf(name, pool, rank)
  if (lacks.length > 0) return Result.fail(lacks.map((lack) => `${lack} for a rank`))
  const perNode = perNodeOf(rank, pool)
  const held = perNode * pool.nodes
  if (ranks > held)
    return Result.fail([`${Descriptions.count(ranks)} ranks at once of ${Descriptions.count(held)}`])
  return Result.succeed({
    resources: rank,
    ranks,
    perWorker: 1,
    room: 1,
    perNode,
    perTask: 1,
    workers: Math.min(Math.floor(held / ranks), jobsOf(pool), concurrency ?? Infinity),
    price: tidy(nodePrice(pool) * shareOf(rank, pool) * ranks),
  })
}
