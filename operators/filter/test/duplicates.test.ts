/** Duplicates: exact ones by digest, and near ones against comparing every pair. */
import { assert, describe, it } from "@effect/vitest"
import { type Operator } from "@reelgraph/core"
import { Neighbours, Pdq } from "@reelgraph/media"
import { ExactDuplicates, NearDuplicates } from "@reelgraph/operators/filter"
import type { Clip, SourceVideo } from "@reelgraph/operators/ports"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { measured, run, summary } from "./records.ts"

const Seed = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0x7fffffff }))
const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

/** Whole numbers below a bound (xorshift32, Marsaglia 2003): millions of them, in no time. */
const drawing = (seed: number): ((below: number) => number) => {
  let x = (Math.imul(seed + 1, 0x9e3779b9) ^ 0x85ebca6b) | 0 || 1
  return (below) => {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    return Math.floor(((x >>> 0) / 0x1_0000_0000) * below)
  }
}

const shuffled = <A>(list: ReadonlyArray<A>, draw: (below: number) => number): ReadonlyArray<A> => {
  const out = [...list]
  for (let i = out.length - 1; i > 0; i--) {
    const j = draw(i + 1)
    ;[out[i], out[j]] = [out[j]!, out[i]!]
  }
  return out
}

const randomHash = (draw: (below: number) => number): string =>
  Array.from({ length: 64 }, () => draw(16).toString(16)).join("")

/** A hash with up to `flips` of its bits turned over. */
const near = (hash: string, flips: number, draw: (below: number) => number): string => {
  const digits = Array.from(hash, (digit) => Number.parseInt(digit, 16))
  for (let flip = 0; flip < flips; flip++) digits[draw(64)]! ^= 1 << draw(4)
  return digits.map((digit) => digit.toString(16)).join("")
}

type Video = (typeof SourceVideo)["record"]["Type"]
type ClipRecord = (typeof Clip)["record"]["Type"]

/** What a `collect` kept and dropped, by name: `name`, or `name: detail` of the drop. */
const outcome = (
  records: ReadonlyArray<{ readonly name: string }>,
  emissions: ReadonlyArray<Operator.Emission<unknown>>,
): ReadonlyArray<string> => {
  assert.lengthOf(emissions, records.length)
  return emissions
    .map((emission) => {
      if (emission._tag === "Emit") throw new Error("a filter makes nothing new")
      const { name } = records[emission.at]!
      return emission._tag === "Drop" ? `${name}: ${emission.drop.detail}` : name
    })
    .sort()
}

describe("ExactDuplicates", () => {
  const video = (name: string, content: number): Video => ({
    name,
    file: { ...measured.file, sha256: String(content).padStart(64, "0") },
  })

  it.effect("keeps the shortest name of the same bytes and names it", () =>
    Effect.gen(function* () {
      const videos = [video("a copy.mp4", 1), video("b.mp4", 1), video("a.mp4", 1), video("c.mp4", 2)]
      assert.deepStrictEqual(outcome(videos, yield* run(ExactDuplicates(), videos)), [
        "a copy.mp4: same bytes as a.mp4",
        "a.mp4",
        "b.mp4: same bytes as a.mp4",
        "c.mp4",
      ])
    }),
  )

  it.effect.prop(
    "keeps one of each content, the same one in every order",
    [Seed, between(0, 30), between(1, 8)],
    ([seed, count, contents]) =>
      Effect.gen(function* () {
        const draw = drawing(seed)
        const videos = Array.from({ length: count }, (_, i) => video(`${draw(100)}-${i}.mp4`, draw(contents)))
        const first = outcome(videos, yield* run(ExactDuplicates(), videos))
        const other = shuffled(videos, draw)
        assert.deepStrictEqual(outcome(other, yield* run(ExactDuplicates(), other)), first)
        assert.lengthOf(
          first.filter((line) => !line.includes(": ")),
          new Set(videos.map(({ file }) => file.sha256)).size,
        )
      }),
  )
})

/** Clips in families: members differ from their family's frames by up to `spread` bits. */
const families = (
  seed: number,
  { clips, families, frames, spread }: { clips: number; families: number; frames: number; spread: number },
): ReadonlyArray<Pdq.Fingerprint> => {
  const draw = drawing(seed)
  const founders = Array.from({ length: families }, () =>
    Array.from({ length: frames }, () => randomHash(draw)),
  )
  return Array.from({ length: clips }, () => {
    const founder = founders[draw(families)]!
    return founder.map((hash, seconds) => ({
      seconds,
      hash: near(hash, draw(spread + 1), draw),
      quality: 40 + draw(40),
    }))
  })
}

/** The same as `Neighbours.groups`, every pair compared. */
const groupsReference = (
  fingerprints: ReadonlyArray<Pdq.Fingerprint>,
  options: Neighbours.Options,
): ReadonlyArray<number> => {
  const group = fingerprints.map((_, i) => i)
  for (let changed = true; changed;) {
    changed = false
    fingerprints.forEach((a, i) =>
      fingerprints.forEach((b, j) => {
        if (group[i]! >= group[j]! || Pdq.matchFraction(a, b, options) < options.minShare) return
        group[j] = group[i]!
        changed = true
      }),
    )
  }
  return group
}

