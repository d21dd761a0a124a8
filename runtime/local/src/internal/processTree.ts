/**
 * Ends a worker with all that its operators have begun. A worker leads a process group of its own; what left that group
 * (a daemon, a shell's job) is found by its parents while they live, on Linux.
 */
import { readdirSync, readFileSync } from "node:fs"

/** Processes that are looked for, at most: no list of a worker is as long. */
const processesAtMost = 10_000

const childrenOf = (pid: number): ReadonlyArray<number> => {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
      readFileSync(`/proc/${pid}/task/${thread}/children`, "latin1").split(" ").filter(Boolean).map(Number),
    )
  } catch {
    // It has gone, or this is not Linux: the group is all that is known.
    return []
  }
}

const descendantsOf = (pid: number): ReadonlyArray<number> => {
  const found = new Set<number>()
  const open = [pid]
  for (let next = open.pop(); next !== undefined && found.size < processesAtMost; next = open.pop())
    for (const child of childrenOf(next))
      if (!found.has(child)) {
        found.add(child)
        open.push(child)
      }
  return [...found]
}

const killed = (pid: number): boolean => {
  try {
    process.kill(pid, "SIGKILL")
    return true
  } catch {
    return false
  }
}

/** What is left of the group of a worker that has ended. While a process is in it, its number is not given to another. */
export const killGroup = (leader: number): void => void killed(-leader)

/** A worker that lives, and all that it has begun. */
export const killTree = (leader: number): void => {
  const others = descendantsOf(leader)
  // A process that is no leader of a group, as on a system without them, is ended alone.
  const group = () => killed(-leader) || killed(leader)
  // Who ends itself goes last.
  if (leader !== process.pid) group()
  for (const pid of others) killed(pid)
  if (leader === process.pid) group()
}
