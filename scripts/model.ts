/**
 * `npm run model`: makes the embedded model again, from nothing but numbers: an autoencoder and a denoiser, trained on
 * the sample world by the graphs `world-vae` and `world-train`. Takes hours; what was done is in the store, so that the
 * same command goes on after it was stopped. See weights/README.md.
 */
import { spawnSync } from "node:child_process"
import fs from "node:fs"
import { join, relative } from "node:path"
import { fileURLToPath } from "node:url"

import * as ModelFile from "@reelgraph/models/ModelFile"
import * as Effect from "effect/Effect"

const root = fileURLToPath(new URL("..", import.meta.url))
const out = join(root, "out", "model")
fs.mkdirSync(out, { recursive: true })

/** Clips of the sample world: so many, how freely placed, and what else is special about them. */
const set = (name: string, count: number, positions: number, look: object = {}) =>
  JSON.stringify({ name, seed: 1, count, positions, ...look })

const near = set("near", 4000, 0.35)
const free = set("free", 12_000, 1)
const images = set("images", 6000, 1, { images: 1 })
/** The path of an orbit has a radius and a phase as well: it takes more of them to learn it. */
const orbits = set("orbits", 2000, 1, { motions: ["orbit"] })

const run = (graph: string, to: string, args: ReadonlyArray<string>): string => {
  const folder = join(out, to)
  const all = ["run", graph, ...args, "--seed", "1", "--out", folder]
  console.log(`\n$ reel ${all.map((arg) => (arg.startsWith(root) ? relative(root, arg) : arg)).join(" ")}`)
  const { status } = spawnSync(process.execPath, [join(root, "packages/cli/src/bin.ts"), ...all], {
    cwd: root,
    stdio: "inherit",
  })
  if (status !== 0) process.exit(status ?? 1)
  const made = fs.readdirSync(join(folder, "checkpoint")).find((name) => name.endsWith(".safetensors"))
  if (made === undefined) throw new Error(`${folder} has no checkpoint`)
  return join(folder, "checkpoint", made)
}

const sets = (name: string, lines: ReadonlyArray<string>): string => {
  const path = join(out, `${name}.ndjson`)
  fs.writeFileSync(path, `${lines.join("\n")}\n`)
  return `sets=${path}`
}

const inputs = (...given: ReadonlyArray<string>): ReadonlyArray<string> =>
  given.flatMap((input) => ["--input", input])

const settings = (values: Readonly<Record<string, string | number>>): ReadonlyArray<string> =>
  Object.entries(values).flatMap(([name, value]) => ["--set", `${name}=${value}`])

const vae = run("world-vae", "vae", inputs(sets("vae", [set("vae", 2048, 1)])))

/** What both stages of the denoiser have in common. */
const common = { "train.replicas": 2, "train.learningRate": 2.5e-3 }

// First near the middle, where it soon learns that a clip shows one thing; then anywhere.
const beginning = run("world-train", "beginning", [
  ...inputs(sets("beginning", [near, images]), `vae=${vae}`, "initial="),
  ...settings({
    ...common,
    "train.steps": 800,
    "train.decay": 0,
    "train.shares": '{"4x9x16":0.6,"1x9x16":0.4}',
  }),
])
const denoiser = run("world-train", "denoiser", [
  ...inputs(sets("denoiser", [near, free, orbits, images]), `vae=${vae}`, `initial=${beginning}`),
  ...settings({
    ...common,
    "train.steps": 3500,
    "train.warmup": 1,
    "train.decay": 0.5,
    "train.shares": '{"4x9x16":0.7,"1x9x16":0.3}',
  }),
])

const weights = join(out, "weights")
fs.mkdirSync(weights, { recursive: true })
fs.copyFileSync(vae, join(weights, "vae.safetensors"))
await Effect.runPromise(
  Effect.flatMap(ModelFile.read("denoiser", denoiser), (model) =>
    ModelFile.write(join(weights, "denoiser.safetensors"), model),
  ),
)
console.log(`
The weights are in ${relative(root, weights)}. To measure them:
  WEIGHTS=${relative(root, weights)} npm run bench embedded`)
