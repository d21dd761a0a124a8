/**
 * The `curate` graph on real files (SOURCES.md), where they are found: what its defaults make of them, what the
 * filters make of every window of five seconds when ingest takes nearly everything, and the clips.
 */
import { assert, layer } from "@effect/vitest"
import { Graph, Ledger } from "@reelgraph/core"
import { Engine } from "@reelgraph/engine"
import { curate } from "@reelgraph/graphs/curate"
import { SeriesFile, Shots } from "@reelgraph/media"
import {
  Black,
  Blurry,
  Damaged,
  IngestChecks,
  Measure,
  Motion,
  Probe,
  SplitClips,
} from "@reelgraph/operators/filter"
import { ClipWindow, MeasuredVideo, SourceVideo } from "@reelgraph/operators/ports"
import { BlobStore, Journal } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { join } from "node:path"

import {
  curateFolder,
  curationOf,
  fates,
  filesOf,
  realVideos,
  sourcesOf,
  storeAndWorkers,
  temporaryFolder,
  verifyClips,
} from "./curation.ts"

interface Facts {
  /** As shown, in square pixels. */
  readonly size: readonly [width: number, height: number]
  readonly fps: number
  readonly seconds: number
  readonly bitsPerPixel: number
  readonly shots: number
  /** What curate makes of it with its defaults, and of three windows with an ingest that takes nearly everything. */
  readonly byDefault: string
  readonly lenient: ReadonlyArray<string>
}

const tooShort = ["split-clips no-shot-of-5s"]

/** All files that have a picture, but one: `ax_long_1080p_lowbitrate` takes a minute to decode, all of it black. */
const files: Readonly<Record<string, Facts>> = {
  // HDR10, upright.
  "ax_hdr10-av1.mp4": {
    size: [720, 1280],
    fps: 29.97,
    seconds: 4.238,
    bitsPerPixel: 0.0309,
    shots: 1,
    byDefault: "split-clips no-shot-of-5s",
    lenient: tooShort,
  },
  // Lies on its side; the display matrix turns it.
  "ax_portrait_4k60.mp4": {
    size: [2160, 3840],
    fps: 60.06,
    seconds: 0.3,
    bitsPerPixel: 0.1332,
    shots: 1,
    byDefault: "ingest-checks too-short",
    lenient: tooShort,
  },
  "dec_corrupted.mp4": {
    size: [1280, 720],
    fps: 10,
    seconds: 5,
    bitsPerPixel: 0.008,
    shots: 1,
    byDefault: "ingest-checks low-frame-rate",
    lenient: ["damaged damaged"],
  },
  "intel_asl_walk.mkv": {
    size: [640, 480],
    fps: 30,
    seconds: 2.966,
    bitsPerPixel: 0.0734,
    shots: 1,
    byDefault: "split-clips no-shot-of-5s",
    lenient: tooShort,
  },
  // Three bottles before a fixed camera; after five seconds a hand moves them.
  "intel_bottle-detection.mp4": {
    size: [640, 360],
    fps: 29.83,
    seconds: 39.855,
    bitsPerPixel: 0.0143,
    shots: 1,
    byDefault: "ingest-checks low-resolution",
    lenient: ["clip", "motion slow"],
  },
  // A road from above; every ten seconds it is empty for five.
  "intel_car-detection.mp4": {
    size: [768, 432],
    fps: 12.5,
    seconds: 30.16,
    bitsPerPixel: 0.1483,
    shots: 1,
    byDefault: "ingest-checks low-resolution",
    lenient: ["clip", "motion slow"],
  },
  // People come to a table, stand there with their backs to the camera, and go.
  "intel_one-by-one-person-detection.mp4": {
    size: [768, 432],
    fps: 10,
    seconds: 139.4,
    bitsPerPixel: 0.0565,
    shots: 1,
    byDefault: "ingest-checks low-resolution",
    lenient: ["clip", "motion static"],
  },
  // A screen recording whose rate varies.
  "mb_cursed-vfr.mp4": {
    size: [3026, 1386],
    fps: 7.22,
    seconds: 8.726,
    bitsPerPixel: 0.0275,
    shots: 1,
    byDefault: "ingest-checks low-frame-rate",
    lenient: ["clip"],
  },
  // 640 x 360 samples, each twice as wide as high.
  "mb_sar_2x1.mp4": {
    size: [1280, 360],
    fps: 30,
    seconds: 5,
    bitsPerPixel: 0.1152,
    shots: 1,
    byDefault: "ingest-checks low-resolution",
    lenient: ["clip"],
  },
  // Hand-held, with 8 black columns on either side.
  "mdn_crystal.mp4": {
    size: [720, 480],
    fps: 30,
    seconds: 11.967,
    bitsPerPixel: 0.1553,
    shots: 1,
    byDefault: "clip",
    lenient: ["clip"],
  },
  "mdn_rabbit320.webm": {
    size: [320, 240],
    fps: 30,
    seconds: 7.8,
    bitsPerPixel: 0.1472,
    shots: 1,
    byDefault: "ingest-checks low-resolution",
    lenient: ["clip"],
  },
  "mpy_no_duration.webm": {
    size: [1280, 720],
    fps: 14.99,
    seconds: 4.938,
    bitsPerPixel: 0.0144,
    shots: 1,
    byDefault: "ingest-checks low-frame-rate",
    lenient: tooShort,
  },
  "skv_bigbuckbunny.mp4": {
    size: [1280, 720],
    fps: 25,
    seconds: 5.28,
    bitsPerPixel: 0.0523,
    shots: 1,
    byDefault: "clip",
    lenient: ["clip"],
  },
  "skv_bikes.mp4": {
    size: [640, 272],
    fps: 25,
    seconds: 10,
    bitsPerPixel: 0.093,
    shots: 6,
    byDefault: "ingest-checks low-resolution",
    lenient: tooShort,
  },
  "skv_carphone_distorted.mp4": {
    size: [193, 144],
    fps: 29.97,
    seconds: 4.004,
    bitsPerPixel: 0.0125,
    shots: 1,
    byDefault: "ingest-checks low-resolution",
    lenient: tooShort,
  },
  "skv_carphone_pristine.mp4": {
    size: [193, 144],
    fps: 29.97,
    seconds: 4.004,
    bitsPerPixel: 1.5428,
    shots: 1,
    byDefault: "ingest-checks low-resolution",
    lenient: tooShort,
  },
  // Stills of a telescope at night that zoom slowly, one blended into the next.
  "tc_nasa_13013.mp4": {
    size: [480, 270],
    fps: 29.97,
    seconds: 13.013,
    bitsPerPixel: 0.0332,
    shots: 2,
    byDefault: "ingest-checks low-resolution",
    lenient: ["clip", "motion static"],
  },
}

