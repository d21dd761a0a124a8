import { execFileSync } from "node:child_process"

import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { Job } from "../src/index.ts"

const least: Job.Options = {
  name: "run-1.encode.0",
  partition: "h100",
  cores: 8,
  memoryMiB: 4096,
  timeLimitMinutes: 60,
  output: "/shared/%A_%a.log",
  command: ["true"],
}

const given = (options: Partial<Job.Options>) => Effect.map(Job.make({ ...least, ...options }), Job.args)

describe("Job", () => {
  it.effect("becomes arguments of sbatch", () =>
    Effect.gen(function* () {
      const args = yield* given({
        comment: "run 1",
        account: "video",
        qos: "high",
        constraint: "h100&sxm",
        gpus: { model: "h100", count: 1 },
        array: { tasks: 100, throttle: 8 },
        warning: { signal: "USR1", seconds: 60 },
        requeue: false,
        excludeNodes: ["h100-3", "h100-7"],
      })
      assert.deepStrictEqual(args, [
        "--parsable",
        "--job-name=run-1.encode.0",
        "--comment=run 1",
        "--partition=h100",
        "--constraint=h100&sxm",
        "--account=video",
        "--qos=high",
        "--nodes=1",
        "--ntasks=1",
        "--cpus-per-task=8",
        "--mem=4096M",
        "--gres=gpu:h100:1",
        "--array=0-99%8",
        "--time=60",
        "--output=/shared/%A_%a.log",
        "--open-mode=append",
        "--chdir=/",
        "--signal=B:USR1@60",
        "--no-requeue",
        "--exclude=h100-3,h100-7",
        "--export=ALL",
      ])
    }),
  )

  it.effect("asks for the memory and GPUs of all ranks that share a node", () =>
    Effect.gen(function* () {
      const args = yield* given({ gpus: { count: 1 }, gang: { ranks: 16, nodes: 2 } })
      assert.includeMembers(
        [...args],
        ["--nodes=2", "--ntasks=16", "--ntasks-per-node=8", "--mem=32768M", "--gres=gpu:8", "--requeue"],
      )
      const job = yield* Job.make({ ...least, gang: { ranks: 16, nodes: 2 }, command: ["node", "a b"] })
      assert.include(
        Job.script(job),
        "exec 'srun' '--ntasks=16' '--cpus-per-task=8' '--kill-on-bad-exit=1' '--' 'node' 'a b'\n",
      )
    }),
  )

  it.effect("refuses what is no job, and says which field is wrong", () =>
    Effect.gen(function* () {
      const wrong: ReadonlyArray<readonly [Partial<Job.Options>, RegExp]> = [
        [{ name: "" }, /name/u],
        [{ name: "a".repeat(201) }, /name/u],
        [{ name: "a,b" }, /name/u],
        [{ name: "%j" }, /name/u],
        [{ comment: "two\nlines" }, /comment/u],
        [{ partition: "h100 --uid=0" }, /partition/u],
        [{ constraint: "a b" }, /constraint/u],
        [{ cores: 0 }, /cores/u],
        [{ cores: 1.5 }, /cores/u],
        [{ memoryMiB: Number.NaN }, /memoryMiB/u],
        [{ timeLimitMinutes: 0 }, /timeLimitMinutes/u],
        [{ output: "relative.log" }, /output/u],
        [{ array: { tasks: 0 } }, /tasks/u],
        [{ excludeNodes: ["a,b"] }, /excludeNodes/u],
        [{ environment: { "A B": "" } }, /A B/u],
        [{ environment: { SBATCH_ACCOUNT: "other" } }, /SBATCH_ACCOUNT/u],
        [{ environment: { A: "\0" } }, /environment/u],
        [{ command: ["a\0b"] }, /command/u],
        [{ command: [] as never }, /command/u],
      ]
      for (const [options, field] of wrong) {
        const error = yield* Effect.flip(given(options))
        assert.strictEqual(error._tag, "JobInvalid")
        assert.match(error.problem, field)
      }
    }),
  )

  it.effect.prop(
    "gives the command any arguments and environment as they are",
    [Schema.Array(Schema.String), Schema.String],
    ([texts, value]) =>
      Effect.gen(function* () {
        // Lone surrogates are no text, and 0 ends one.
        const clean = (text: string) => text.toWellFormed().replaceAll("\0", "")
        const args = texts.map(clean)
        const show = 'printf "%s\\0" "$ODD" "$@"'
        const job = yield* Job.make({
          ...least,
          environment: { ODD: clean(value) },
          command: ["/bin/sh", "-c", show, "sh", ...args],
        })
        const reported = execFileSync("/bin/sh", { input: Job.script(job), encoding: "utf8" })
        assert.deepStrictEqual(reported.split("\0"), [clean(value), ...args, ""])
      }),
    180_000,
  )
})
