/** Graphs on a real Slurm of our own: the same bytes as here, whatever happens to nodes, tasks and drivers. */
import { fork } from "node:child_process"
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"

import * as Test from "../../../test/cluster/Cluster.ts"
import * as Harness from "./graphs.ts"
import { holdFile } from "./operators.ts"
import { unlessSlurm } from "./skip.ts"

const driver = fileURLToPath(new URL("./driver.ts", import.meta.url))

const { placed } = Harness
const everywhere = Harness.everywhere()

/** Waits until so many calls of an operator have ended. */
const witnessed = (at: string, operator: string, count: number) =>
  Effect.gen(function* () {
    const file = join(at, "witness.ndjson")
    const seen = () =>
      existsSync(file)
        ? readFileSync(file, "utf8")
            .split("\n")
            .filter((line) => line.includes(`"operator":"${operator}"`)).length
        : 0
    while (seen() < count) yield* Effect.sleep(100)
  })

/** Runs on the cluster while something happens to it, and compares with a run here. */
const despite = <E, R>(
  { count, double = 0, hungry = 0, paint = 0 }: Partial<Harness.Costs> & { readonly count: number },
  nodes: Parameters<typeof Harness.remote>[1],
  happening: (witness: string) => Effect.Effect<void, E, R>,
  options: Parameters<typeof Harness.remote>[2] = {},
) =>
  Effect.scoped(
    Effect.gen(function* () {
      const here = yield* Harness.folder
      const there = yield* Harness.folder
      const graph = Harness.graph({ double, paint, hungry })
      // Params are part of what results depend on, not of what they are.
      const expected = yield* Harness.local({ store: here.store, count })
      const running = yield* Effect.forkChild(Harness.remote({ ...there, count, graph }, nodes, options))
      yield* Effect.raceFirst(happening(there.witness), Effect.asVoid(Fiber.join(running)))
      const found = yield* Fiber.join(running)
      assert.deepStrictEqual(found.outputs, expected.outputs)
      assert.strictEqual(found.ledger, expected.ledger)
      return { found, witnesses: Harness.witnesses(there.witness) }
    }),
  )

/** The report says what happened. */
const assertNote = (warnings: ReadonlyArray<string>, pattern: RegExp): void =>
  assert.isTrue(
    warnings.some((warning) => pattern.test(warning)),
    `${String(pattern)} is not in: ${warnings.join("; ")}`,
  )