/** By file: the seconds at which windows of five seconds begin that are kept, static, and slow. */
const windows: Readonly<Record<string, Readonly<Record<"kept" | "static" | "slow", ReadonlyArray<number>>>>> =
  {
    "intel_bottle-detection.mp4": { kept: [5, 10, 15, 20, 25, 30], static: [], slow: [0] },
    "intel_car-detection.mp4": { kept: [5, 15, 25], static: [], slow: [0, 10, 20] },
    "intel_one-by-one-person-detection.mp4": {
      kept: [5, 20, 50, 65, 75, 85, 90, 115, 120],
      static: [0, 10, 30, 35, 80, 100, 105, 110],
      slow: [15, 25, 40, 45, 55, 60, 70, 95, 125, 130],
    },
    "mb_cursed-vfr.mp4": { kept: [0], static: [], slow: [] },
    "mb_sar_2x1.mp4": { kept: [0], static: [], slow: [] },
    "mdn_crystal.mp4": { kept: [0, 5], static: [], slow: [] },
    "mdn_rabbit320.webm": { kept: [0], static: [], slow: [] },
    "skv_bigbuckbunny.mp4": { kept: [0], static: [], slow: [] },
    "tc_nasa_13013.mp4": { kept: [8], static: [0], slow: [] },
  }

const ingest = { minShortSide: 100, minSeconds: 0, minFps: 5, minBitsPerPixel: 0, maxAspect: 10 }

const judge = Graph.make("judge", { version: "1.0.0" }, (g) => {
  const measured = g.input("videos", SourceVideo).pipe(Probe(), IngestChecks(ingest), Measure())
  return { measured, clips: measured.pipe(Damaged(), SplitClips(), Black(), Motion(), Blurry()) }
})

const decodeMeasured = Schema.decodeUnknownSync(Schema.fromJsonString(MeasuredVideo.record))
const decodeWindow = Schema.decodeUnknownSync(Schema.fromJsonString(ClipWindow.record))

/** One store for all tests of this file: a file is decoded once. */
const store = Layer.unwrap(Effect.map(temporaryFolder, (folder) => storeAndWorkers(join(folder, "store"))))

/** For what decodes or encodes; nothing waits for it. */
const limit = 300_000

