/** The nodes of a pool while a simulation goes on: what is taken of them, and for what. */
import type { Resources } from "@reelgraph/core"

import * as Pool from "../../Pool.ts"
import * as Timeline from "./timeline.ts"

/** Amounts of cores, memory in GiB, GPUs and jobs. */
export type Amounts = readonly [cores: number, memoryGiB: number, gpus: number, jobs: number]

/** What a worker is doing. `lost` is work that nothing came of, `idle` a held worker that waits for some. */
export type Use = "busy" | "starting" | "idle" | "lost"

export interface SimulatedPool {
  readonly name: string
  readonly pool: Pool.Pool
  readonly capacity: Amounts
  readonly taken: [number, number, number, number]
  /** By use: seconds times cores, GiB and GPUs. */
  readonly integrals: { readonly [U in Use]: [number, number, number] }
  /** Busy cores, GiB and GPUs over time. */
  readonly timelines: readonly [Timeline.Timeline, Timeline.Timeline, Timeline.Timeline]
}

export const make = (name: string, pool: Pool.Pool): SimulatedPool => {
  const nodes = Pool.nodes(pool)
  const jobs = pool._tag === "Slurm" ? (pool.maxJobs ?? Number.POSITIVE_INFINITY) : Number.POSITIVE_INFINITY
  return {
    name,
    pool,
    capacity: [nodes * pool.cores, nodes * pool.memoryGiB, nodes * (pool.gpus?.count ?? 0), jobs],
    taken: [0, 0, 0, 0],
    integrals: { busy: [0, 0, 0], starting: [0, 0, 0], idle: [0, 0, 0], lost: [0, 0, 0] },
    timelines: [Timeline.make(), Timeline.make(), Timeline.make()],
  }
}

export const demand = ({ cores, gpu, memoryGiB }: Resources.Resources, ranks: number): Amounts => [
  ranks * cores,
  ranks * (memoryGiB ?? 0),
  ranks * (gpu?.count ?? 0),
  1,
]

/** The largest share of one node that a demand is, in nodes. */
export const nodesOf = (pool: Pool.Pool, [cores, memoryGiB, gpus]: Amounts): number =>
  Math.max(cores / pool.cores, memoryGiB / pool.memoryGiB, gpus === 0 ? 0 : gpus / (pool.gpus?.count ?? gpus))

/** How many of a demand fit now. */
export const room = ({ capacity, taken }: SimulatedPool, demand: Amounts): number => {
  let fits = Number.POSITIVE_INFINITY
  for (let i = 0; i < 4; i++)
    if (demand[i]! > 0) fits = Math.min(fits, Math.floor((capacity[i]! - taken[i]!) / demand[i]! + 1e-9))
  return fits
}

/** Takes `count` of a demand, or gives them back when it is negative. */
export const take = ({ taken }: SimulatedPool, demand: Amounts, count: number): void => {
  for (let i = 0; i < 4; i++) taken[i]! += demand[i]! * count
}

/** Notes what `workers` have done between two times. */
export const note = (
  pool: SimulatedPool,
  demand: Amounts,
  workers: number,
  use: Use,
  from: number,
  to: number,
): void => {
  const integral = pool.integrals[use]
  for (let i = 0; i < 3; i++) {
    const amount = demand[i]! * workers
    if (amount === 0) continue
    integral[i]! += amount * (to - from)
    if (use === "busy") Timeline.add(pool.timelines[i]!, from, to, amount)
  }
}
