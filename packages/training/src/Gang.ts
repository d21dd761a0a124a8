/**
 * The gang that a process is a rank of: processes that begin together, on one node or several, and make one call
 * together. Where there is no gang, a process is the only rank of its own.
 *
 * The contract, for operators that are placed with `ranks`:
 *
 * - Every rank makes the same calls in the same order, with the same records, params, sides, key and random numbers:
 *   one program, many data. What a rank does differently, it does by its `rank`.
 * - The result of rank 0 counts, and so does its failure. Another rank whose call fails though that of rank 0 goes on
 *   ends the gang, as does a rank that dies: the call is made again by another gang.
 * - Each rank sees its own share of its node's devices and nothing else, numbered from 0.
 * - The folder of unfinished work is one for all: rank 0 claims it with `Unfinished.use(call.key)`, others take it with
 *   `Unfinished.share(call.key)`. In a store that is a folder of the cluster they all see the same files; in a bucket
 *   only what rank 0 has is kept. So rank 0 reads where to go on from, and tells the others.
 * - `call.stopping` may become true for one rank a window earlier than for another: agree on it (any rank's yes counts)
 *   before you act on it. Then save, and fail with an error that has `retryable: true`, on all ranks.
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

export interface Gang {
  /** From 0; ranks of one node follow each other. */
  readonly rank: number
  readonly ranks: number
  /** The rank among those of its node. */
  readonly localRank: number
  /** The same on every node. */
  readonly ranksPerNode: number
  /** Names of the nodes, that of rank 0 first. */
  readonly nodes: ReadonlyArray<string>
  /** Where rank 0 may be reached by the others: a name or an address, and a port that nobody listens at yet. */
  readonly address: string
  readonly port: number
}

/** The variables by which whoever starts the ranks tells them. */
export const variables = {
  rank: "REELGRAPH_GANG_RANK",
  ranks: "REELGRAPH_GANG_RANKS",
  localRank: "REELGRAPH_GANG_LOCAL_RANK",
  ranksPerNode: "REELGRAPH_GANG_RANKS_PER_NODE",
  /** Separated by commas. */
  nodes: "REELGRAPH_GANG_NODES",
  address: "REELGRAPH_GANG_ADDRESS",
  port: "REELGRAPH_GANG_PORT",
} as const

/** The environment tells of a gang that cannot be. */
export class GangInvalid extends Schema.TaggedError<GangInvalid>()("GangInvalid", {
  problem: Schema.String,
}) {
  override get message() {
    return `the variables ${variables.rank} and the like do not go together: ${this.problem}`
  }
}

/** What trains here is made for one process. */
export class RanksUnsupported extends Schema.TaggedError<RanksUnsupported>()("RanksUnsupported", {
  ranks: Schema.Int,
}) {
  override get message() {
    return `this backend trains on one rank, got ${this.ranks}: the PyTorch backend is not there yet; place it without ranks, or with one`
  }
}

const count = (name: string, absent: number) => Config.Int(name).pipe(Config.withDefault(absent))

const given = Config.all({
  rank: count(variables.rank, 0),
  ranks: count(variables.ranks, 1),
  localRank: count(variables.localRank, 0),
  ranksPerNode: count(variables.ranksPerNode, 1),
  nodes: Config.String(variables.nodes).pipe(Config.withDefault("localhost")),
  address: Config.String(variables.address).pipe(Config.withDefault("")),
  port: Config.Port(variables.port).pipe(Config.withDefault(0)),
})

/** Why there can be no such gang. */
const problemOf = ({
  address,
  localRank,
  nodes,
  port,
  rank,
  ranks,
  ranksPerNode,
}: Gang): string | undefined => {
  if (rank < 0 || rank >= ranks) return `rank ${rank} of ${ranks}`
  if (ranksPerNode * nodes.length !== ranks)
    return `${ranks} ranks, ${ranksPerNode} on each of ${nodes.length} nodes`
  if (localRank < 0 || localRank >= ranksPerNode)
    return `rank ${localRank} of the ${ranksPerNode} on its node`
  return address === "" || port === 0 ? "rank 0 has no address, or no port" : undefined
}

/** The gang of this process, from its environment. */
export const current: Effect.Effect<Gang, Config.ConfigError | GangInvalid> = Effect.gen(function* () {
  const { nodes, ...rest } = yield* given
  // A process that is alone meets nobody: any address will do.
  const here = rest.ranks === 1 && rest.address === "" ? { address: "127.0.0.1", port: 29_500 } : {}
  const gang = { ...rest, ...here, nodes: nodes.split(",") }
  const problem = problemOf(gang)
  return problem === undefined ? gang : yield* new GangInvalid({ problem })
})

/** For what trains in one process: fails where this process is one of several. */
export const requireOneRank: Effect.Effect<void, Config.ConfigError | GangInvalid | RanksUnsupported> =
  Effect.flatMap(current, ({ ranks }) =>
    ranks === 1 ? Effect.void : Effect.fail(new RanksUnsupported({ ranks })),
  )

/**
 * What `torch.distributed.init_process_group(init_method="env://")` reads, for a process that a rank starts
 * (https://docs.pytorch.org/docs/stable/distributed.html#environment-variable-initialization), and what torchrun sets
 * beside it. A rank's devices are numbered from 0, so a rank with one takes `cuda:0`, not `cuda:LOCAL_RANK`.
 */
export const environment = ({ address, localRank, port, rank, ranks, ranksPerNode }: Gang) => ({
  RANK: String(rank),
  WORLD_SIZE: String(ranks),
  LOCAL_RANK: String(localRank),
  LOCAL_WORLD_SIZE: String(ranksPerNode),
  MASTER_ADDR: address,
  MASTER_PORT: String(port),
})
