/**
 * `npm start`: the whole loop on a small corpus that is rendered here. Videos with captions are curated, encoded and
 * trained on, a prompt becomes a video with the model that came out, and the video is followed back to its sources.
 */
import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { fileURLToPath } from "node:url"

import * as Effect from "effect/Effect"

import * as worldCorpus from "./worldCorpus.ts"

process.chdir(fileURLToPath(new URL("..", import.meta.url)))

const videos = "out/videos"
const trained = "out/trained"
const weights = ["weights/vae.safetensors", "weights/denoiser.safetensors"] as const
const [vae, denoiser] = weights
const prompt = "a red ball rises on a white background"

/** Few and careful steps: enough to see how it is done, too few to change much of what the model knows. */
const steps = 30
const settings = {
  "train.steps": steps,
  // Eight clips of 4x9x16 latents.
  "train.batchPlaces": 4608,
  "train.learningRate": 0.0001,
  "train.warmup": 5,
  "train.window": 2,
  "train.threads": 2,
}
const inputs = [`videos=${videos}`, `captions=${videos}`, `vae=${vae}`, `initial=${denoiser}`]
const checkpoint = `${trained}/checkpoint/denoiser-${steps}.safetensors`
const curve = `${trained}/checkpoint/denoiser-${steps}-curve`
const video = "out/a-red-ball-rises.mp4"

/** An escape sequence on a terminal, nothing elsewhere. */
const style = (code: number) => (text: string) =>
  process.stdout.isTTY && process.env["NO_COLOR"] === undefined ? `\u001B[${code}m${text}\u001B[0m` : text
const bold = style(1)
const faint = style(2)

const begun = performance.now()
const seconds = (since: number): string => `${((performance.now() - since) / 1000).toFixed(1)} s`

let part = 0
const heading = (title: string, about: string) => {
  console.log(`\n${bold(`${++part}  ${title}`)}\n   ${faint(about)}\n`)
}

const shown = (arg: string): string => (/^[\w./=@:-]+$/.test(arg) ? arg : `"${arg}"`)

/** Runs `reel`; what it prints is shown, or returned when it is JSON. */
const reel = (...args: ReadonlyArray<string>): string => {
  const isJson = args.includes("--json")
  if (!isJson) {
    const text = args.map((arg) => (arg.startsWith("--") ? ` \\\n      ${arg}` : ` ${shown(arg)}`)).join("")
    console.log(`${faint(`$ npm run reel --${text}`)}\n`)
  }
  const { status, stdout } = spawnSync(process.execPath, ["packages/cli/src/bin.ts", ...args], {
    stdio: ["inherit", isJson ? "pipe" : "inherit", "inherit"],
    encoding: "utf8",
    maxBuffer: 2 ** 28,
  })
  if (status !== 0) process.exit(status ?? 1)
  return stdout
}

interface Lineage {
  readonly targets: ReadonlyArray<string>
  readonly sources: ReadonlyArray<string>
  readonly items: ReadonlyArray<{
    readonly item: string
    readonly name: string | null
    readonly madeBy: ReadonlyArray<{ readonly operator: string; readonly from: ReadonlyArray<string> }>
    readonly keptBy: ReadonlyArray<{ readonly operator: string }>
  }>
}

/** The way back, one line for each operator: what it made, and what had passed which filters. */
const showLineage = ({ items, sources }: Lineage) => {
  const made = new Map<string, { count: number; name: string; filters: Set<string> }>()
  for (const { keptBy, madeBy, name } of items)
    for (const { operator } of madeBy) {
      const entry = made.get(operator) ?? { count: 0, name: name ?? "", filters: new Set() }
      made.set(operator, entry)
      entry.count++
      for (const filter of keptBy) entry.filters.add(filter.operator)
    }
  for (const [operator, { count, filters, name }] of made) {
    const passed = filters.size === 0 ? "" : `, which passed ${[...filters].join(", ")}`
    const what = count === 1 ? name : `${count} items, such as ${name}`
    console.log(`   <- ${operator.padEnd(15)} made ${what}${passed}`)
  }
  const names = new Map(items.map(({ item, name }) => [item, name ?? item]))
  const from = sources.map((source) => names.get(source) ?? source).toSorted()
  const ending = (kind: string) => from.filter((name) => name.endsWith(kind))
  console.log("\n   and from outside came")
  ending(".mp4").forEach((name, i) => console.log(`      ${i === 0 ? "videos  " : "        "}  ${name}`))
  console.log(`      captions  ${ending(".txt").length} text files beside them`)
  console.log(`      weights   ${ending(".safetensors").join(", ")} of the folder weights`)
  console.log(`      prompt    ${prompt}`)
}

const missing = weights.filter((file) => !existsSync(file))
if (missing.length > 0) {
  console.error(`there is no ${missing.join(" and no ")}; they come with the repository: check it out again`)
  process.exit(1)
}

const isRerun = existsSync(checkpoint)
console.log(bold("reelgraph: from videos with captions to a model that makes videos of prompts, and back"))

heading("A corpus", `eight captioned clips of 1280x720, and four bad ones, drawn into ${videos}`)
const rendering = performance.now()
await Effect.runPromise(
  worldCorpus.render(videos, ({ bad, captions, name }) =>
    console.log(`   ${`${name}.mp4`.padEnd(29)} ${bad === undefined ? captions[0] : `BAD: ${bad}`}`),
  ),
)
console.log(`\n   12 videos in ${seconds(rendering)}`)

heading(
  "Curate, encode, train",
  `${steps} steps from the model in ${denoiser}; bad videos are dropped with a reason`,
)
reel(
  "run",
  "train",
  ...inputs.flatMap((input) => ["--input", input]),
  ...Object.entries(settings).flatMap(([param, value]) => ["--set", `${param}=${value}`]),
  "--out",
  trained,
)
console.log(`\n   model  ${checkpoint}\n   loss   ${curve}.csv, drawn in ${curve}.svg`)

heading("Generate", "the model that was just trained makes a video of a prompt")
reel("generate", prompt, "--model", checkpoint, "--out", video)

heading("Trace", "one file in; out comes everything that it was made from, through the model to the videos")
console.log(`${faint(`$ npm run reel -- lineage ${video}   (in short)`)}\n\n   ${video}`)
showLineage(JSON.parse(reel("lineage", video, "--json")) as Lineage)

const cache = isRerun
  ? "What was there from the time before came from the cache: see the column `cached`."
  : "Run it again: everything comes from the cache, in seconds."
console.log(`\n${bold(`Done in ${seconds(begun)}.`)} ${cache}\n`)
console.log(`   Look at
      ${video.padEnd(44)} the video
      ${`${curve}.svg`.padEnd(44)} the loss
      ${`${trained}/clips/`.padEnd(44)} what was good enough to train on
      ${`${videos}/`.padEnd(44)} what it was chosen from

   Try
      npm run reel -- generate "a blue square moves left on a black background" --seed 1
      npm run reel -- train ${videos} --steps 100 --out out/mine.safetensors
      npm run reel -- impact ${videos}/red-circle-right.mp4
`)
