/** Jobs as sacct remembers them: for those that have left the queue, where a site has slurmdbd. */
import * as JobState from "./JobState.ts"
import type * as QueuedTask from "./QueuedTask.ts"

export interface Accounted extends QueuedTask.Id {
  readonly name: string
  readonly state: string
  readonly outcome: JobState.Outcome
  readonly exitCode: number | undefined
  readonly signal: number | undefined
}

/** What sacct is asked for: a line for each task, none for its steps. */
export const args = (jobs: ReadonlyArray<QueuedTask.JobId>): ReadonlyArray<string> => [
  "--noheader",
  "--parsable2",
  "--allocations",
  "--format=JobID,State,ExitCode,JobName",
  `--jobs=${jobs.join(",")}`,
]

/** `12_3|FAILED|3:0|name`; a cancelled one has the user, `CANCELLED by 1000`. */
export const fromText = (text: string): ReadonlyArray<Accounted> =>
  text.split("\n").flatMap((line) => {
    const [id = "", state = "", exit = "", ...name] = line.split("|")
    const found = /^(\d+)(?:_(\d+))?$/u.exec(id)
    if (found === null) return []
    const [code = 0, signal = 0] = exit.split(":").map(Number)
    const reported = {
      states: [state.split(" ")[0]!],
      reason: "",
      restarts: 0,
      exitCode: code,
      signal: signal === 0 ? undefined : signal,
    }
    return [
      {
        job: Number(found[1]),
        ...(found[2] === undefined ? {} : { index: Number(found[2]) }),
        name: name.join("|"),
        state,
        outcome: JobState.outcome(reported),
        exitCode: reported.exitCode,
        signal: reported.signal,
      },
    ]
  })
