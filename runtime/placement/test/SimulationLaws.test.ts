import { assert, describe, it } from "@effect/vitest"
import { CounterRandom, Graph, Operator } from "@reelgraph/core"
import * as Effect from "effect/Effect"

import { Overheads, Pool, Pools, Profile, Simulation } from "../src/index.ts"
import { type At, chain, nodeOf, Num, operator, profile, site } from "./simulating.ts"

const cardinalities = ["map", "flatMap", "collect", "map", "flatMap"] as const

interface Case {
  readonly graph: Graph.Graph
  readonly operators: { readonly [node: string]: typeof Profile.OperatorProfile.Encoded }
  readonly placed: { readonly [node: string]: At }
  readonly items: number
  readonly workers: number
  readonly overheads: Overheads.Overheads
}

/** A random graph, in which nodes take from any before them and some of these as side inputs, and its costs. */
const random = (seed: number): Case => {
  const draws = CounterRandom.uniforms(CounterRandom.key(seed, "graph", "laws"), 200)
  let at = 0
  const draw = () => draws[at++]!
  const pick = <A>(values: ReadonlyArray<A>): A => values[Math.floor(draw() * values.length)]!
  const operators: { [node: string]: typeof Profile.OperatorProfile.Encoded } = {}
  const placed: { [node: string]: At } = {}
  const workers = 1 + Math.floor(draw() * 40)
  const graph = Graph.make("random", { version: "1.0.0" }, (g) => {
    const edges: Array<any> = [g.input("in", Num)]
    const outputs: { [name: string]: any } = {}
    for (let i = 0; i < 2 + Math.floor(draw() * 6); i++) {
      const name = `n${i}`
      const cardinality = pick(cardinalities)
      const side = draw() < 0.25 ? pick(edges) : undefined
      const node: any =
        side === undefined
          ? operator(name, cardinality)()
          : operator(name, cardinality, { side: Operator.all(Num) })().with({ side })
      edges.push(pick(edges).pipe(node))
      outputs[`o${i}`] = edges.at(-1)
      const seconds = draw() * 4
      operators[name] = {
        seconds: draw() < 0.5 ? seconds : { mean: seconds + 0.01, sigma: draw() },
        keep: draw() < 0.5 ? 1 : draw(),
        poison: draw() < 0.3 ? draw() * 0.2 : 0,
        failing: draw() < 0.3 ? draw() * 0.5 : 0,
        ...(cardinality === "flatMap" ? { out: draw() * 3, outSpread: draw() } : {}),
        ...(cardinality === "collect" && draw() < 0.3 ? { emits: 1 } : {}),
        startupSeconds: draw() * 5,
        checkpointSeconds: 5,
      }
      placed[name] = {
        how: pick(["array", "held", "local", "driver"] as const),
        perWorker: 1 + Math.floor(draw() * 3),
        perTask: 1,
      }
    }
    return outputs
  })
  const overheads =
    draw() < 0.3
      ? Overheads.none
      : Overheads.make({ queueItems: 50 + draw() * 500, nodeFailureHours: 0.2 + draw() * 5 })
  return { graph, operators, placed, items: Math.floor(draw() * 3000), workers, overheads }
}

const options = ({ graph, items, operators, overheads, placed, workers }: Case, tasks: number) => ({
  graph,
  placement: site(graph, workers, { nodes: placed }),
  profile: profile(operators, items, overheads),
  tasks,
})

