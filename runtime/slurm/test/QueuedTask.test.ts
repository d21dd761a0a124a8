import { readFileSync } from "node:fs"

import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"

import { Accounting, Hostlist, QueuedTask } from "../src/index.ts"

const recorded = (version: string) =>
  readFileSync(new URL(`./recorded/squeue-${version}.json`, import.meta.url), "utf8")

const set = (number: number) => ({ set: true, infinite: false, number })
const unset = { set: false, infinite: false, number: 0 }

/** Fields that are alike in 23.11 and later. */
const newer = {
  job_id: 71,
  array_job_id: set(70),
  array_task_id: set(3),
  array_task_string: "",
  name: "run-1.encode.0",
  comment: "run 1",
  partition: "h100",
  job_state: ["RUNNING"],
  state_reason: "None",
  nodes: "h100-[0-1]",
  restart_cnt: 2,
  submit_time: set(1_700_000_000),
  start_time: set(1_700_000_060),
  end_time: set(1_700_003_660),
  user_name: "root",
}

const answer = (...jobs: ReadonlyArray<object>): string =>
  JSON.stringify({ jobs, last_backfill: set(1), meta: {}, errors: [], warnings: [] })

/** Exit codes as data_parser v0.0.39 (23.02), v0.0.40 (23.11) and v0.0.41 (24.05) write them. */
const exits = {
  "23.02": (code: number, signal: number) => set(code * 256 + signal),
  "23.11": (code: number, signal: number) => ({
    status: [code === 0 && signal === 0 ? "SUCCESS" : "ERROR"],
    return_code: set(code),
    signal: { signal_id: signal === 0 ? unset : set(signal), name: "" },
  }),
  "24.05": (code: number, signal: number) => ({
    status: [signal === 0 ? "ERROR" : "SIGNALED"],
    return_code: signal === 0 ? set(code) : unset,
    signal: { id: signal === 0 ? unset : set(signal), name: signal === 0 ? "" : "Killed" },
  }),
}

