/**
 * What becomes of damaged files in `curate`: files of several containers and codecs, damaged in many ways, through
 * the whole graph with params that take whatever decodes. Prints Markdown.
 *
 *     node bench/damage.ts [files]
 *
 * Files are damaged copies of two rendered ones, and of real ones where they are found (REEL_TEST_VIDEOS). Exits
 * with 1 when a file is unaccounted for, a clip is not a standard clip, or a whole file lost its clip.
 */
import { copyFileSync } from "node:fs"
import { cpus } from "node:os"
import { basename, join } from "node:path"

import { Ledger } from "@reelgraph/core"
import * as SampleCorpus from "@reelgraph/media/SampleCorpus"
import * as Effect from "effect/Effect"

import {
  curateFolder,
  digests,
  realVideos,
  storeAndWorkers,
  temporaryFolder,
  verifyClips,
} from "../test/curation.ts"
import { damageFiles, damages, lenient } from "../test/damaging.ts"

const count = Number(process.argv[2] ?? 1000)

/** Small files that make a clip each: H.264 in MP4 with and without other streams, and VP8 in WebM. */
const rendered = ["letterbox.mp4", "tiny.mp4"]
const real = ["mdn_rabbit320.webm", "skv_bikes.mp4", "tc_nasa_13013.mp4"]
/** Too short for a clip: AV1 in MP4, and H.264 in Matroska. */
const short = ["ax_hdr10-av1.mp4", "intel_asl_walk.mkv"]

await Effect.runPromise(
  Effect.gen(function* () {
    const folder = yield* temporaryFolder
    const corpus = join(folder, "corpus")
    const videos = join(folder, "videos")
    yield* SampleCorpus.render(corpus)
    const whole = [
      ...rendered.map((name) => join(corpus, name)),
      ...(realVideos === undefined ? [] : real.map((name) => join(realVideos!, name))),
    ]
    const others = realVideos === undefined ? [] : short.map((name) => join(realVideos!, name))
    const damaged = yield* damageFiles([...whole, ...others], videos, count, 1)
    for (const path of whole) copyFileSync(path, join(videos, basename(path)))

    const alone = yield* Effect.provide(
      curateFolder(
        videos,
        lenient,
        whole.map((path) => basename(path)),
      ),
      storeAndWorkers(join(folder, "alone")),
    )
    const faults: Array<string> = []
    const begun = performance.now()
    const run = Effect.gen(function* () {
      const curation = yield* curateFolder(videos, lenient)
      yield* verifyClips(curation)
      return curation
    })
    const curation = yield* Effect.provide(run, storeAndWorkers(join(folder, "store")))
    const seconds = (performance.now() - begun) / 1000
    const { clips, ends, report } = curation

    faults.push(...Ledger.imbalances(report.ledger))
    const mine = new Set(digests(curation))
    for (const line of digests(alone)) if (!mine.has(line)) faults.push(`a whole file lost its clip: ${line}`)
    const fateOf = new Map<string, string>()
    for (const { name } of clips) fateOf.set(name, "clip")
    for (const { how, name, reason } of ends) {
      if (fateOf.has(name)) faults.push(`${name} ends twice`)
      fateOf.set(name, how === "failed" ? `FAILED ${reason}` : reason)
    }
    for (const { name } of damaged) if (!fateOf.has(name)) faults.push(`${name} is unaccounted for`)

    const fates = [...new Set(damaged.map(({ name }) => fateOf.get(name) ?? "?"))].sort()
    const rows = Object.keys(damages).map((kind) => {
      const names = damaged.filter((file) => file.kind === kind).map(({ name }) => name)
      const counts = fates.map((fate) => names.filter((name) => fateOf.get(name) === fate).length || "")
      return `| ${kind} | ${names.length} | ${counts.join(" | ")} |`
    })
    const total = fates.map((fate) => damaged.filter(({ name }) => fateOf.get(name) === fate).length)
    console.log(
      [
        "# Damaged files\n",
        `${new Date().toISOString().slice(0, 10)}, ${cpus().length} x ${cpus()[0]?.model.trim()}, Node ${process.version}, \`node bench/damage.ts ${count}\`\n`,
        `${count} damaged copies of ${whole.length + others.length} files, and ${whole.length} whole ones, in one run of \`curate\` with params that take whatever decodes: ${seconds.toFixed(0)} s, ${report.outputs["clips"]} clips, every one decoded again and found to be standard. Failed: ${ends.filter(({ how }) => how === "failed").length}. Retries: ${Object.values(report.ledger).reduce((sum, { retries }) => sum + retries, 0)}.\n`,
        `| damage | files | ${fates.join(" | ")} |`,
        `|---|---${"|---".repeat(fates.length)}|`,
        ...rows,
        `| all | ${count} | ${total.join(" | ")} |`,
        ...ends
          .filter(({ how }) => how === "failed")
          .map(({ detail, name, node }) => `\n- ${name} failed in ${node}: ${detail}`),
        ...faults.map((fault) => `\n- FAULT: ${fault}`),
      ].join("\n"),
    )
    if (faults.length > 0) process.exitCode = 1
  }).pipe(Effect.scoped),
)
