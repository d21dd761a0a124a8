import fs from "node:fs"
import os from "node:os"
import { dirname, join } from "node:path"

import { assert, describe, it, layer, vi } from "@effect/vitest"
import * as CounterRandom from "@reelgraph/core/CounterRandom"
import * as ModelFile from "@reelgraph/models/ModelFile"
import * as VideoDiT from "@reelgraph/models/VideoDiT"
import * as Safetensors from "@reelgraph/onnx/Safetensors"
import * as Session from "@reelgraph/onnx/Session"
import { Context, Effect, Layer, Schema } from "effect"

import * as DenoiserRun from "../src/DenoiserRun.ts"
import type * as LossCurve from "../src/LossCurve.ts"
import { set, tokens } from "./set.ts"

// Nothing waits for it: what opens models is slow where others work too.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })

const config = VideoDiT.config({
  dim: 8,
  heads: 2,
  layers: 1,
  ffn: 16,
  textDim: 6,
  freqDim: 8,
  inChannels: 2,
  outChannels: 2,
  patch: [1, 2, 2],
  crossAttention: false,
  jointText: true,
  textMask: true,
  positions: true,
})

const settings = (fields: Partial<typeof DenoiserRun.Settings.Encoded>) =>
  Schema.decodeSync(DenoiserRun.Settings)({
    denoiser: { model: "VideoDiT", config },
    steps: 16,
    batchPlaces: 128,
    // Every size of latents is a graph more to open, which takes longer than to train.
    shares: { "2x4x4": 1 },
    tokens,
    warmup: 4,
    learningRate: 5e-3,
    window: 4,
    checkpointWindows: 2,
    ...fields,
  })

const folder = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(join(os.tmpdir(), "reel-training-"))),
  (path) => Effect.sync(() => fs.rmSync(path, { recursive: true, force: true })),
)

const options = (path: string, fields: Partial<typeof DenoiserRun.Settings.Encoded> = {}) => ({
  set: set(),
  vae: "v",
  textEncoder: "t",
  settings: settings(fields),
  key: CounterRandom.key(1, "run", "train"),
  folder: path,
})

const run = <A, E>(effect: Effect.Effect<A, E, Session.Sessions | import("effect").Scope.Scope>) =>
  effect.pipe(Effect.scoped, Effect.provide(Session.layer()))

const losses = (rows: ReadonlyArray<LossCurve.Row>) =>
  rows.map(({ bucket, loss, norm, step }) => [step, bucket, loss, norm])

const bytes = (path: string) => fs.readFileSync(join(path, "checkpoint.safetensors"))

describe("DenoiserRun", () => {
  for (const [name, fields] of Object.entries({
    "one replica, latents of two sizes": { shares: { "2x4x4": 2, "1x4x4": 1 } },
    "two replicas that are averaged": { replicas: 2 },
    "accumulated gradients": { accumulate: 2 },
    "AdamW and noise prediction": {
      optimizer: "adamw",
      prediction: "epsilon",
      schedule: { kind: "discrete", betas: "linear", betaStart: 1e-4, betaEnd: 0.02, zeroTerminalSnr: false },
      timesteps: { kind: "uniform" },
      imageTimesteps: { kind: "uniform" },
    },
  } satisfies Record<string, Partial<typeof DenoiserRun.Settings.Encoded>>))
    it.live(`goes on from its checkpoint to the last bit: ${name}`, () =>
      run(
        Effect.gen(function* () {
          const whole = yield* folder
          const broken = yield* folder
          const { rows } = yield* DenoiserRun.run({
            ...options(whole, fields),
            // What a process leaves that is killed in the window after the first checkpoint.
            onWindow: ({ step }) =>
              Effect.sync(() => {
                if (step === 12) fs.cpSync(whole, broken, { recursive: true })
              }),
          })
          assert.strictEqual(rows.at(-1)?.step, 16)
          assert.isFalse(bytes(broken).equals(bytes(whole)))
          const began: Array<number> = []
          const again = yield* DenoiserRun.run({
            ...options(broken, fields),
            onWindow: ({ step }) => Effect.sync(() => began.push(step)),
          })
          assert.deepStrictEqual(began, [12, 16])
          // Rows before the checkpoint were read from the table, which has six digits.
          assert.deepStrictEqual(
            losses(again.rows).filter(([step]) => Number(step) > 8),
            losses(rows).filter(([step]) => Number(step) > 8),
          )
          assert.isTrue(bytes(broken).equals(bytes(whole)))
        }),
      ),
    )

  it.live("saves at once when it is told to stop, and goes on from there to the last bit", () =>
    run(
      Effect.gen(function* () {
        const whole = yield* folder
        const broken = yield* folder
        const fields = { checkpointWindows: 100 }
        yield* DenoiserRun.run(options(whole, fields))
        // At steps 4, 8 and 12; what has come to its end is not asked any more.
        let asked = 0
        const stopping = Effect.sync(() => ++asked === 2 || asked > 3)
        const error = yield* Effect.flip(DenoiserRun.run({ ...options(broken, fields), stopping }))
        assert.strictEqual(error._tag, "TrainingInterrupted")
        assert.deepInclude(error, { step: 8, until: 16, retryable: true })
        assert.isFalse(bytes(broken).equals(bytes(whole)))
        const began: Array<number> = []
        const again = yield* DenoiserRun.run({
          ...options(broken, fields),
          stopping,
          onWindow: ({ step }) => Effect.sync(() => began.push(step)),
        })
        assert.deepStrictEqual(began, [12, 16])
        assert.deepStrictEqual(
          again.rows.map(({ step }) => step),
          [4, 8, 12, 16],
        )
        assert.isTrue(bytes(broken).equals(bytes(whole)))
      }),
    ),
  )

  it.live("stops when the loss is not a number, and keeps the last good checkpoint", () =>
    run(
      Effect.gen(function* () {
        const path = yield* folder
        const error = yield* Effect.flip(
          DenoiserRun.run(options(path, { learningRate: 1e18, warmup: 20, optimizer: "adamw", clip: 1e30 })),
        )
        assert.strictEqual(error._tag, "TrainingDiverged")
        assert.match(error.message, /loss .* gradient norm .* lower learningRate/)
        const kept = error._tag === "TrainingDiverged" ? error.checkpoint : undefined
        if (kept !== undefined) {
          const file = yield* Safetensors.open(kept)
          for (const name of file.entries.keys()) yield* file.read(name, { finite: true })
        }
      }),
    ),
  )
})

