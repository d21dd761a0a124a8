/**
 * A private Slurm to play with.
 *
 * ```sh
 * eval "$(node test/cluster/main.ts up)"    # exports SLURM_CONF; then sinfo, sbatch, reel, ...
 * node test/cluster/main.ts down            # the one that SLURM_CONF names, or that of a folder
 * ```
 */
import { dirname } from "node:path"
import { parseArgs } from "node:util"

import * as Cluster from "./Cluster.ts"

const usage = "node test/cluster/main.ts up [--gpu-nodes 2] [--cpu-nodes 2] [--cgroup] | down [FOLDER]"

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    "gpu-nodes": { type: "string", default: "2" },
    "cpu-nodes": { type: "string", default: "2" },
    cgroup: { type: "boolean", default: false },
  },
})

const fail = (why: string): never => {
  console.error(why)
  process.exit(1)
}

const [command, folder] = positionals
if (Cluster.unavailable !== undefined) fail(Cluster.unavailable)
if (command === "up") {
  const { slurmConf } = await Cluster.up({
    gpuNodes: Number(values["gpu-nodes"]),
    cpuNodes: Number(values["cpu-nodes"]),
    cgroup: values.cgroup,
  })
  console.log(`export SLURM_CONF=${slurmConf}`)
} else if (command === "down") {
  // oxlint-disable-next-line node/no-process-env -- a command for people
  const configuration = process.env["SLURM_CONF"]
  const named = folder ?? (configuration === undefined ? undefined : dirname(dirname(configuration)))
  if (named === undefined || !/\/reelgraph-slurm-[^/]+\/?$/u.test(named))
    fail(`no cluster of ours is named: ${usage}`)
  await Cluster.down(named!.replace(/\/$/u, ""))
} else fail(usage)
