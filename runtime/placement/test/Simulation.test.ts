import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"

import { Profile, Simulation } from "../src/index.ts"
import { chain, exponential, nodeOf, profile, site } from "./simulating.ts"

const near = (actual: number, expected: number, tolerance: number, what: string) =>
  assert.isAtMost(Math.abs(actual / expected - 1), tolerance, `${what}: ${actual}, expected ${expected}`)

/** Chance that an arrival waits in M/M/c, of `load` Erlangs (Erlang C). */
const erlangC = (servers: number, load: number): number => {
  let blocked = 1
  for (let n = 1; n <= servers; n++) blocked = (load * blocked) / (n + load * blocked)
  return blocked / (1 - (load / servers) * (1 - blocked))
}

describe("Simulation", () => {
  it.effect(
    "a single server waits as Pollaczek and Khinchine say",
    () =>
      Effect.gen(function* () {
        const graph = chain("a")
        const sigma = 0.8
        const simulated = yield* Simulation.run({
          graph,
          placement: site(graph, 1),
          profile: profile(
            { a: { seconds: { mean: 1, sigma } } },
            { count: 150_000, perSecond: 0.7, spread: "poisson" },
          ),
          tasks: 1e9,
        })
        // Mean queue length of M/G/1: rho^2 (1 + cv^2) / (2 (1 - rho)).
        const expected = (0.7 ** 2 * (1 + Math.expm1(sigma ** 2))) / (2 * 0.3)
        near(nodeOf(simulated, "a").waiting.mean, expected, 0.05, "items waiting")
        near(simulated.pools[0]!.share.busy, 0.7, 0.02, "busy share")
      }),
    180_000,
  )

  it.effect(
    "several servers wait as Erlang says",
    () =>
      Effect.gen(function* () {
        const graph = chain("a")
        const seconds = exponential(1)
        const mean = Profile.meanSeconds(seconds)
        const seeds = [1, 2, 3]
        for (const [servers, load] of [
          [2, 1.5],
          [10, 7.5],
        ] as const) {
          let waiting = 0
          for (const seed of seeds) {
            const simulated = yield* Simulation.run({
              graph,
              placement: site(graph, servers),
              profile: profile(
                { a: { seconds } },
                { count: 50_000, perSecond: load / mean, spread: "poisson" },
              ),
              seed,
              tasks: 1e9,
            })
            waiting += nodeOf(simulated, "a").waiting.mean / seeds.length
          }
          const expected = (erlangC(servers, load) * load) / (servers - load)
          near(waiting, expected, 0.1, `items waiting for ${servers}`)
        }
      }),
    180_000,
  )

  it.effect("items of the same length take as many rounds as there have to be", () =>
    Effect.gen(function* () {
      const graph = chain("a")
      const simulated = yield* Simulation.run({
        graph,
        placement: site(graph, 8),
        profile: profile({ a: { seconds: 3 } }, 100),
        tasks: 1e9,
      })
      assert.approximately(simulated.seconds, 3 * Math.ceil(100 / 8), 1e-6)
      assert.approximately(nodeOf(simulated, "a").workHours, 300 / 3600, 1e-9)
    }),
  )

  it.effect("stages one after another overlap: the slowest and the first item of the others", () =>
    Effect.gen(function* () {
      const graph = chain("a", "b", "c")
      const simulated = yield* Simulation.run({
        graph,
        placement: site(graph, 3, { nodes: { a: { workers: 1 }, b: { workers: 1 }, c: { workers: 1 } } }),
        profile: profile({ a: { seconds: 1 }, b: { seconds: 4 }, c: { seconds: 2 } }, 50),
        tasks: 1e9,
      })
      assert.approximately(simulated.seconds, 1 + 50 * 4 + 2, 1e-6)
    }),
  )
})
