/**
 * Which rank of a gang a worker is, from what Slurm sets for it, and what the processes of its calls are given: in
 * variables of our own, which `Gang` of `@reelgraph/training` reads. A task of an array is the only rank of its own.
 *
 * Rank 0 is on the first node of the job, and that node's name is where others reach it. The port is 10,000 + the
 * number of the job modulo 20,000: the same for all ranks and attempts, another for jobs that follow each other, and
 * below those that Linux gives to connections (from 32,768). Where names of nodes lead nowhere or the port is taken,
 * `REELGRAPH_GANG_ADDRESS` and `REELGRAPH_GANG_PORT` in the environment of the job set others.
 */
import { hostname } from "node:os"

import * as Config from "effect/Config"

import * as Hostlist from "./Hostlist.ts"

export interface Rank {
  readonly rank: number
  readonly ranks: number
  /** The rank among those of its node. */
  readonly localRank: number
  readonly ranksPerNode: number
  /** Names of the nodes, that of rank 0 first. */
  readonly nodes: ReadonlyArray<string>
  readonly address: string
  readonly port: number
  /** Its own devices of those that the job has on its node; empty: none. */
  readonly gpus: ReadonlyArray<string>
}

const firstPort = 10_000
const ports = 20_000

const count = (name: string, absent: number) => Config.Int(name).pipe(Config.withDefault(absent))
const nodeList = (name: string) => Config.String(name)

/** The share of one rank in the devices of its node: `SLURM_LOCALID` times the count of one rank, and so on. */
export const share = (
  gpus: ReadonlyArray<string>,
  { localRank, ranksPerNode }: Pick<Rank, "localRank" | "ranksPerNode">,
): ReadonlyArray<string> => {
  const each = Math.floor(gpus.length / ranksPerNode)
  return gpus.slice(localRank * each, (localRank + 1) * each)
}

/** The rank of this process. */
export const current: Config.Config<Rank> = Config.all({
  rank: count("SLURM_PROCID", 0),
  ranks: count("SLURM_NTASKS", 1),
  localRank: count("SLURM_LOCALID", 0),
  nodes: nodeList("SLURM_STEP_NODELIST").pipe(
    Config.orElse(() => nodeList("SLURM_JOB_NODELIST")),
    Config.withDefault(hostname()),
  ),
  job: count("SLURM_JOB_ID", 0),
  gpus: Config.String("CUDA_VISIBLE_DEVICES").pipe(Config.withDefault("")),
  address: Config.String("REELGRAPH_GANG_ADDRESS").pipe(Config.withDefault("")),
  port: Config.Port("REELGRAPH_GANG_PORT").pipe(Config.withDefault(0)),
}).pipe(
  Config.map(({ address, gpus, job, localRank, nodes: list, port, rank, ranks }) => {
    const nodes = Hostlist.expand(list)
    const ranksPerNode = Math.max(1, Math.floor(ranks / nodes.length))
    return {
      rank,
      ranks,
      localRank,
      ranksPerNode,
      nodes,
      address: address === "" ? (nodes[0] ?? hostname()) : address,
      port: port === 0 ? firstPort + (job % ports) : port,
      gpus: share(
        gpus.split(",").filter((gpu) => gpu !== ""),
        { localRank, ranksPerNode },
      ),
    }
  }),
)

/** The variables of the processes of its calls. */
export const environment = ({
  address,
  gpus,
  localRank,
  nodes,
  port,
  rank,
  ranks,
  ranksPerNode,
}: Rank): Readonly<Record<string, string>> => ({
  REELGRAPH_GANG_RANK: String(rank),
  REELGRAPH_GANG_RANKS: String(ranks),
  REELGRAPH_GANG_LOCAL_RANK: String(localRank),
  REELGRAPH_GANG_RANKS_PER_NODE: String(ranksPerNode),
  REELGRAPH_GANG_NODES: nodes.join(","),
  REELGRAPH_GANG_ADDRESS: address,
  REELGRAPH_GANG_PORT: String(port),
  ...(gpus.length === 0 ? {} : { CUDA_VISIBLE_DEVICES: gpus.join(",") }),
})
