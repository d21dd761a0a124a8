/**
 * A small corpus of video files with known truth: drawn, encoded and damaged here, the same bytes on every run.
 * What to show first, and what the curation tests rest on.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { AV_PIX_FMT_YUV420P } from "node-av/constants"
import { Frame } from "node-av/lib"
import { Filters } from "./internal/filters.ts"
import { fromAdapter, Pace, withCleanup } from "./internal/native.ts"
import { newPicture, type PaletteName, type Picture, scene } from "./internal/scenery.ts"
import { Writer } from "./internal/writer.ts"
import { EncoderFailed, type EncodeError, Unwritable } from "./MediaError.ts"

/** Why a file of the corpus must be dropped, or that it must be kept. */
export const Expectation = Schema.Literals([
  "kept",
  "too-short",
  "black",
  "static",
  "blurry",
  "low-resolution",
  "low-frame-rate",
  "jitter",
  "exact-duplicate",
  "near-duplicate",
  "damaged",
  "not-a-video",
  "no-video-stream",
])
export type Expectation = typeof Expectation.Type

export const SampleFile = Schema.Struct({
  file: Schema.String,
  expect: Expectation,
  /** Clips of five seconds that come out of a kept file. */
  clips: Schema.optionalKey(Schema.Int),
  note: Schema.String,
})
export type SampleFile = typeof SampleFile.Type

const WIDTH = 854
const HEIGHT = 480
const FPS = 24

interface Shot {
  readonly palette: PaletteName
  readonly seed: number
  readonly frames: number
  readonly city?: boolean
}

interface Recipe extends SampleFile {
  readonly shots: ReadonlyArray<Shot>
  readonly width?: number
  readonly height?: number
  readonly fps?: number
  /** The picture does not move. */
  readonly still?: boolean
  /** Filters between the drawing and the encoder. */
  readonly filters?: string
  /** Size after the filters, where they change it. */
  readonly size?: readonly [number, number]
  readonly range?: "pc"
  readonly rotation?: 90
}

const VALLEY: ReadonlyArray<Shot> = [
  { palette: "noon", seed: 3, frames: 126 },
  { palette: "dusk", seed: 8, frames: 124, city: true },
  { palette: "desert", seed: 5, frames: 44 },
]

const RECIPES: ReadonlyArray<Recipe> = [
  { file: "journey.mp4", expect: "kept", clips: 2, note: "three shots; two are long enough", shots: VALLEY },
  {
    file: "short.mp4",
    expect: "too-short",
    note: "3 s",
    shots: [{ palette: "winter", seed: 21, frames: 72 }],
  },
  {
    file: "black.mp4",
    expect: "black",
    note: "6 s with the lens cap on: the sensor's noise, and nothing else",
    shots: [{ palette: "night", seed: 22, frames: 144 }],
    // Without noise a black picture takes so few bits that it is dropped as starved before anybody looks at it.
    filters: "eq=brightness=-1:contrast=0,noise=c0_strength=10:c0_flags=t:c0_seed=22",
    still: true,
  },
  {
    file: "still.mp4",
    expect: "static",
    note: "6 s of one picture",
    shots: [{ palette: "noon", seed: 23, frames: 144 }],
    still: true,
  },
  {
    file: "blurry.mp4",
    expect: "blurry",
    note: "out of focus",
    shots: [{ palette: "noon", seed: 24, frames: 132, city: true }],
    filters: "gblur=sigma=9:steps=2",
  },
  {
    file: "tiny.mp4",
    expect: "low-resolution",
    note: "320 x 180",
    shots: [{ palette: "desert", seed: 25, frames: 132 }],
    width: 320,
    height: 180,
  },
  {
    file: "letterbox.mp4",
    expect: "kept",
    clips: 1,
    note: "bars of 60 lines above and below, to be cropped",
    shots: [{ palette: "winter", seed: 26, frames: 126, city: true }],
    height: 360,
    filters: "pad=854:480:0:60",
    size: [WIDTH, HEIGHT],
  },
  {
    file: "portrait.mp4",
    expect: "kept",
    clips: 1,
    note: "lies on its side; the display matrix turns it upright (480 x 854)",
    shots: [{ palette: "noon", seed: 27, frames: 126, city: true }],
    width: HEIGHT,
    height: WIDTH,
    filters: "transpose=cclock",
    size: [WIDTH, HEIGHT],
    rotation: 90,
  },
  {
    file: "fullrange.mp4",
    expect: "kept",
    clips: 1,
    note: "full range, to be converted",
    shots: [{ palette: "desert", seed: 28, frames: 126 }],
    filters: "scale=in_range=tv:out_range=pc,format=yuv420p",
    range: "pc",
  },
  {
    file: "choppy.mp4",
    expect: "low-frame-rate",
    note: "10 frames a second",
    shots: [{ palette: "dusk", seed: 29, frames: 60 }],
    fps: 10,
  },
  {
    file: "slideshow.mp4",
    expect: "jitter",
    note: "four cuts a second",
    shots: Array.from({ length: 22 }, (_, i) => ({
      palette: (["noon", "night", "winter", "dusk"] as const)[i % 4] as PaletteName,
      seed: 40 + (i % 8),
      frames: 6,
    })),
  },
]

const NEAR: Recipe = {
  file: "journey-brighter.mp4",
  expect: "near-duplicate",
  note: "journey.mp4, brighter and encoded again",
  shots: VALLEY,
  filters: "eq=brightness=0.06",
}

