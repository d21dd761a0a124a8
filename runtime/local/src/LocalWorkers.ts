/**
 * Worker processes on this machine. A process is started when a call needs one, reused for later calls, and killed
 * when its call is interrupted or takes too long. Calls share the machine's cores, memory and GPUs: a process sees the
 * GPUs of its call alone.
 */
import { availableParallelism, totalmem } from "node:os"

import { Attempts, type Call, Executor, Failure, type Lane, type RunOptions } from "@reelgraph/call"
import { type Graph, Resources } from "@reelgraph/core"
import { Transfers } from "@reelgraph/store"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

import * as Environment from "./Environment.ts"
import * as Overlap from "./internal/Overlap.ts"
import { Processes, type Seat } from "./internal/Processes.ts"
import { ResourcePool } from "./internal/ResourcePool.ts"
import type { Made } from "./internal/WorkerProcess.ts"

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
  /** GPUs that calls share, by memory. A call that asks for none then sees none. @default GPUs are not managed */
  readonly gpus?: Gpus
  /** What calls of a node occupy, where that is not what its operator asks for. @default what operators ask for */
  readonly resources?: (node: string) => Resources.Resources | undefined
  /** Variables of worker processes beside those that they are given of this one's: see `Environment`. @default none */
  readonly environment?: Readonly<Record<string, string>>
  /** Names of variables of this process that they are given too; `PREFIX_*` is all that begin so. @default none */
  readonly pass?: ReadonlyArray<string>
  /**
   * Whether calls on a store in a bucket overlap: while some compute, the inputs of the next are fetched and what the last
   * ones made is stored. Not for the ranks of a gang, which may pass blobs to each other during a call. @default true
   */
  readonly overlap?: boolean
  /**
   * Is done when this process is about to be ended: calls that go on are signalled (`stopping`), and no other begins: it
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

/** Calls in worker processes of this machine. */
export class LocalWorkers extends Context.Service<
  LocalWorkers,
  {
    /** What calls share. */
    readonly capacity: Resources.Capacity
    /** Makes the calls of a shard. Each result is given as soon as it is there; interrupting it kills their workers. */
    readonly perform: (
      shard: Call.Shard,
      options: Attempts.Options & RunOptions,
    ) => Stream.Stream<Call.Result>
  }
>()("reelgraph/local/LocalWorkers") {}

/**
 * Worker processes over a store, and the executor that makes the calls of operators with a `worker` in them; all others
 * are made in the process of the engine.
 */
export const layer = (options: Options): Layer.Layer<LocalWorkers | Executor> =>
  Layer.effectContext(
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
      const stopping = yield* Deferred.make<void>()
      yield* Effect.forkScoped(
        Effect.andThen(options.stopping ?? Effect.never, () => {
          stopped = true
          processes.stop()
          return Deferred.succeed(stopping, undefined)
        }),
      )
      // The blobs of a folder are where they are.
      const overlaps = (options.overlap ?? true) && /^s3:\/\//iu.test(store)
      const shared = overlaps
        ? Overlap.share(yield* Transfers.make(store, given), Deferred.await(stopping))
        : undefined
      const overlapOf = (slots: number) =>
        shared === undefined ? undefined : new Overlap.Overlap(shared, slots)
      const seatOf = (held: ReadonlyArray<number>, { gpu }: Resources.Resources): Seat => ({
        // Where GPUs are shared out, who has none sees none.
        visible: options.gpus === undefined ? undefined : held.map((device) => devices[device]!),
        memoryGiB: held.length === 0 ? 0 : (gpu?.memoryGiB ?? gpuMemoryGiB),
      })
      const make =
        ({ priority, report }: RunOptions, overlap: Overlap.Overlap | undefined): Attempts.Make =>
        (call, started, computed) => {
          const compute = (andThen: (made: Made) => Effect.Effect<Made>) =>
            pool.use(call.resources, priority, (held) =>
              Effect.suspend(() =>
                stopped
                  ? Effect.fail(Failure.fromError(new CallsStopped({ node: call.node })))
                  : Effect.acquireUseRelease(
                      processes.take(seatOf(held, call.resources)),
                      (worker) => worker.call(call, overlap !== undefined, started, report),
                      (worker) => processes.giveBack(worker),
                    ),
              ).pipe(
                Effect.tap(() => Effect.sync(computed)),
                Effect.flatMap(andThen),
              ),
            )
          const made =
            overlap === undefined
              ? Effect.map(compute(Effect.succeed), ({ outcomes }) => outcomes)
              : overlap.call(call, compute)
          return Effect.mapError(made, (failure) => (stopped ? { ...failure, retryable: false } : failure))
        }
      /** Calls at once, those that another is made beside included. */
      const perform = (
        shard: Call.Shard,
        options: Attempts.Options & RunOptions,
        overlap: Overlap.Overlap | undefined,
      ) =>
        Attempts.perform(
          shard,
          { ...options, concurrency: overlap?.calls ?? options.concurrency },
          make(options, overlap),
        )
      const laneOf = (node: Graph.Placed): Lane => {
        const { batchSize, cardinality, concurrency } = node.operator
        const resources = options.resources?.(node.id) ?? node.operator.resources
        const slots = Math.max(1, concurrency ?? Math.floor(capacity.cores / resources.cores))
        const overlap = overlapOf(slots)
        return {
          slots,
          shards: overlap?.calls ?? slots,
          waiting: Math.max(waitingItems, batchSize),
          packing: { _tag: "Fixed", items: cardinality === "batch" ? batchSize : 1 },
          run: (shard, options) =>
            Stream.map(
              perform({ ...shard, resources }, { ...options, concurrency: 1 }, overlap),
              (result) => ({ results: [result] }),
            ),
        }
      }
      const workers = LocalWorkers.of({
        capacity,
        perform: (shard, options) => perform(shard, options, overlapOf(options.concurrency)),
      })
      const executor = Executor.of({
        capacity,
        // What a placement gives a node has been checked against its pool.
        lacks: ({ id, operator }) =>
          options.resources?.(id) === undefined ? Resources.shortfall(operator.resources, capacity) : [],
        lane: (node) => (node.operator.worker === undefined ? undefined : laneOf(node)),
        notes: () => [],
      })
      return Context.make(LocalWorkers, workers).pipe(Context.add(Executor, executor))
    }),
  )

/** Items that wait in front of workers: some for each of the machine's cores. */
const waitingItems = 256
