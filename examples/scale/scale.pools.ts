/**
 * A site for a hundred million clips: a CPU partition for the videos, and 750 nodes of eight H100s.
 *
 * Prices are what clouds list, in USD, and change by the month: put in yours. An H100 of a reserved cluster 2.5 an
 * hour, a node of 192 cores (dual EPYC) without GPUs 6.
 */
import { Pool, Pools } from "@reelgraph/placement"

export default Pools.make({
  pools: {
    /** The driver's machine: operators without a module of their own run there. */
    driver: Pool.local({ cores: 16, memoryGiB: 128, pricePerNodeHour: 1 }),
    cpu: Pool.slurm({
      partition: "cpu",
      nodes: 100,
      cores: 192,
      memoryGiB: 768,
      pricePerNodeHour: 6,
      // 25 GbE to the store, 80 % of it.
      storeMiBps: 2400,
      // Shards of tens of seconds: array tasks would be some hundred starts a second, more than slurmctld makes.
      allocation: "held",
    }),
    h100: Pool.slurm({
      partition: "h100",
      nodes: 750,
      cores: 96,
      memoryGiB: 1900,
      gpus: { model: "h100", count: 8, memoryGiB: 80 },
      pricePerGpuHour: 2.5,
      // 200 GbE for storage beside the InfiniBand of the GPUs, 80 % of it.
      storeMiBps: 19_000,
      allocation: "held",
      timeLimitMinutes: 2880,
    }),
  },
  operators: {
    "encode-latents": { pool: "h100", resources: { cores: 12, memoryGiB: 100, gpu: { count: 1 } } },
    "embed-captions": { pool: "h100", resources: { cores: 12, memoryGiB: 100, gpu: { count: 1 } } },
    train: { pool: "h100", resources: { cores: 12, memoryGiB: 200, gpu: { count: 1 } }, ranks: 6000 },
  },
})
