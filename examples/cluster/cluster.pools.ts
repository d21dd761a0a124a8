/**
 * The pools of a site, for `reel plan` and `reel run`:
 *
 *     reel plan curate --input videos=./talks --pools cluster.pools.ts
 *
 * Every operator with a module of its own goes to the cheapest pool that holds what it asks for, work without GPUs
 * never to one with GPUs while another holds it; operators without one are quick, and run in the driver.
 */
import { Pool, Pools } from "@reelgraph/placement"

/** A node with eight H100s. Slurm says what yours has: `sinfo --Node --format "%P %N %c %m %G"`. */
const node = {
  /** Cores that jobs may take: `CPUTot`, less what the system keeps (`CoreSpecCount`). */
  cores: 96,
  /** `RealMemory` in GiB, less `MemSpecLimit`. Jobs ask for `--mem`. */
  memoryGiB: 1900,
  /** Jobs ask for `--gpus-per-task=h100:1`: the model is the type of the node's `Gres`. */
  gpus: { model: "h100", count: 8, memoryGiB: 80 },
}

export default Pools.make({
  pools: {
    /**
     * The machine on which `reel` runs. Leave it out to keep work off a login node. Without a price it would be free,
     * and get everything that fits.
     */
    here: Pool.local({ cores: 8, memoryGiB: 32, pricePerNodeHour: 1 }),

    cpu: Pool.slurm({
      /** `--partition` */
      partition: "cpu",
      /** Nodes of it that this run may be on. */
      nodes: 20,
      cores: 64,
      memoryGiB: 250,
      /** In any currency, the same everywhere. An operator pays for its largest share of a node. */
      pricePerNodeHour: 2,
      /** `--time`: when a job ends, its worker is done with its shard, or the shard is done again. */
      timeLimitMinutes: 240,
      /** Tasks at once of a run, all nodes of its graph together. */
      maxJobs: 500,
    }),

    h100: Pool.slurm({
      ...node,
      partition: "h100",
      nodes: 750,
      pricePerGpuHour: 2.5,
      /** One task is a node with all its GPUs, a worker on each: where others share nodes, leave it out. */
      task: "node",
      /** `--account` and `--qos`, which decide what a job is charged to and how soon it starts. */
      account: "video",
      qos: "high",
      /** `--constraint`: of a mixed partition, the nodes with this feature. */
      constraint: "h100&sxm",
      timeLimitMinutes: 1440,
    }),

    /** The same nodes while nobody else wants them: jobs of `h100` take them away (`PreemptMode=REQUEUE`). */
    "h100-spot": Pool.slurm({
      ...node,
      partition: "h100-spot",
      nodes: 200,
      pricePerGpuHour: 1,
      /** No gangs, and no operators without retries, unless they are sent here by name. */
      preemptible: true,
      /** Workers that stay and are given shards one after another: a model is loaded once. */
      allocation: "held",
      timeLimitMinutes: 60,
    }),
  },

  /**
   * Variables of your environment that the processes of calls are given, here and in jobs, beside what programs need:
   * `["HF_TOKEN", "WANDB_*"]`. Nothing else of it travels (docs/guide/trust.md).
   */
  environment: [],

  /**
   * By the name of an operator, or of a node of a graph. An operator says what it needs on CPUs; that it runs on a GPU
   * is said here, beside the param that makes it do so (`--set sample.provider=cuda`). Names that a graph does not
   * have are passed over with a warning, so that one file serves many graphs.
   */
  operators: {
    /** With the memory declared, as many calls share a GPU as fit: here three. */
    sample: { resources: { cores: 2, memoryGiB: 24, gpu: { count: 1, memoryGiB: 24 } } },
    decode: { resources: { cores: 2, memoryGiB: 16, gpu: { count: 1, memoryGiB: 10 } }, perGpu: 4 },
    /** FFmpeg in one process: four cores each. */
    standardize: { resources: { cores: 4, memoryGiB: 4 } },
    measure: { resources: { cores: 2, memoryGiB: 3 } },
    probe: { resources: { cores: 0.25, memoryGiB: 0.5 } },
  },
})
