/** A graph placed on the pools of a person's file, and the workers that this placement asks for. */
import type { Graph } from "@reelgraph/core"
import type { Executor } from "@reelgraph/call"
import type { LocalWorkers } from "@reelgraph/local"
import { Placement, type Pool } from "@reelgraph/placement"
import type { Cluster } from "@reelgraph/slurm"
import type { Objects } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

import * as Installed from "./Installed.ts"
import * as OwnModules from "./OwnModules.ts"
import * as PoolsSource from "./PoolsSource.ts"
import * as StoreFolder from "./StoreFolder.ts"
import { GpusHidden, type StoreUnsupported } from "./UsageError.ts"

/** A placement, and where its pools came from. */
export interface Placed {
  /** As it was given. */
  readonly file: string
  readonly placement: Placement.Placement
  readonly warnings: ReadonlyArray<string>
}

/** Places a graph on the pools of a file. */
export const of: (
  graph: Graph.Graph,
  file: string,
) => Effect.Effect<Placed, PoolsSource.PoolsSourceError | Placement.PlacementImpossible> = Effect.fn(
  "Placed.of",
)(function* (graph: Graph.Graph, file: string) {
  const pools = yield* PoolsSource.find(file)
  const placement = yield* Placement.place(graph, pools)
  return { file, placement, warnings: Placement.warnings(graph, placement) }
})

/** What a run on a cluster needs to know of its command. */
export interface Away {
  /** Name of the graph. */
  readonly graph: string
  readonly store: string
  /** Whether an interruption leaves jobs running, for the same command to take them up again. */
  readonly detach: boolean
}

/** What executes a graph over a store: this machine, and for nodes that are placed under Slurm, its jobs. */
export const executor = (
  placed: Placed | undefined,
  away: Away,
): Layer.Layer<Executor, Cluster.ClusterError | GpusHidden | StoreUnsupported, Objects> => {
  if (placed === undefined) return Installed.executor(away.store)
  return placed.placement.nodes.some(isAway)
    ? cluster(placed, away).pipe(Layer.provide(local(placed, away.store)))
    : local(placed, away.store)
}

const isAway = ({ how }: Placement.PlacedNode): boolean => how !== "driver" && how !== "local"

/** As much of this machine as its pools say, and of that for each call what the placement says. */
const local = ({ placement }: Placed, store: string): Layer.Layer<Executor, GpusHidden> => {
  const pools = Object.values(placement.pools.pools).filter(({ _tag }) => _tag === "Local")
  if (pools.length === 0) return Installed.executor(store, placement.pools.environment)
  const sum = (field: "cores" | "memoryGiB") => pools.reduce((total, pool) => total + pool[field], 0)
  const calls = new Map(
    placement.nodes
      .filter(({ how }) => how === "local")
      .map((node) => [node.node, Placement.ofCall(node, placement.pools.pools[node.pool]!)]),
  )
  return Layer.unwrap(
    Effect.gen(function* () {
      const { LocalWorkers } = yield* Effect.promise(() => import("@reelgraph/local"))
      const gpus = yield* gpusOf(pools.flatMap(({ gpus }) => gpus ?? []))
      return LocalWorkers.layer({
        store,
        cores: sum("cores"),
        memoryGiB: sum("memoryGiB"),
        ...(gpus === undefined ? {} : { gpus }),
        resources: (node) => calls.get(node),
        pass: placement.pools.environment ?? [],
      })
    }),
  )
}

/** The GPUs of this machine that pools speak of: of those that this process may see, the first. */
const gpusOf = (pools: ReadonlyArray<Pool.Gpus>): Effect.Effect<LocalWorkers.Gpus | undefined, GpusHidden> =>
  Effect.gen(function* () {
    const [first] = pools
    if (first === undefined) return undefined
    const wanted = pools.reduce((sum, { count }) => sum + count, 0)
    // oxlint-disable-next-line node/no-process-env -- a process boundary: what CUDA is told
    const visible = process.env["CUDA_VISIBLE_DEVICES"]
    const devices =
      visible === undefined
        ? Array.from({ length: wanted }, (_, device) => String(device))
        : visible.split(",").filter((device) => device !== "")
    if (devices.length < wanted) return yield* new GpusHidden({ wanted, visible: visible ?? "" })
    return {
      devices: devices.slice(0, wanted),
      memoryGiB: Math.min(...pools.map(({ memoryGiB }) => memoryGiB)),
      model: first.model,
    }
  })

/** Variables by which a driver is told how to reach a bucket: jobs are given them by Slurm, never written down. */
const bucketVariables = [
  "AWS_ACCESS_KEY_ID",
  "AWS_SECRET_ACCESS_KEY",
  "AWS_SESSION_TOKEN",
  "AWS_REGION",
  "AWS_DEFAULT_REGION",
  "AWS_PROFILE",
  "AWS_CONFIG_FILE",
  "AWS_SHARED_CREDENTIALS_FILE",
  "AWS_ENDPOINT_URL",
  "AWS_ENDPOINT_URL_S3",
  "AWS_CA_BUNDLE",
  "NODE_EXTRA_CA_CERTS",
]

const cluster = ({ placement }: Placed, { detach, graph, store }: Away) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const { Cluster, SlurmClient } = yield* Effect.promise(() => import("@reelgraph/slurm"))
      const { Environment } = yield* Effect.promise(() => import("@reelgraph/local"))
      // oxlint-disable-next-line node/no-process-env -- a process boundary: names of what jobs are given of it
      const own = Environment.parse(process.env[Environment.moreVariable] ?? "")
      const more = [...own, ...(placement.pools.environment ?? [])]
      const ofStore = /^s3:/iu.test(store) ? bucketVariables : []
      return Cluster.layer({
        placement,
        graph,
        store: yield* StoreFolder.located(store),
        logs: yield* StoreFolder.logs(store),
        onInterrupt: detach ? "detach" : "cancel",
        environment: {
          ...OwnModules.variables(),
          ...(more.length === 0 ? {} : { [Environment.moreVariable]: more.join(",") }),
        },
      }).pipe(Layer.provide(SlurmClient.layer({ pass: [...ofStore, "REEL_CACHE", ...more] })))
    }),
  )