describe("Neighbours", () => {
  it.prop(
    "finds the groups that comparing every pair finds",
    [Seed, between(0, 20), between(1, 6), between(1, 5), between(0, 40), between(0, 50), between(1, 5)],
    ([seed, clips, count, frames, spread, maxDistance, fifths]) => {
      const fingerprints = families(seed, { clips, families: count, frames, spread })
      const options = { maxDistance, minQuality: 50, minShare: fifths / 5 }
      assert.deepStrictEqual(Neighbours.groups(fingerprints, options), groupsReference(fingerprints, options))
    },
  )

  it("takes 20,000 clips", () => {
    const draw = drawing(7)
    const first = Array.from({ length: 10_000 }, () =>
      Array.from({ length: 5 }, (_, seconds) => ({ seconds, quality: 100, hash: randomHash(draw) })),
    )
    // Each of them again, in another order, with up to 15 other bits in every frame.
    const order = shuffled([...first.keys()], draw)
    const second = order.map((of) =>
      first[of]!.map((frame) => ({ ...frame, hash: near(frame.hash, draw(16), draw) })),
    )
    const groups = Neighbours.groups([...first, ...second], {
      maxDistance: 31,
      minQuality: 50,
      minShare: 0.8,
    })
    assert.deepStrictEqual(groups, [...first.keys(), ...order])
  }, 120_000)
})

describe("NearDuplicates", () => {
  const clip = (name: string, change: Partial<ClipRecord>): ClipRecord => ({
    name,
    source: measured.file,
    window: { shot: 0, startSeconds: 0, endSeconds: 5 },
    clip: measured.file,
    width: 1280,
    height: 720,
    fps: 24,
    frames: 120,
    sourceFrames: 120,
    summary,
    fingerprint: [],
    ...change,
  })

  it.effect("keeps the clip of the most source frames, then the shortest name, then the earliest", () =>
    Effect.gen(function* () {
      const fingerprint = families(1, { clips: 1, families: 1, frames: 5, spread: 0 })[0]!.map((frame) => ({
        ...frame,
        quality: 100,
      }))
      const window = { shot: 1, startSeconds: 7.5, endSeconds: 12.5 }
      const clips = [
        clip("slow.mp4", { fingerprint, sourceFrames: 60 }),
        clip("a-copy.mp4", { fingerprint }),
        clip("late.mp4", { fingerprint, window }),
        clip("else.mp4", { fingerprint: families(2, { clips: 1, families: 1, frames: 5, spread: 0 })[0]! }),
      ]
      assert.deepStrictEqual(outcome(clips, yield* run(NearDuplicates(), clips)), [
        "a-copy.mp4: looks like late.mp4 at 7.50 s (100 % of frames match)",
        "else.mp4",
        "late.mp4",
        "slow.mp4: looks like late.mp4 at 7.50 s (100 % of frames match)",
      ])
      const twice = [clip("x.mp4", { fingerprint, window }), clip("x.mp4", { fingerprint })]
      const [kept] = (yield* run(NearDuplicates(), twice)).filter(
        ({ _tag }: Operator.Emission<unknown>) => _tag === "Pass",
      )
      assert.strictEqual(kept.at, 1)
    }),
  )

  it.effect("never takes flat pictures for duplicates", () =>
    Effect.gen(function* () {
      const flat = [{ seconds: 0, hash: "0".repeat(64), quality: 10 }]
      const clips = [clip("a.mp4", { fingerprint: flat }), clip("b.mp4", { fingerprint: flat })]
      assert.deepStrictEqual(outcome(clips, yield* run(NearDuplicates(), clips)), ["a.mp4", "b.mp4"])
    }),
  )

  it.effect.prop(
    "drops and keeps the same clips in every order, one of each group",
    [Seed, between(0, 20), between(1, 5)],
    ([seed, count, families_]) =>
      Effect.gen(function* () {
        const draw = drawing(seed)
        const fingerprints = families(seed, { clips: count, families: families_, frames: 5, spread: 10 })
        const clips = fingerprints.map((fingerprint, i) =>
          clip(`${draw(50)}-${i}.mp4`, { fingerprint, sourceFrames: 100 + draw(3) }),
        )
        const first = outcome(clips, yield* run(NearDuplicates(), clips))
        const other = shuffled(clips, draw)
        assert.deepStrictEqual(outcome(other, yield* run(NearDuplicates(), other)), first)
        const options = { maxDistance: 31, minQuality: 50, minShare: 0.8 }
        assert.lengthOf(
          first.filter((line) => !line.includes(": ")),
          new Set(Neighbours.groups(fingerprints, options)).size,
        )
      }),
    180_000,
  )
})