describe("Simulation: laws", () => {
  it.effect(
    "every item is accounted for, and no pool does more than it has",
    () =>
      Effect.gen(function* () {
        for (let seed = 0; seed < 25; seed++) {
          const given = random(seed)
          for (const tasks of [200_000, 50]) {
            const simulated = yield* Simulation.run(options(given, tasks))
            const what = `graph ${seed} of ${tasks} tasks`
            const outOf = new Map([
              ["in", given.items],
              ...simulated.nodes.map((n) => [n.node, n.out] as const),
            ])
            for (const node of simulated.nodes) {
              const placed = Graph.nodeOf(given.graph, node.node)!
              assert.strictEqual(node.in, outOf.get(placed.input), `${what}: into ${node.node}`)
              assert.strictEqual(node.in, node.kept + node.dropped + node.failed, `${what}: of ${node.node}`)
              assert.isAtLeast(node.dropped, 0)
              const { out, emits } = Profile.of(options(given, tasks).profile, placed)!
              if (out === 1 && emits === undefined) assert.strictEqual(node.out, node.kept)
            }
            for (const { busyOverTime, share } of simulated.pools) {
              assert.isAtMost(share.busy + share.starting + share.lost, 1 + 1e-9, what)
              for (const busy of busyOverTime) assert.isAtMost(busy, 1 + 1e-6, what)
            }
          }
        }
      }),
    180_000,
  )

  it.effect(
    "a run takes no less than its longest path and its work, and no more than all of it in turn",
    () =>
      Effect.gen(function* () {
        for (let seed = 0; seed < 40; seed++) {
          const drawn = random(seed)
          const seconds = new Map<string, number>()
          const operators = Object.fromEntries(
            drawn.graph.nodes.map(({ id }, i) => {
              seconds.set(id, 1 + ((seed + i) % 4))
              return [id, { seconds: seconds.get(id)! }]
            }),
          )
          const items = 1 + (drawn.items % 50)
          const simulated = yield* Simulation.run(
            options({ ...drawn, operators, items, placed: {}, overheads: Overheads.none }, 1e9),
          )
          // Every operator gives what it takes here. A set takes one item after another.
          const ends = new Map([["in", 0]])
          for (const { id, input, operator, sides } of drawn.graph.nodes) {
            const sideEnds = Object.values(sides).map((side) => ends.get(side)!)
            const begun = Math.max(ends.get(input)!, ...sideEnds)
            ends.set(id, begun + seconds.get(id)! * (operator.cardinality === "collect" ? items : 1))
          }
          const serial = items * [...seconds.values()].reduce((sum, value) => sum + value, 0)
          const least = Math.max(...ends.values(), serial / drawn.workers)
          assert.isAtLeast(simulated.seconds, least - 1e-6, `graph ${seed}`)
          assert.isAtMost(simulated.seconds, serial + 1e-6, `graph ${seed}`)
        }
      }),
    180_000,
  )

  it.effect(
    "more workers are never much later",
    () =>
      Effect.gen(function* () {
        for (let seed = 0; seed < 8; seed++) {
          const given = { ...random(seed), overheads: Overheads.make(), items: 4000 }
          let before = Number.POSITIVE_INFINITY
          for (const workers of [4, 8, 32]) {
            const { seconds } = yield* Simulation.run(options({ ...given, workers }, 5000))
            // A shard more or less, for each node on the way.
            assert.isAtMost(seconds, before * 1.05 + 60, `graph ${seed} on ${workers}`)
            before = seconds
          }
        }
      }),
    180_000,
  )

  it.effect(
    "the same seed gives the same run, another a similar one",
    () =>
      Effect.gen(function* () {
        const given = options(random(7), 200_000)
        const first = yield* Simulation.run(given)
        assert.deepStrictEqual(yield* Simulation.run(given), first)
        const other = yield* Simulation.run({ ...given, seed: 1 })
        assert.notDeepEqual(other, first)
      }),
    180_000,
  )

  it.effect(
    "workers that are simulated as one do what each of them does",
    () =>
      Effect.gen(function* () {
        const graph = chain("a", ["b", "flatMap"], "c")
        const given = {
          graph,
          placement: site(graph, 400),
          profile: profile(
            {
              a: { seconds: { mean: 2, sigma: 0.5 }, keep: 0.8 },
              b: { seconds: 1, out: 2, outSpread: 0.5 },
              c: { seconds: { mean: 3, sigma: 0.8 } },
            },
            200_000,
            Overheads.make({ nodeFailureHours: 1 }),
          ),
        }
        const each = yield* Simulation.run({ ...given, tasks: 1e9 })
        const grouped = yield* Simulation.run({ ...given, tasks: 600 })
        assert.isAbove(nodeOf(grouped, "c").group, 4)
        // Places that few workers leave one by one are still taken one by one.
        assert.isBelow(grouped.events, each.events / 2)
        const near = (a: number, b: number, tolerance: number) =>
          assert.isAtMost(Math.abs(a / b - 1), tolerance, `${a}, ${b}`)
        // Which worker is lost late moves the end by a tenth: of several seeds the mean.
        const [ends, groupedEnds] = [
          yield* Simulation.repeat({ ...given, tasks: 1e9 }, 4),
          yield* Simulation.repeat({ ...given, tasks: 600 }, 4),
        ]
        near(groupedEnds.meanSeconds, ends.meanSeconds, 0.1)
        near(grouped.cost + grouped.pools[0]!.nodeHours, each.cost + each.pools[0]!.nodeHours, 0.05)
        near(nodeOf(grouped, "c").workHours, nodeOf(each, "c").workHours, 0.01)
        near(nodeOf(grouped, "c").losses, nodeOf(each, "c").losses, 0.35)
      }),
    180_000,
  )
})

