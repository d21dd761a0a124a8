import { assert, describe, it } from "@effect/vitest"

import { SlurmError } from "../src/index.ts"

const of = (reported: string) =>
  SlurmError.ofSubmission(
    {
      job: "run-1.train",
      partition: "h100",
      account: "video",
      qos: undefined,
      tasks: 9,
      args: ["--gres=gpu:9"],
    },
    reported,
  )

describe("SlurmError", () => {
  // Texts of Slurm 22.05.8; those that need accounting come from its list of errors.
  const failed = "sbatch: error: Batch job submission failed: "
  const texts: Readonly<Record<SlurmError.SubmitError["_tag"], ReadonlyArray<string>>> = {
    SlurmMissing: [],
    OutputTooLarge: [],
    AnswerUnreadable: [],
    JobInvalid: [],
    CommandFailed: [],
    PartitionUnknown: [
      `sbatch: error: invalid partition specified: nope\n${failed}Invalid partition name specified`,
      `${failed}No partition specified or system default partition`,
    ],
    PartitionClosed: [
      `${failed}Required partition not available (inactive or drain)`,
      `${failed}Partition in DOWN state`,
      `${failed}System submissions disabled`,
    ],
    AccountInvalid: [`${failed}Invalid account or account/partition combination specified`],
    QosInvalid: [`${failed}Invalid qos specification`],
    Unsatisfiable: [
      `${failed}Requested node configuration is not available`,
      `sbatch: error: Memory specification can not be satisfied\n${failed}Requested node configuration is not available`,
      `${failed}Invalid feature specification`,
      "sbatch: error: Invalid generic resource (gres) specification",
      `${failed}Invalid node name specified`,
      `${failed}Node count specification invalid`,
    ],
    LimitExceeded: [
      `${failed}Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)`,
      `${failed}Requested time limit is invalid (missing or exceeds some limit)`,
    ],
    ArrayTooLarge: [`${failed}Invalid job array specification`],
    QueueFull: [
      "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying; no answer in 60 s",
      "sbatch: error: Slurm job queue full, sleeping and retrying; no answer in 60 s",
    ],
    Denied: [
      `${failed}Access/permission denied`,
      `${failed}User's group not permitted to use this partition`,
      `${failed}Access denied to requested reservation`,
    ],
    ControllerDown: [
      `${failed}Unable to contact slurm controller (connect failure)`,
      `${failed}Socket timed out on send/recv operation`,
      `${failed}Resource temporarily unavailable`,
      `${failed}Zero Bytes were transmitted or received`,
      `${failed}Unable to create job record, try again later`,
      "no answer in 60 s",
    ],
    SubmitRejected: [
      `${failed}Pathname of a file, directory or other parameter too long`,
      "",
      "something new",
    ],
  }

  for (const [tag, reported] of Object.entries(texts))
    if (reported.length > 0)
      it(`is ${tag} for what sbatch says then`, () => {
        for (const text of reported) {
          const error = of(text)
          assert.strictEqual(error._tag, tag, text)
          assert.notMatch(error.message, /sbatch: error|undefined/u)
          assert.strictEqual(SlurmError.transient(error), tag === "ControllerDown" || tag === "QueueFull")
        }
      })

  it("says what was asked for, and what to do", () => {
    const text = of(`${failed}Requested node configuration is not available`).message
    assert.include(text, "job run-1.train: no node of partition h100 has what is asked for")
    assert.include(text, "--gres=gpu:9; ask for less")
    assert.include(
      of(`${failed}Invalid account or account/partition`).message,
      "account video may not be used",
    )
    assert.include(of(`${failed}Invalid qos specification`).message, "the default QOS may not be used")
  })
})
