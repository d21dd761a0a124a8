/**
 * Does a long run grow? File descriptors and memory of the driver and its worker processes while the engine makes
 * standard clips, one call after the other. Prints Markdown.
 *
 *     node bench/flat.ts [clips]
 *
 * One film of five seconds is standardized over and over: each call has a window of another name, so that no result
 * is cached. Linux only (/proc).
 */
import { execFileSync } from "node:child_process"
import { readdirSync, readFileSync } from "node:fs"
import { cpus } from "node:os"
import { join } from "node:path"

import { Graph } from "@reelgraph/core"
import { Engine } from "@reelgraph/engine"
import { Probe } from "@reelgraph/media"
import * as SampleCorpus from "@reelgraph/media/SampleCorpus"
import { ClipWindow } from "@reelgraph/operators/ports"
import { Standardize } from "@reelgraph/operators/standardize"
import { BlobStore } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

import { storeAndWorkers, temporaryFolder } from "../test/curation.ts"

const count = Number(process.argv[2] ?? 500)
const step = 100

const standardizing = Graph.make("standardizing", { version: "1.0.0" }, (g) => ({
  clips: g.input("windows", ClipWindow).pipe(Standardize({ preset: "ultrafast", crf: 35 })),
}))

interface Usage {
  readonly descriptors: number
  readonly megabytes: number
}

const usageOf = (pid: number): Usage => ({
  descriptors: readdirSync(`/proc/${pid}/fd`).length,
  megabytes: Math.round(
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]) / 1024,
  ),
})

/** Worker processes, oldest first. */
const workers = (): ReadonlyArray<number> =>
  execFileSync("ps", ["--no-headers", "-o", "pid=,args=", "--ppid", String(process.pid)], {
    encoding: "utf8",
  })
    .split("\n")
    .filter((line) => line.includes("workerMain"))
    .map((line) => Number(line.trim().split(/\s+/)[0]))

await Effect.runPromise(
  Effect.gen(function* () {
    const folder = yield* temporaryFolder
    yield* SampleCorpus.render(join(folder, "videos"))
    const path = join(folder, "videos", "tiny.mp4")
    const video = yield* Probe.probe(path)
    const rows: Array<string> = []
    const sample = (done: number) => {
      const all = [process.pid, ...workers()].map(usageOf)
      const [driver, ...children] = all as [Usage, ...Array<Usage>]
      rows.push(
        `| ${done} | ${driver.descriptors} | ${driver.megabytes} | ${children.map(({ descriptors }) => descriptors).join(", ")} | ${children.map(({ megabytes }) => megabytes).join(", ")} |`,
      )
      console.error(rows.at(-1))
    }
    yield* Effect.gen(function* () {
      const blobs = yield* BlobStore
      const file = yield* blobs.reference(path, "video/mp4")
      const summary = {
        frames: 120,
        blackShare: 0,
        longestFreezeSeconds: 0,
        staticShare: 0,
        motionLow: 1,
        motionMedian: 2,
        motionHigh: 5,
        blurMedian: 4,
        blurry: false,
        interlacedShare: 0,
        crop: null,
        cutsPerSecond: 0,
        lumaMean: 120,
      }
      const window = { shot: 0, startSeconds: 0, endSeconds: 5 }
      const windows = Stream.range(1, count).pipe(
        Stream.map((i) => ({ name: `${i}.mp4`, file, video, window, summary })),
      )
      let live: Engine.Live | undefined
      const watch = Effect.gen(function* () {
        for (let next = 20; ; next = next === 20 ? step : next + step) {
          while ((live?.nodes[0]?.tally.kept ?? 0) < next) yield* Effect.sleep(20)
          sample(next)
        }
      })
      const report = yield* Effect.raceFirst(
        Engine.run(standardizing, { windows }, { observe: (now) => (live = now) }),
        Effect.andThen(watch, Effect.never),
      )
      if (report.outputs["clips"] !== count) throw new Error(`${report.outputs["clips"]} clips of ${count}`)
      sample(count)
    }).pipe(Effect.provide(storeAndWorkers(join(folder, "store"))))
    console.log(
      [
        `# ${count} calls of standardize\n`,
        `${new Date().toISOString().slice(0, 10)}, ${cpus().length} x ${cpus()[0]?.model.trim()}, Node ${process.version}, \`node bench/flat.ts ${count}\`\n`,
        "| clips made | driver: descriptors | driver: MiB | workers: descriptors | workers: MiB |\n|---|---|---|---|---|",
        ...rows,
      ].join("\n"),
    )
  }).pipe(Effect.scoped),
)
