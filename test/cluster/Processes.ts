/** The processes of a private Slurm: its daemons, the daemons of jobs, and all that jobs have started. */
import { readdirSync, readFileSync, rmdirSync, rmSync } from "node:fs"
import { basename, join } from "node:path"
import { setTimeout } from "node:timers/promises"

import { slurmConf } from "./Configuration.ts"

/** Set for every daemon, to the folder of its cluster: what they start themselves inherits it, except jobs. */
export const clusterVariable = "REELGRAPH_CLUSTER"

export interface Process {
  readonly pid: number
  readonly parent: number
  readonly command: string
}

/** Text of a file under `/proc`; empty when the process has gone. */
const read = (path: string): string => {
  try {
    return readFileSync(path, "latin1")
  } catch {
    return ""
  }
}

const parentOf = (pid: number): number => {
  const stat = read(`/proc/${pid}/stat`)
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1] ?? 0)
}

/**
 * Everything that belongs to the cluster of a folder: what carries its name in its environment (jobs know the
 * `SLURM_CONF` they run under, and their id), and what descends from that.
 */
export const ofCluster = (folder: string): ReadonlyArray<Process> => {
  const pids = readdirSync("/proc").map(Number).filter(Number.isSafeInteger)
  const found = new Map<number, Process>()
  const parents = new Map(pids.map((pid) => [pid, parentOf(pid)]))
  const add = (pid: number) => {
    const command = read(`/proc/${pid}/cmdline`).replaceAll("\0", " ").trim()
    if (command !== "") found.set(pid, { pid, parent: parents.get(pid)!, command })
  }
  for (const pid of pids) {
    const environment = read(`/proc/${pid}/environ`).split("\0")
    const daemon = environment.includes(`${clusterVariable}=${folder}`)
    const job = () =>
      environment.includes(`SLURM_CONF=${slurmConf(folder)}`) &&
      environment.some((variable) => variable.startsWith("SLURM_JOB_ID="))
    if (daemon || job()) add(pid)
  }
  for (let before = -1; before !== found.size;) {
    before = found.size
    for (const [pid, parent] of parents) if (!found.has(pid) && found.has(parent)) add(pid)
  }
  found.delete(process.pid)
  return [...found.values()]
}

export const signal = (pid: number, name: NodeJS.Signals): void => {
  try {
    process.kill(pid, name)
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ESRCH") throw cause
  }
}

const folders = (path: string): ReadonlyArray<string> => {
  try {
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => join(path, name))
  } catch {
    return []
  }
}

/** Removes a control group and those within it, as far as they are empty. */
const removeGroup = (path: string): void => {
  for (const inner of folders(path)) removeGroup(inner)
  try {
    rmdirSync(path)
  } catch {
    // It has gone already, or is in use by another process.
  }
}

/** Removes what the nodes of a cluster with `cgroup` have left. */
const removeGroups = (folder: string): void => {
  if (!read(slurmConf(folder)).includes("task/cgroup")) return
  const nodes = folders(join(folder, "spool")).map((path) => basename(path))
  const roots = ["/sys/fs/cgroup", ...folders("/sys/fs/cgroup")]
  for (const root of roots) for (const node of nodes) removeGroup(join(root, `slurm_${node}`))
}

/** Kills all of a cluster, however often it starts new processes, and removes its folder. */
export const end = async (folder: string): Promise<void> => {
  for (let round = 0; round < 100; round++) {
    const alive = ofCluster(folder)
    if (alive.length === 0) break
    for (const { pid } of alive) signal(pid, "SIGKILL")
    await setTimeout(20)
  }
  removeGroups(folder)
  rmSync(folder, { recursive: true, force: true, maxRetries: 10 })
}
