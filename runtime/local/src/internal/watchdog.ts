/**
 * A thread of a worker process that ends the process when its driver has gone. The main thread hears of that by
 * IPC, but not while an operator blocks it.
 */
import { workerData } from "node:worker_threads"

// Told by the driver: it may be gone before this thread can ask.
const driver = workerData as number

setInterval(() => {
  // Orphans are given another parent.
  if (process.ppid !== driver) process.kill(process.pid, "SIGKILL")
}, 250)
