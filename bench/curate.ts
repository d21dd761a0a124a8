/**
 * Two ratios of `curate`, each measured side by side in one run. Prints Markdown.
 *
 * - The wall time of a cold run over the decode and encode work in it, divided by cores: what waiting, journal and
 *   process starts cost.
 * - Standard clips through the engine over the `ffmpeg` on PATH doing the same job, two at a time, one thread each,
 *   same filters, preset and crf. Ours includes the start of the worker processes, a new store and the journal with
 *   fsync; ffmpeg's a process per clip.
 *
 *     node bench/curate.ts [folder of videos] [rounds]
 *
 * Without a folder the sample corpus is rendered and used.
 */
import { spawn } from "node:child_process"
import { cpus } from "node:os"
import { join } from "node:path"

import { Graph } from "@reelgraph/core"
import { Engine } from "@reelgraph/engine"
import { LocalWorkers } from "@reelgraph/local"
import { Standardize as Media } from "@reelgraph/media"
import * as SampleCorpus from "@reelgraph/media/SampleCorpus"
import { Damaged, IngestChecks, Measure, Motion, Probe, SplitClips } from "@reelgraph/operators/filter"
import { ClipWindow, SourceVideo } from "@reelgraph/operators/ports"
import { Standardize } from "@reelgraph/operators/standardize"
import { BlobStore, Journal, StoreFs } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

import { curateFolder, filesOf, sourcesOf, temporaryFolder } from "../test/curation.ts"

const cores = cpus().length
const rounds = Number(process.argv[3] ?? 3)

/** As `reel` puts them together, with fsync. */
const inStore = (store: string) => Layer.mergeAll(StoreFs.layer(store), LocalWorkers.layer({ store }))

/** Windows of whatever is a whole video. */
const splitting = Graph.make("splitting", { version: "1.0.0" }, (g) => ({
  windows: g
    .input("videos", SourceVideo)
    .pipe(
      Probe(),
      IngestChecks({ minShortSide: 100, minFps: 5, minBitsPerPixel: 0.001 }),
      Measure(),
      Damaged(),
      SplitClips(),
      Motion(),
    ),
}))

const standardizing = Graph.make("standardizing", { version: "1.0.0" }, (g) => ({
  clips: g.input("windows", ClipWindow).pipe(Standardize()),
}))

type Window = (typeof ClipWindow)["record"]["Type"]
const decodeWindow = Schema.decodeUnknownSync(Schema.fromJsonString(ClipWindow.record))

const { crf, gop, preset } = Media.standardEncoder

const ffmpeg = (folder: string, { name, video, window }: Window, out: string): Promise<void> => {
  const large = video.codedWidth >= 1280 || video.codedHeight > 576
  const matrix = video.matrix === "bt709" || (video.matrix === "unknown" && large) ? "bt709" : "smpte170m"
  const filters =
    "fps=24,scale=1280:720:force_original_aspect_ratio=increase:flags=bicubic" +
    `:in_color_matrix=${matrix}:out_color_matrix=bt709:out_range=tv,crop=1280:720,setsar=1,format=yuv420p`
  const input = ["-v", "error", "-nostdin", "-y", "-threads", "1", "-ss", String(window.startSeconds)]
  const picture = [
    "-i",
    join(folder, name),
    "-an",
    "-filter_threads",
    "1",
    "-vf",
    filters,
    "-frames:v",
    "120",
  ]
  const codec = [
    "-c:v",
    "libx264",
    "-threads",
    "1",
    "-preset",
    preset,
    "-crf",
    String(crf),
    "-g",
    String(gop),
  ]
  const colour = ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"]
  const args = [...input, ...picture, ...codec, "-movflags", "+faststart", ...colour, out]
  return new Promise((resolve, reject) => {
    const child = spawn("ffmpeg", args, { stdio: ["ignore", "ignore", "inherit"] })
    child.once("error", reject)
    child.once("exit", (code) => (code === 0 ? resolve() : reject(new Error(`ffmpeg ended with ${code}`))))
  })
}

