/**
 * Graphs on a cluster: an executor filled from a placement. Calls of nodes that are placed in a Slurm pool are made in
 * its jobs; all others as the executor beneath makes them.
 */
import { createHash, randomBytes } from "node:crypto"
import { mkdirSync } from "node:fs"
import { hostname } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

import { type Call, Executor, ExecutorFailed, type Lane, type Part } from "@reelgraph/call"
import { type Placement, Pool } from "@reelgraph/placement"
import { Objects, StoreLocation, StoreUnwritable } from "@reelgraph/store"
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

import type * as Job from "./Job.ts"
import * as Drivers from "./Drivers.ts"
import * as Keyring from "./Keyring.ts"
import * as RunNotes from "./RunNotes.ts"
import * as SessionObjects from "./SessionObjects.ts"
import * as Partition from "./Partition.ts"
import * as RunKey from "./RunKey.ts"
import * as DriverSession from "./DriverSession.ts"
import { SlurmClient } from "./SlurmClient.ts"
import type { QueryError } from "./SlurmError.ts"
import { version } from "./version.ts"

/** Pools of a placement that the cluster does not have as they are described. */
export class PoolsUnusable extends Schema.TaggedError<PoolsUnusable>()("PoolsUnusable", {
  problems: Schema.Array(Schema.String),
}) {
  override get message() {
    return `the cluster does not match the pools file:\n${this.problems.map((problem) => `  ${problem}`).join("\n")}`
  }
}

/** Why a run on a cluster cannot begin. */
export type ClusterError = PoolsUnusable | QueryError | Drivers.SessionError | StoreUnwritable

export interface Options {
  readonly placement: Placement.Placement
  /** Name of the graph: sessions and jobs are called after it. */
  readonly graph: string
  /** The store, as workers find it: an absolute folder that all nodes see, or an s3:// URL. */
  readonly store: string
  /** Folder for the logs of workers, which all nodes see. */
  readonly logs: string
  /** What becomes of jobs when the driver is interrupted. @default "cancel" */
  readonly onInterrupt?: "cancel" | "detach"
  /** Version of reelgraph that workers must have. @default this one */
  readonly version?: string
  /** Folder for keys of runs, private to this user and not in the store. @default one among the user's caches */
  readonly keys?: string
  /** Variables of the driver that workers get as well. */
  readonly environment?: Readonly<Record<string, string>>
  /** Milliseconds between looks into the store for results. @default 300 */
  readonly lookMs?: number
  /** Milliseconds between questions to Slurm. @default 2000 */
  readonly pollMs?: number
  /** Seconds for which a held worker waits for work. @default 60 */
  readonly idleSeconds?: number
}

/** Items of a shard, at most. */
const shardItemsAtMost = 4096
/** A shard should occupy its worker for about so long at least, if there is so much to do. */
const shardMs = 1000
/** Shards that are in hand beyond those that run: what is there to begin with when a worker is free. */
const ahead = 2
const lingerMs = 300

const worker = fileURLToPath(new URL("./taskWorkerMain.ts", import.meta.url))

/** The Slurm pool of a name, if it is one. */
const poolOf = ({ pools }: Placement.Placement, name: string): Pool.Slurm | undefined => {
  const pool = pools.pools[name]
  return pool?._tag === "Slurm" ? pool : undefined
}

const siteOf = (
  options: Options,
  session: string,
  environment: Readonly<Record<string, string>>,
  placed: Placement.PlacedNode,
  pool: Pool.Slurm,
): DriverSession.Site => {
  const { node, perTask, perWorker, ranks, resources, workers } = placed
  const share = resources.cores / pool.cores
  const memoryGiB = resources.memoryGiB ?? pool.memoryGiB * Math.min(1, share)
  const slotsOf = (memoryScale: number): number =>
    Math.max(1, Math.min(perTask, Math.floor(pool.memoryGiB / (memoryGiB * memoryScale) + 1e-9)))
  return {
    node,
    pool: placed.pool,
    nodes: pool.nodes,
    held: placed.how === "held",
    gang: placed.how === "gang",
    workers,
    perWorker,
    maxJobs: pool.maxJobs,
    cores: resources.cores,
    memoryGiB: resources.memoryGiB,
    slots: slotsOf,
    log: (of, id, task) => join(options.logs, of, `${id}_${task}.log`),
    job: (label, tasks, slots, memoryScale, avoid): Job.Options => ({
      name: DriverSession.jobName(session, label),
      comment: `reelgraph ${options.graph}: ${node}`,
      partition: pool.partition,
      ...(pool.constraint === undefined ? {} : { constraint: pool.constraint }),
      ...(pool.account === undefined ? {} : { account: pool.account }),
      ...(pool.qos === undefined ? {} : { qos: pool.qos }),
      cores: Math.max(1, Math.ceil(resources.cores * slots)),
      memoryMiB: Math.max(16, Math.floor(Math.min(memoryGiB * memoryScale * slots, pool.memoryGiB) * 1024)),
      ...(resources.gpu === undefined
        ? {}
        : {
            gpus: {
              count: resources.gpu.count * slots,
              ...(pool.gpus === undefined ? {} : { model: pool.gpus.model }),
            },
          }),
      ...(placed.how === "gang"
        ? { gang: { ranks, nodes: gangNodes(placed, pool) } }
        : { array: { tasks, ...(pool.maxJobs === undefined ? {} : { throttle: pool.maxJobs }) } }),
      timeLimitMinutes: pool.timeLimitMinutes,
      output: join(options.logs, session, placed.how === "gang" ? "%j_0.log" : "%A_%a.log"),
      // Slurm warns up to a minute too early: of a short job that would be before it has done anything.
      ...(pool.timeLimitMinutes < 5 ? {} : { warning: { signal: "USR1", seconds: 60 } }),
      requeue: true,
      excludeNodes: [...avoid],
      environment,
      command: [process.execPath, worker, options.store, session, label, String(slots)],
    }),
  }
}

