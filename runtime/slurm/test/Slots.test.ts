/** Tasks of several slots on a real Slurm: each slot has processes and GPUs of its own, and loses its own work only. */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"

import * as Test from "../../../test/cluster/Cluster.ts"
import * as Harness from "./graphs.ts"
import { unlessSlurm } from "./skip.ts"
import { until } from "./harness.ts"

const [double, sieve, , sum] = Harness.everywhere()

/** Runs with some GPU workers, and here, and compares; `during` is done while it goes on. */
const compared = (
  paint: Parameters<typeof Harness.remote>[1][number],
  ms: number,
  during: (witness: string) => Effect.Effect<void, unknown, Test.Cluster> = () => Effect.void,
) =>
  Effect.scoped(
    Effect.gen(function* () {
      const here = yield* Harness.folder
      const there = yield* Harness.folder
      const count = 60
      const expected = yield* Harness.local({ store: here.store, count })
      const graph = Harness.graph({ double: 0, paint: ms })
      const environment = { REELGRAPH_GRACE_SECONDS: "0" }
      const running = yield* Effect.forkChild(
        Harness.remote({ ...there, count, graph }, [double!, sieve!, paint, sum!], { environment }),
      )
      yield* Effect.raceFirst(during(there.witness), Effect.asVoid(Fiber.join(running)))
      const found = yield* Fiber.join(running)
      assert.deepStrictEqual(found.outputs, expected.outputs)
      assert.strictEqual(found.ledger, expected.ledger)
      const paints = Harness.witnesses(there.witness).filter(({ operator }) => operator === "paint")
      return { found, paints }
    }),
  )

const taskOf = ({ job, task }: { readonly job: string; readonly task: string }) => `${job}_${task}`

unlessSlurm("Tasks of several slots", () => {
  layer(Test.layer({ gpuNodes: 2, cpuNodes: 2 }) as Layer.Layer<Test.Cluster>, {
    timeout: 60_000,
    excludeTestServices: true,
  })((it) => {
    it.effect(
      "give each slot a process and a GPU of its own",
      () =>
        Effect.gen(function* () {
          const { found, paints } = yield* compared(Harness.placed("paint", "h100", 8, { perTask: 4 }), 200)
          assert.strictEqual(new Set(paints.map(taskOf)).size, 2)
          assert.strictEqual(new Set(paints.map(({ pid }) => pid)).size, 8)
          for (const one of paints) {
            assert.match(one.gpus, /^\d$/)
            for (const other of paints)
              if (one.pid !== other.pid && one.node === other.node)
                assert.notStrictEqual(one.gpus, other.gpus)
          }
          // Lineage names the one GPU of each call.
          const places = found.places.filter((place) => place.startsWith("h100-"))
          assert.isAtLeast(new Set(places.map((place) => /GPU (\d),/u.exec(place)?.[1])).size, 4)
        }),
      120_000,
    )

    it.effect(
      "take as many slots as there is work for, and no more workers than there are",
      () =>
        Effect.gen(function* () {
          const { run } = yield* Test.Cluster
          // Two of the five at a time: tasks of two, two and one.
          const asked = new Set<string>()
          const look = Effect.forever(
            Effect.andThen(
              Effect.map(run("squeue", "-h", "-r", "-p", "h100", "-o", "%A %b"), (out) => {
                for (const line of out.split("\n")) if (line !== "") asked.add(line.trim())
              }),
              Effect.sleep(300),
            ),
          )
          const { paints } = yield* compared(
            Harness.placed("paint", "h100", 5, { perTask: 2 }),
            500,
            () => look,
          )
          const gpus = [...asked].map((line) => Number(/(\d+)$/u.exec(line)?.[1]))
          assert.includeMembers(gpus, [2])
          assert.isAtMost(Math.max(...gpus), 2)
          // What two calls on one machine at the same moment have is never the same device.
          for (const one of paints)
            for (const other of paints)
              if (one.node === other.node && one.gpus === other.gpus && one.pid !== other.pid)
                assert.isTrue(one.endedMs <= other.begunMs || other.endedMs <= one.begunMs)
        }),
      120_000,
    )

    it.effect(
      "are held too, and are given shards for all of their slots",
      () =>
        Effect.gen(function* () {
          const { paints } = yield* compared(
            Harness.placed("paint", "h100", 4, { how: "held", perTask: 4 }),
            300,
          )
          assert.strictEqual(new Set(paints.map(taskOf)).size, 1)
          assert.strictEqual(new Set(paints.map(({ gpus }) => gpus)).size, 4)
        }),
      120_000,
    )

    it.effect(
      "are made again where they are lost",
      () =>
        Effect.gen(function* () {
          const { run } = yield* Test.Cluster
          const { found } = yield* compared(
            Harness.placed("paint", "h100", 8, { perTask: 4 }),
            2000,
            (witness) =>
              Effect.gen(function* () {
                const seen = Effect.sync(
                  () => Harness.witnesses(witness).filter(({ operator }) => operator === "paint").length,
                ).pipe(Effect.catchDefect(() => Effect.succeed(0)))
                yield* until(seen, (count) => count >= 8, 60)
                const running = yield* run("squeue", "-h", "-r", "-t", "R", "-p", "h100", "-o", "%F_%K")
                yield* run("scancel", running.trim().split("\n").at(-1)!)
              }),
          )
          assert.isTrue(
            found.report.warnings.some((warning) => /cancelled by a user/u.test(warning)),
            found.report.warnings.join("; "),
          )
        }),
      180_000,
    )
  })
})