/** Writes one film. */
const film = (directory: string, recipe: Recipe, pace: Pace): Promise<void> =>
  withCleanup(async (cleanup) => {
    const width = recipe.width ?? WIDTH
    const height = recipe.height ?? HEIGHT
    const fps = recipe.fps ?? FPS
    const [outWidth, outHeight] = recipe.size ?? [width, height]
    const total = recipe.shots.reduce((sum, shot) => sum + shot.frames, 0)
    const writer = await Writer.open(
      join(directory, recipe.file),
      {
        width: outWidth,
        height: outHeight,
        rate: [fps, 1],
        frames: total,
        gop: 2 * fps,
        encoder: { preset: "superfast", crf: "28" },
        ...(recipe.range === undefined ? {} : { range: recipe.range }),
        ...(recipe.rotation === undefined ? {} : { rotation: recipe.rotation }),
      },
      cleanup,
    )
    const picture: Picture = newPicture(width, height)
    const filtered = cleanup.add(new Frame(), (frame) => frame.free())
    filtered.alloc()
    const filters =
      recipe.filters === undefined
        ? undefined
        : Filters.open(
            cleanup,
            {
              width,
              height,
              format: AV_PIX_FMT_YUV420P,
              timeBase: { num: 1, den: fps },
              colorSpace: 1,
              colorRange: 1,
            },
            `[in]${recipe.filters}[out0]`,
          )
    let written = 0
    for (const shot of recipe.shots) {
      const draw = scene({ width, height, fps, ...shot })
      for (let i = 0; i < shot.frames; i++, written++) {
        if (pace.due) await pace.rest()
        if (i === 0 || recipe.still !== true) draw(picture, i)
        const frame = Frame.fromVideoBuffer(picture.bytes, {
          width,
          height,
          format: AV_PIX_FMT_YUV420P,
          timeBase: { num: 1, den: fps },
          pts: BigInt(written),
        })
        try {
          if (filters === undefined) writer.encode(frame, written)
          else {
            filters.push(frame)
            while (filters.pull(filtered)) writer.encode(filtered, written)
          }
        } finally {
          frame.free()
        }
      }
    }
    writer.finish()
  })

/** A second of a 440 Hz tone as WAV: a file that FFmpeg reads and that has no picture. */
const tone = (): Buffer => {
  const rate = 8_000
  const wav = Buffer.alloc(44 + rate * 2)
  wav.write("RIFF", 0, "latin1")
  wav.writeUInt32LE(wav.length - 8, 4)
  wav.write("WAVEfmt ", 8, "latin1")
  wav.writeUInt32LE(16, 16)
  wav.writeUInt16LE(1, 20)
  wav.writeUInt16LE(1, 22)
  wav.writeUInt32LE(rate, 24)
  wav.writeUInt32LE(rate * 2, 28)
  wav.writeUInt16LE(2, 32)
  wav.writeUInt16LE(16, 34)
  wav.write("data", 36, "latin1")
  wav.writeUInt32LE(rate * 2, 40)
  for (let i = 0; i < rate; i++)
    wav.writeInt16LE(Math.round(8_000 * Math.sin((2 * Math.PI * 440 * i) / rate)), 44 + i * 2)
  return wav
}

/** Share of `journey.mp4`'s bytes that the truncated file keeps. */
const KEPT_BYTES = 0.55

const run = async (directory: string, signal: AbortSignal): Promise<ReadonlyArray<SampleFile>> => {
  const pace = new Pace(signal)
  const at = (file: string) => join(directory, file)
  await mkdir(directory, { recursive: true })
  for (const recipe of [...RECIPES, NEAR]) await film(directory, recipe, pace)
  const original = at("journey.mp4")
  await copyFile(original, at("journey-copy.mp4"))
  const bytes = await readFile(original)
  await writeFile(at("truncated.mp4"), bytes.subarray(0, Math.floor(bytes.length * KEPT_BYTES)))
  await writeFile(at("notes.mp4"), "Shot list\n1. the valley at noon\n2. the city at dusk\n3. the desert\n")
  await writeFile(at("sound.mp4"), tone())
  const rest: ReadonlyArray<SampleFile> = [
    { file: "journey-copy.mp4", expect: "exact-duplicate", note: "the bytes of journey.mp4" },
    { file: "truncated.mp4", expect: "damaged", note: "the first part of journey.mp4's bytes" },
    { file: "notes.mp4", expect: "not-a-video", note: "a text file" },
    { file: "sound.mp4", expect: "no-video-stream", note: "a tone, no picture" },
  ]
  const manifest = [...RECIPES, NEAR].map(({ file, expect, clips, note }) => ({
    file,
    expect,
    ...(clips === undefined ? {} : { clips }),
    note,
  }))
  return [...manifest, ...rest]
}

/**
 * Renders the corpus into `directory`, which is created; files of the same names are overwritten. Returns the
 * manifest. Takes a few seconds; about 3 MB.
 */
export const render = Effect.fn("SampleCorpus.render")(
  (directory: string): Effect.Effect<ReadonlyArray<SampleFile>, EncodeError> =>
    fromAdapter(
      (signal) => run(directory, signal),
      (thrown): EncodeError | undefined => {
        if (thrown instanceof EncoderFailed || thrown instanceof Unwritable) return thrown
        const code = (thrown as NodeJS.ErrnoException).code
        return typeof code === "string" ? new Unwritable({ path: directory, code }) : undefined
      },
    ),
)
