/** A small training set in memory: clips and images of random latents, each with two captions. */
import * as CounterRandom from "@reelgraph/core/CounterRandom"

import type * as LatentSet from "../src/LatentSet.ts"

export const channels = 2
export const width = 6
export const tokens = 3

const sizes = { "1x4x4": [1, 4, 4], "2x4x4": [2, 4, 4] } as const

export const set = (count = 12): LatentSet.LatentSet => {
  const of = (what: string, length: number) =>
    CounterRandom.uniforms(CounterRandom.key(1, what, "test"), length).map((u) => 4 * u - 2)
  return {
    buckets: Object.entries(sizes).map(([name, of]) => ({ name, sizes: of, count })),
    count: 2 * count,
    vae: "v",
    textEncoder: "t",
    channels,
    tokens,
    width,
    bytes: 0,
    name: (bucket, index) => `${bucket}/${index}`,
    captions: () => ["a", "b"],
    caption: (_bucket, _index, which) => ["a", "b"][which]!,
    latents: (bucket, index, out, offset) => {
      const [frames, rows, columns] = sizes[bucket as keyof typeof sizes]
      out.set(of(`${bucket}/${index}`, channels * frames * rows * columns), offset)
    },
    states: (bucket, index, which, out, offset) => {
      out.set(of(`${bucket}/${index}/${which}`, (1 + which) * width), offset)
      return 1 + which
    },
  }
}
