/**
 * Tasks that end before their worker has said a word: no fault of calls. One node may be to blame, which takes and ends
 * one task after another, and is kept away from; or what no node has, such as the installation, the store, or leave to
 * read it: then the run ends, and says what their logs say.
 */
import { LastWords } from "@reelgraph/local"

import type * as JobState from "../JobState.ts"
import * as LogEnd from "../LogEnd.ts"
import * as Notes from "../Notes.ts"
import type { Desk, Job, Site, Task } from "./desk.ts"

/** As many, and on so many nodes where a pool has them, are no accident. */
const tasksAtLeast = 3
const nodesAtLeast = 2

/** Of a log, what is said. */
const tailBytes = 4096

/** Whether a task has ended by itself before its worker began. */
export const isStillborn = ({ at }: Task, how: JobState.Outcome): boolean =>
  at === undefined && how._tag === "Failed" && !how.perhapsMemory && how.exitCode !== Notes.leftInTime

/** Counts a task. Gives why no other is of use, when that is so. */
export const count = (desk: Desk, job: Job, task: Task, how: JobState.Outcome): string | undefined => {
  const site = desk.options.sites.get(job.node)
  const known = desk.stillborn.get(job.node) ?? { tasks: 0, nodes: new Set<string>() }
  desk.stillborn.set(job.node, known)
  known.tasks++
  known.nodes.add(task.on ?? "a node that Slurm does not name")
  if (known.tasks < tasksAtLeast || known.nodes.size < Math.min(nodesAtLeast, site?.nodes ?? 1))
    return undefined
  if (site === undefined) return undefined
  return `${known.tasks} workers in pool ${site.pool} ended before they began, on ${[...known.nodes].toSorted().join(", ")}: ${Notes.endOf(how)}; ${lastWords(site, job, task)}`
}

/** Counts a task whose worker could not use the store. Gives why no other is of use, when that is so. */
export const countCutOff = (desk: Desk, job: Job, task: Task, how: JobState.Outcome): string | undefined => {
  const site = desk.options.sites.get(job.node)
  if (site === undefined || how._tag !== "Failed" || how.exitCode !== Notes.storeFailed) return undefined
  const tasks = (desk.cutOff.get(job.node) ?? 0) + 1
  desk.cutOff.set(job.node, tasks)
  return tasks < tasksAtLeast
    ? undefined
    : `${tasks} workers in pool ${site.pool} one after another could not read or write the store; ${lastWords(site, job, task)}`
}

const lastWords = (site: Site, job: Job, task: Task): string => {
  const log = site.log(job.session, job.id, task.index)
  const said = LastWords.of(LogEnd.read(log, tailBytes)?.text ?? "")
  return said === "" ? `the log of one, ${log}, has nothing` : `the log of one ends with: ${said}`
}