const timed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const begun = performance.now()
    return Effect.map(effect, (value) => [value, (performance.now() - begun) / 1000] as const)
  })

const median = (values: ReadonlyArray<number>): string =>
  [...values].sort((a, b) => a - b)[values.length >> 1]!.toFixed(2)

await Effect.runPromise(
  Effect.gen(function* () {
    const scratch = yield* temporaryFolder
    const given = process.argv[2]
    const folder = given ?? join(scratch, "corpus")
    if (given === undefined) yield* SampleCorpus.render(folder)

    const runs: Array<{ readonly wall: number; readonly work: number }> = []
    for (let round = 0; round < rounds; round++) {
      const [{ report }, wall] = yield* timed(
        Effect.provide(curateFolder(folder), inStore(join(scratch, `curate-${round}`))),
      )
      const work = ["probe", "measure", "standardize"].map((node) => report.ledger[node]!.busyMs / 1000)
      runs.push({ wall, work: work.reduce((a, b) => a + b) / cores })
      console.error("curate", runs.at(-1))
    }

    const windows = yield* Effect.gen(function* () {
      const report = yield* Engine.run(splitting, { videos: sourcesOf(folder, filesOf(folder)) })
      const journal = yield* Journal
      return journal
        .runItems(journal.run(report.run)!.id, "out:windows")
        .map((item) => decodeWindow(journal.item(item)!.record))
        .filter(
          ({ summary, video }) =>
            !video.hdr &&
            video.rotation === 0 &&
            !video.variableFrameRate &&
            video.range === "tv" &&
            summary.crop === null,
        )
    }).pipe(Effect.provide(inStore(join(scratch, "windows"))))

    const pairs: Array<{ readonly ours: number; readonly work: number; readonly theirs: number }> = []
    for (let round = 0; round < rounds; round++) {
      const [work, ours] = yield* timed(
        Effect.gen(function* () {
          const blobs = yield* BlobStore
          for (const { name } of windows) yield* blobs.reference(join(folder, name), "video/mp4")
          const report = yield* Engine.run(standardizing, { windows: Stream.fromIterable(windows) })
          if (report.outputs["clips"] !== windows.length) throw new Error("not every window became a clip")
          return report.ledger["standardize"]!.busyMs / 1000 / cores
        }).pipe(Effect.provide(inStore(join(scratch, `clips-${round}`)))),
      )
      const [, theirs] = yield* timed(
        Effect.forEach(
          windows,
          (window, i) => Effect.promise(() => ffmpeg(folder, window, join(scratch, `${i}.mp4`))),
          { concurrency: 2, discard: true },
        ),
      )
      pairs.push({ ours, work, theirs })
      console.error("standardize", pairs.at(-1))
    }

    console.log(
      [
        "# curate\n",
        `${new Date().toISOString().slice(0, 10)}, ${cores} x ${cpus()[0]?.model.trim()}, Node ${process.version}, \`node bench/curate.ts${given === undefined ? "" : " FOLDER"}\`, ${filesOf(folder).length} files\n`,
        "| cold run | wall, s | decode and encode work / cores, s | ratio |\n|---|---|---|---|",
        ...runs.map(
          ({ wall, work }, i) =>
            `| ${i + 1} | ${wall.toFixed(2)} | ${work.toFixed(2)} | ${(wall / work).toFixed(2)} |`,
        ),
        `\nmedian ratio ${median(runs.map(({ wall, work }) => wall / work))} (target 1.3)\n`,
        `| ${windows.length} clips, ${preset}, crf ${crf} | through the engine, s | its work / cores, s | ffmpeg, two at a time, s | ratio |\n|---|---|---|---|---|`,
        ...pairs.map(
          ({ ours, theirs, work }, i) =>
            `| ${i + 1} | ${ours.toFixed(2)} | ${work.toFixed(2)} | ${theirs.toFixed(2)} | ${(ours / theirs).toFixed(2)} |`,
        ),
        `\nmedian ratio ${median(pairs.map(({ ours, theirs }) => ours / theirs))} (target 1.15)`,
      ].join("\n"),
    )
  }).pipe(Effect.scoped),
)
