/**
 * Tasks that end before their worker has registered. Their calls are not to blame. Either one node is, which takes and
 * ends one task after another: it is excluded. Or all nodes lack something, such as the installation, the store, or the
 * permission to read it: then the run ends and reports the end of a log.
 */
import { StderrTail } from "@reelgraph/local"

import type * as JobState from "../JobState.ts"
import * as LogEnd from "../LogEnd.ts"
import * as Remedy from "../Remedy.ts"
import * as WorkerExit from "../workerExit.ts"
import type { ActiveJob, ActiveTask, DriverState, Site } from "./driverState.ts"

/** As many, and on so many nodes where a pool has them, are no accident. */
const tasksAtLeast = 3
const nodesAtLeast = 2

/** Bytes at the end of a log that are read. */
const tailBytes = 4096

/** Whether a task has ended by itself before its worker began. */
export const isStartFailure = ({ at }: ActiveTask, how: JobState.Outcome): boolean =>
  at === undefined && how._tag === "Failed" && !how.perhapsMemory && how.exitCode !== WorkerExit.leftInTime

/** Counts a task. Gives why no other is of use, when that is so. */
export const count = (
  driver: DriverState,
  job: ActiveJob,
  task: ActiveTask,
  how: JobState.Outcome,
): string | undefined => {
  const site = driver.options.sites.get(job.node)
  const known = driver.startFailures.get(job.node) ?? { tasks: 0, nodes: new Set<string>() }
  driver.startFailures.set(job.node, known)
  known.tasks++
  known.nodes.add(task.on ?? "a node that Slurm does not name")
  if (known.tasks < tasksAtLeast || known.nodes.size < Math.min(nodesAtLeast, site?.nodes ?? 1))
    return undefined
  if (site === undefined) return undefined
  return `${known.tasks} workers in pool ${site.pool} ended before they began, on ${[...known.nodes].toSorted().join(", ")}: ${Remedy.endOf(how)}; ${logEnd(site, job, task)}`
}

/** Counts a task whose worker could not use the store. Gives why no other is of use, when that is so. */
export const countStoreFailure = (
  driver: DriverState,
  job: ActiveJob,
  task: ActiveTask,
  how: JobState.Outcome,
): string | undefined => {
  const site = driver.options.sites.get(job.node)
  if (site === undefined || how._tag !== "Failed" || how.exitCode !== WorkerExit.storeFailed) return undefined
  const tasks = (driver.storeFailures.get(job.node) ?? 0) + 1
  driver.storeFailures.set(job.node, tasks)
  return tasks < tasksAtLeast
    ? undefined
    : `${tasks} workers in pool ${site.pool} one after another could not read or write the store; ${logEnd(site, job, task)}`
}

const logEnd = (site: Site, job: ActiveJob, task: ActiveTask): string => {
  const log = site.log(job.session, job.id, task.index)
  const text = StderrTail.of(LogEnd.read(log, tailBytes)?.text ?? "")
  return text === "" ? `the log of one, ${log}, has nothing` : `the log of one ends with: ${text}`
}