describe("Simulation: gangs, losses and what it refuses", () => {
  it.effect("a gang waits until all its ranks fit, and what comes later waits behind it", () =>
    Effect.gen(function* () {
      // One edge to a gang, one to work that would always find a place before it.
      const graph = Graph.make("gang", { version: "1.0.0" }, (g) => {
        const start = g.input("in", Num)
        const [gang, other]: ReadonlyArray<any> = [operator("gang", "collect")(), operator("other")()]
        return { gang: start.pipe(gang) as any, other: start.pipe(other) as any }
      })
      const simulated = yield* Simulation.run({
        graph,
        placement: site(graph, 4, { nodes: { gang: { how: "gang", ranks: 4, workers: 1 } } }),
        profile: profile({ gang: { fixedSeconds: 100 }, other: { seconds: 10 } }, 40),
        tasks: 1e9,
      })
      const gang = nodeOf(simulated, "gang")
      // Whichever begins first, the other does not run beside it.
      assert.approximately(simulated.seconds, 200, 1e-6)
      assert.approximately(gang.workerHours.busy * 3600, 100, 1e-6)
      assert.strictEqual(gang.tasks, 1)
    }),
  )

  it.effect("operations take the time of all GPUs of a gang together", () =>
    Effect.gen(function* () {
      const graph = chain(["train", "collect"])
      const placement = {
        pools: Pools.make({
          pools: {
            h100: Pool.slurm({
              partition: "h100",
              nodes: 4,
              cores: 8,
              memoryGiB: 100,
              gpus: { model: "h100", count: 8, memoryGiB: 80 },
              pricePerGpuHour: 2,
            }),
          },
        }),
        nodes: [
          {
            node: "train",
            operator: "train",
            pool: "h100",
            how: "gang" as const,
            resources: { cores: 1, gpu: { count: 1 } },
            ranks: 32,
            perWorker: 1,
            perTask: 1,
            workers: 1,
            why: [],
          },
        ],
      }
      const compute = { flops: 32 * 1e15 * 0.4 * 7200, peakFlops: 1e15, utilization: 0.4 }
      const simulated = yield* Simulation.run({
        graph,
        placement,
        profile: profile({ train: { compute, emits: 1 } }, 1000),
      })
      assert.approximately(simulated.seconds, 7200, 1e-6)
      assert.approximately(simulated.gpuHours, 64, 1e-9)
      assert.approximately(simulated.cost, 128, 1e-9)
      assert.strictEqual(simulated.outputs["out"], 1)
      assert.strictEqual(simulated.pools[0]!.of, "gpus")
    }),
  )

  it.effect("a gang that is lost goes on from what it has kept", () =>
    Effect.gen(function* () {
      const graph = chain(["train", "collect"])
      const run = (checkpointSeconds: number) =>
        Simulation.run({
          graph,
          placement: site(graph, 100, { nodes: { train: { how: "gang", ranks: 100, workers: 1 } } }),
          profile: profile(
            { train: { fixedSeconds: 100 * 3600, checkpointSeconds } },
            10,
            Overheads.make({ ...Overheads.none, nodeFailureHours: 200 }),
          ),
        })
      const simulated = yield* run(600)
      const train = nodeOf(simulated, "train")
      // A failure every two hours, of which five minutes are lost on the mean: 100 hours need about 104.
      assert.isAbove(train.losses, 30)
      assert.isAtMost(Math.abs(simulated.seconds / 3600 - 104.3), 3)
      const rarely = yield* run(3600)
      assert.isAbove(rarely.seconds, simulated.seconds * 1.1)
    }),
  )

  it.effect("work that is lost before it can ever be done is said to be endless", () =>
    Effect.gen(function* () {
      const graph = chain(["train", "collect"])
      const problem = yield* Effect.flip(
        Simulation.run({
          graph,
          placement: site(graph, 100, { nodes: { train: { how: "gang", ranks: 100, workers: 1 } } }),
          profile: profile(
            { train: { fixedSeconds: 1000 * 3600 } },
            10,
            Overheads.make({ nodeFailureHours: 200 }),
          ),
        }),
      )
      assert.strictEqual(problem._tag, "Endless")
      assert.include(problem.message, "checkpointSeconds")
    }),
  )

  it.effect("names the nodes and inputs of which nothing is known", () =>
    Effect.gen(function* () {
      const graph = chain("a", "b")
      const placement = site(graph, 1)
      const costs = yield* Effect.flip(
        Simulation.run({ graph, placement, profile: profile({ a: { seconds: 1 } }, 1) }),
      )
      assert.include(costs.message, "the cost of b of graph chain")
      const items = yield* Effect.flip(
        Simulation.run({
          graph,
          placement,
          profile: Profile.make({ operators: { a: { seconds: 1 }, b: { seconds: 1 } } }),
        }),
      )
      assert.include(items.message, "--items in=N")
      const place = yield* Effect.flip(
        Simulation.run({
          graph,
          placement: { ...placement, nodes: placement.nodes.slice(1) },
          profile: profile({ a: { seconds: 1 }, b: { seconds: 1 } }, 1),
        }),
      )
      assert.include(place.message, "node a of graph chain has no place")
    }),
  )

  it.effect("a store of little bandwidth bounds the run", () =>
    Effect.gen(function* () {
      const graph = chain("a")
      const simulated = yield* Simulation.run({
        graph,
        placement: site(graph, 100),
        profile: profile({ a: { seconds: 1, bytesIn: 1e6, bytesOut: 1e6 } }, 10_000, Overheads.none, {
          storeBytesPerSecond: 10e6,
        }),
      })
      assert.isAtLeast(simulated.seconds, 2000)
      assert.isAtMost(simulated.seconds, 2030)
      assert.isAtMost(simulated.store.share!, 1)
    }),
  )
})
