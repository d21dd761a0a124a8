/** Partitions as sinfo shows them, and whether a pool is what its partition has. */
import type { Pool } from "@reelgraph/placement"

/** Nodes of a partition that are alike. */
export interface Nodes {
  readonly count: number
  /** As Slurm calls it, without marks: `idle`, `mixed`, `allocated`, `down`, `drained`, ... */
  readonly state: string
  /** Of each node, as is what follows. */
  readonly cores: number
  readonly memoryMiB: number
  readonly gpus: ReadonlyArray<{ readonly model: string; readonly count: number }>
  readonly features: ReadonlyArray<string>
}

export interface Partition {
  readonly name: string
  /** Whether it takes jobs and starts them. */
  readonly up: boolean
  /** The longest a job may take; nothing when there is no limit. */
  readonly maxMinutes: number | undefined
  /** Jobs of a partition of a higher tier go first, and may take nodes away. */
  readonly tier: number
  /** What becomes of its jobs when others take their nodes: `OFF`, `REQUEUE`, `CANCEL`, `SUSPEND`. */
  readonly preemption: string
  readonly nodes: ReadonlyArray<Nodes>
}

/** What sinfo is asked for: a line for each kind of node in each partition. Nothing that is a sum or a `+`. */
export const args: ReadonlyArray<string> = [
  "--noheader",
  "--all",
  "--exact",
  "--format=%R|%a|%l|%D|%T|%c|%m|%p|%M|%G|%f",
]

/** `infinite`, `4-00:00:00`, `1:30:00`, `30:00`. */
const minutes = (text: string): number | undefined => {
  const found = /^(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)$/u.exec(text)
  if (found === null) return undefined
  const [days = 0, hours = 0, rest = 0] = found.slice(1).map((part) => Number(part ?? 0))
  return days * 1440 + hours * 60 + rest
}

/** `gpu:h100:8(S:0-1),gpu:a100:2`, `gpu:4`, `(null)`. */
const gpus = (text: string): Nodes["gpus"] =>
  text
    .replaceAll(/\([^)]*\)/gu, "")
    .split(",")
    .map((part) => part.split(":"))
    .filter(([kind]) => kind === "gpu")
    .map((parts) => ({ model: parts.length > 2 ? parts[1]! : "", count: Number(parts.at(-1)) }))
    .filter(({ count }) => Number.isSafeInteger(count) && count > 0)

/** Partitions in the answer of sinfo. */
export const fromText = (text: string): ReadonlyArray<Partition> => {
  const partitions = new Map<string, Partition & { readonly nodes: Array<Nodes> }>()
  for (const line of text.split("\n").filter((line) => line !== "")) {
    const [
      name = "",
      up,
      limit = "",
      count,
      state = "",
      cores,
      memory,
      tier,
      preemption = "",
      gres = "",
      ...features
    ] = line.split("|")
    const partition = partitions.get(name) ?? {
      name,
      up: up === "up",
      maxMinutes: minutes(limit),
      tier: Number(tier),
      preemption,
      nodes: [],
    }
    partitions.set(name, partition)
    if (Number(count) > 0)
      partition.nodes.push({
        count: Number(count),
        state: state.replace(/[^a-z_]+$/iu, ""),
        cores: Number.parseInt(cores ?? "0", 10),
        memoryMiB: Number.parseInt(memory ?? "0", 10),
        gpus: gpus(gres),
        features: features
          .join("|")
          .split(",")
          .filter((feature) => feature !== "" && feature !== "(null)"),
      })
  }
  return [...partitions.values()]
}

const count = (nodes: ReadonlyArray<Nodes>): number => nodes.reduce((sum, { count }) => sum + count, 0)

const unusable =
  /^(down|drain|drained|draining|fail|failing|error|powered_down|power_down|unknown|maint|no_respond|future)/iu

/** Feature words that a constraint asks for all of; nothing when it is more than words joined by `&`. */
const required = (constraint: string | undefined): ReadonlyArray<string> =>
  constraint === undefined || !/^[\w.&-]+$/u.test(constraint) ? [] : constraint.split("&")

/** Why the partitions cannot serve a pool, a sentence each; empty when they can. */
export const misfits = (
  name: string,
  pool: Pool.Slurm,
  partitions: ReadonlyArray<Partition>,
): ReadonlyArray<string> => {
  const partition = partitions.find((candidate) => candidate.name === pool.partition)
  if (partition === undefined)
    return [
      `pool ${name}: there is no partition ${pool.partition}; there are ${partitions.map(({ name }) => name).join(", ")}`,
    ]
  const at = `pool ${name}: partition ${pool.partition}`
  const problems: Array<string> = []
  if (!partition.up) problems.push(`${at} is closed`)
  if (partition.maxMinutes !== undefined && pool.timeLimitMinutes > partition.maxMinutes)
    problems.push(
      `${at} ends jobs after ${partition.maxMinutes} minutes, and the pool wants ${pool.timeLimitMinutes}`,
    )
  const words = required(pool.constraint)
  const featured = partition.nodes.filter(({ features }) => words.every((word) => features.includes(word)))
  if (featured.length === 0) return [...problems, `${at} has no node with ${pool.constraint}`]
  const fits = featured.filter(
    (node) =>
      node.cores >= pool.cores &&
      node.memoryMiB >= pool.memoryGiB * 1024 &&
      (pool.gpus === undefined ||
        node.gpus.some(({ count, model }) => model === pool.gpus!.model && count >= pool.gpus!.count)),
  )
  if (fits.length === 0) {
    const has = featured.map(
      ({ cores, gpus, memoryMiB }) =>
        `${cores} cores, ${memoryMiB / 1024} GiB${gpus.map(({ count, model }) => `, ${count} ${model}`).join("")}`,
    )
    const wanted = `${pool.cores} cores, ${pool.memoryGiB} GiB${pool.gpus === undefined ? "" : `, ${pool.gpus.count} ${pool.gpus.model}`}`
    return [
      ...problems,
      `${at} has nodes of ${[...new Set(has)].join("; or ")}, and the pool asks for ${wanted}`,
    ]
  }
  if (count(fits) < pool.nodes)
    problems.push(`${at} has ${count(fits)} such nodes, and the pool asks for ${pool.nodes}`)
  if (fits.every(({ state }) => unusable.test(state)))
    problems.push(`${at}: all such nodes are down or drained; sinfo -R shows why`)
  return problems
}
