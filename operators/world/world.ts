/** Clips of the sample world, made to order. */
import { Operator } from "@reelgraph/core"
import * as LatentShards from "@reelgraph/inference/LatentShards"
import * as Tensor from "@reelgraph/onnx/Tensor"
import { BlobStore } from "@reelgraph/store"
import { Render } from "@reelgraph/world"
import * as Effect from "effect/Effect"

import { Frames } from "../ports/index.ts"
import { WorldPart, WorldSet } from "./WorldPorts.ts"
import * as worldScene from "./worldScene.ts"

/** Scenes in a part. */
const partSize = 64

/** Divides a set into parts of 64 scenes. A set that grows keeps the parts it had. */
export const WorldScenes = Operator.flatMap("world-scenes", {
  version: "1.1.0",
  description: "Divides a set of world clips into parts of 64 scenes",
  input: WorldSet,
  output: WorldPart,
  worker: import.meta.url,
  timeoutMs: 60_000,
  run: ({ count, ...look }) =>
    Effect.succeed(
      Array.from({ length: Math.ceil(count / partSize) }, (_, i) => ({
        ...look,
        from: i * partSize,
        to: Math.min(count, (i + 1) * partSize),
      })),
    ),
})

/** Draws the scenes of a part, all of one length into one shard, and says what each shows. */
export const RenderWorld = Operator.flatMap("render-world", {
  version: "1.1.0",
  description: "Draws clips of the sample world, with captions",
  input: WorldPart,
  output: Frames,
  worker: import.meta.url,
  timeoutMs: 600_000,
  needs: [BlobStore],
  run: ({ from, to, ...look }) =>
    Effect.gen(function* () {
      const { height, seconds, width } = look
      const scenes = worldScene.range(look, from, to)
      const made = []
      for (const [frames, alike] of Map.groupBy(scenes, ({ frames }) => frames)) {
        const size = frames * height * width * 3
        const pixels = new Uint8Array(alike.length * size)
        alike.forEach(({ scene }, row) => pixels.set(Render.frames(scene, { frames }), row * size))
        const shard = yield* LatentShards.put({
          frames: Tensor.make("u8", [alike.length, frames, height, width, 3], pixels),
        })
        made.push(
          ...alike.map(({ captions, name }, row) => ({
            name,
            captions,
            seconds,
            pixels: { shard, row },
            frames,
            height,
            width,
          })),
        )
      }
      return made
    }),
})
