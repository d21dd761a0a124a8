import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { MediaError, Probe } from "../src/index.ts"
import { film, grey, realVideos, scratch } from "./films.ts"

const folder = scratch()
const at = (name: string): string => join(folder, name)
const errorOf = (path: string) => Effect.flip(Probe.probe(path))

describe("Probe", () => {
  it.live("reads the facts of a plain file", () =>
    Effect.gen(function* () {
      const path = yield* film(
        at("plain.mp4"),
        Array.from({ length: 50 }, (_, i) => ({ at: i, paint: grey(i) })),
        {
          rate: [25, 1],
        },
      )
      const info = yield* Probe.probe(path)
      assert.deepInclude(info, {
        codec: "h264",
        codedWidth: 160,
        codedHeight: 96,
        width: 160,
        height: 96,
        rotation: 0,
        fps: 25,
        variableFrameRate: false,
        durationSeconds: 2,
        frames: 50,
        framesBasis: "container",
        range: "tv",
        matrix: "bt709",
        hdr: false,
        videoStreams: 1,
      })
      assert.deepStrictEqual(
        Schema.decodeUnknownSync(Probe.VideoInfo)(JSON.parse(JSON.stringify(info))),
        info,
      )
    }),
  )

  it("calls uneven steps variable, and rounded even ones not", () => {
    const even = Array.from({ length: 100 }, (_, i) => Math.round((i * 1000) / 29.97) / 1000)
    assert.isFalse(Probe.isVariable(even, 0.001))
    assert.isTrue(
      Probe.isVariable(
        even.map((t, i) => t + (i % 3 === 0 ? 0.012 : 0)),
        0.001,
      ),
    )
    assert.isFalse(Probe.isVariable(even.toReversed(), 0.001))
  })

  it.live("tells apart why a file is no video", () =>
    Effect.gen(function* () {
      writeFileSync(at("text.mp4"), "not a video\n")
      writeFileSync(at("empty.mp4"), "")
      writeFileSync(at("list.mp4"), "ffconcat version 1.0\nfile /etc/hostname\n")
      writeFileSync(
        at("playlist.mp4"),
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nplain.mp4\n#EXT-X-ENDLIST\n",
      )
      mkdirSync(at("folder.mp4"))
      for (const name of ["text.mp4", "empty.mp4", "list.mp4", "playlist.mp4"]) {
        const error = yield* errorOf(at(name))
        assert.instanceOf(error, MediaError.NotAVideo, name)
        assert.include(error.message, at(name))
      }
      for (const name of ["folder.mp4", "nothing-here.mp4"]) {
        assert.instanceOf(yield* errorOf(at(name)), MediaError.FileUnreadable, name)
      }
    }),
  )

  describe.skipIf(realVideos === undefined)("on the real files (REEL_TEST_VIDEOS)", () => {
    const facts: ReadonlyArray<readonly [string, Partial<Probe.VideoInfo>]> = [
      [
        "ax_portrait_4k60.mp4",
        { codedWidth: 3840, codedHeight: 2160, width: 2160, height: 3840, rotation: 90, range: "pc" },
      ],
      [
        "ax_hdr10-av1.mp4",
        { codec: "av1", hdr: true, transfer: "smpte2084", primaries: "bt2020", pixelFormat: "yuv420p10le" },
      ],
      ["ax_long_1080p_lowbitrate.mp4", { width: 1920, height: 1080, frames: 10_883, fps: 30 }],
      ["mb_cursed-vfr.mp4", { variableFrameRate: true, width: 3026, height: 1386 }],
      ["mb_sar_2x1.mp4", { codedWidth: 640, width: 1280, height: 360, sampleAspectRatio: [2, 1] }],
      ["mpy_no_duration.webm", { durationClaimed: false, framesBasis: "packets", frames: 74, codec: "vp9" }],
      ["tc_nasa_13013.mp4", { streams: 6, videoStreams: 2, width: 480, height: 270 }],
      ["dec_corrupted.mp4", { frames: 50 }],
      [
        "intel_one-by-one-person-detection.mp4",
        { width: 768, height: 432, fps: 10, variableFrameRate: false },
      ],
      ["intel_car-detection.mp4", { width: 768, height: 432, variableFrameRate: false }],
      ["intel_bottle-detection.mp4", { width: 640, height: 360, variableFrameRate: false }],
      ["intel_asl_walk.mkv", { width: 640, height: 480, fps: 30 }],
      ["mdn_crystal.mp4", { width: 720, height: 480, fps: 30 }],
      ["mdn_rabbit320.webm", { codec: "vp8", width: 320, height: 240 }],
      ["skv_bikes.mp4", { width: 640, height: 272, fps: 25, frames: 250, durationSeconds: 10 }],
      ["skv_bigbuckbunny.mp4", { width: 1280, height: 720, fps: 25 }],
      ["skv_carphone_pristine.mp4", { codedWidth: 176, codedHeight: 144 }],
      ["skv_carphone_distorted.mp4", { codedWidth: 176, codedHeight: 144 }],
    ]
    it.live.each(facts)("knows %s", ([name, expected]) =>
      Effect.gen(function* () {
        assert.deepInclude(yield* Probe.probe(join(realVideos ?? "", name)), expected)
      }),
    )
    it.live("finds no video in mb_ac3.mp4", () =>
      Effect.gen(function* () {
        assert.instanceOf(yield* errorOf(join(realVideos ?? "", "mb_ac3.mp4")), MediaError.NoVideoStream)
      }),
    )
    it.live("measures the duration that mpy_no_duration.webm does not state", () =>
      Effect.gen(function* () {
        const info = yield* Probe.probe(join(realVideos ?? "", "mpy_no_duration.webm"))
        assert.closeTo(info.durationSeconds, 74 / info.fps, 0.01)
      }),
    )
  })
})
