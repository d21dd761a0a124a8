/** Starts of workers that share something: by itself, and in simulated runs. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import * as Sharing from "../src/internal/simulation/sharing.ts"
import { Overheads, Pool, Pools, Simulation } from "../src/index.ts"
import { chain, nodeOf, profile, site } from "./simulating.ts"

interface Arrival {
  readonly at: number
  readonly count: number
}

/** When each of these is through, in the order in which they come. */
const ends = (seconds: number, arrivals: ReadonlyArray<Arrival>): ReadonlyArray<number> => {
  const sharing = Sharing.make(seconds)
  const through: Array<number> = []
  const until = (time: number) => {
    for (let next = Sharing.next(sharing); next !== undefined && next <= time; next = Sharing.next(sharing)) {
      Sharing.leave(sharing, next)!()
      through.push(next)
    }
  }
  for (const { at, count } of arrivals) {
    until(at)
    Sharing.enter(sharing, at, count, () => {})
  }
  until(Number.POSITIVE_INFINITY)
  return through
}

const step = 1 / 256

/** The same in small steps: in each, all that are there get equal parts of it. */
const stepped = (seconds: number, arrivals: ReadonlyArray<Arrival>): ReadonlyArray<number> => {
  const left = arrivals.map(() => seconds)
  const through = arrivals.map(() => 0)
  for (let i = 0; left.some((seconds) => seconds > 0); i++) {
    const now = i * step
    const there = arrivals.flatMap(({ at }, n) => (at <= now && left[n]! > 1e-12 ? [n] : []))
    const using = there.reduce((sum, n) => sum + arrivals[n]!.count, 0)
    for (const n of there) {
      left[n] = left[n]! - step / using
      if (left[n] <= 1e-12) [left[n], through[n]] = [0, now + step]
    }
  }
  return through
}

const Quarters = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 20 }))
const Arrivals = Schema.Array(
  Schema.Struct({
    after: Quarters,
    count: Schema.Literals([1, 1, 1, 2, 5]),
  }),
).check(Schema.isMaxLength(8))

describe("Sharing", () => {
  it("takes of each what was counted by hand", () => {
    const one = (...times: ReadonlyArray<number>) => times.map((at) => ({ at, count: 1 }))
    assert.deepStrictEqual(ends(2, one(0)), [2])
    // The first is half through when the second comes, and the third comes half a second before the second would end.
    assert.deepStrictEqual(ends(2, one(0, 1, 3.5)), [3, 4.5, 6])
    // 1 alone, 1/2 beside the second, 1/2 beside both.
    assert.deepStrictEqual(ends(2, one(0, 1, 2)), [3.5, 5.5, 6])
    assert.deepStrictEqual(ends(0.5, one(0, 0, 0, 0)), [2, 2, 2, 2])
    assert.deepStrictEqual(ends(0.5, [{ at: 0, count: 4 }]), [2])
    // Nobody shares with those that are gone.
    assert.deepStrictEqual(ends(1, one(0, 1, 7)), [1, 2, 8])
  })

  it.prop(
    "is what small steps come to, and work is neither lost nor made",
    [Arrivals, Schema.Literals([0.25, 1, 1.5])],
    ([drawn, seconds]) => {
      let at = 0
      const arrivals = drawn.map(({ after, count }) => ({ at: (at += after / 4), count }))
      const exact = ends(seconds, arrivals)
      for (const [n, end] of stepped(seconds, arrivals).entries())
        assert.approximately(exact[n]!, end, step * (arrivals.length + 1))
      // It never rests while somebody waits for it.
      let free = 0
      for (const { at, count } of arrivals) free = Math.max(free, at) + count * seconds
      assert.approximately(exact.at(-1) ?? 0, free, 1e-9)
    },
  )
})

describe("Starts of workers", () => {
  const starts = (more: Overheads.Options) => Overheads.make({ ...Overheads.none, ...more })
  const busyHours = (simulated: Simulation.Simulated, node: string) =>
    nodeOf(simulated, node).workerHours.starting * 3600

  it.effect("that begin together take as many times as long as there are of them", () =>
    Effect.gen(function* () {
      const graph = chain("a")
      const run = (workers: number, overheads: Overheads.Options) =>
        Simulation.run({
          graph,
          placement: site(graph, workers),
          profile: profile({ a: { seconds: 10 } }, workers, starts(overheads)),
        })
      const eight = yield* run(8, { workerStartSeconds: 1, startShareSeconds: 0.5 })
      assert.approximately(eight.seconds, 8 * 0.5 + 10, 1e-9)
      assert.approximately(busyHours(eight, "a"), 8 * 8 * 0.5, 1e-6)
      // Never sooner than alone.
      const one = yield* run(1, { workerStartSeconds: 1, startShareSeconds: 0.5 })
      assert.approximately(one.seconds, 1 + 10, 1e-9)
    }),
  )

  it.effect("share it with those of other pools, and with the ranks of gangs", () =>
    Effect.gen(function* () {
      const graph = chain("a", ["b", "collect"])
      const pool = Pool.slurm({ partition: "p", nodes: 8, cores: 1, memoryGiB: 1 })
      const { nodes } = site(graph, 8, { nodes: { b: { pool: "right", how: "gang", ranks: 8, workers: 1 } } })
      const simulated = yield* Simulation.run({
        graph,
        placement: { pools: Pools.make({ pools: { cpu: pool, right: pool } }), nodes },
        profile: profile(
          { a: { seconds: 1 }, b: { fixedSeconds: 1 } },
          4,
          starts({ startShareSeconds: 0.25 }),
        ),
      })
      assert.approximately(simulated.seconds, 4 * 0.25 + 1 + 8 * 0.25 + 1, 1e-9)
    }),
  )

  it.effect("are Slurm's by tasks, whatever the number of workers in each", () =>
    Effect.gen(function* () {
      const graph = chain("a")
      const run = (perTask: number) =>
        Simulation.run({
          graph,
          placement: site(graph, 64, { nodes: { a: { perTask } } }),
          profile: profile({ a: { seconds: 1 } }, 64, starts({ startsPerSecond: 2 })),
        })
      assert.approximately((yield* run(1)).seconds, 32 + 1, 1e-9)
      assert.approximately((yield* run(8)).seconds, 4 + 1, 1e-9)
    }),
  )
})
