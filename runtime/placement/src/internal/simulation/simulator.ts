/** A simulated run from its beginning to its end. `Simulation` describes the model. */
import type * as Simulated from "../../Simulated.ts"
import * as Arrivals from "./arrivals.ts"
import * as Clock from "./clock.ts"
import * as SimulatedDriver from "./simulatedDriver.ts"
import * as Prepare from "./prepare.ts"
import * as Sharding from "./sharding.ts"
import type { SimulatedNode } from "./simulatedNode.ts"
import * as SimulatedRun from "./simulatedRun.ts"
import type { SimulatedSource } from "./simulatedSource.ts"
import * as Summary from "./summary.ts"
import * as Waiting from "./waiting.ts"
import * as SimulatedQueue from "./simulatedQueue.ts"
import * as SimulatedWorker from "./simulatedWorker.ts"

export type Result =
  | { readonly _tag: "Done"; readonly simulated: Simulated.Simulated }
  | { readonly _tag: "Failed"; readonly problem: SimulatedRun.Problem }

export const simulate = (options: Simulated.Options, seed: number, tasks: number): Result => {
  const prepared = Prepare.prepare(options, seed, tasks)
  return "problem" in prepared ? { _tag: "Failed", problem: prepared.problem } : go(options, prepared, seed)
}

const go = ({ graph, profile }: Simulated.Options, prepared: Prepare.Prepared, seed: number): Result => {
  const { least, nodes, pools, sources } = prepared
  const run = SimulatedRun.make({ profile, nodes, sources, least, ready: SimulatedWorker.work, changed })
  for (const source of sources) Arrivals.arrive(run, source)
  changed(run)
  while (run.problem === undefined && Clock.step(run.clock));
  if (run.problem !== undefined) return { _tag: "Failed", problem: run.problem }
  const stuck = nodes.filter(({ ended }) => !ended).map(({ placed }) => placed.id)
  if (stuck.length > 0)
    throw new Error(
      `the simulation of graph ${graph.name} stopped before ${stuck.join(", ")} ended: a defect`,
    )
  return {
    _tag: "Done",
    simulated: Summary.make({
      graph,
      profile,
      seed,
      seconds: run.finish,
      counts: prepared.counts,
      nodes,
      pools: [...pools.values()].filter((pool) => nodes.some((node) => node.pool === pool)),
      driverSeconds: run.driver.seconds,
      events: run.clock.events,
    }),
  }
}

/** What the driver does whenever something has changed: ends what has ended, hands out work, takes in more. */
const changed = (run: SimulatedRun.SimulatedRun): void => {
  const { driver, nodes, sources } = run
  for (const source of sources)
    if (!source.ended && source.coming === 0 && source.here === 0 && !source.feeding) end(run, source)
  for (const node of nodes)
    if (!node.ended && node.open === 0 && node.sidesOpen === 0 && node.waiting === 0 && node.inFlight === 0)
      end(run, node)
  // Those that are nearest to the end go first: what is begun is finished before more is begun.
  for (let i = nodes.length - 1; i >= 0; i--) {
    const node = nodes[i]!
    Sharding.handOut(run, node)
    if (node.idle.size > 0 && node.ended)
      for (const task of node.idle) SimulatedQueue.release(run, node, task)
  }
  for (const source of sources) Arrivals.feed(run, source)
  for (const [node, { length }] of driver.committed)
    if (length > 0 && Waiting.room(run, node.consumers) > 0) SimulatedDriver.look(run)
}

/** Nothing more comes of a node or an input: its consumers learn of that at the driver's next look. */
const end = (run: SimulatedRun.SimulatedRun, ended: SimulatedNode | SimulatedSource): void => {
  ended.ended = true
  run.finish = run.clock.now
  for (const consumer of ended.consumers) consumer.open--
  for (const consumer of ended.sideConsumers) consumer.sidesOpen--
  if (ended.consumers.length + ended.sideConsumers.length > 0) SimulatedDriver.look(run)
}
