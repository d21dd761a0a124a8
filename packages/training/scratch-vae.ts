import { CounterRandom } from "@reelgraph/core"
import * as Gaussian from "@reelgraph/models/Gaussian"
import * as ShiftVae from "@reelgraph/models/ShiftVae"
import * as VaeTraining from "@reelgraph/models/VaeTraining"
import * as Onnx from "@reelgraph/onnx/Onnx"
import * as Safetensors from "@reelgraph/onnx/Safetensors"
import * as Schedule from "@reelgraph/onnx/Schedule"
import * as Session from "@reelgraph/onnx/Session"
import * as Tensor from "@reelgraph/onnx/Tensor"
import * as Trainer from "@reelgraph/onnx/Trainer"
import { Attributes, Render, Scene } from "../world/src/index.ts"
import { Effect } from "effect"
import { appendFileSync } from "node:fs"
import * as Crops from "./src/Crops.ts"
import * as TrainingRun from "./src/TrainingRun.ts"
const arg = (k: string, d: string) => { const i = process.argv.indexOf(`--${k}`); return i > 0 ? process.argv[i + 1]! : d }
const N = +arg("N", "2048"), B = 12, h = 40, w = 64, steps = +arg("steps", "3600"), lr = +arg("lr", "2.5e-3"), reps = +arg("reps", "1"), out = arg("out", "/tmp/scratch/vae"), threads = +arg("threads", "1")
const cfg: ShiftVae.Config = { ...ShiftVae.small, ...JSON.parse(arg("cfg", "{}")) }
const say = (s: string) => { console.log(s); appendFileSync(out + ".log", s + "\n") }
const trained = Attributes.all.filter((a) => !Attributes.heldOut.includes(a))
const t0 = performance.now()
const scene = (a: Attributes.Attributes, i: number, tag: string) => Scene.make(a, CounterRandom.key(1, `${tag}/${i}`, "world"))
const pixels = Array.from({ length: N }, (_, i) => Render.frames(scene(trained[(i * 389) % trained.length]!, i, "train"), { frames: 16 }))
say(`rendered ${N} in ${(performance.now() - t0) | 0} ms`)
const clips: Crops.Clips = { frames: 16, height: 72, width: 128, pixels }
const step = VaeTraining.step({
  vae: { name: "ShiftVae", weightSpecs: ShiftVae.weightSpecs(cfg), encode: (x, p) => ShiftVae.encode(cfg, x, p), decode: (z, p) => ShiftVae.decode(cfg, z, p, { clamp: false }) },
  pixels: [B, 3, 16, h, w], latents: [B, cfg.zDim, 16 / cfg.time, h / cfg.space, w / cfg.space],
  optimizer: { schedule: Schedule.warmup(50, Schedule.chain(Schedule.constant(lr), Math.round(steps * 0.4), Schedule.linearDecay({ peak: lr, steps: Math.round(steps * 0.6), floor: lr * 0.01 }))), clip: 1, beta2: 0.98 },
  ema: 0.995, kl: +arg("kl", "2e-4"),
})
const crop = CounterRandom.key(1, "vae", "crops"), noise = CounterRandom.key(1, "vae", "noise")
const Lz = B * cfg.zDim * (16 / cfg.time) * (h / cfg.space) * (w / cfg.space)
const program = Effect.gen(function* () {
  const trainers = yield* Effect.all(Array.from({ length: reps }, () => Trainer.make(step, { provider: "cpu", threads })))
  for (const t of trainers) yield* t.initialize(ShiftVae.initialize(cfg, 1) as never)
  const began = performance.now()
  let last = 0
  const state = yield* TrainingRun.run({
    replicas: trainers as never, until: steps, window: 20, checkpointEvery: 400,
    work: (s, r) => ({ batches: [{ pixels: Crops.batch(clips, crop, s * reps + r, { batch: B, height: h, width: w, candidates: 2, grid: 2 }), noise: Tensor.make("f32", [B, cfg.zDim, 16 / cfg.time, h / cfg.space, w / cfg.space], Gaussian.normals(noise, Lz, s * reps + r)) }] }) as never,
    onWindow: (q) => Effect.sync(() => { if (q.step - last >= 100) { last = q.step; const c = process.cpuUsage(); say(`${q.step} ${((performance.now() - began) / 1e3) | 0}s cpu ${((c.user + c.system) / 1e6) | 0} psnr ${VaeTraining.psnr(q.report["mse"]!).toFixed(2)} kl ${q.report["kl"]!.toFixed(2)} norm ${q.report["norm"]!.toFixed(3)} ${q.stepMillis | 0}ms`) } }),
    save: (s) => Safetensors.write(out + ".state.safetensors", { tensors: s, metadata: { config: JSON.stringify(cfg) } }),
  })
  const weights = Object.fromEntries(Object.entries(state).filter(([k]) => k.startsWith("ema/")).map(([k, v]) => [k.slice(4), v])) as never
  // evaluation
  const enc = yield* Session.open(Onnx.model(ShiftVae.boundEncoder(cfg, { batch: 4, frames: 16, height: 72, width: 128 }, weights)), { provider: "cpu" })
  const dec = yield* Session.open(Onnx.model(ShiftVae.boundDecoder(cfg, { batch: 4, frames: 4, height: 9, width: 16 }, weights)), { provider: "cpu" })
  let db = 0
  for (let k = 0; k < 48; k += 4) {
    const x = Crops.batch({ ...clips, pixels: Array.from({ length: 4 }, (_, b) => Render.frames(scene(Attributes.heldOut[k + b]!, k + b, "held"), { frames: 16 })) }, crop, k, { batch: 4, height: 72, width: 128, candidates: 1 })
    const { mean } = yield* enc.run({ pixels: x } as never) as any
    const { pixels: y } = yield* dec.run({ latents: mean } as never) as any
    const n = x.data.length / 4
    for (let b = 0; b < 4; b++) { let e = 0; for (let i = b * n; i < (b + 1) * n; i++) e += (y.data[i] - x.data[i]!) ** 2; db += VaeTraining.psnr(e / n) / 48 }
  }
  say(`held-out PSNR ${db.toFixed(2)} dB`)
}).pipe(Effect.scoped, Effect.provide(Session.layer()))
await Effect.runPromise(program as never)
