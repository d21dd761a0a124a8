/**
 * Who is writing: names for temporary files from which another process knows whether their owner is alive.
 *
 * A name is `<place>.<pid>.<start>.<thread>.<count>`. The place stands for the machine and its process-id
 * namespace (a store may be shared over the network), the start is when the process began, so that a process id
 * used again is not mistaken for the owner.
 */
import { createHash } from "node:crypto"
import fs from "node:fs"
import os from "node:os"
import { threadId } from "node:worker_threads"

const namePattern = /^([0-9a-f]{8})\.(\d+)\.(\d+)\.\d+\.\d+(?:\.|$)/

const firstOf = (read: () => string, otherwise: string): string => {
  try {
    return read()
  } catch {
    return otherwise
  }
}

/** When a process began, in clock ticks since boot; "0" where the system does not show it (it is not Linux). */
const startOf = (pid: number): string =>
  firstOf(() => {
    // "pid (name) state ppid ...": the name may hold spaces and brackets, so count from the last bracket.
    const stat = fs.readFileSync(`/proc/${pid}/stat`, "latin1")
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "0"
  }, "0")

const place = createHash("sha256")
  .update(os.hostname())
  .update("\0")
  .update(firstOf(() => fs.readlinkSync("/proc/self/ns/pid"), ""))
  .digest("hex")
  .slice(0, 8)
const start = startOf(process.pid)
let count = 0

/** A name that no other process, thread or call makes. */
export const uniqueName = (): string => `${place}.${process.pid}.${start}.${threadId}.${count++}`

/** Whether the process that made this name is alive; undefined for another machine's names and for strangers. */
export const ownerIsAlive = (name: string): boolean | undefined => {
  const match = namePattern.exec(name)
  if (match === null || match[1] !== place) return undefined
  const pid = Number(match[2])
  try {
    process.kill(pid, 0)
  } catch (cause) {
    // EPERM: alive, and another user's.
    if (!(cause instanceof Error && "code" in cause && cause.code === "EPERM")) return false
  }
  const now = startOf(pid)
  return match[3] === "0" || now === "0" || now === match[3]
}
