/** What happens to tasks and submissions when a node dies, or the controller does not answer. */
import { readFileSync } from "node:fs"
import { join } from "node:path"

import { assert, describe, it, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"

import * as Cluster from "../../../test/cluster/Cluster.ts"
import { SlurmClient } from "../src/index.ts"
import * as Harness from "./harness.ts"

const { all, output, shell, tasks, until } = Harness

const setup = Effect.gen(function* () {
  return { ...(yield* SlurmClient.SlurmClient), ...(yield* Cluster.Cluster) }
})

/** A Slurm of two jobs at most, and a client without patience. */
const full = Harness.layer({ gpuNodes: 0, cpuNodes: 1, maxJobCount: 3 }, { timeoutMs: 3000, patienceMs: 0 })

describe.skipIf(!Cluster.available)("Slurm in trouble", () => {
  layer(Harness.layer({ gpuNodes: 1, cpuNodes: 3, nodeTimeoutSeconds: 4 }), {
    excludeTestServices: true,
    timeout: 60_000,
  })((it) => {
    it.effect(
      "starts a job whose time will be over while the others are tested",
      () =>
        Effect.gen(function* () {
          const { folder, submit } = yield* setup
          const script = "trap 'echo warned' USR1; while true; do sleep 0.5; done"
          const warning = { signal: "USR1", seconds: 30 } as const
          yield* submit(shell(folder, "long", script, { partition: "h100", timeLimitMinutes: 1, warning }))
          yield* tasks("long", all("Running"))
        }),
      100_000,
    )

    it.effect(
      "tells a lost node from a failure, while what ran there runs on",
      () =>
        Effect.gen(function* () {
          const { folder, killNode, requeueNow, run, startNode, submit } = yield* setup
          const script = "while true; do echo tick; sleep 0.2; done"
          const lost = shell(folder, "lost", script, { requeue: false, cores: 16 })
          const back = shell(folder, "back", 'test -n "$SLURM_RESTART_COUNT" && exit 0; sleep 60', {
            cores: 16,
          })
          yield* submit(lost)
          const job = yield* submit(back)
          const on = (name: string) => Effect.map(tasks(name, all("Running")), ([task]) => task!.nodes[0]!)
          const [lostNode, backNode] = [yield* on("lost"), yield* on("back")]
          assert.notStrictEqual(lostNode, backNode)
          yield* killNode(lostNode)
          yield* killNode(backNode)
          const [ended] = yield* tasks("lost", all("Lost"), 40)
          assert.deepInclude(ended?.outcome, { _tag: "Lost", excludeNode: true })
          assert.deepStrictEqual(ended?.nodes, [lostNode])
          assert.strictEqual(ended?.state, "NODE_FAIL")
          assert.match(yield* run("sinfo", "-h", "-n", lostNode, "-o", "%T"), /down/u)
          const ticks = () => readFileSync(join(folder, "out-lost"), "utf8").length
          const before = ticks()
          yield* until(Effect.sync(ticks), (now) => now > before + 10, 5)
          // The other is put back, and starts on a node that lives.
          const [waiting] = yield* tasks("back", ([task]) => task?.outcome._tag === "Waiting", 40)
          assert.deepInclude(waiting?.outcome, { _tag: "Waiting", requeued: true })
          yield* requeueNow([{ job }])
          const [again] = yield* tasks("back", all("Succeeded"))
          assert.deepInclude(again, { restarts: 1 })
          assert.notInclude([lostNode, backNode], again?.nodes[0])
          yield* startNode(lostNode)
          yield* startNode(backNode)
        }),
      90_000,
    )

    it.effect(
      "submits once when the controller takes a submission and its answer is lost",
      () =>
        Effect.gen(function* () {
          const { controllerUp, folder, pauseController, queue, resumeController, submit } = yield* setup
          yield* pauseController
          const submitting = yield* Effect.forkChild(submit(shell(folder, "once", "true")))
          const polling = yield* Effect.forkChild(Effect.result(queue({ prefix: "once" })))
          assert.isFalse(yield* controllerUp)
          // Not an empty queue.
          const polled = yield* Fiber.join(polling)
          assert.strictEqual(polled._tag === "Failure" ? polled.failure._tag : "answered", "ControllerDown")
          yield* Effect.sleep(2000)
          yield* resumeController
          const job = yield* Fiber.join(submitting)
          const found = yield* tasks("once", all("Succeeded"))
          assert.deepStrictEqual(
            found.map((task) => task.job),
            [job],
          )
        }),
      60_000,
    )

    it.effect(
      "waits for a controller that is gone, and keeps what ran meanwhile",
      () =>
        Effect.gen(function* () {
          const { folder, queue, startController, stopController, submit } = yield* setup
          const earlier = yield* submit(shell(folder, "meanwhile", "sleep 12"))
          yield* tasks("meanwhile", all("Running"))
          yield* stopController
          const submitting = yield* Effect.forkChild(submit(shell(folder, "later", "true")))
          const [polled] = yield* Effect.all([Effect.result(queue()), Effect.sleep(11_000)], {
            concurrency: 2,
          })
          assert.strictEqual(polled._tag === "Failure" ? polled.failure._tag : "answered", "ControllerDown")
          yield* startController
          const job = yield* Fiber.join(submitting)
          const later = yield* tasks("later", all("Succeeded"))
          assert.deepStrictEqual(
            later.map((task) => task.job),
            [job],
          )
          const [ended] = yield* tasks("meanwhile", all("Succeeded"))
          assert.strictEqual(ended?.job, earlier)
        }),
      60_000,
    )

    it.effect(
      "says when Slurm has as many jobs as it takes",
      () =>
        Effect.gen(function* () {
          const { folder, submit } = yield* setup
          const outcomes: Array<string> = []
          for (const i of [1, 2, 3]) {
            const submitted = yield* Effect.result(submit(shell(folder, `full-${i}`, "sleep 60")))
            outcomes.push(submitted._tag === "Success" ? "submitted" : submitted.failure._tag)
          }
          assert.strictEqual(outcomes[0], "submitted")
          assert.strictEqual(outcomes.at(-1), "QueueFull")
        }).pipe(Effect.provide(full, { local: true })),
      100_000,
    )

    it.effect(
      "has warned a job whose time was over, and says that this is how it ended",
      () =>
        Effect.gen(function* () {
          const { folder } = yield* setup
          const [ended] = yield* tasks("long", all("Exceeded"), 110)
          assert.deepInclude(ended?.outcome, { _tag: "Exceeded", limit: "time" })
          assert.strictEqual(ended?.state, "TIMEOUT")
          assert.match(output(folder, "long"), /^warned$/mu)
        }),
      120_000,
    )
  })
})

describe("without Slurm", () => {
  it.effect("says that its commands are missing", () =>
    Effect.gen(function* () {
      const { queue, submit } = yield* SlurmClient.SlurmClient
      for (const error of [
        yield* Effect.flip(queue()),
        yield* Effect.flip(submit(shell("/tmp", "nowhere", "true"))),
      ]) {
        assert.strictEqual(error._tag, "SlurmMissing")
        assert.match(error.message, /cannot start (squeue|sbatch).*login node/u)
      }
    }).pipe(Effect.provide(SlurmClient.layer({ environment: { PATH: "/nowhere" } }))),
  )
})
