/** The private Slurm of the tests. */
import { spawn } from "node:child_process"
import { existsSync } from "node:fs"
import { fileURLToPath } from "node:url"

import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"

import * as Cluster from "../../../test/cluster/Cluster.ts"
import * as Processes from "../../../test/cluster/Processes.ts"
import * as Harness from "./harness.ts"

const starter = fileURLToPath(new URL("./startsCluster.ts", import.meta.url))

/** A process that has brought up a cluster with a job in it, and where that cluster is. */
const started = Effect.callback<{ readonly kill: () => void; readonly folder: string }>((resume) => {
  const child = spawn(process.execPath, [starter], { stdio: ["ignore", "pipe", "inherit"] })
  child.stdout.once("data", (data: Buffer) =>
    resume(Effect.succeed({ folder: data.toString().trim(), kill: () => void child.kill("SIGKILL") })),
  )
  return Effect.sync(() => void child.kill("SIGKILL"))
})

const small = { gpuNodes: 1, cpuNodes: 0 }

describe.skipIf(!Cluster.available)("a private Slurm", () => {
  it.live(
    "leaves nothing behind when whoever started it is killed",
    () =>
      Effect.gen(function* () {
        const { folder, kill } = yield* started
        const running = Processes.ofCluster(folder).map(({ command }) => command)
        for (const expected of [/^munged/u, /^slurmctld/u, /^slurmd/u, /^slurmstepd/u, /^sleep 1234/u])
          assert.isTrue(
            running.some((command) => expected.test(command)),
            `${expected} in ${running.join("; ")}`,
          )
        kill()
        yield* Harness.until(
          Effect.sync(() => [Processes.ofCluster(folder), existsSync(folder)] as const),
          ([alive, exists]) => alive.length === 0 && !exists,
          10,
        )
      }),
    180_000,
  )

  it.live(
    "is one of several, each of which knows its own jobs only",
    () =>
      Effect.gen(function* () {
        const use = (script: string) =>
          Effect.gen(function* () {
            const { folder, run } = yield* Cluster.Cluster
            yield* run(
              "sbatch",
              "--output=/dev/null",
              "--partition=h100",
              `--job-name=${script}`,
              "--wrap",
              "sleep 2",
            )
            const names = yield* run("squeue", "-h", "-o", "%j")
            return { folder, names: names.trim() }
          }).pipe(Effect.provide(Cluster.layer(small), { local: true }))
        const [one, other] = yield* Effect.all([use("one"), use("other")], { concurrency: 2 })
        assert.deepStrictEqual([one.names, other.names], ["one", "other"])
        for (const { folder } of [one, other]) {
          assert.isFalse(existsSync(folder))
          assert.deepStrictEqual(Processes.ofCluster(folder), [])
        }
      }),
    180_000,
  )
})
