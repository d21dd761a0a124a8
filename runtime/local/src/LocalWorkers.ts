/**
 * Worker processes on this machine. A process is started when a call needs one, reused for later calls, and killed
 * when its call is interrupted or takes too long. Calls share the machine's cores and memory.
 */
import { availableParallelism, totalmem } from "node:os"

import { Failure, Workers } from "@reelgraph/engine"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"

import { ResourcePool } from "./internal/ResourcePool.ts"
import { WorkerProcess } from "./internal/WorkerProcess.ts"

export interface Options {
  /** The store that workers read and write: a folder, or a URL such as `s3://bucket/prefix`. */
  readonly store: string
  /** Cores that calls share. @default all of this machine */
  readonly cores?: number
  /** Main memory that calls share, in GiB. @default all of this machine */
  readonly memoryGiB?: number
  /** Variables of worker processes beside those of this one. @default none */
  readonly environment?: Readonly<Record<string, string>>
  /**
   * Is done when this process is about to be ended: calls that go on are told (`stopping`), and no other begins: it
   * fails with `CallsStopped`. What fails from then on is not tried again here. @default never
   */
  readonly stopping?: Effect.Effect<void>
}

/** A call that was not begun, as the process that makes calls is about to be ended. */
export class CallsStopped extends Schema.TaggedError<CallsStopped>()("CallsStopped", {
  node: Schema.String,
}) {
  override get message() {
    return `the call of ${this.node} was not begun: what makes calls here is about to be ended; run it again`
  }
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
      let stopped = false
      yield* Effect.forkScoped(
        Effect.map(options.stopping ?? Effect.never, () => {
          stopped = true
          for (const worker of all) worker.stop()
        }),
      )
      const acquire = Effect.sync(() => {
        let worker = idle.pop()
        while (worker !== undefined && !worker.reusable) {
          all.delete(worker)
          worker = idle.pop()
        }
        worker ??= new WorkerProcess(options.store, options.environment ?? {})
        all.add(worker)
        if (stopped) worker.stop()
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
            Effect.suspend(() =>
              stopped
                ? Effect.fail(Failure.fromError(new CallsStopped({ node: job.node })))
                : Effect.acquireUseRelease(acquire, (worker) => worker.call(job, started, report), release),
            ).pipe(Effect.mapError((failure) => (stopped ? { ...failure, retryable: false } : failure))),
          ),
      })
    }),
  )
