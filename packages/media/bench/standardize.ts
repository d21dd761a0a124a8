/**
 * Standard clips per second against the `ffmpeg` on PATH doing the same job, side by side: both two processes at
 * a time, one thread each, same filters, preset and crf. Prints a Markdown table.
 *
 *     node packages/media/bench/standardize.ts [folder of videos] [rounds]
 *
 * Without a folder the sample corpus is rendered and used. Ours are two processes that take clip after clip, as
 * the runtime's workers do; ffmpeg is a process per clip. Both include the start of their processes.
 */
import { spawn } from "node:child_process"
import { mkdtempSync, readdirSync, rmSync } from "node:fs"
import { cpus, tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Effect } from "effect"
import { Probe, Standardize } from "../src/index.ts"
import * as SampleCorpus from "../src/SampleCorpus.ts"

interface Job {
  readonly path: string
  readonly startSeconds: number
  readonly out: string
  readonly matrix: string
}

const self = fileURLToPath(import.meta.url)

const exit = (command: string, args: ReadonlyArray<string>): Promise<void> =>
  new Promise((resolve, reject) => {
    const child = spawn(command, [...args], { stdio: ["ignore", "ignore", "inherit"] })
    child.on("error", reject)
    child.on("exit", (code) => (code === 0 ? resolve() : reject(new Error(`${command} ended with ${code}`))))
  })

const ours = (jobs: ReadonlyArray<Job>): Promise<unknown> =>
  Promise.all(
    [0, 1].map((worker) =>
      exit(process.execPath, [self, "--worker", JSON.stringify(jobs.filter((_, i) => i % 2 === worker))]),
    ),
  )

const { preset, crf, gop } = Standardize.standardEncoder

const theirs = async (jobs: ReadonlyArray<Job>): Promise<void> => {
  const worker = async (half: ReadonlyArray<Job>): Promise<void> => {
    for (const { path, startSeconds, out, matrix } of half) {
      const filters =
        "fps=24,scale=1280:720:force_original_aspect_ratio=increase:flags=bicubic" +
        `:in_color_matrix=${matrix}:out_color_matrix=bt709:out_range=tv,crop=1280:720,setsar=1,format=yuv420p`
      const input = `-v error -nostdin -y -threads 1 -ss ${startSeconds} -i`.split(" ")
      const picture = `-an -filter_threads 1 -frames:v 120 -c:v libx264 -threads 1 -preset ${preset} -crf ${crf} -g ${gop} -x264-params mbtree=0`
      const colour = "-movflags +faststart -colorspace bt709 -color_primaries bt709 -color_trc bt709"
      await exit("ffmpeg", input.concat(path, "-vf", filters, picture.split(" "), colour.split(" "), out))
    }
  }
  await Promise.all([0, 1].map((half) => worker(jobs.filter((_, i) => i % 2 === half))))
}

/** Every window of five seconds of every readable file of a folder, HDR and rotated ones left out. */
const jobsOf = async (folder: string, out: string): Promise<ReadonlyArray<Job>> => {
  const jobs: Array<Job> = []
  for (const file of readdirSync(folder).sort()) {
    const path = join(folder, file)
    const exitProbe = await Effect.runPromiseExit(Probe.probe(path))
    if (exitProbe._tag === "Failure") continue
    const info = exitProbe.value
    if (info.hdr || info.rotation !== 0 || !info.durationClaimed || info.variableFrameRate) continue
    const large = info.codedWidth >= 1280 || info.codedHeight > 576
    const matrix = info.matrix === "bt709" || (info.matrix === "unknown" && large) ? "bt709" : "smpte170m"
    for (let k = 0; k < Math.min(2, Math.floor((info.durationSeconds - 0.2) / 5)); k++) {
      jobs.push({ path, startSeconds: k * 5, out: join(out, `${jobs.length}.mp4`), matrix })
    }
  }
  return jobs
}

const seconds = async (work: () => Promise<unknown>): Promise<number> => {
  const start = performance.now()
  await work()
  return (performance.now() - start) / 1000
}

const main = async (folder: string | undefined, rounds: number): Promise<void> => {
  const scratch = mkdtempSync(join(tmpdir(), "reel-bench-"))
  try {
    const videos = folder ?? join(scratch, "corpus")
    if (folder === undefined) await Effect.runPromise(SampleCorpus.render(videos))
    const jobs = await jobsOf(videos, scratch)
    const machine = `${cpus().length} x ${cpus()[0]?.model.trim() ?? "unknown CPU"}`
    console.log(`${new Date().toISOString().slice(0, 10)}, ${machine}, Node ${process.version}`)
    console.log(`${jobs.length} clips, ${preset}, crf ${crf}, 2 processes of 1 thread\n`)
    console.log("| round | ours, s | ffmpeg, s | ratio |\n|---|---|---|---|")
    const ratios: Array<number> = []
    for (let round = 1; round <= rounds; round++) {
      const mine = await seconds(() => ours(jobs))
      const other = await seconds(() => theirs(jobs))
      ratios.push(mine / other)
      console.log(`| ${round} | ${mine.toFixed(2)} | ${other.toFixed(2)} | ${(mine / other).toFixed(2)} |`)
    }
    ratios.sort((a, b) => a - b)
    console.log(`\nmedian ratio ${(ratios[ratios.length >> 1] as number).toFixed(2)}`)
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

if (process.argv[2] === "--worker") {
  const jobs = JSON.parse(process.argv[3] ?? "[]") as ReadonlyArray<Job>
  await Effect.runPromise(
    Effect.forEach(jobs, ({ path, startSeconds, out }) =>
      Standardize.standardize({ path, startSeconds, out }),
    ),
  )
} else await main(process.argv[2], Number(process.argv[3] ?? 3))
