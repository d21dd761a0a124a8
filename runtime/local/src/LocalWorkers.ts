/**
 * Worker processes on this machine. A process is started when a call needs one, reused for later calls, and killed
 * when its call is interrupted or takes too long. Calls share the machine's cores and memory.
 */
import { availableParallelism, totalmem } from "node:os"

import { Workers } from "@reelgraph/engine"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

import { ResourcePool } from "./internal/ResourcePool.ts"
import { WorkerProcess } from "./internal/WorkerProcess.ts"

export interface Options {
  /** The store that workers read and write: a folder, or a URL such as `s3://bucket/prefix`. */
  readonly store: string
  /** Cores that calls share. @default all of this machine */
  readonly cores?: number
  /** Main memory that calls share, in GiB. @default all of this machine */
  readonly memoryGiB?: number
}

export const layer = (options: Options): Layer.Layer<Workers> =>
  Layer.effect(
    Workers,
    Effect.gen(function* () {
      const capacity = {
        name: "this machine",
        cores: options.cores ?? availableParallelism(),
        memoryGiB: options.memoryGiB ?? totalmem() / 2 ** 30,
        gpus: 0,
      }
      const pool = new ResourcePool(capacity)
      const idle: Array<WorkerProcess> = []
      const all = new Set<WorkerProcess>()

      yield* Effect.addFinalizer(() =>
        Effect.suspend(() =>
          Effect.forEach(all, (worker) => worker.kill, { concurrency: "unbounded", discard: true }),
        ),
      )
      const acquire = Effect.sync(() => {
        let worker = idle.pop()
        while (worker !== undefined && !worker.reusable) {
          all.delete(worker)
          worker = idle.pop()
        }
        worker ??= new WorkerProcess(options.store)
        all.add(worker)
        return worker
      })
      const release = (worker: WorkerProcess) =>
        Effect.suspend(() => {
          if (worker.reusable) {
            idle.push(worker)
            return Effect.void
          }
          all.delete(worker)
          return worker.kill
        })
      return Workers.of({
        capacity,
        call: (job, resources, priority, started, report) =>
          pool.use(
            resources,
            priority,
            Effect.acquireUseRelease(acquire, (worker) => worker.call(job, started, report), release),
          ),
      })
    }),
  )
