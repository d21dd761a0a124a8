/** A record with one field of every kind, and four rows; the oracle in test/oracle/manifest reads the same. */
import { Schema } from "effect"
import { Artifact } from "../src/index.ts"
import type * as Manifest from "../src/Manifest.ts"

const Kept = Schema.Struct({ _tag: Schema.tag("Kept"), score: Schema.Finite })
const Dropped = Schema.Struct({ _tag: Schema.tag("Dropped"), reason: Schema.String })

export const Clip = Schema.Struct({
  id: Schema.NonEmptyString,
  clip: Artifact,
  preview: Schema.optionalKey(Artifact),
  video: Schema.Struct({
    width: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 16_384 })),
    codec: Schema.Literals(["h264", "av1"]),
    fps: Schema.Finite,
    rotation: Schema.NullOr(Schema.Int),
  }),
  pts: Schema.Int,
  luma: Schema.Number,
  safe: Schema.Boolean,
  caption: Schema.optionalKey(Schema.String),
  tags: Schema.Array(Schema.String),
  scores: Schema.Array(Schema.NullOr(Schema.Finite)),
  size: Schema.Tuple([Schema.Int, Schema.Int]),
  frames: Schema.Array(Artifact),
  extra: Schema.Record(Schema.String, Schema.Int),
  made: Schema.Date,
  verdict: Schema.Union([Kept, Dropped]),
})
export type Clip = typeof Clip.Type

const artifact = (digit: string, bytes: number) =>
  Artifact.make({ sha256: digit.repeat(64), bytes, mediaType: "video/mp4" })

const base: Clip = {
  id: "a",
  clip: artifact("a", 5_000_000_000),
  video: { width: 1280, codec: "h264", fps: 23.976, rotation: null },
  pts: Number.MAX_SAFE_INTEGER,
  luma: 0.5,
  safe: true,
  tags: ["dog", "naïve ✓ 犬"],
  scores: [0.25, null],
  size: [1280, 720],
  frames: [],
  extra: {},
  made: new Date("2024-02-29T12:00:00.000Z"),
  verdict: { _tag: "Kept", score: 0.75 },
}

export const rows: ReadonlyArray<Manifest.Row<Clip>> = [
  { item: "1".repeat(64), record: base },
  {
    item: "2".repeat(64),
    record: {
      ...base,
      id: "b",
      preview: artifact("b", 12),
      video: { width: 1, codec: "av1", fps: 24, rotation: -90 },
      pts: -1,
      luma: Number.NaN,
      safe: false,
      caption: "",
      tags: [],
      scores: [],
      frames: [artifact("c", 1), artifact("d", 2)],
      extra: { a: 1 },
      verdict: { _tag: "Dropped", reason: "mean luma 3 below 16" },
    },
  },
  {
    item: "3".repeat(64),
    record: { ...base, luma: Number.NEGATIVE_INFINITY, caption: 'he said "it, then"\n' },
  },
  { item: "4".repeat(64), record: { ...base, pts: 2 ** 40, size: [0, -1] } },
]