/** A checkpoint of 16 steps. */
class Trained extends Context.Service<Trained, string>()("test/Trained") {}

const trained = Layer.effect(
  Trained,
  Effect.gen(function* () {
    const { checkpoint } = yield* DenoiserRun.run(options(yield* folder))
    return checkpoint
  }),
).pipe(Layer.provideMerge(Session.layer()))

layer(trained, { timeout: "2 minutes", excludeTestServices: true })("DenoiserRun from a model", (it) => {
  it.effect("trains on from a checkpoint, and begins anew from plain weights", () =>
    Effect.gen(function* () {
      const initial = yield* Trained
      const on = yield* DenoiserRun.run({ ...options(yield* folder), initial })
      assert.deepStrictEqual([on.rows[0]?.step, on.rows.at(-1)?.step], [20, 32])

      const path = yield* folder
      const plain = join(path, "plain.safetensors")
      yield* ModelFile.write(plain, yield* ModelFile.read("denoiser", initial))
      const first: Array<number> = []
      const stopped = yield* Effect.exit(
        DenoiserRun.run({
          ...options(path),
          initial: plain,
          onWindow: ({ step }) =>
            Effect.andThen(
              Effect.sync(() => first.push(step)),
              Effect.die("enough"),
            ),
        }),
      )
      assert.strictEqual(stopped._tag, "Failure")
      assert.deepStrictEqual(first, [4])
    }).pipe(Effect.scoped),
  )

  it.effect("refuses what does not go together before the first step", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const checkpoint = yield* Trained
      const refused = (changes: Partial<DenoiserRun.Options>) =>
        Effect.gen(function* () {
          const error = yield* Effect.flip(
            DenoiserRun.run({
              ...options(yield* folder),
              initial: checkpoint,
              onWindow: () => Effect.die("it trained"),
              ...changes,
            }),
          )
          return error.message
        })
      assert.match(yield* refused({ vae: "w" }), /autoencoder of the initial model: expected w, found v/)
      assert.match(yield* refused({ textEncoder: "u" }), /text encoder of the initial model: expected u/)
      assert.match(
        yield* refused({ settings: settings({ prediction: "v" }) }),
        /prediction .* expected v, found flow/,
      )
      assert.match(
        yield* refused({ settings: settings({ shares: { "9x9x9": 1 } }) }),
        /expected sizes .* 1x4x4, 2x4x4, found 9x9x9/,
      )
      assert.match(
        yield* refused({
          settings: settings({ denoiser: { model: "VideoDiT", config: { ...config, layers: 3 } } }),
        }),
        /structure of the initial model/,
      )
      assert.match(yield* refused({ settings: settings({ provider: "cuda" }) }), /cuda/)

      const whole = fs.readFileSync(checkpoint)
      const damaged = (name: string, change: (file: Buffer) => Buffer) => {
        const file = join(path, name)
        fs.writeFileSync(file, change(Buffer.from(whole)))
        return refused({ initial: file })
      }
      assert.match(
        yield* damaged("short", (file) => file.subarray(0, file.length - 100)),
        /no whole safetensors file/,
      )
      assert.match(
        yield* damaged("nan", (file) => {
          file.writeFloatLE(Number.NaN, file.length - 4)
          return file
        }),
        /expected finite|not finite|finite everywhere/,
      )
      const table = join(path, "curve.csv")
      fs.copyFileSync(join(dirname(checkpoint), "curve.csv"), table)
      assert.match(yield* refused({ initial: table }), /safetensors/)
    }).pipe(Effect.scoped),
  )
})
