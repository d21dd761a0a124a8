/** The states of the tasks of a session, as Slurm reports them. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

import * as JobState from "../JobState.ts"
import type { QueryError } from "../SlurmError.ts"
import * as QueuedTask from "../QueuedTask.ts"
import { activeJobs, type DriverState, idOf, type ActiveJob, type ActiveTask } from "./driverState.ts"

/** Questions to Slurm in which a job is unknown, before it is taken for gone. */
const unknownPolls = 3

/** Reasons of a task that ran before and is held, though no administrator holds it. */
const heldBySlurm = /^(JobHeldUser|launch[_ ]failed|job[_ ]requeued[_ ]in[_ ]held)/u

export const poll = (driver: DriverState): Effect.Effect<void, QueryError> =>
  Effect.gen(function* () {
    const jobs = activeJobs(driver)
    if (jobs.length === 0) return
    const answer = yield* Effect.result(driver.slurm.queue({ prefix: "reel:" }))
    if (answer._tag === "Failure") {
      driver.notes.add("Slurm's controller did not answer for a while; jobs went on", answer.failure.message)
      return yield* Effect.fail(answer.failure)
    }
    const now = yield* Clock.currentTimeMillis
    const states = new Map(answer.success.map((state) => [`${state.job}_${state.index ?? 0}`, state]))
    for (const job of jobs)
      for (const task of job.tasks) {
        if (task.done || task.over !== undefined) continue
        const state = states.get(`${job.id}_${task.index}`)
        if (state === undefined || state.outcome._tag === "Unknown") {
          // Forgotten by Slurm, or never arrived: not known to have failed, and not waited for for ever.
          if (++task.unknown >= unknownPolls)
            task.over = { how: JobState.make.Unknown({ state: "gone" }), sinceMs: now }
          continue
        }
        task.unknown = 0
        yield* follow(driver, job, task, state, now)
      }
  })

const follow = (
  driver: DriverState,
  job: ActiveJob,
  task: ActiveTask,
  state: QueuedTask.QueuedTask,
  now: number,
): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { outcome } = state
    task.on = state.nodes[0] ?? task.on
    if (state.restarts > task.restarts) {
      task.restarts = state.restarts
      driver.notes.add(
        "tasks were begun again by Slurm (preempted, or their node was lost)",
        `${job.id}_${task.index}`,
      )
    }
    task.reason = outcome._tag === "Waiting" ? outcome.reason : undefined
    switch (outcome._tag) {
      case "Waiting":
        if (outcome.until === "never") {
          driver.calls.fail(
            job.node,
            `Slurm never starts job ${job.id} in pool ${driver.options.sites.get(job.node)?.pool} (${outcome.reason}): ${outcome.advice}`,
          )
          return Effect.ignore(driver.slurm.cancel([{ job: job.id }]))
        }
        // A node that could not start it again, as while orphans of it live on, has Slurm hold it for somebody to look
        // at. `squeue --json` calls that JobHeldUser, and we hold nothing.
        if (outcome.requeued && heldBySlurm.test(outcome.reason)) {
          task.over = {
            how: JobState.make.Lost({ what: "a node could not start them again", excludeNode: false }),
            sinceMs: now,
          }
          return Effect.ignore(driver.slurm.cancel([idOf(state)]))
        }
        if (outcome.until === "people")
          driver.notes.add(
            `tasks waited for a person to act (${outcome.reason}): ${outcome.advice}`,
            QueuedTask.format(idOf(state)),
          )
        // Slurm holds what it has requeued for two minutes.
        return outcome.requeued && outcome.reason === "BeginTime"
          ? Effect.ignore(driver.slurm.requeueNow([idOf(state)]))
          : Effect.void
      case "Running":
        return Effect.void
      default:
        task.over = { how: outcome, sinceMs: now }
        return Effect.void
    }
  })
