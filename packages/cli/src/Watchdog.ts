/**
 * A thread beside the main one, which sees when that is kept busy: it names the node whose call did it, and makes
 * Ctrl-C work meanwhile. Node hears of signals on the main thread alone, so when that does not turn, signals are given
 * back their usual effect, which is to end the process.
 */
import { Worker } from "node:worker_threads"

import * as Context from "effect/Context"

/** Places in the memory that both threads see. */
export const beats = 0
export const current = 1
/** No call has begun. */
export const nobody = -1

/** Milliseconds between two beats of the main thread. */
const beatMs = 250

/** Emitted on `process` by the watchdog when the main thread does not turn. */
export const stalled = "reelgraph:stalled"

export const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const

/** Is told of the nodes of a run, and then of each call that begins on the main thread. */
export const Watchdog = Context.Reference<{
  readonly watch: (nodes: ReadonlyArray<string>) => (node: number) => void
}>("reelgraph/cli/Watchdog", { defaultValue: () => ({ watch: () => () => {} }) })

/** Starts the thread. `restore` are the bytes that bring the terminal back to its usual state. */
export const start = (restore: string): typeof Watchdog.Service => {
  const shared = new Int32Array(new SharedArrayBuffer(8))
  shared[current] = nobody
  const worker = new Worker(new URL("./internal/watchdogThread.ts", import.meta.url), {
    workerData: { shared, restore },
    execArgv: [],
    resourceLimits: { maxYoungGenerationSizeMb: 1, maxOldGenerationSizeMb: 16 },
  })
  worker.unref()
  // A command does its work without it, too.
  worker.on("error", () => {})

  let removed: ReadonlyArray<readonly [NodeJS.Signals, ReadonlyArray<Function>]> = []
  process.on(stalled, () => {
    if (removed.length > 0) return
    removed = signals.map((signal) => [signal, process.rawListeners(signal)] as const)
    for (const signal of signals) process.removeAllListeners(signal)
  })
  setInterval(() => {
    Atomics.add(shared, beats, 1)
    for (const [signal, listeners] of removed)
      for (const listener of listeners) process.on(signal, listener as NodeJS.SignalsListener)
    removed = []
  }, beatMs).unref()

  return {
    watch: (nodes) => {
      worker.postMessage(nodes)
      shared[current] = nobody
      return (node) => {
        shared[current] = node
      }
    },
  }
}
