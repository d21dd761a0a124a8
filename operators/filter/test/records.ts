/** Records for tests of filters: a flawless video and a flawless window, and ways to call an operator. */
import { type Drop, type Graph, keep } from "@reelgraph/core"
import type { ClipWindow, MeasuredVideo } from "@reelgraph/operators/ports"
import * as Effect from "effect/Effect"

/** An operator with params, as calling it gives. */
type Bound = Pick<Graph.Placed, "operator" | "value">

/** What an operator makes of a record, without an engine. */
export const run = <R = never>({ operator, value }: Bound, input: unknown): Effect.Effect<any, any, R> =>
  operator.run(input, value, undefined as never)

/** `keep`, or the reason of the drop. */
export const decision = (filter: Bound, input: unknown): Effect.Effect<string> =>
  Effect.map(Effect.orDie(run(filter, input)), (decided: typeof keep | Drop) =>
    decided === keep ? keep : decided.reason,
  )

const artifact = (digit: string, mediaType: string) => ({
  _tag: "Artifact" as const,
  sha256: digit.repeat(64),
  bytes: 1000,
  mediaType,
})

export const summary: (typeof ClipWindow)["record"]["Type"]["summary"] = {
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

export const measured: (typeof MeasuredVideo)["record"]["Type"] = {
  name: "film.mp4",
  file: artifact("a", "video/mp4"),
  video: {
    container: "mov,mp4,m4a,3gp,3g2,mj2",
    codec: "h264",
    codedWidth: 1280,
    codedHeight: 720,
    width: 1280,
    height: 720,
    sampleAspectRatio: [1, 1],
    rotation: 0,
    fps: 24,
    nominalFps: 24,
    variableFrameRate: false,
    durationSeconds: 10,
    durationClaimed: true,
    frames: 240,
    framesBasis: "container",
    bitRate: 2_000_000,
    bitsPerPixel: 0.09,
    pixelFormat: "yuv420p",
    primaries: "bt709",
    transfer: "bt709",
    matrix: "bt709",
    range: "tv",
    hdr: false,
    fileBytes: 2_500_000,
    streams: 1,
    videoStreams: 1,
  },
  damage: {
    expectedFrames: 240,
    basis: "container",
    decodedFrames: 240,
    flagged: 0,
    errors: 0,
    damaged: false,
  },
  overview: summary,
  measures: artifact("b", "application/vnd.apache.parquet"),
}

export const windowOf = (change: Partial<typeof summary>): (typeof ClipWindow)["record"]["Type"] => ({
  name: measured.name,
  file: measured.file,
  video: measured.video,
  window: { shot: 0, startSeconds: 0, endSeconds: 5 },
  summary: { ...summary, ...change },
})