if (realVideos === undefined) {
  layer(store)("curate on real videos", (it) => {
    it.skip("needs the folder of SOURCES.md, named by REEL_TEST_VIDEOS", () => {})
  })
} else {
  const folder = realVideos
  layer(store, { excludeTestServices: true })("curate on real videos", (it) => {
    it.effect(
      "keeps and drops every file by its defaults",
      () =>
        Effect.gen(function* () {
          const curation = yield* curateFolder(folder)
          assert.strictEqual(curation.report.status, "done")
          assert.deepStrictEqual(Ledger.imbalances(curation.report.ledger), [])
          assert.deepStrictEqual(
            fates(curation),
            [
              ...Object.entries(files).map(([name, { byDefault }]) => `${name} ${byDefault}`),
              // 1920x1080@30 with 0.0001 bits per pixel: black from beginning to end.
              "ax_long_1080p_lowbitrate.mp4 ingest-checks starved",
              "mb_ac3.mp4 probe no-video-stream",
            ].sort(),
          )
          assert.deepStrictEqual(
            curation.clips.map(({ name, window }) => `${name} ${window.startSeconds}`),
            ["mdn_crystal.mp4 0", "mdn_crystal.mp4 5", "skv_bigbuckbunny.mp4 0"],
          )
          yield* verifyClips(curation)
        }),
      limit,
    )

    it.effect(
      "measures files and judges windows as a person would",
      () =>
        Effect.gen(function* () {
          const names = filesOf(folder).filter((name) => Object.hasOwn(files, name))
          const report = yield* Engine.run(judge, { videos: sourcesOf(folder, names) })
          const journal = yield* Journal
          const { id } = journal.run(report.run)!
          const measured = journal
            .runItems(id, "out:measured")
            .map((item) => decodeMeasured(journal.item(item)!.record))
          assert.sameMembers(
            measured.map(({ name }) => name),
            Object.keys(files),
          )
          for (const { measures, name, video } of measured) {
            const facts = files[name]!
            assert.deepStrictEqual([video.width, video.height], facts.size, name)
            assert.closeTo(video.fps, facts.fps, 0.005, name)
            assert.closeTo(video.durationSeconds, facts.seconds, 0.001, name)
            assert.closeTo(video.bitsPerPixel, facts.bitsPerPixel, 0.00005, name)
            const series = yield* SeriesFile.decode(yield* BlobStore.use((blobs) => blobs.get(measures)))
            const shots = Shots.cuts(series, { threshold: 10, minShotFrames: 15 })
            assert.lengthOf(shots, facts.shots, name)
            if (name === "skv_bikes.mp4") {
              assert.deepStrictEqual(
                shots.map(({ startFrame }) => startFrame),
                [0, 30, 76, 137, 187, 242],
              )
            }
          }

          const kept = journal
            .runItems(id, "out:clips")
            .map((item) => decodeWindow(journal.item(item)!.record))
          const dropped = journal
            .dropped(id)
            .filter(({ node }) => node === "motion")
            .map(({ item, reason }) => ({ ...decodeWindow(journal.item(item)!.record), reason }))
          const at = (
            list: ReadonlyArray<{ readonly name: string; readonly window: Shots.Window }>,
            of: string,
          ) =>
            list
              .filter(({ name }) => name === of)
              .map(({ window }) => Math.round(window.startSeconds))
              .sort((a, b) => a - b)
          const judged = Object.fromEntries(
            Object.keys(windows).map((name) => [
              name,
              {
                kept: at(kept, name),
                static: at(
                  dropped.filter(({ reason }) => reason === "static"),
                  name,
                ),
                slow: at(
                  dropped.filter(({ reason }) => reason === "slow"),
                  name,
                ),
              },
            ]),
          )
          assert.deepStrictEqual(judged, windows)
          // Nothing real is blurry, shaky or black, and nothing but the columns beside the crystal is a bar.
          assert.strictEqual(
            kept.length,
            Object.values(windows).reduce((sum, of) => sum + of.kept.length, 0),
          )
          for (const { name, summary } of kept) {
            const bars = name === "mdn_crystal.mp4" ? { x: 8, y: 0, width: 704, height: 480 } : null
            assert.deepStrictEqual(summary.crop, bars, name)
          }
        }),
      limit,
    )

    it.effect(
      "makes standard clips of files of every size and rate",
      () =>
        Effect.gen(function* () {
          const names = filesOf(folder).filter((name) => Object.hasOwn(files, name))
          const lenient = Graph.configure(curate, {
            "ingest-checks": ingest,
            // The first three windows: those of the fixed cameras begin with a resting scene.
            "split-clips": { maxPerShot: 3 },
          })
          const report = yield* Engine.run(lenient, { videos: sourcesOf(folder, names) })
          const curation = yield* curationOf(report)
          assert.strictEqual(report.status, "done")
          assert.deepStrictEqual(Ledger.imbalances(report.ledger), [])
          assert.deepStrictEqual(
            fates(curation),
            Object.entries(files)
              .flatMap(([name, { lenient }]) => lenient.map((fate) => `${name} ${fate}`))
              .sort(),
          )
          const facts = yield* verifyClips(curation)
          assert.isAtLeast(facts.length, 10)
          for (const { name, sourceFrames } of curation.clips) {
            // Every frame of a slower source is shown, every frame of the clip is another one of a faster source.
            const { fps } = files[name]!
            if (name === "mb_cursed-vfr.mp4") assert.isBelow(sourceFrames, 120)
            else assert.closeTo(sourceFrames, Math.min(120, 5 * fps), 1, name)
          }
        }),
      limit,
    )
  })
}
