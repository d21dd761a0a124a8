import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { type Measure, Shots } from "../src/index.ts"

/** A series at `fps` with cuts at the given frames; everything else is calm. */
const series = (
  frames: number,
  fps: number,
  cutsAt: ReadonlyArray<number>,
  boxes: ReadonlyArray<ReadonlyArray<number>> = [],
): Measure.FrameSeries => ({
  frames,
  seconds: Float64Array.from({ length: frames }, (_, i) => i / fps),
  stepSeconds: 1 / fps,
  sceneScore: Float32Array.from({ length: frames }, (_, i) => (cutsAt.includes(i) ? 20 : 1)),
  luma: new Float32Array(frames).fill(100),
  dark: new Float32Array(frames),
  difference: new Float32Array(frames).fill(3),
  motion: new Float32Array(frames).fill(3),
  samples: {
    frame: Uint32Array.from(boxes, (_, i) => i * 10),
    blur: Float32Array.from(boxes, (_, i) => (i % 3 === 0 ? 12 : 4)),
    interlaced: new Int8Array(boxes.length),
    box: Uint16Array.from(boxes.flat()),
  },
  codedWidth: 640,
  codedHeight: 360,
})

describe("Shots", () => {
  it("covers every frame once", () => {
    const shots = Shots.cuts(series(100, 25, [30, 32, 70]))
    assert.deepStrictEqual(
      shots.map((s) => [s.startFrame, s.endFrame]),
      [
        [0, 30],
        [30, 32],
        [32, 70],
        [70, 100],
      ],
    )
    assert.strictEqual(shots.at(-1)?.endSeconds, 4)
    assert.deepStrictEqual(
      Shots.cuts(series(100, 25, [30, 32, 70]), { minShotFrames: 15 }).map((s) => s.startFrame),
      [0, 30, 70],
    )
    assert.deepStrictEqual(Shots.cuts(series(0, 25, [])), [])
  })

  it("takes windows of the exact length that do not cross a cut", () => {
    const shots = Shots.cuts(series(750, 25, [130, 240]))
    const windows = Shots.windows(shots, { seconds: 5 })
    assert.deepStrictEqual(
      windows.map((w) => [w.shot, w.startSeconds]),
      [
        [0, 0],
        [2, 9.6],
        [2, 14.6],
        [2, 19.6],
        [2, 24.6],
      ],
    )
    for (const w of windows) {
      assert.closeTo(w.endSeconds - w.startSeconds, 5, 1e-9)
      assert.isAtMost(w.endSeconds, (shots[w.shot] as Shots.Shot).endSeconds + 0.002)
    }
    assert.lengthOf(Shots.windows(shots, { seconds: 5, maxPerShot: 1 }), 2)
    assert.strictEqual(Shots.windows(shots, { seconds: 5, skipFirstSeconds: 0.2 })[0]?.startSeconds, 0.2)
    assert.strictEqual(Shots.windows(shots, { seconds: 5, skipFirstSeconds: 1 })[0]?.shot, 2)
  })

  it("sums a window up", () => {
    const calm = series(250, 25, [])
    calm.difference.fill(0, 51, 101)
    calm.dark.fill(1, 0, 25)
    const summary = Shots.summarize(calm, { startSeconds: 0, endSeconds: 5 })
    assert.closeTo(summary.blackShare, 25 / 125, 1e-9)
    assert.closeTo(summary.longestFreezeSeconds, 51 / 25, 1e-9)
    assert.closeTo(summary.staticShare, 50 / 124, 1e-9)
    assert.strictEqual(summary.frames, 125)
    assert.deepStrictEqual(
      Schema.decodeUnknownSync(Shots.ClipSummary)(JSON.parse(JSON.stringify(summary))),
      summary,
    )
  })

  it("counts the cuts of the densest second, without the one that begins the window", () => {
    const busy = series(250, 25, [25, 30, 36, 42, 100])
    assert.strictEqual(Shots.summarize(busy, { startSeconds: 0, endSeconds: 5 }).cutsPerSecond, 4)
    assert.strictEqual(Shots.summarize(busy, { startSeconds: 1, endSeconds: 6 }).cutsPerSecond, 3)
  })

  it("crops to what any frame shows, and leaves thin borders alone", () => {
    const bars = [
      [0, 40, 640, 280],
      [0, 0, 0, 0],
      [0, 38, 640, 280],
    ]
    const window = { startSeconds: 0, endSeconds: 5 }
    assert.deepStrictEqual(Shots.summarize(series(250, 25, [], bars), window).crop, {
      x: 0,
      y: 38,
      width: 640,
      height: 282,
    })
    assert.isNull(Shots.summarize(series(250, 25, [], [[2, 3, 637, 354]]), window).crop)
    assert.isNull(Shots.summarize(series(250, 25, [], [[0, 0, 0, 0]]), window).crop)
  })

  it("lets the majority decide about blur", () => {
    const full = [0, 0, 640, 360]
    const window = { startSeconds: 0, endSeconds: 10 }
    assert.isFalse(Shots.summarize(series(250, 25, [], [full, full, full]), window).blurry)
    assert.isTrue(Shots.summarize(series(250, 25, [], [full]), window).blurry)
  })
})
