import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect } from "effect"
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { Measure, Probe, Standardize } from "../src/index.ts"
import { film, grey, realVideos, scratch } from "./films.ts"

const folder = scratch()
const target: Standardize.Target = { width: 160, height: 90, fps: 24, frames: 24 }

const TYPED = [
  "FileUnreadable",
  "NotAVideo",
  "NoVideoStream",
  "UnsupportedCodec",
  "TooLarge",
  "Undecodable",
  "EndsEarly",
  "EncoderFailed",
]

/** Numbers 0-1 from a seed (mulberry32). */
const randoms = (seed: number) => (): number => {
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), seed | 1)
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
}

/** Damaged copies of a file: cut off, bits flipped (anywhere; in the head), a stretch of noise, a piece missing. */
const variants = (bytes: Buffer, seed: number): ReadonlyArray<readonly [string, Buffer]> => {
  const random = randoms(seed)
  const pick = (n: number) => Math.floor(random() * n)
  const flipped = (range: number, count: number): Buffer => {
    const copy = Buffer.from(bytes)
    for (let i = 0; i < count; i++) {
      const at = pick(range)
      copy[at] = (copy[at] as number) ^ (1 << pick(8))
    }
    return copy
  }
  const noise = Buffer.from(bytes)
  const from = pick(bytes.length)
  for (let i = from; i < Math.min(bytes.length, from + 4_000); i++) noise[i] = pick(256)
  const hole = pick(bytes.length)
  return [
    ["truncated", bytes.subarray(0, 1 + pick(bytes.length - 1))],
    ["truncated early", bytes.subarray(0, 1 + pick(Math.min(3_000, bytes.length - 1)))],
    ["few bits", flipped(bytes.length, 8)],
    ["many bits", flipped(bytes.length, 400)],
    ["head", flipped(Math.min(2_200, bytes.length), 12)],
    ["noise", noise],
    ["hole", Buffer.concat([bytes.subarray(0, hole), bytes.subarray(hole + 1_000)])],
  ]
}

const end = <A, E>(effect: Effect.Effect<A, E>, label: string): Effect.Effect<A | undefined> =>
  Effect.exit(effect).pipe(
    Effect.map((exit) => {
      if (exit._tag === "Success") return exit.value
      const reason = exit.cause.reasons[0]
      if (reason === undefined || !Cause.isFailReason(reason))
        assert.fail(`${label}: ${Cause.pretty(exit.cause)}`)
      const tag = (reason.error as { readonly _tag: string })._tag
      assert.include(TYPED, tag, label)
      return undefined
    }),
  )

/** Every variant through every function; gives the share of damaged copies that were seen to be damaged. */
const survey = (bytes: Buffer, extension: string, seeds: ReadonlyArray<number>) =>
  Effect.gen(function* () {
    for (const seed of seeds) {
      for (const [kind, damaged] of variants(bytes, seed)) {
        const path = join(folder, `damaged.${extension}`)
        const out = join(folder, "out.mp4")
        const label = `${extension}, seed ${seed}, ${kind}`
        writeFileSync(path, damaged)
        rmSync(out, { force: true })
        yield* end(Probe.probe(path), label)
        const measured = yield* end(Measure.measure(path), label)
        if (measured !== undefined) assert.isAtLeast(measured.series.frames, 1, label)
        const clip = yield* end(Standardize.standardize({ path, startSeconds: 0.5, out, target }), label)
        if (clip === undefined) assert.isFalse(existsSync(out), label)
        else assert.strictEqual(clip.frames, 24, label)
      }
    }
  })

describe("damaged files", () => {
  it.live(
    "end in a value or a typed error, mp4",
    () =>
      Effect.gen(function* () {
        const takes = Array.from({ length: 60 }, (_, i) => ({
          at: i,
          paint: (picture: Parameters<ReturnType<typeof grey>>[0]) => {
            grey(120)(picture)
            for (let k = 0; k < picture.y.length; k++) {
              picture.y[k] = 60 + ((k * 7 + i * 13 + Math.imul(k, 2654435761)) & 127)
            }
          },
        }))
        const path = yield* film(join(folder, "whole.mp4"), takes, { gop: 12 })
        yield* survey(readFileSync(path), "mp4", [1, 2, 3, 4, 5])
        yield* survey(readFileSync(path), "avi", [6])
      }),
    180_000,
  )

  it.live.skipIf(realVideos === undefined)(
    "end in a value or a typed error, webm, mkv, av1 (REEL_TEST_VIDEOS)",
    () =>
      Effect.gen(function* () {
        for (const [file, seed] of [
          ["mdn_rabbit320.webm", 11],
          ["intel_asl_walk.mkv", 12],
          ["mpy_no_duration.webm", 13],
          ["ax_hdr10-av1.mp4", 14],
        ] as const) {
          const bytes = readFileSync(join(realVideos ?? "", file))
          yield* survey(bytes, file.endsWith("mp4") ? "mp4" : file.slice(-4), [seed])
        }
      }),
    120_000,
  )

  it.live("are seen: a file cut off is damaged or refused", () =>
    Effect.gen(function* () {
      const takes = Array.from({ length: 60 }, (_, i) => ({ at: i, paint: grey(60 + i) }))
      const whole = yield* film(join(folder, "to-cut.mp4"), takes, { gop: 6 })
      assert.isFalse((yield* Measure.measure(whole)).damage.damaged)
      const bytes = readFileSync(whole)
      const path = join(folder, "cut.mp4")
      for (const share of [0.3, 0.6, 0.9, 0.98]) {
        writeFileSync(path, bytes.subarray(0, Math.floor(bytes.length * share)))
        const measured = yield* end(Measure.measure(path), `cut at ${share}`)
        if (measured !== undefined) assert.isTrue(measured.damage.damaged, `cut at ${share}`)
      }
    }),
  )
})
