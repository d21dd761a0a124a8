import { readdirSync } from "node:fs"

import { assert, describe, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"

import * as Cluster from "../../../test/cluster/Cluster.ts"
import { type Job, Partition, SlurmClient, QueuedTask } from "../src/index.ts"
import * as Harness from "./harness.ts"

const { all, output, shell, tags, tasks, until } = Harness

const setup = Effect.gen(function* () {
  return { ...(yield* SlurmClient.SlurmClient), ...(yield* Cluster.Cluster) }
})

/** Why a submission was refused. */
const refused = (job: Job.Options) =>
  SlurmClient.SlurmClient.use(({ submit }) =>
    Effect.match(submit(job), {
      onFailure: (error) => [error._tag, error.message] as const,
      onSuccess: (id) => ["accepted", JSON.stringify([id, job])] as const,
    }),
  )

if (!Cluster.available)
  console.warn(`Tests on a real Slurm are skipped: there is none here (${Cluster.unavailable}).`)

describe.skipIf(!Cluster.available)("Slurm", () => {
  layer(Harness.layer(), { excludeTestServices: true, timeout: 60_000 })((it) => {
    it.effect(
      "gives each task of an array devices of its own, in the right partition",
      () =>
        Effect.gen(function* () {
          const { folder, submit } = yield* setup
          // Each waits for all of the others, so that all have their devices at once.
          const script = `touch here-$SLURM_ARRAY_TASK_ID
          for i in $(seq 100); do test $(ls here-* | wc -l) = 8 && break; sleep 0.1; done
          ls here-* | wc -l; echo $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES`
          const job = shell(folder, "devices", script, {
            partition: "h100",
            constraint: "h100&sxm",
            comment: 'run 1, node encode: it\'s "quoted" & <odd>',
            cores: 2,
            gpus: { model: "h100", count: 2 },
            array: { tasks: 8 },
          })
          const id = yield* submit(job)
          const done = yield* tasks("devices", all("Succeeded"))
          assert.deepStrictEqual(
            done.map(({ index, job }) => ({ index, job })),
            Array.from({ length: 8 }, (_, index) => ({ index, job: id })),
          )
          const devices = done.flatMap(({ index, nodes }) => {
            const [together = "", where = ""] = output(folder, "devices", index).trim().split("\n")
            assert.strictEqual(together, "8")
            const [node = "", numbers = ""] = where.split(" ")
            assert.deepStrictEqual(nodes, [node])
            return numbers.split(",").map((number) => `${node}:${number}`)
          })
          assert.strictEqual(new Set(devices).size, 16)
          assert.deepStrictEqual(
            new Set(devices.map((device) => device.split(":")[0])),
            new Set(["h100-0", "h100-1"]),
          )
          const [first] = done
          assert.strictEqual(first?.comment, job.comment)
          assert.strictEqual(first?.restarts, 0)
          assert.strictEqual(first?.exitCode, 0)
          assert.isAtLeast(first!.endedAt!, first!.startedAt!)
        }),
      100_000,
    )

    it.effect(
      "runs no more tasks at once than the throttle says",
      () =>
        Effect.gen(function* () {
          const { folder, submit } = yield* setup
          const script =
            "touch on-$SLURM_ARRAY_TASK_ID; ls on-* | wc -l; sleep 0.5; rm on-$SLURM_ARRAY_TASK_ID"
          yield* submit(shell(folder, "throttled", script, { array: { tasks: 5, throttle: 2 } }))
          const waiting = yield* tasks("throttled", (found) => found.length === 5)
          assert.include(tags(waiting), "Waiting")
          const done = yield* tasks("throttled", all("Succeeded"))
          const seen = done.map(({ index }) => Number(output(folder, "throttled", index)))
          assert.strictEqual(Math.max(...seen), 2)
        }),
      100_000,
    )

    it.effect(
      "gives the command its arguments and environment as they are, and nothing of the driver's",
      () =>
        Effect.gen(function* () {
          const { folder, submit } = yield* setup
          const odd = ["it's", "$HOME `id` $(id)", "a\nb", "", "*", "\\", '"', "-n", "ü %j"]
          const script =
            'printf "<%s>" "$@" "$ODD"; env; echo; echo "own: $DRIVERS_OWN, $(pwd), $SLURM_JOB_NAME"'
          yield* submit(
            shell(folder, "odd", "", {
              command: ["/bin/sh", "-c", script, "sh", ...odd],
              environment: { ODD: odd.join("|") },
            }),
          )
          yield* tasks("odd", all("Succeeded"))
          const reported = output(folder, "odd")
          assert.include(reported, [...odd, odd.join("|")].map((word) => `<${word}>`).join(""))
          assert.include(reported, `own: , ${folder}, odd`)
          assert.notInclude(reported, "SLURM_GET_USER_ENV")
        }),
      100_000,
    )

    it.effect(
      "says how each job ended",
      () =>
        Effect.gen(function* () {
          const { folder, queue, submit } = yield* setup
          const hungry = `exec ${process.execPath} -e "const b = Buffer.alloc(4e8).fill(1); setTimeout(() => b, 9000)"`
          yield* submit(shell(folder, "end-exit", "exit 3"))
          yield* submit(shell(folder, "end-killed", "kill -SEGV $$"))
          yield* submit(shell(folder, "end-hungry", hungry))
          yield* submit(shell(folder, "end-no-output", "true", { output: "/nowhere/at/all" }))
          yield* submit(shell(folder, "end-nodes", "true", { gang: { ranks: 5, nodes: 5 } }))
          yield* submit(shell(folder, "end-not-found", "", { command: ["/no/such/program"] }))
          const found = yield* Harness.until(
            queue({ prefix: "end-" }),
            (found) =>
              found.filter(({ outcome }) => outcome._tag === "Waiting" || outcome._tag === "Running")
                .length === 1,
          )
          const outcomes = Object.fromEntries(found.map(({ name, outcome }) => [name, outcome]))
          const failed = {
            _tag: "Failed",
            exitCode: undefined,
            signal: undefined,
            perhapsMemory: false,
          } as const
          assert.deepInclude(outcomes["end-exit"], { ...failed, exitCode: 3 })
          assert.deepInclude(outcomes["end-killed"], { ...failed, signal: 11 })
          assert.deepInclude(outcomes["end-hungry"], { ...failed, signal: 9, perhapsMemory: true })
          assert.deepInclude(outcomes["end-no-output"], { _tag: "Lost", excludeNode: true })
          assert.deepInclude(outcomes["end-not-found"], { ...failed, exitCode: 127 })
          assert.deepInclude(outcomes["end-nodes"], {
            _tag: "Waiting",
            reason: "PartitionNodeLimit",
            until: "people",
          })
        }),
      100_000,
    )

    it.effect(
      "cancels single tasks, and what has a name",
      () =>
        Effect.gen(function* () {
          const { cancel, cancelNamed, folder, submit } = yield* setup
          const job = yield* submit(
            shell(folder, "cancelled", "sleep 60", { array: { tasks: 6, throttle: 3 } }),
          )
          yield* tasks("cancelled", (found) => tags(found).filter((tag) => tag === "Running").length === 3)
          // One runs, one waits, two were never there.
          yield* cancel([{ job, index: 1 }, { job, index: 3 }, { job, index: 77 }, { job: 999_999 }])
          const after = yield* tasks("cancelled", (found) => found[1]?.outcome._tag === "Cancelled")
          assert.strictEqual(QueuedTask.outcomeOf(after, { job, index: 0 })._tag, "Running")
          assert.strictEqual(QueuedTask.outcomeOf(after, { job, index: 1 })._tag, "Cancelled")
          // Slurm keeps no record of a task that was cancelled before it began: that is unknown, not failed.
          assert.strictEqual(QueuedTask.outcomeOf(after, { job, index: 3 })._tag, "Unknown")
          yield* cancelNamed("cancelled")
          yield* tasks("cancelled", all("Cancelled"))
          yield* cancel([{ job }, { job, index: 1 }])
        }),
      100_000,
    )

    it.effect(
      "warns a job whose nodes another one takes; put back, it starts at once when told to",
      () =>
        Effect.gen(function* () {
          const { folder, requeueNow, submit } = yield* setup
          const gpus = { model: "h100", count: 8 }
          // It ends well after the warning, and is put back all the same.
          const script = `test -n "$SLURM_RESTART_COUNT" || trap 'echo warned; exit 0' TERM
          echo attempt \${SLURM_RESTART_COUNT:-0}; test -n "$SLURM_RESTART_COUNT" && exit 0; for i in $(seq 600); do sleep 0.1; done`
          const spot = shell(folder, "spot", script, {
            partition: "h100-spot",
            array: { tasks: 2 },
            gpus,
            warning: { signal: "USR1", seconds: 60 },
          })
          const job = yield* submit(spot)
          yield* tasks("spot", all("Running"))
          const begun = () => [0, 1].every((index) => output(folder, "spot", index).startsWith("attempt 0\n"))
          yield* until(Effect.sync(begun), (both) => both)
          yield* submit(shell(folder, "first", "sleep 0.5", { partition: "h100", gpus }))
          const found = yield* tasks("spot", (found) => tags(found).includes("Waiting"))
          const index = found.findIndex(({ outcome }) => outcome._tag === "Waiting")
          const back = yield* tasks("spot", (found) => found[index]?.reason === "BeginTime")
          assert.deepInclude(back[index]?.outcome, { _tag: "Waiting", requeued: true, until: "others" })
          assert.deepInclude(back[index], { restarts: 1 })
          assert.strictEqual(back[1 - index]?.outcome._tag, "Running")
          assert.match(
            output(folder, "spot", index),
            /^attempt 0\n(.*PREEMPTION.*\n)?(Terminated\n)?warned\n$/u,
          )
          yield* tasks("first", all("Succeeded"))
          // Slurm itself waits for longer than this test may take before it begins a task again.
          yield* requeueNow([{ job, index }, { job, index: 1 - index }, { job: 999_999 }])
          const again = yield* tasks("spot", (found) => found[index]?.outcome._tag === "Succeeded")
          assert.strictEqual(again[index]?.restarts, 1)
          assert.match(output(folder, "spot", index), /warned\nattempt 1\n$/u)
          yield* (yield* SlurmClient.SlurmClient).cancelNamed("spot")
        }),
      100_000,
    )

    it.effect(
      "begins the ranks of a gang together, on as many nodes as asked for",
      () =>
        Effect.gen(function* () {
          const { folder, submit } = yield* setup
          const script = `touch rank-$SLURM_PROCID; for i in $(seq 100); do test $(ls rank-* | wc -l) = 4 && break; sleep 0.1; done
          echo $SLURM_PROCID $SLURM_LOCALID $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES $(ls rank-* | wc -l) $WORD`
          yield* submit(
            shell(folder, "gang", script, {
              partition: "h100",
              cores: 2,
              gpus: { model: "h100", count: 4 },
              gang: { ranks: 4, nodes: 2 },
              environment: { WORD: "hello" },
            }),
          )
          const [done] = yield* tasks("gang", all("Succeeded"))
          assert.deepStrictEqual(done?.nodes, ["h100-0", "h100-1"])
          const ranks = output(folder, "gang").trim().split("\n").sort()
          assert.deepStrictEqual(ranks, [
            "0 0 h100-0 0,1,2,3,4,5,6,7 4 hello",
            "1 1 h100-0 0,1,2,3,4,5,6,7 4 hello",
            "2 0 h100-1 0,1,2,3,4,5,6,7 4 hello",
            "3 1 h100-1 0,1,2,3,4,5,6,7 4 hello",
          ])
        }),
      100_000,
    )

    it.effect(
      "says why it refuses a job",
      () =>
        Effect.gen(function* () {
          const { folder } = yield* setup
          const job = (options: Partial<Job.Options>) => shell(folder, "refused", "true", options)
          const h100 = { partition: "h100" }
          const cases: ReadonlyArray<readonly [Job.Options, string, RegExp]> = [
            [job({ partition: "nope" }), "PartitionUnknown", /no partition nope .*sinfo lists/u],
            [job({ ...h100, gpus: { model: "h100", count: 9 } }), "Unsatisfiable", /--gres=gpu:h100:9/u],
            [job({ ...h100, gpus: { model: "a100", count: 1 } }), "Unsatisfiable", /h100 has what is asked/u],
            [job({ gpus: { count: 1 } }), "Unsatisfiable", /node configuration is not available/u],
            [job({ constraint: "nope" }), "Unsatisfiable", /Invalid feature/u],
            [job({ memoryMiB: 9_000_000 }), "Unsatisfiable", /Memory specification/u],
            [job({ excludeNodes: ["nope"] }), "Unsatisfiable", /Invalid node name/u],
            [job({ array: { tasks: 10_002 } }), "ArrayTooLarge", /10002 tasks.*MaxArraySize/u],
            [job({ name: "a b" }), "JobInvalid", /name/u],
            [job({ environment: { SLURM_CONF: "/mine" } }), "JobInvalid", /SLURM_CONF/u],
            [job({ array: { tasks: 2 }, gang: { ranks: 2, nodes: 1 } }), "JobInvalid", /not both/u],
            [job({ gang: { ranks: 3, nodes: 2 } }), "JobInvalid", /equally/u],
          ]
          for (const [options, tag, message] of cases) {
            const [reported, text] = yield* refused(options)
            assert.strictEqual(reported, tag, text)
            assert.match(text, message)
          }
        }),
      100_000,
    )

    it.effect(
      "does not take a job for submitted that Slurm has refused",
      () =>
        Effect.gen(function* () {
          const { find, folder, submit } = yield* setup
          const gpus = { model: "h100", count: 9 }
          const [tag] = yield* refused(shell(folder, "second-try", "true", { partition: "h100", gpus }))
          assert.strictEqual(tag, "Unsatisfiable")
          assert.strictEqual(yield* find("second-try"), undefined)
          const id = yield* submit(shell(folder, "second-try", "true"), { lookUpFirst: true })
          assert.strictEqual(yield* find("second-try"), id)
          assert.strictEqual(yield* submit(shell(folder, "second-try", "true"), { lookUpFirst: true }), id)
        }),
      100_000,
    )

    it.effect(
      "knows the partitions, and what of a pool they do not have",
      () =>
        Effect.gen(function* () {
          const { partitions, site } = yield* setup
          const found = yield* partitions
          assert.deepStrictEqual(found.map(({ name }) => name).sort(), ["cpu", "h100", "h100-spot"])
          const spot = found.find(({ name }) => name === "h100-spot")!
          assert.deepInclude(spot, { up: true, maxMinutes: undefined, tier: 1, preemption: "REQUEUE" })
          assert.strictEqual(
            spot.nodes.reduce((sum, { count }) => sum + count, 0),
            2,
          )
          for (const { cores, features, gpus, memoryMiB } of spot.nodes) {
            assert.deepStrictEqual(
              { cores, memoryMiB, gpus },
              { cores: 32, memoryMiB: 200_000, gpus: [{ model: "h100", count: 8 }] },
            )
            assert.include(features, "sxm")
          }
          const pool = {
            _tag: "Slurm",
            partition: "h100",
            nodes: 2,
            cores: 32,
            memoryGiB: 190,
            gpus: { model: "h100", count: 8, memoryGiB: 80 },
            constraint: "h100&sxm",
            pricePerNodeHour: 0,
            pricePerGpuHour: 0,
            preemptible: false,
            allocation: "array",
            task: "worker",
            timeLimitMinutes: 60,
          } as const
          assert.deepStrictEqual(Partition.misfits("gpu", pool, found), [])
          const problems = (change: object) =>
            Partition.misfits("gpu", { ...pool, ...change }, found).join("\n")
          assert.match(problems({ partition: "a100" }), /no partition a100; there are .*h100-spot/u)
          assert.match(problems({ nodes: 750 }), /has 2 such nodes, and the pool asks for 750/u)
          assert.match(
            problems({ cores: 96 }),
            /nodes of 32 cores, 195.3125 GiB, 8 h100, and the pool asks for 96 cores/u,
          )
          assert.match(problems({ constraint: "rack9" }), /no node with rack9/u)
          const { maxArraySize, version, killWaitSeconds } = yield* site
          assert.deepStrictEqual([maxArraySize, killWaitSeconds], [10_001, 2])
          assert.match(version, /^\d\d\.\d\d/u)
        }),
      100_000,
    )

    it.effect(
      "does without accounting",
      () =>
        Effect.gen(function* () {
          const { accounted, controllerUp } = yield* setup
          assert.deepStrictEqual(yield* accounted([1, 2]), [])
          assert.isTrue(yield* controllerUp)
        }),
      100_000,
    )

    it.effect(
      "leaves nothing in the folder but what was asked for",
      () =>
        Effect.gen(function* () {
          const { folder } = yield* setup
          const made = readdirSync(folder).filter((name) => name.startsWith("slurm-"))
          assert.deepStrictEqual(made, [])
        }),
      100_000,
    )
  })
})
