/**
 * Balanced pools: the least nodes of each pool with which a run is done in a given time. Found by simulating it: a
 * pool is made smaller until the run takes longer, the dearest first.
 */
import * as Effect from "effect/Effect"

import * as Bottleneck from "./Bottleneck.ts"
import type { Placement } from "./Placement.ts"
import * as Pool from "./Pool.ts"
import * as Simulation from "./Simulation.ts"

export interface Balanced {
  /** Nodes of each Slurm pool that work is placed in. */
  readonly nodes: { readonly [pool: string]: number }
  readonly placement: Placement
  /** The run on pools of these sizes. */
  readonly simulated: Simulation.Simulated
  /** Whether that is within the time that was asked for. */
  readonly reached: boolean
}

/** How much longer a run may take on pools without idle nodes, when no time is asked for. */
const slack = 1.02

const tasks = 60_000

/** Times that pools are doubled to reach a time. */
const doublings = 8

/** Sizes of the pools for a run of so many seconds. @default as it is, and a fiftieth more */
export const find = (
  options: Simulation.Options,
  seconds?: number,
): Effect.Effect<Balanced, Simulation.SimulationError> =>
  Effect.gen(function* () {
    const rough = { ...options, tasks: Math.min(options.tasks ?? tasks, tasks) }
    const simulate = (placement: Placement) => Simulation.run({ ...rough, placement })
    let { placement } = options
    let simulated = yield* simulate(placement)
    const within = seconds ?? simulated.seconds * slack
    const names = resizable(placement)
    const sizeOf = (name: string) => Pool.nodes(placement.pools.pools[name]!)
    for (let i = 0; i < doublings && simulated.seconds > within; i++) {
      for (const name of names) placement = Bottleneck.resize(placement, name, 2 * sizeOf(name))
      simulated = yield* simulate(placement)
    }
    const reached = simulated.seconds <= within
    for (const name of reached ? names : []) {
      const pool = simulated.pools.find(({ pool }) => pool === name)
      // Less than what it is busy with cannot be enough.
      let short = Math.max(
        0,
        Math.floor(((pool?.share.busy ?? 0) * sizeOf(name) * simulated.seconds) / within) - 1,
      )
      let enough = sizeOf(name)
      while (enough - short > Math.max(1, Math.floor(enough / 100))) {
        const middle = Math.floor((short + enough) / 2)
        const smaller = Bottleneck.resize(placement, name, middle)
        if (!stillFits(smaller, name)) short = middle
        else {
          const result = yield* simulate(smaller)
          if (result.seconds > within) short = middle
          else {
            enough = middle
            simulated = result
          }
        }
      }
      placement = Bottleneck.resize(placement, name, enough)
    }
    const nodes = Object.fromEntries(names.map((name) => [name, sizeOf(name)]))
    // As finely as all other runs, to be compared with them.
    return { nodes, placement, simulated: yield* Simulation.run({ ...options, placement }), reached }
  })

/** Slurm pools with work in them, the dearest first. The size of a gang is set by its graph, and stays. */
const resizable = ({ nodes, pools }: Placement): ReadonlyArray<string> => {
  const price = (name: string): number => {
    const pool = pools.pools[name]!
    return Pool.nodes(pool) * (pool.pricePerNodeHour + (pool.gpus?.count ?? 0) * pool.pricePerGpuHour)
  }
  return Object.keys(pools.pools)
    .filter((name) => pools.pools[name]!._tag === "Slurm")
    .filter((name) => nodes.some(({ how, pool }) => pool === name && how !== "driver"))
    .filter((name) => !nodes.some(({ how, pool }) => pool === name && how === "gang"))
    .sort((a, b) => price(b) - price(a))
}

/** Whether every node of the graph still has a worker there. */
const stillFits = ({ nodes, pools }: Placement, name: string): boolean =>
  Pool.nodes(pools.pools[name]!) >= 1 && nodes.every(({ pool, workers }) => pool !== name || workers >= 1)
