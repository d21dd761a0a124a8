/**
 * A thread of a worker process that ends the process, with all that it has begun, when its driver has gone. The main thread learns of that by
 * IPC, but not while an operator blocks it.
 */
import { workerData } from "node:worker_threads"

import { killTree } from "./processTree.ts"

// Told by the driver: it may be gone before this thread can ask.
const driver = workerData as number

setInterval(() => {
  // Orphans are given another parent.
  if (process.ppid !== driver) killTree(process.pid)
}, 250)
