/** Films for tests, drawn plane by plane, and a look at decoded pixels. */
import { Effect } from "effect"
import { existsSync, mkdtempSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { AV_PIX_FMT_YUV420P } from "node-av/constants"
import { Frame } from "node-av/lib"
import { fromAdapter, Pace, withCleanup } from "../src/internal/native.ts"
import { Reader } from "../src/internal/reader.ts"
import { Writer } from "../src/internal/writer.ts"
import { newPicture, type Picture } from "../src/internal/scenery.ts"

export const scratch = (): string => mkdtempSync(join(tmpdir(), "reel-media-"))

/** Folder of the real files of SOURCES.md, or undefined when they are not there. */
export const realVideos: string | undefined = [
  process.env["REEL_TEST_VIDEOS"],
  fileURLToPath(new URL("../../../../shared/videos", import.meta.url)),
].find((folder) => folder !== undefined && existsSync(join(folder, "skv_bikes.mp4")))

export interface FilmOptions {
  readonly width?: number
  readonly height?: number
  /** Time stamps count in 1 / rate. */
  readonly rate?: readonly [number, number]
  readonly range?: "pc"
  readonly rotation?: 90
  readonly gop?: number
}

export interface Take {
  /** Time stamp in units of 1 / rate. */
  readonly at: number
  readonly paint: (picture: Picture) => void
}

/** A flat grey of luma level `y`. */
export const grey =
  (y: number) =>
  (picture: Picture): void => {
    picture.y.fill(y)
    picture.u.fill(128)
    picture.v.fill(128)
  }

/** Encodes the takes, nearly lossless. */
export const film = (
  path: string,
  takes: ReadonlyArray<Take>,
  options: FilmOptions = {},
): Effect.Effect<string, undefined> =>
  fromAdapter(
    (signal) =>
      withCleanup(async (cleanup) => {
        const width = options.width ?? 160
        const height = options.height ?? 96
        const pace = new Pace(signal)
        const writer = await Writer.open(
          path,
          {
            width,
            height,
            rate: options.rate ?? [24, 1],
            frames: takes.length,
            gop: options.gop ?? 48,
            encoder: { preset: "veryfast", crf: "4" },
            ...(options.range === undefined ? {} : { range: options.range }),
            ...(options.rotation === undefined ? {} : { rotation: options.rotation }),
          },
          cleanup,
        )
        const picture = newPicture(width, height)
        for (const take of takes) {
          if (pace.due) await pace.rest()
          take.paint(picture)
          const frame = Frame.fromVideoBuffer(picture.bytes, { width, height, format: AV_PIX_FMT_YUV420P })
          writer.encode(frame, take.at)
          frame.free()
        }
        writer.finish()
        return path
      }),
    (): undefined => undefined,
  )

/** The raw luma planes of a file, rows packed, in display order. */
export const lumaPlanes = (path: string): Effect.Effect<ReadonlyArray<Uint8Array>, undefined> =>
  fromAdapter(
    (signal) =>
      withCleanup(async (cleanup) => {
        const reader = await Reader.open(path, cleanup, new Pace(signal))
        const frame = cleanup.add(new Frame(), (frame) => frame.free())
        frame.alloc()
        const planes: Array<Uint8Array> = []
        await reader.decode(frame, (frame) => {
          const stride = frame.linesize[0] ?? 0
          const plane = new Uint8Array(frame.width * frame.height)
          const source = frame.data?.[0] ?? Buffer.alloc(0)
          for (let y = 0; y < frame.height; y++) {
            plane.set(source.subarray(y * stride, y * stride + frame.width), y * frame.width)
          }
          planes.push(plane)
          return true
        })
        return planes
      }),
    (): undefined => undefined,
  )

/** Mean of a plane. */
export const mean = (plane: Uint8Array): number => plane.reduce((sum, y) => sum + y, 0) / plane.length
