/** What a private Slurm consists of, and the configuration files of its daemons. */
import { hostname } from "node:os"
import { join } from "node:path"

export interface Options {
  /** Nodes of the partitions `h100` and `h100-spot`: 32 cores and 200,000 MB each, as configured. @default 2 */
  readonly gpuNodes?: number
  /** Device nodes that stand for H100s, on each of them. @default 8 */
  readonly gpusPerNode?: number
  /** Nodes of the partition `cpu`: 16 cores and 64,000 MB each. @default 2 */
  readonly cpuNodes?: number
  /**
   * Whether jobs are held to their memory by cgroups: where they can be written, and by one cluster at a time, for
   * nodes of the same name share them. @default false
   */
  readonly cgroup?: boolean
  /** Seconds between the warning of a job that is preempted and its end. @default 3 */
  readonly graceSeconds?: number
  /** Seconds without an answer after which a node is down. @default 6 */
  readonly nodeTimeoutSeconds?: number
  /** Seconds for which jobs that ended stay in the queue. @default 300 */
  readonly minJobAgeSeconds?: number
  /** One more than the greatest index of an array. @default 10001 */
  readonly maxArraySize?: number
  /** Jobs, and tasks of arrays, that there may be. @default 50000 */
  readonly maxJobCount?: number
}

export interface Configuration extends Required<Options> {
  /** Under which everything lies. */
  readonly folder: string
  /** As Slurm calls the cluster. */
  readonly name: string
  readonly controllerPort: number
  /** Of the slurmd of each node, in the order of {@link nodes}. */
  readonly nodePorts: ReadonlyArray<number>
}

export const defaults: Required<Options> = {
  gpuNodes: 2,
  gpusPerNode: 8,
  cpuNodes: 2,
  cgroup: false,
  graceSeconds: 3,
  nodeTimeoutSeconds: 6,
  minJobAgeSeconds: 300,
  maxArraySize: 10_001,
  maxJobCount: 50_000,
}

const names = (kind: string, count: number): ReadonlyArray<string> =>
  Array.from({ length: count }, (_, i) => `${kind}-${i}`)

/** Names of the nodes, those with GPUs first. */
export const nodes = ({ cpuNodes, gpuNodes }: Required<Options>): ReadonlyArray<string> => [
  ...names("h100", gpuNodes),
  ...names("cpu", cpuNodes),
]

export const slurmConf = (folder: string): string => join(folder, "etc", "slurm.conf")
export const mungeSocket = (folder: string): string => join(folder, "munge", "socket")

const tracking = (cgroup: boolean): ReadonlyArray<string> =>
  cgroup
    ? ["ProctrackType=proctrack/cgroup", "TaskPlugin=task/cgroup", "JobAcctGatherType=jobacct_gather/cgroup"]
    : [
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "JobAcctGatherType=jobacct_gather/linux",
        "JobAcctGatherParams=OverMemoryKill",
      ]

const partitions = (configuration: Configuration): ReadonlyArray<string> => {
  const gpu = names("h100", configuration.gpuNodes).join(",")
  const cpu = names("cpu", configuration.cpuNodes).join(",")
  const common = "DefaultTime=60 MaxTime=INFINITE State=UP"
  return [
    ...(gpu === ""
      ? []
      : [
          `PartitionName=h100 Nodes=${gpu} PriorityTier=10 PreemptMode=OFF ${common}`,
          `PartitionName=h100-spot Nodes=${gpu} PriorityTier=1 PreemptMode=REQUEUE GraceTime=${configuration.graceSeconds} ${common}`,
        ]),
    ...(cpu === ""
      ? []
      : [`PartitionName=cpu Nodes=${cpu} Default=YES PriorityTier=10 PreemptMode=OFF ${common}`]),
  ]
}

/** The configuration files by their names. */
export const files = (configuration: Configuration): Readonly<Record<string, string>> => {
  const { folder, gpusPerNode } = configuration
  const host = hostname().split(".")[0]!
  const lines = [
    `ClusterName=${configuration.name}`,
    `SlurmctldHost=${host}(127.0.0.1)`,
    `SlurmctldPort=${configuration.controllerPort}`,
    "SlurmUser=root",
    "SlurmdUser=root",
    "AuthType=auth/munge",
    "CredType=cred/munge",
    `AuthInfo=socket=${mungeSocket(folder)}`,
    `StateSaveLocation=${folder}/state`,
    `SlurmctldPidFile=${folder}/run/slurmctld.pid`,
    `SlurmdPidFile=${folder}/run/slurmd.%n.pid`,
    `SlurmdSpoolDir=${folder}/spool/%n`,
    `SlurmctldLogFile=${folder}/log/slurmctld.log`,
    `SlurmdLogFile=${folder}/log/slurmd.%n.log`,
    "PlugStackConfig=/dev/null",
    "MpiDefault=none",
    "AccountingStorageType=accounting_storage/none",
    ...tracking(configuration.cgroup),
    "JobAcctGatherFrequency=1",
    // Nodes are as configured here, not as this machine is.
    "SlurmdParameters=config_overrides",
    "ReturnToService=2",
    `SlurmdTimeout=${configuration.nodeTimeoutSeconds}`,
    "SlurmctldTimeout=10",
    "KillWait=2",
    `MinJobAge=${configuration.minJobAgeSeconds}`,
    `MaxArraySize=${configuration.maxArraySize}`,
    `MaxJobCount=${configuration.maxJobCount}`,
    "SelectType=select/cons_tres",
    "SelectTypeParameters=CR_Core_Memory",
    "DefMemPerCPU=1000",
    "SchedulerType=sched/backfill",
    "SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=10000,bf_interval=1,bf_min_age_reserve=0,preempt_send_user_signal",
    "PriorityType=priority/multifactor",
    "PriorityWeightPartition=1000",
    "PreemptType=preempt/partition_prio",
    "PreemptMode=REQUEUE",
    "JobRequeue=1",
    "GresTypes=gpu",
    ...nodes(configuration).map((node, i) => {
      const [, number] = node.split("-")
      const has = node.startsWith("h100")
        ? `CPUs=32 RealMemory=200000 Gres=gpu:h100:${gpusPerNode} Feature=h100,sxm,rack${Number(number) >> 1}`
        : "CPUs=16 RealMemory=64000 Feature=cpu"
      return `NodeName=${node} NodeHostname=${host} NodeAddr=127.0.0.1 Port=${configuration.nodePorts[i]} ${has} State=UNKNOWN`
    }),
    ...partitions(configuration),
  ]
  return {
    "slurm.conf": `${lines.join("\n")}\n`,
    "gres.conf": names("h100", configuration.gpuNodes)
      .map((node) => `NodeName=${node} Name=gpu Type=h100 File=${folder}/dev/nvidia[0-${gpusPerNode - 1}]\n`)
      .join(""),
    "cgroup.conf":
      "CgroupAutomount=no\nConstrainRAMSpace=yes\nConstrainSwapSpace=no\nConstrainCores=no\nConstrainDevices=no\n",
  }
}