/** Nodes that the ranks of a gang take: as few as hold them, with equally many on each. */
const gangNodes = ({ ranks, resources }: Placement.PlacedNode, pool: Pool.Slurm): number => {
  const byGpus =
    resources.gpu === undefined
      ? Number.POSITIVE_INFINITY
      : Math.floor((pool.gpus?.count ?? 0) / resources.gpu.count)
  const perNode = Math.max(1, Math.min(byGpus, Math.floor(pool.cores / resources.cores), ranks))
  let nodes = Math.ceil(ranks / perNode)
  while (ranks % nodes !== 0) nodes++
  return nodes
}

/** Items that may wait to be packed: row ids, which take little. */
const waitingItems = 65_536

/** What the engine gives to workers of this many, of so many items that wait. */
const shardItems =
  ({ perWorker, workers }: Placement.PlacedNode) =>
  (waiting: number, meanMs: number | undefined): number => {
    const even = Math.ceil(waiting / workers)
    const worth = meanMs === undefined ? 1 : Math.ceil((shardMs * perWorker) / Math.max(meanMs, 0.01))
    return Math.max(1, Math.min(shardItemsAtMost, Math.max(even, worth)))
  }

/** The calls of a shard as a stream of what comes of them. */
const streamOf = (
  session: DriverSession.DriverSession,
  pool: string,
  shard: Call.Shard,
): Stream.Stream<Part, ExecutorFailed> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const parts = yield* Queue.unbounded<Part, ExecutorFailed | Cause.Done>()
      const give = (part: Part) => void Queue.offerUnsafe(parts, part)
      const fail = (problem: string) =>
        void Effect.runFork(
          Queue.fail(parts, new ExecutorFailed({ node: shard.node, place: `pool ${pool}`, problem })),
        )
      const end = () => void Effect.runFork(Queue.end(parts))
      yield* Effect.addFinalizer(() => Effect.sync(() => session.forget(shard, give)))
      yield* session
        .ask(shard, give, end, fail)
        .pipe(Effect.catch(({ message }) => Effect.sync(() => fail(message))))
      return Stream.fromQueue(parts)
    }),
  )

/** `curate-20260114-093042-3fa9c1` */
const sessionName = (graph: string, nowMs: number): string => {
  const [date = "", time = ""] = new Date(nowMs).toISOString().split("T")
  const random = createHash("sha256").update(randomBytes(16)).digest("hex").slice(0, 6)
  return `${graph}-${date.replaceAll("-", "")}-${time.slice(0, 8).replaceAll(":", "")}-${random}`
}

/** Problems of the pools that a placement uses, as Slurm sees them. */
const checkPools = (placement: Placement.Placement) =>
  Effect.gen(function* () {
    const slurm = yield* SlurmClient
    const partitions = yield* slurm.partitions
    const used = new Set(placement.nodes.map(({ pool }) => pool))
    const problems = [...used].flatMap((name) => {
      const pool = poolOf(placement, name)
      return pool === undefined ? [] : Partition.misfits(name, pool, partitions)
    })
    if (problems.length > 0) return yield* new PoolsUnusable({ problems })
  })

