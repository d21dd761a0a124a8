import fs from "node:fs"
import os from "node:os"
import { join } from "node:path"

import { assert, describe, it, vi } from "@effect/vitest"
import * as CounterRandom from "@reelgraph/core/CounterRandom"
import * as ShiftVae from "@reelgraph/models/ShiftVae"
import * as Onnx from "@reelgraph/onnx/Onnx"
import * as Session from "@reelgraph/onnx/Session"
import { Effect, Schema } from "effect"

import * as Crops from "../src/Crops.ts"
import * as VaeRun from "../src/VaeRun.ts"

// Nothing waits for it: what opens models is slow where others work too.
vi.setConfig({ testTimeout: 60_000 })

const size = { frames: 2, height: 16, width: 24 }

/** Bright bars on dark grounds, which move by a pixel: a world in small. */
const clips: Crops.Clips = {
  ...size,
  pixels: Array.from({ length: 16 }, (_, clip) => {
    const words = CounterRandom.uniforms(CounterRandom.key(clip, "bars", "test"), 8)
    const [ground, bar] = [words.slice(0, 3), words.slice(3, 6)]
    const from = Math.floor(words[6]! * 16)
    return Uint8Array.from({ length: size.frames * size.height * size.width * 3 }, (_, at) => {
      const pixel = Math.floor(at / 3)
      const x = pixel % size.width
      const frame = Math.floor(pixel / (size.width * size.height))
      const inside = x >= from + frame && x < from + frame + 6
      return inside ? 155 + 100 * bar[at % 3]! : 100 * ground[at % 3]!
    })
  }),
}

const level = { width: 8, blocks: 1, expansion: 1 }

const settings = (fields: Partial<typeof VaeRun.Settings.Encoded> = {}) =>
  Schema.decodeSync(VaeRun.Settings)({
    model: {
      zDim: 4,
      fine: 2,
      space: 4,
      time: 2,
      encoder: { fine: level, coarse: level },
      decoder: { fine: level, coarse: level },
      latentsMean: [0, 0, 0, 0],
      latentsStd: [1, 1, 1, 1],
    },
    steps: 60,
    batch: 4,
    cropHeight: 8,
    cropWidth: 12,
    learningRate: 1e-2,
    warmup: 5,
    window: 10,
    ...fields,
  })

const folder = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(join(os.tmpdir(), "reel-vae-"))),
  (path) => Effect.sync(() => fs.rmSync(path, { recursive: true, force: true })),
)

const options = (path: string, fields: Partial<typeof VaeRun.Settings.Encoded> = {}) => ({
  clips,
  settings: settings(fields),
  key: CounterRandom.key(1, "run", "train-vae"),
  folder: path,
})

const run = <A, E>(effect: Effect.Effect<A, E, Session.Sessions | import("effect").Scope.Scope>) =>
  effect.pipe(Effect.scoped, Effect.provide(Session.layer()))

describe("VaeRun", () => {
  it.live("learns, and measures latents that are then normal: mean 0, deviation 1", () =>
    run(
      Effect.gen(function* () {
        const { rows, spec, weights } = yield* VaeRun.run(options(yield* folder))
        assert.deepStrictEqual(
          rows.map(({ step }) => step),
          [10, 20, 30, 40, 50, 60],
        )
        assert.isBelow(rows.at(-1)!.loss, 0.5 * rows[0]!.loss)

        const { config } = spec
        const graph = ShiftVae.boundEncoder(config, { batch: 16, ...size }, weights)
        const session = yield* Session.open(Onnx.model(graph), { provider: "cpu" })
        const { logvar, mean } = yield* session.run({ pixels: Crops.whole(clips, 0, 16) })
        const plane = mean.data.length / 16 / config.zDim
        for (let z = 0; z < config.zDim; z++) {
          const own = (_: number, i: number) => Math.floor(i / plane) % config.zDim === z
          const means = [...mean.data].filter(own)
          const average = means.reduce((a, b) => a + b, 0) / means.length
          // What a sample of the posterior deviates: of the mean, and around it.
          const spread = [...logvar.data].filter(own).reduce((a, b) => a + Math.exp(b), 0) / means.length
          const variance = means.reduce((a, b) => a + (b - average) ** 2, 0) / means.length + spread
          assert.closeTo(average, 0, 0.1, `mean of channel ${z}`)
          assert.closeTo(Math.sqrt(variance), 1, 0.1, `deviation of channel ${z}`)
        }
        assert.isTrue(config.latentsStd.some((std) => Math.abs(std - 1) > 0.02))
      }),
    ),
  )

  it.live("refuses crops and clips that do not fit before it trains", () =>
    run(
      Effect.gen(function* () {
        const path = yield* folder
        const refused = (changes: Partial<VaeRun.Options>) =>
          Effect.map(
            Effect.flip(
              VaeRun.run({ ...options(path), onWindow: () => Effect.die("it trained"), ...changes }),
            ),
            ({ message }) => message,
          )
        assert.match(
          yield* refused({ settings: settings({ cropWidth: 10 }) }),
          /multiples of 4 pixels within clips of 24x16 with a multiple of 2 frames, found 10x8 of 2 frames/,
        )
        assert.match(yield* refused({ settings: settings({ cropHeight: 20 }) }), /found 12x20/)
        assert.match(yield* refused({ clips: { ...clips, frames: 1 } }), /of 1 frames/)
        assert.match(
          yield* refused({ clips: { ...clips, pixels: clips.pixels.slice(0, 3) } }),
          /at least 4 of one size, found 3/,
        )
        assert.isFalse(fs.existsSync(join(path, "checkpoint.safetensors")))
      }),
    ),
  )
})
