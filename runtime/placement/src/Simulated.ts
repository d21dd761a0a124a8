/** What a simulation is given, and what it gives: plain data. `Simulation` has the model. */
import type { Graph } from "@reelgraph/core"

import type { How, Placement } from "./Placement.ts"
import type * as Profile from "./Profile.ts"

export interface Options {
  readonly graph: Graph.Graph
  readonly placement: Placement
  readonly profile: Profile.Profile
  /** @default 0 */
  readonly seed?: number
  /** Tasks that are simulated one by one, about; beyond that, workers are simulated in groups. @default 200000 */
  readonly tasks?: number
}

/** Hours by what they were spent on; they add up to all there were. */
export interface Hours {
  readonly busy: number
  readonly starting: number
  readonly lost: number
  readonly idle: number
}

export interface SimulatedNode {
  readonly node: string
  readonly operator: string
  readonly pool: string
  readonly how: How
  readonly workers: number
  /** Workers that were simulated as one. */
  readonly group: number
  readonly in: number
  readonly kept: number
  readonly dropped: number
  readonly failed: number
  readonly out: number
  /** Attempts after the first. */
  readonly retries: number
  readonly tasks: number
  readonly shards: number
  /** Workers that were lost. */
  readonly losses: number
  /** Of calls, summed over those that ran at once: `busyMs` of a ledger. */
  readonly workHours: number
  /** Of workers. `idle` are held ones that waited. */
  readonly workerHours: Hours
  readonly gpuHours: number
  /** Of the resources that its workers took. */
  readonly cost: number
  /** Items in front of it. */
  readonly waiting: { readonly mean: number; readonly most: number }
  /** Seconds from the beginning of the run; absent when nothing came in. */
  readonly firstSeconds?: number
  readonly lastSeconds?: number
  readonly bytesRead: number
  readonly bytesWritten: number
}

export interface SimulatedPool {
  readonly pool: string
  readonly nodes: number
  readonly gpus: number
  /** Share of the pool, from the beginning to the end of the run, of what is scarcest in it. They add up to 1. */
  readonly share: Hours
  /** What is scarcest in it. */
  readonly of: "cores" | "memory" | "gpus"
  /** Of workers. */
  readonly gpuHours: number
  /** Of workers, in nodes by the largest share that they take. */
  readonly nodeHours: number
  /** Of what workers took. */
  readonly cost: number
  /** Of all its nodes for as long as the run takes. */
  readonly wholeCost: number
  /** Busy share in equal parts of the run. */
  readonly busyOverTime: ReadonlyArray<number>
}

export interface Simulated {
  readonly graph: string
  readonly version: string
  readonly seed: number
  readonly seconds: number
  readonly inputs: { readonly [input: string]: number }
  readonly outputs: { readonly [output: string]: number }
  readonly nodes: ReadonlyArray<SimulatedNode>
  readonly pools: ReadonlyArray<SimulatedPool>
  readonly gpuHours: number
  readonly cost: number
  readonly wholeCost: number
  /** Share of the run in which the driver works: it is one. */
  readonly driverShare: number
  readonly store: {
    readonly bytesRead: number
    readonly bytesWritten: number
    /** Share of the run that all reading and writing takes at the store's bandwidth; absent: no limit is known. */
    readonly share?: number
  }
  /** Events that were simulated. */
  readonly events: number
  readonly warnings: ReadonlyArray<string>
}