unlessSlurm("Graphs on a cluster", () => {
  // One node more than the pools have: Slurm drains one whose orphans outlive its daemon.
  layer(Test.layer({ gpuNodes: 3, cpuNodes: 2, nodeTimeoutSeconds: 6 }) as Layer.Layer<Test.Cluster>, {
    timeout: 60_000,
    excludeTestServices: true,
  })((it) => {
    it.effect(
      "give the bytes of a run here, each GPU call on one GPU of its pool",
      () =>
        Effect.gen(function* () {
          const { found, witnesses } = yield* despite({ count: 60, paint: 50 }, everywhere, () => Effect.void)
          const paints = witnesses.filter(({ operator }) => operator === "paint")
          assert.lengthOf(paints, found.report.ledger["paint"]!.in)
          for (const { gpus, node } of paints) {
            assert.match(node, /^h100-\d$/)
            assert.match(gpus, /^\d$/)
          }
          // Two tasks on one node never have the same device at the same time.
          for (const one of paints)
            for (const other of paints)
              if (
                one.node === other.node &&
                one.gpus === other.gpus &&
                `${one.job}_${one.task}` !== `${other.job}_${other.task}`
              )
                assert.isTrue(one.endedMs <= other.begunMs || other.endedMs <= one.begunMs)
          for (const { gpus, node } of witnesses.filter(({ operator }) => operator !== "paint")) {
            assert.match(node, /^cpu-\d$/)
            assert.strictEqual(gpus, "")
          }
          assert.deepStrictEqual(
            found.places.filter((place) => !/^(h100|cpu)-\d, job \d+_\d+/.test(place)),
            [],
          )
        }),
      120_000,
    )

    it.effect(
      "outlive a task that somebody cancels",
      () =>
        Effect.gen(function* () {
          const { run } = yield* Test.Cluster
          const cancels = (witness: string) =>
            Effect.gen(function* () {
              yield* witnessed(witness, "paint", 1)
              const running = yield* run("squeue", "-h", "-r", "-t", "R", "-p", "h100", "-o", "%F_%K")
              yield* run("scancel", running.trim().split("\n").at(-1)!)
            })
          // A call that may go on to its end could be the last one of its task: nothing would be lost.
          const { found } = yield* despite({ count: 40, paint: 4000 }, everywhere, cancels, {
            environment: { REELGRAPH_GRACE_SECONDS: "0" },
          })
          assertNote(found.report.warnings, /cancelled by a user/)
        }),
      180_000,
    )

    it.effect(
      "outlive preemption by jobs of a higher partition",
      () =>
        Effect.gen(function* () {
          const { run } = yield* Test.Cluster
          const spot = [...everywhere.slice(0, 2), placed("paint", "spot", 4), everywhere[3]!]
          const { found } = yield* despite({ count: 40, paint: 4000 }, spot, (witness) =>
            Effect.gen(function* () {
              yield* witnessed(witness, "paint", 3)
              // Where they are: elsewhere there may be room for it beside them.
              const taken = yield* run("squeue", "-h", "-r", "-t", "R", "-p", "h100-spot", "-o", "%N")
              const [victim = ""] = taken.trim().split("\n")
              yield* run(
                "sbatch",
                "-p",
                "h100",
                "-N1",
                `--nodelist=${victim}`,
                "--gres=gpu:8",
                "--mem=1000",
                "-o",
                "/dev/null",
                "--wrap",
                "sleep 8",
              )
            }),
          )
          assertNote(
            found.report.warnings,
            /begun again by Slurm|warned, wrote what they had|another job took its nodes/,
          )
        }),
      240_000,
    )

    it.effect(
      "outlive a node whose slurmd is killed, and the script that runs on without it",
      () =>
        Effect.gen(function* () {
          const { killNode, run, startNode } = yield* Test.Cluster
          let victim = ""
          const { found } = yield* despite({ count: 40, paint: 500 }, everywhere, (witness) =>
            Effect.gen(function* () {
              yield* witnessed(witness, "paint", 2)
              // Nothing ends before Slurm knows of it, however slow it is: not the script without its slurmd either.
              const hold = join(witness, holdFile)
              writeFileSync(hold, "")
              victim = Harness.witnesses(witness).findLast(({ operator }) => operator === "paint")!.node
              yield* killNode(victim)
              const there = run("squeue", "-h", "-r", "-t", "R", "-w", victim, "-o", "%A")
              while ((yield* there).trim() !== "") yield* Effect.sleep(200)
              rmSync(hold)
            }),
          ).pipe(
            Effect.ensuring(
              Effect.suspend(() => (victim === "" ? Effect.void : Effect.orDie(startNode(victim)))),
            ),
          )
          assertNote(found.report.warnings, /node failed|begun again by Slurm|came late|counted once/)
        }),
      240_000,
    )

    it.effect(
      "outlive a controller that is stopped for 20 seconds",
      () =>
        Effect.gen(function* () {
          const { pauseController, resumeController } = yield* Test.Cluster
          yield* despite({ count: 40, paint: 400 }, everywhere, (witness) =>
            Effect.gen(function* () {
              yield* witnessed(witness, "double", 10)
              yield* pauseController
              yield* Effect.sleep(20_000)
              yield* resumeController
            }),
          )
        }),
      240_000,
    )

    it.effect(
      "are taken up by a driver that follows one that was killed",
      () =>
        Effect.scoped(
          Effect.gen(function* () {
            const { environment } = yield* Test.Cluster
            const here = yield* Harness.folder
            const there = yield* Harness.folder
            const count = 40
            const expected = yield* Harness.local({ store: here.store, count })
            const graph = { double: 0, paint: 2000 }
            const first = fork(driver, [JSON.stringify({ ...there, count, graph, environment })], {
              stdio: "ignore",
            })
            const gone = new Promise((resolve) => first.once("exit", resolve))
            yield* witnessed(there.witness, "paint", 4)
            first.kill("SIGKILL")
            yield* Effect.promise(() => gone)
            const found = yield* Harness.remote({ ...there, count, graph: Harness.graph(graph) }, everywhere)
            assert.deepStrictEqual(found.outputs, expected.outputs)
            assert.strictEqual(found.ledger, expected.ledger)
            assertNote(found.report.warnings, /earlier driver's jobs were taken over/)
            // What was on its way was waited for, and not made again.
            const paints = Harness.witnesses(there.witness).filter(({ operator }) => operator === "paint")
            assert.lengthOf(paints, found.report.ledger["paint"]!.in)
          }),
        ),
      240_000,
    )

    it.effect(
      "outlive their time limit: what was done by then counts, and others do the rest",
      () =>
        Effect.gen(function* () {
          // All in one shard, which takes longer than its job may.
          const short = [
            placed("double", "cpu", 1),
            everywhere[1]!,
            placed("paint", "brief", 1),
            everywhere[3]!,
          ]
          const { found } = yield* despite({ count: 6, paint: 18_000 }, short, () => Effect.void)
          assertNote(found.report.warnings, /time limit|warned, wrote what they had/)
        }),
      300_000,
    )

    it.effect(
      "outlive calls that take more memory than they asked for: they get more",
      () =>
        Effect.gen(function* () {
          const small = [
            placed("double", "cpu", 1, { resources: { cores: 1, memoryGiB: 0.5 } }),
            ...everywhere.slice(1),
          ]
          const { found } = yield* despite({ count: 8, hungry: 700 }, small, () => Effect.void)
          assertNote(found.report.warnings, /memory/)
        }),
      240_000,
    )

    it.effect(
      "are made by held workers too, several calls at once in each",
      () =>
        Effect.gen(function* () {
          const { run } = yield* Test.Cluster
          const held = [
            placed("double", "cpu", 2, { how: "held" }),
            placed("sieve", "cpu", 1, { how: "held" }),
            placed("paint", "h100", 2, { how: "held", perWorker: 2 }),
            everywhere[3]!,
          ]
          const { witnesses } = yield* despite({ count: 40, paint: 100 }, held, () => Effect.void)
          const processes = new Set(
            witnesses.filter(({ operator }) => operator === "paint").map(({ pid }) => pid),
          )
          assert.isAtLeast(processes.size, 3)
          // They leave with the driver.
          assert.strictEqual((yield* run("squeue", "-h", "-t", "pending,running")).trim(), "")
        }),
      240_000,
    )
  })

  // A cluster of its own: no node is to be there that others have left in disorder.
  layer(Test.layer({ gpuNodes: 2, cpuNodes: 2 }) as Layer.Layer<Test.Cluster>, {
    timeout: 60_000,
    excludeTestServices: true,
  })((it) => {
    it.effect(
      "outlive a node that is set down",
      () =>
        Effect.gen(function* () {
          const { run } = yield* Test.Cluster
          let victim = ""
          const { found } = yield* despite({ count: 40, paint: 3000 }, everywhere, (witness) =>
            Effect.gen(function* () {
              yield* witnessed(witness, "paint", 2)
              victim = Harness.witnesses(witness).findLast(({ operator }) => operator === "paint")!.node
              yield* run("scontrol", "update", `NodeName=${victim}`, "State=DOWN", "Reason=test")
            }),
          ).pipe(
            Effect.ensuring(
              Effect.suspend(() =>
                victim === ""
                  ? Effect.void
                  : // It may be back by itself.
                    Effect.ignore(run("scontrol", "update", `NodeName=${victim}`, "State=RESUME")),
              ),
            ),
          )
          assertNote(found.report.warnings, /node failed|begun again by Slurm|could not start them/)
        }),
      240_000,
    )
  })
})
