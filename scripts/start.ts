/**
 * `npm start`: the main job on a small corpus that is rendered here. Curates it, prints the report, and follows one
 * clip back to its source.
 */
import { spawnSync } from "node:child_process"
import { existsSync, readdirSync } from "node:fs"
import { join, relative } from "node:path"
import { fileURLToPath } from "node:url"

import { SampleCorpus } from "@reelgraph/media"
import * as Effect from "effect/Effect"

const root = fileURLToPath(new URL("..", import.meta.url))
const videos = join(root, "out", "videos")
const clips = join(root, "out", "curated")
const store = join(root, ".reel")

const reel = (...args: ReadonlyArray<string>) => {
  console.log(`\n$ reel ${args.map((arg) => (arg.startsWith(root) ? relative(root, arg) : arg)).join(" ")}`)
  const { status } = spawnSync(process.execPath, [join(root, "packages/cli/src/bin.ts"), ...args], {
    cwd: root,
    stdio: "inherit",
  })
  if (status !== 0) process.exit(status ?? 1)
}

console.log("Rendering a small corpus of videos, good and bad ones, into out/videos ...")
const manifest = await Effect.runPromise(SampleCorpus.render(videos))
for (const { expect, file, note } of manifest)
  console.log(`  ${file.padEnd(22)} ${expect.padEnd(16)} ${note}`)

reel("run", "curate", "--input", "videos=out/videos", "--store", store, "--out", "out/curated")

const made = join(clips, "clips")
const first = existsSync(made)
  ? readdirSync(made)
      .toSorted()
      .find((name) => name.endsWith(".mp4"))
  : undefined
if (first !== undefined) reel("lineage", join("out", "curated", "clips", first), "--store", store)
console.log(
  "\nRun it again: everything comes from the cache. Then try: npm run reel -- plan curate --input videos=out/videos",
)
