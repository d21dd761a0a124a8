import { assert, describe, it } from "@effect/vitest"

import { Partition } from "../src/index.ts"

describe("Partition", () => {
  it("reads sinfo's lines, whatever marks its states carry", () => {
    const text = [
      "gpu|up|4-12:30:00|3|mixed|96|1900000|10|OFF|gpu:h100:8(S:0-1),gpu:a100:2(S:1)|sxm,rack1",
      "gpu|up|4-12:30:00|1|down*|96|1900000|10|OFF|gpu:h100:8(S:0-1)|sxm,rack2",
      "gpu|up|4-12:30:00|2|idle~|96|1900000|10|OFF|gpu:4|(null)",
      "short|inact|30:00|5|idle|16|64000|1|REQUEUE|(null)|(null)",
      "empty|up|infinite|0|n/a|0|0|1|OFF|(null)|(null)",
      "",
    ].join("\n")
    const [gpu, short, empty] = Partition.fromText(text)
    assert.deepInclude(gpu, {
      name: "gpu",
      up: true,
      maxMinutes: 4 * 1440 + 12 * 60 + 30,
      tier: 10,
      preemption: "OFF",
    })
    assert.deepStrictEqual(gpu?.nodes, [
      {
        count: 3,
        state: "mixed",
        cores: 96,
        memoryMiB: 1_900_000,
        features: ["sxm", "rack1"],
        gpus: [
          { model: "h100", count: 8 },
          { model: "a100", count: 2 },
        ],
      },
      {
        count: 1,
        state: "down",
        cores: 96,
        memoryMiB: 1_900_000,
        features: ["sxm", "rack2"],
        gpus: [{ model: "h100", count: 8 }],
      },
      {
        count: 2,
        state: "idle",
        cores: 96,
        memoryMiB: 1_900_000,
        gpus: [{ model: "", count: 4 }],
        features: [],
      },
    ])
    assert.deepInclude(short, { up: false, maxMinutes: 30, preemption: "REQUEUE" })
    assert.deepInclude(empty, { maxMinutes: undefined, nodes: [] })
  })

  it("says what of a pool a partition does not have", () => {
    const partitions = Partition.fromText("gpu|inact|60:00|2|drained*|96|1900000|10|OFF|gpu:h100:8|sxm\n")
    const pool = {
      _tag: "Slurm",
      partition: "gpu",
      nodes: 2,
      cores: 96,
      memoryGiB: 1800,
      timeLimitMinutes: 240,
      pricePerNodeHour: 0,
      pricePerGpuHour: 0,
      preemptible: false,
      allocation: "array",
      task: "worker",
    } as const
    assert.deepStrictEqual(Partition.misfits("train", pool, partitions), [
      "pool train: partition gpu is closed",
      "pool train: partition gpu ends jobs after 60 minutes, and the pool wants 240",
      "pool train: partition gpu: all such nodes are down or drained; sinfo -R shows why",
    ])
  })
})