describe("QueuedTask", () => {
  it.effect("reads what squeue 22.05.8 wrote", () =>
    Effect.gen(function* () {
      const tasks = yield* QueuedTask.fromJson(recorded("22.05"))
      const outcomes = Object.fromEntries(tasks.map((task) => [QueuedTask.format(task), task.outcome]))
      const failed = { _tag: "Failed", exitCode: undefined, signal: undefined } as const
      assert.deepInclude(outcomes["9"], { ...failed, exitCode: 3 })
      assert.deepInclude(outcomes["11"], { ...failed, signal: 9 })
      assert.deepInclude(outcomes["16"], { _tag: "Lost" })
      assert.deepInclude(outcomes["19"], { _tag: "Rejected" })
      assert.deepInclude(outcomes["21"], { _tag: "Waiting", until: "people" })
      assert.deepInclude(outcomes["2_5"], { _tag: "Cancelled" })
      assert.deepInclude(outcomes["2_7"], { _tag: "Running" })
      assert.deepInclude(outcomes["2_9"], { _tag: "Waiting", reason: "JobArrayTaskLimit", until: "others" })
      assert.strictEqual(tasks.length, 9)
      const running = tasks.find(({ index }) => index === 7)!
      assert.deepInclude(running, { job: 2, name: "arr-y", partition: "h100", state: "RUNNING", restarts: 0 })
      assert.deepStrictEqual(running.nodes, ["h100-2"])
      assert.strictEqual(running.endedAt! - running.startedAt!, 3_600_000)
    }),
  )

  it.effect("filters by name, prefix and user", () =>
    Effect.gen(function* () {
      const count = (filter: QueuedTask.Filter) =>
        Effect.map(QueuedTask.fromJson(recorded("22.05"), filter), ({ length }) => length)
      assert.strictEqual(yield* count({ prefix: "arr" }), 4)
      assert.strictEqual(yield* count({ prefix: "" }), 9)
      assert.strictEqual(yield* count({ name: "arr" }), 0)
      assert.strictEqual(yield* count({ name: "exit3", user: "root" }), 1)
      assert.strictEqual(yield* count({ name: "exit3", user: "other" }), 0)
    }),
  )

  for (const [version, exit] of Object.entries(exits))
    it.effect(`reads the shapes of ${version}`, () =>
      Effect.gen(function* () {
        const [running] = yield* QueuedTask.fromJson(answer({ ...newer, exit_code: exit(0, 0) }))
        const { comment, name, partition } = newer
        assert.deepStrictEqual(running, {
          job: 70,
          index: 3,
          name,
          comment,
          partition,
          state: "RUNNING",
          reason: "None",
          outcome: { _tag: "Running", phase: "running" } as never,
          restarts: 2,
          nodes: ["h100-0", "h100-1"],
          exitCode: undefined,
          signal: undefined,
          submittedAt: 1_700_000_000_000,
          startedAt: 1_700_000_060_000,
          endedAt: 1_700_003_660_000,
        })
        const jobs = [
          { ...newer, job_state: ["FAILED"], exit_code: exit(3, 0) },
          { ...newer, job_state: ["FAILED"], exit_code: exit(0, 9) },
          { ...newer, job_state: ["COMPLETED", "COMPLETING"], exit_code: exit(0, 0) },
          { ...newer, job_state: ["PENDING", "REQUEUED"], state_reason: "BeginTime", exit_code: exit(0, 0) },
        ]
        const [code, signal, ending, requeued] = yield* QueuedTask.fromJson(answer(...jobs))
        assert.deepInclude(code?.outcome, { _tag: "Failed", exitCode: 3, signal: undefined })
        assert.deepInclude(signal?.outcome, { _tag: "Failed", exitCode: undefined, signal: 9 })
        assert.deepInclude(ending, { state: "COMPLETED+COMPLETING", exitCode: undefined })
        assert.deepInclude(ending?.outcome, { _tag: "Running", phase: "ending" })
        assert.deepInclude(requeued?.outcome, { _tag: "Waiting", requeued: true })
      }),
    )

  it.effect("reads a job of its own, and an array that waits", () =>
    Effect.gen(function* () {
      const none = { start_time: unset, end_time: unset, array_task_id: unset, nodes: "" }
      const own = { ...newer, ...none, array_job_id: set(0) }
      const waiting = { ...newer, ...none, job_state: ["PENDING"], array_task_string: "4-6,9%2" }
      const tasks = yield* QueuedTask.fromJson(answer(own, waiting))
      assert.deepStrictEqual(
        tasks.map((task) => QueuedTask.format(task)),
        ["71", "70_4", "70_5", "70_6", "70_9"],
      )
      assert.deepInclude(tasks[0], { startedAt: undefined, endedAt: undefined })
      assert.deepStrictEqual(tasks[0]?.nodes, [])
    }),
  )

  it.effect("does not take an answer without the controller for an empty queue", () =>
    Effect.gen(function* () {
      // What squeue 22.05.8 writes, and then ends well.
      const errors = [
        { description: "Failed while looking for jobs", error_number: -1, source: "slurm_load_jobs" },
      ]
      const error = yield* Effect.flip(QueuedTask.fromJson(JSON.stringify({ meta: {}, errors, jobs: [] })))
      assert.strictEqual(error._tag, "ControllerDown")
    }),
  )

  it.effect("says what it cannot read", () =>
    Effect.gen(function* () {
      for (const text of ["", "{", "[]", '{"jobs":1}', answer({ ...newer, job_state: 7 })]) {
        const error = yield* Effect.flip(QueuedTask.fromJson(text))
        assert.strictEqual(error._tag, "AnswerUnreadable")
        assert.match(error.message, /squeue --json cannot be read/u)
      }
    }),
  )

  it.effect(
    "reads a queue of 5,000 jobs in a time that grows with their number, not its square",
    () =>
      Effect.gen(function* () {
        /** The least of three: another process may take the core meanwhile. */
        const milliseconds = Effect.fnUntraced(function* (jobs: number) {
          const text = answer(
            ...Array.from({ length: jobs }, (_, i) => ({ ...newer, array_task_id: set(i) })),
          )
          const took: Array<number> = []
          for (let time = 0; time < 3; time++) {
            const begun = performance.now()
            assert.strictEqual((yield* QueuedTask.fromJson(text, { prefix: "run-1." })).length, jobs)
            took.push(performance.now() - begun)
          }
          return Math.min(...took)
        })
        const few = yield* milliseconds(250)
        // 20 times the jobs: 400 times the work, if it grew with the square.
        assert.isBelow(yield* milliseconds(5000), 100 * few)
      }),
    180_000,
  )

  it("takes what is not in the queue for unknown, not failed", () => {
    assert.deepInclude(QueuedTask.outcomeOf([], { job: 1, index: 2 }), { _tag: "Unknown" })
    assert.strictEqual(Hostlist.compress([3, 1, 2, 7]), "1-3,7")
  })
})

describe("Accounting", () => {
  it("reads sacct's lines", () => {
    const text = `12_3|FAILED|3:0|run-1.a
12_4|CANCELLED by 1000|0:15|run-1.a
13|OUT_OF_MEMORY|0:125|odd|name
14_[5-9%2]|PENDING|0:0|run-1.b
`
    const [failed, cancelled, memory, ...rest] = Accounting.fromText(text)
    assert.deepInclude(failed, { job: 12, index: 3, name: "run-1.a", exitCode: 3 })
    assert.deepInclude(failed?.outcome, { _tag: "Failed", exitCode: 3 })
    assert.deepInclude(cancelled?.outcome, { _tag: "Cancelled" })
    assert.deepInclude(memory, { job: 13, name: "odd|name" })
    assert.deepInclude(memory?.outcome, { _tag: "Exceeded", limit: "memory" })
    // What waits is in the queue.
    assert.deepStrictEqual(rest, [])
  })
})
