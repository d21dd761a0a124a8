/** What the tests on a real Slurm share: a client of a private cluster, and jobs that are shell scripts. */
import { readFileSync } from "node:fs"
import { join } from "node:path"

import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

import * as Cluster from "../../../test/cluster/Cluster.ts"
import { type Job, SlurmClient, type QueuedTask } from "../src/index.ts"

/** A cluster, and a client of it whose driver has a variable of its own. */
export const layer = (cluster: Cluster.Options = {}, client: SlurmClient.Options = {}) =>
  Layer.unwrap(
    Cluster.Cluster.use(({ environment }) =>
      Effect.succeed(
        SlurmClient.layer({ environment: { ...environment, DRIVERS_OWN: "secret" }, ...client }),
      ),
    ),
  ).pipe(Layer.provideMerge(Cluster.layer(cluster)))

/** A job that runs a shell script; its output goes to `out-NAME-INDEX` in the folder of the cluster. */
export const shell = (
  folder: string,
  name: string,
  text: string,
  options: Partial<Job.Options> = {},
): Job.Options => ({
  name,
  partition: "cpu",
  cores: 1,
  memoryMiB: 100,
  timeLimitMinutes: 5,
  output: join(folder, options.array === undefined ? `out-${name}` : `out-${name}-%a`),
  folder,
  command: ["/bin/sh", "-c", text],
  ...options,
})

/** What a job, or a task of it, has written. */
export const output = (folder: string, name: string, index?: number): string => {
  try {
    return readFileSync(join(folder, index === undefined ? `out-${name}` : `out-${name}-${index}`), "utf8")
  } catch {
    return ""
  }
}

/** Asks again and again until the answer is the wanted one, and gives it. */
export const until = <A, E, R>(
  ask: Effect.Effect<A, E, R>,
  wanted: (answer: A) => boolean,
  seconds = 60,
): Effect.Effect<A, E, R> =>
  Effect.gen(function* () {
    for (const last = performance.now() + seconds * 1000; ; yield* Effect.sleep(200)) {
      const answer = yield* ask
      if (wanted(answer)) return answer
      if (performance.now() > last)
        return yield* Effect.die(
          new Error(`not within ${seconds} s: the last answer was ${JSON.stringify(answer)}`),
        )
    }
  })

/** Tasks of this name, in the order of their indices, when they are as wanted. */
export const tasks = (
  name: string,
  wanted: (tasks: ReadonlyArray<QueuedTask.QueuedTask>) => boolean,
  seconds?: number,
) =>
  SlurmClient.SlurmClient.use(({ queue }) =>
    until(
      Effect.map(queue({ name }), (found) => [...found].sort((a, b) => (a.index ?? 0) - (b.index ?? 0))),
      wanted,
      seconds,
    ),
  )

export const all =
  (...tags: ReadonlyArray<QueuedTask.QueuedTask["outcome"]["_tag"]>) =>
  (tasks: ReadonlyArray<QueuedTask.QueuedTask>): boolean =>
    tasks.length > 0 && tasks.every(({ outcome }) => tags.includes(outcome._tag))

export const tags = (tasks: ReadonlyArray<QueuedTask.QueuedTask>): ReadonlyArray<string> =>
  tasks.map(({ outcome }) => outcome._tag)
