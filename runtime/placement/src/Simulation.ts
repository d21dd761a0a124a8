/**
 * Simulations: a run of a graph on its pools, event by event, before anything runs. Gives when it would be done, what
 * it would cost, and what the workers of each pool would do meanwhile.
 *
 * **The model.** What a run on Slurm does, with shards instead of items. The driver passes items on one result at a
 * time, and packs what waits in front of a node into even shards, shards into tasks of as many as there are places; a
 * task waits for Slurm, for its place in the pool, and for its worker to start, which shares what it loads from with all
 * others that start (`Overheads.startShareSeconds`). It makes shard after shard, writes results every few seconds, and
 * the driver sees them at its next look.
 * A gang waits until all its ranks fit, and what was submitted to its pool after it waits behind it. `collect`, and
 * what has side inputs, waits until all of that input is there. In front of a node that has too many items waiting,
 * nodes get no more work. Workers are lost with their nodes or to preemption, and with them what they had
 * not yet written (of a gang, what it had not yet saved). Calls fail and are tried again.
 *
 * **What it costs.** The time of a shard is one draw of the sum of its items. When there are more tasks than
 * `Options.tasks`, some workers of a node are simulated as one, which takes the mean of their times: then a hundred
 * million items on thousands of workers take seconds. Memory is bounded by workers and pools, not by items.
 *
 * **What it leaves out.** Other users of the cluster; the shapes of free places on nodes (only their sum, and
 * `PlacedNode.workers`), so that workers of one task do not begin together; that held workers which wait for work keep
 * their place from others; repairs of failed nodes; time limits of jobs (it warns of calls that are longer).
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import type { Problem } from "./internal/simulation/simulatedRun.ts"
import * as Simulator from "./internal/simulation/simulator.ts"
import type { Options, Simulated } from "./Simulated.ts"

export type { Hours, Options, Simulated, SimulatedNode, SimulatedPool } from "./Simulated.ts"

/** Nodes of the graph whose cost is not known. */
export class ProfileIncomplete extends Schema.TaggedError<ProfileIncomplete>()("ProfileIncomplete", {
  graph: Schema.String,
  nodes: Schema.Array(Schema.String),
}) {
  readonly exitCode = 2
  override get message() {
    return `the cost of ${this.nodes.join(", ")} of graph ${this.graph} is not known: add the seconds of each to \`operators\` of the profile, or run the graph once on a few items`
  }
}

/** An input of the graph whose number of items is not known. */
export class ItemsUnknown extends Schema.TaggedError<ItemsUnknown>()("ItemsUnknown", {
  graph: Schema.String,
  inputs: Schema.Array(Schema.String),
}) {
  readonly exitCode = 2
  override get message() {
    return `the number of items that come in through ${this.inputs.join(", ")} of graph ${this.graph} is not known: give --items ${this.inputs[0]}=N, or \`items\` in the profile`
  }
}

/** A node of the graph without a place, or with one in a pool that there is not. */
export class NotPlaced extends Schema.TaggedError<NotPlaced>()("NotPlaced", {
  graph: Schema.String,
  node: Schema.String,
  problem: Schema.String,
}) {
  override get message() {
    return `node ${this.node} of graph ${this.graph} ${this.problem}; place the graph on these pools again`
  }
}

/** Work that is lost again and again before it is done. */
export class Endless extends Schema.TaggedError<Endless>()("Endless", {
  node: Schema.String,
  problem: Schema.String,
}) {
  override get message() {
    return `node ${this.node} never comes to its end: ${this.problem}`
  }
}

export type SimulationError = ProfileIncomplete | ItemsUnknown | NotPlaced | Endless

/** Simulates one run. The same options give the same result, to the last bit. */
export const run = (options: Options): Effect.Effect<Simulated, SimulationError> =>
  Effect.suspend(() => {
    const result = Simulator.simulate(options, options.seed ?? 0, options.tasks ?? 200_000)
    return result._tag === "Failed"
      ? Effect.fail(failure(options, result.problem))
      : Effect.succeed(result.simulated)
  })

const failure = ({ graph: { name: graph } }: Options, problem: Problem): SimulationError => {
  switch (problem._tag) {
    case "Unknown":
      return new ProfileIncomplete({ graph, nodes: problem.nodes })
    case "Uncounted":
      return new ItemsUnknown({ graph, inputs: problem.inputs })
    case "NotPlaced":
      return new NotPlaced({ graph, node: problem.node, problem: problem.problem })
    case "Endless":
      return new Endless({ node: problem.node, problem: problem.problem })
  }
}

/** The same run under several seeds: how much of a finish is luck. */
export interface Repeated {
  readonly first: Simulated
  readonly runs: number
  readonly meanSeconds: number
  readonly leastSeconds: number
  readonly mostSeconds: number
}

/** Simulates a run under `runs` seeds, from `options.seed` on. */
export const repeat = (options: Options, runs: number): Effect.Effect<Repeated, SimulationError> =>
  Effect.gen(function* () {
    const first = yield* run(options)
    const seconds = [first.seconds]
    for (let i = 1; i < runs; i++) {
      const again = yield* run({ ...options, seed: (options.seed ?? 0) + i })
      seconds.push(again.seconds)
    }
    return {
      first,
      runs,
      meanSeconds: seconds.reduce((sum, value) => sum + value, 0) / runs,
      leastSeconds: Math.min(...seconds),
      mostSeconds: Math.max(...seconds),
    }
  })