/** What is to be done about another session of the store when a driver begins. */
const takeOver = (session: DriverSession.DriverSession, graph: string, other: Drivers.Other) =>
  Effect.gen(function* () {
    const { host, key, pid, session: name, state } = other
    if (state === "lives") {
      if (other.graph !== graph) return
      const problem = `another driver of ${graph} is at work on this store (process ${pid} on ${host}, session ${name}): what both are asked for is made twice; end one of them, unless their inputs differ`
      session.notes.add(problem)
      return yield* Effect.logWarning(problem)
    }
    if (key === undefined) {
      if (state === "ended")
        session.notes.add(
          "jobs of an earlier driver were not taken over, since the key of its run is not with this user on this machine: nothing that they wrote is trusted, and their calls are made again",
          name,
        )
      return
    }
    const shards = yield* Effect.orElseSucceed(session.adopt(name, key), () => 0)
    if (shards > 0) session.notes.add(RunNotes.takenOver(shards, name))
  })

/**
 * The executor of a placement, with a session that lasts as long as the layer. What drivers of this store that have
 * ended left in the queue or in the store is taken over. At the end jobs that still run are cancelled, unless the
 * driver was interrupted and is to be detached.
 */
export const layer = (
  options: Options,
): Layer.Layer<Executor, ClusterError, Executor | Objects | SlurmClient> =>
  Layer.effect(
    Executor,
    Effect.gen(function* () {
      const beneath = yield* Executor
      const objects = yield* Objects
      const slurm = yield* SlurmClient
      const { placement } = options
      yield* checkPools(placement)
      const name = sessionName(options.graph, yield* Clock.currentTimeMillis)
      const cache = yield* StoreLocation.userCache
      // Modules compiled once: half of what it takes to start a worker. No one else may put code there.
      const compiled = join(cache, "compiled")
      yield* Keyring.privateFolder(compiled)
      const key = RunKey.make()
      const keys = { folder: options.keys ?? join(cache, "keys"), store: options.store }
      yield* Keyring.put(keys.folder, keys.store, name, key)
      const environment = {
        NODE_COMPILE_CACHE: compiled,
        ...options.environment,
        [RunKey.variable]: Redacted.value(key),
      }
      const sites = new Map<string, DriverSession.Site>()
      for (const placed of placement.nodes) {
        const pool = poolOf(placement, placed.pool)
        if (pool !== undefined && placed.how !== "driver" && placed.how !== "local")
          sites.set(placed.node, siteOf(options, name, environment, placed, pool))
      }
      const session = new DriverSession.DriverSession(
        {
          session: name,
          key,
          version: options.version ?? version,
          sites,
          lookMs: options.lookMs ?? 300,
          pollMs: options.pollMs ?? 2000,
          idleSeconds: options.idleSeconds ?? 60,
        },
        objects,
        slurm,
      )
      const lanes = new Map<string, Lane>()
      for (const placed of placement.nodes) {
        const site = sites.get(placed.node)
        if (site === undefined) continue
        lanes.set(placed.node, {
          slots: site.workers * site.perWorker,
          shards: site.workers * ahead + 1,
          waiting: waitingItems,
          packing: { _tag: "Gathered", lingerMs, items: shardItems(placed) },
          state: () => session.state(placed.node),
          run: (shard) => streamOf(session, placed.pool, shard),
        })
      }
      // Slurm starts nothing whose output has no folder.
      yield* Effect.try({
        try: () => mkdirSync(join(options.logs, name), { recursive: true, mode: 0o700 }),
        catch: (cause) => new StoreUnwritable({ path: options.logs, cause }),
      })
      yield* Drivers.begin(objects, name, { host: hostname(), pid: process.pid, graph: options.graph })
      const before = yield* Drivers.others(objects, name, keys)
      for (const other of before) yield* takeOver(session, options.graph, other)
      yield* Effect.forkScoped(session.run)
      const end = (ended: string) =>
        Effect.andThen(Drivers.end(objects, ended), Keyring.remove(keys.folder, ended))
      yield* Effect.addFinalizer((exit) =>
        Effect.gen(function* () {
          const interrupted = Exit.isFailure(exit)
          if (interrupted && options.onInterrupt === "detach") return yield* Drivers.leave(objects, name)
          yield* session.cancel
          // Results that did not count stay until a later driver takes them over, or they expire.
          if (interrupted) return yield* Drivers.leave(objects, name)
          yield* end(name)
          for (const { key: known, session: other, state } of before)
            if (
              state === "forgotten" ||
              (state === "ended" && known !== undefined && session.isThrough(other))
            )
              yield* end(other)
        }).pipe(Effect.ignore),
      )
      return Executor.of({
        capacity: beneath.capacity,
        lacks: (node) => (lanes.has(node.id) ? [] : beneath.lacks(node)),
        lane: (node) => lanes.get(node.id) ?? beneath.lane(node),
        notes: () => [...beneath.notes(), ...session.notes.lines],
      })
    }),
  )

/** Where objects of a session are. */
export const folder = SessionObjects.folder
