/**
 * Worker processes on this machine. A process is started when a call needs one, reused for later calls, and killed
 * when its call is interrupted or takes too long. Calls share the machine's cores, memory and GPUs: a process sees the
 * GPUs of its call alone.
 */
import { availableParallelism, totalmem } from "node:os"

import type { Resources } from "@reelgraph/core"
import { Failure, Workers } from "@reelgraph/engine"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"

import * as Environment from "./Environment.ts"
import { Processes, type Seat } from "./internal/Processes.ts"
import { ResourcePool } from "./internal/ResourcePool.ts"

/** The GPUs of this machine. */
export interface Gpus {
  /** As in CUDA_VISIBLE_DEVICES. */
  readonly devices: ReadonlyArray<string>
  /** Of each. */
  readonly memoryGiB: number
  readonly model?: string
}

export interface Options {
  /** The store that workers read and write: a folder, or a URL such as `s3://bucket/prefix`. */
  readonly store: string
  /** Cores that calls share. @default all of this machine */
  readonly cores?: number
  /** Main memory that calls share, in GiB. @default all of this machine */
  readonly memoryGiB?: number
  /** GPUs that calls share, by memory. Who asks for none then sees none. @default they are nobody's affair */
  readonly gpus?: Gpus
  /** What calls of a node occupy, where that is not what its operator asks for. @default what operators ask for */
  readonly resources?: (node: string) => Resources.Resources | undefined
  /** Variables of worker processes beside those that they are given of this one's: see `Environment`. @default none */
  readonly environment?: Readonly<Record<string, string>>
  /** Names of variables of this process that they are given too; `PREFIX_*` is all that begin so. @default none */
  readonly pass?: ReadonlyArray<string>
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
        gpus: options.gpus?.devices.length ?? 0,
        ...(options.gpus === undefined ? {} : { gpuMemoryGiB: options.gpus.memoryGiB }),
        ...(options.gpus?.model === undefined ? {} : { gpuModel: options.gpus.model }),
      }
      const devices = options.gpus?.devices ?? []
      const gpuMemoryGiB = options.gpus?.memoryGiB ?? 0
      const pool = new ResourcePool({ ...capacity, gpus: devices.map(() => gpuMemoryGiB) })
      const { environment = {}, pass = [], store } = options
      // oxlint-disable-next-line node/no-process-env -- a process boundary: workers are given a part of it
      const given = { ...Environment.passed(process.env, store, pass), ...environment }
      const processes = new Processes(store, given, gpuMemoryGiB)

      yield* Effect.addFinalizer(() => processes.end)
      let stopped = false
      yield* Effect.forkScoped(
        Effect.map(options.stopping ?? Effect.never, () => {
          stopped = true
          processes.stop()
        }),
      )
      const seatOf = (held: ReadonlyArray<number>, { gpu }: Resources.Resources): Seat => ({
        // Where GPUs are shared out, who has none sees none.
        visible: options.gpus === undefined ? undefined : held.map((device) => devices[device]!),
        memoryGiB: held.length === 0 ? 0 : (gpu?.memoryGiB ?? gpuMemoryGiB),
      })
      return Workers.of({
        capacity,
        ...(options.resources === undefined ? {} : { resources: options.resources }),
        call: (job, resources, priority, started, report) =>
          pool.use(resources, priority, (held) =>
            Effect.suspend(() =>
              stopped
                ? Effect.fail(Failure.fromError(new CallsStopped({ node: job.node })))
                : Effect.acquireUseRelease(
                    processes.take(seatOf(held, resources)),
                    (worker) => worker.call(job, started, report),
                    (worker) => processes.giveBack(worker),
                  ),
            ).pipe(Effect.mapError((failure) => (stopped ? { ...failure, retryable: false } : failure))),
          ),
      })
    }),
  )
