import fs from "node:fs"
import os from "node:os"
import { join } from "node:path"

import { assert, describe, it } from "@effect/vitest"
import * as CounterRandom from "@reelgraph/core/CounterRandom"
import * as VideoDiT from "@reelgraph/models/VideoDiT"
import * as Safetensors from "@reelgraph/onnx/Safetensors"
import * as Session from "@reelgraph/onnx/Session"
import { Effect, Schema } from "effect"

import * as DenoiserRun from "../src/DenoiserRun.ts"
import * as LossCurve from "../src/LossCurve.ts"
import { set, tokens } from "./set.ts"

const config = VideoDiT.config({
  dim: 12,
  heads: 2,
  layers: 2,
  ffn: 24,
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
    "one replica": {},
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
    it.live(
      `goes on from its checkpoint to the last bit: ${name}`,
      () =>
        run(
          Effect.gen(function* () {
            const whole = yield* folder
            const { rows } = yield* DenoiserRun.run(options(whole, fields))
            assert.strictEqual(rows.at(-1)?.step, 16)

            // Stops in the window after the first checkpoint, as a killed process does.
            const broken = yield* folder
            const stopped = yield* Effect.exit(
              DenoiserRun.run({
                ...options(broken, fields),
                onWindow: ({ step }) => (step === 12 ? Effect.die("killed") : Effect.void),
              }),
            )
            assert.isTrue(stopped._tag === "Failure")
            const again = yield* DenoiserRun.run(options(broken, fields))
            // Rows before the checkpoint were read from the table, which has six digits.
            assert.deepStrictEqual(
              losses(again.rows).filter(([step]) => Number(step) > 8),
              losses(rows).filter(([step]) => Number(step) > 8),
            )
            assert.isTrue(bytes(broken).equals(bytes(whole)))
          }),
        ),
      120_000,
    )

  it.live(
    "trains on from a checkpoint and from plain averages",
    () =>
      run(
        Effect.gen(function* () {
          const first = yield* folder
          const { checkpoint } = yield* DenoiserRun.run(options(first))
          const { rows } = yield* DenoiserRun.run({ ...options(yield* folder), initial: checkpoint })
          assert.deepStrictEqual([rows[0]?.step, rows.at(-1)?.step], [20, 32])
        }),
      ),
    120_000,
  )

  it.live(
    "stops when the loss is not a number, and keeps the last good checkpoint",
    () =>
      run(
        Effect.gen(function* () {
          const path = yield* folder
          const error = yield* Effect.flip(
            DenoiserRun.run(
              options(path, { learningRate: 1e18, warmup: 20, optimizer: "adamw", clip: 1e30 }),
            ),
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
    120_000,
  )

  it.live(
    "refuses what does not go together before the first step",
    () =>
      run(
        Effect.gen(function* () {
          const path = yield* folder
          const { checkpoint } = yield* DenoiserRun.run(options(path))
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
          assert.match(yield* refused({ initial: join(path, "curve.csv") }), /safetensors/)
        }),
      ),
    120_000,
  )
})

describe("LossCurve", () => {
  it("reads what it writes and draws every bucket", () => {
    const rows = [20, 40, 60].flatMap((step) =>
      ["all", "4x9x16", "1x9x16"].map((bucket, i) => ({
        step,
        loss: 1 / step + i,
        norm: 0.5,
        rate: 1e-3,
        stepMillis: 12,
        bucket,
      })),
    )
    const csv = LossCurve.toCsv(rows)
    assert.strictEqual(LossCurve.toCsv(LossCurve.fromCsv(csv)), csv)
    assert.throws(() => LossCurve.fromCsv(`${LossCurve.headerLine}1,x,3,4,5,all\n`), /line 2/)
    const svg = LossCurve.toSvg("A & B", rows)
    assert.include(svg, "A &amp; B")
    assert.strictEqual(svg.match(/<polyline/g)?.length, 4)
  })
})
