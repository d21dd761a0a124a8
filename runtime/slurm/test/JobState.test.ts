import { assert, describe, it } from "@effect/vitest"

import { JobState } from "../src/index.ts"

const reported = (states: string, more: Partial<JobState.Reported> = {}): JobState.Outcome =>
  JobState.outcome({
    states: states.split("+"),
    reason: "None",
    exitCode: undefined,
    signal: undefined,
    restarts: 0,
    ...more,
  })

describe("JobState", () => {
  it("has an outcome for each state and flag that squeue(1) lists", () => {
    const tags: Readonly<Record<string, JobState.Outcome["_tag"]>> = {
      BOOT_FAIL: "Lost",
      CANCELLED: "Cancelled",
      COMPLETED: "Succeeded",
      CONFIGURING: "Running",
      COMPLETING: "Running",
      DEADLINE: "Exceeded",
      FAILED: "Failed",
      LAUNCH_FAILED: "Lost",
      NODE_FAIL: "Lost",
      OUT_OF_MEMORY: "Exceeded",
      PENDING: "Waiting",
      POWER_UP_NODE: "Running",
      PREEMPTED: "Lost",
      RECONFIG_FAIL: "Lost",
      REQUEUED: "Waiting",
      REQUEUE_FED: "Waiting",
      REQUEUE_HOLD: "Waiting",
      RESIZING: "Running",
      RESV_DEL_HOLD: "Waiting",
      REVOKED: "Unknown",
      RUNNING: "Running",
      SIGNALING: "Running",
      SPECIAL_EXIT: "Waiting",
      STAGE_OUT: "Running",
      STOPPED: "Running",
      SUSPENDED: "Running",
      TIMEOUT: "Exceeded",
      UPDATE_DB: "Running",
    }
    for (const [state, tag] of Object.entries(tags)) assert.strictEqual(reported(state)._tag, tag, state)
    assert.deepInclude(reported("SOMETHING_NEW"), { _tag: "Unknown", state: "SOMETHING_NEW" })
  })

  it("is not over while a flag says that its end is under way", () => {
    for (const states of ["COMPLETED+COMPLETING", "FAILED+COMPLETING", "COMPLETING"]) {
      assert.deepInclude(reported(states), { _tag: "Running", phase: "ending" })
      assert.isFalse(JobState.ended(reported(states)))
    }
    assert.deepInclude(reported("PENDING+REQUEUED", { reason: "BeginTime" }), {
      _tag: "Waiting",
      requeued: true,
    })
    assert.deepInclude(reported("NODE_FAIL+REQUEUED"), { _tag: "Waiting" })
    assert.deepInclude(reported("PENDING+REQUEUE_HOLD"), { _tag: "Waiting", until: "people" })
    assert.deepInclude(reported("RUNNING+CONFIGURING"), { _tag: "Running", phase: "starting" })
    assert.deepInclude(reported("PENDING+LAUNCH_FAILED"), { _tag: "Waiting" })
    assert.deepInclude(reported("CANCELLED+UPDATE_DB"), { _tag: "Cancelled" })
  })

  it("tells whose fault a failure is", () => {
    assert.deepInclude(reported("FAILED", { exitCode: 3, reason: "NonZeroExitCode" }), {
      _tag: "Failed",
      exitCode: 3,
    })
    assert.deepInclude(reported("FAILED", { exitCode: 0, signal: 11, reason: "JobLaunchFailure" }), {
      _tag: "Failed",
      exitCode: undefined,
      signal: 11,
      perhapsMemory: false,
    })
    assert.deepInclude(reported("FAILED", { signal: 9, reason: "JobLaunchFailure" }), { perhapsMemory: true })
    // Slurm's error 4021, "could not open output file", read as wait(2) would.
    assert.deepInclude(reported("FAILED", { exitCode: 15, signal: 53, reason: "JobLaunchFailure" }), {
      _tag: "Lost",
    })
    assert.deepInclude(
      reported("FAILED", { exitCode: 0, signal: 53, reason: "RaisedSignal:53(Real-time_signal_19)" }),
      {
        _tag: "Lost",
        excludeNode: true,
      },
    )
    assert.deepInclude(reported("FAILED", { exitCode: 1, reason: "BadConstraints" }), { _tag: "Rejected" })
    assert.deepInclude(reported("PREEMPTED"), { excludeNode: false })
    assert.deepInclude(reported("NODE_FAIL"), { excludeNode: true })
  })

  it("says which reasons to wait pass by themselves", () => {
    const words = (text: string) => text.trim().split(/\s+/u)
    const untils: Readonly<Record<JobState.Until, ReadonlyArray<string>>> = {
      others: words(`
        None Priority Resources BeginTime JobArrayTaskLimit Dependency Licenses Cleaning WaitingForScheduling Prolog
        AssocGrpGRES AssocGrpCpuLimit AssocGrpCPURunMinutesLimit QOSMaxJobsPerUserLimit QOSGrpNodeLimit
        QOSMaxGRESPerUser MaxGRESPerAccount`),
      people: [
        "ReqNodeNotAvail, UnavailableNodes:h100-[0-3]",
        "launch failed requeued held",
        "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
      ].concat(
        words(`
          ReqNodeNotAvail PartitionDown PartitionInactive PartitionNodeLimit PartitionConfig JobHeldUser JobHeldAdmin
          JobHoldMaxRequeue AssocGrpCPUMinutesLimit AssocGrpGRESMinutes ReservationDeleted`),
      ),
      never: words(`
        DependencyNeverSatisfied BadConstraints PartitionTimeLimit InvalidAccount InvalidQOS AccountNotAllowed
        QOSNotAllowed AssocMaxCpuPerJobLimit QOSMaxGRESPerJob QOSMinGRES AssocMaxWallDurationPerJobLimit
        QOSMaxMemoryPerNode QOSMaxCpuMinutesPerJobLimit DeadLine`),
    }
    for (const [until, reasons] of Object.entries(untils))
      for (const reason of reasons) {
        const waits = JobState.waitsUntil(reason)
        assert.strictEqual(waits.until, until, reason)
        assert.strictEqual(waits.advice === "", until === "others", reason)
      }
  })
})
