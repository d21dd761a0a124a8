import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { createHash } from "node:crypto"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { Measure, Pdq, Probe, Shots, Standardize, Verify } from "../src/index.ts"
import * as Corpus from "../src/SampleCorpus.ts"
import { lumaPlanes, mean, scratch } from "./films.ts"

const folder = scratch()
const at = (file: string): string => join(folder, file)
const target: Standardize.Target = { width: 320, height: 180, fps: 24, frames: 120 }

interface Judged {
  readonly verdict: Corpus.Expectation
  readonly windows: ReadonlyArray<Shots.Window>
  readonly summaries: ReadonlyArray<Shots.ClipSummary>
}

/** A curation as plain as can be, to see that the numbers tell the files apart. */
const judge = (path: string) =>
  Effect.gen(function* () {
    const info = yield* Probe.probe(path)
    const { series, damage } = yield* Measure.measure(path)
    const shots = Shots.cuts(series)
    const windows = Shots.windows(shots)
    const all = Shots.summarize(series, { startSeconds: 0, endSeconds: info.durationSeconds })
    const summaries = windows.map((window) => Shots.summarize(series, window))
    const verdict: Corpus.Expectation = damage.damaged
      ? "damaged"
      : Math.min(info.width, info.height) < 480
        ? "low-resolution"
        : info.fps < 16
          ? "low-frame-rate"
          : all.blackShare > 0.5
            ? "black"
            : all.cutsPerSecond >= 3
              ? "jitter"
              : all.staticShare > 0.5
                ? "static"
                : all.blurry
                  ? "blurry"
                  : windows.length === 0
                    ? "too-short"
                    : "kept"
    return { verdict, windows, summaries } satisfies Judged
  }).pipe(
    Effect.catchTag("NotAVideo", () =>
      Effect.succeed<Judged>({ verdict: "not-a-video", windows: [], summaries: [] }),
    ),
    Effect.catchTag("NoVideoStream", () =>
      Effect.succeed<Judged>({ verdict: "no-video-stream", windows: [], summaries: [] }),
    ),
  )

const digest = (file: string): string =>
  createHash("sha256")
    .update(readFileSync(at(file)))
    .digest("hex")

const clipOf = (file: string, window: Shots.Window, crop: Shots.Crop | null = null) =>
  Effect.gen(function* () {
    const out = at(`${file}-${window.shot}.clip`)
    const clip = yield* Standardize.standardize({
      path: at(file),
      startSeconds: window.startSeconds,
      crop,
      out,
      target,
    })
    yield* Verify.verifyClip(out, target)
    return clip
  })

describe("SampleCorpus", () => {
  it.live(
    "is what its manifest says",
    () =>
      Effect.gen(function* () {
        const manifest = yield* Corpus.render(folder)
        assert.strictEqual(new Set(manifest.map((sample) => sample.file)).size, manifest.length)
        const judged = new Map<string, Judged>()
        for (const sample of manifest) {
          const found = yield* judge(at(sample.file))
          judged.set(sample.file, found)
          const duplicate = sample.expect === "exact-duplicate" || sample.expect === "near-duplicate"
          assert.strictEqual(found.verdict, duplicate ? "kept" : sample.expect, sample.file)
          if (sample.clips !== undefined) assert.lengthOf(found.windows, sample.clips, sample.file)
        }
        const of = (file: string): Judged => judged.get(file) as Judged
        assert.strictEqual(digest("journey.mp4"), digest("journey-copy.mp4"))
        assert.notStrictEqual(digest("journey.mp4"), digest("journey-brighter.mp4"))

        const [noon, dusk] = of("journey.mp4").windows as [Shots.Window, Shots.Window]
        const first = yield* clipOf("journey.mp4", noon)
        const second = yield* clipOf("journey.mp4", dusk)
        const brighter = yield* clipOf("journey-brighter.mp4", noon)
        assert.isAtLeast(Pdq.matchFraction(first.fingerprint, brighter.fingerprint), Pdq.MATCH_SHARE)
        assert.strictEqual(Pdq.matchFraction(first.fingerprint, second.fingerprint), 0)

        const letterbox = of("letterbox.mp4")
        const crop = letterbox.summaries[0]?.crop ?? null
        assert.deepStrictEqual(crop, { x: 0, y: 60, width: 854, height: 360 })
        const cropped = yield* clipOf("letterbox.mp4", letterbox.windows[0] as Shots.Window, crop)
        for (const plane of yield* lumaPlanes(cropped.out)) {
          assert.isAbove(mean(plane.subarray(0, 320)), 60)
          assert.isAbove(mean(plane.subarray(320 * 179)), 60)
        }

        // Upright, the middle of the portrait picture is brighter at its top (sky) than at its bottom (houses).
        const upright = yield* clipOf("portrait.mp4", of("portrait.mp4").windows[0] as Shots.Window)
        for (const plane of yield* lumaPlanes(upright.out)) {
          assert.isAbove(mean(plane.subarray(0, 320 * 40)), mean(plane.subarray(320 * 140)) + 15)
        }
      }),
    180_000,
  )
})
