/**
 * A small corpus of videos for `npm start`: eight clips of the sample world as 1280x720 mp4 files with a text file of
 * captions beside each, and four without any that a curator must not keep.
 */
import { copyFile, mkdir, rename, writeFile } from "node:fs/promises"
import { existsSync } from "node:fs"
import { join } from "node:path"

import { FrameWriter } from "@reelgraph/media"
import { Corpus, Render } from "@reelgraph/world"
import * as Effect from "effect/Effect"

/** A file of the corpus. */
export interface Film {
  /** Without its ending: `name.mp4`, and `name.txt` where there are captions. */
  readonly name: string
  readonly captions: ReadonlyArray<string>
  /** What a curator has to find out about it; absent of the good ones. */
  readonly bad?: string
}

interface Painted extends Film {
  readonly seconds: number
  /** Pixels that are painted; the file has `target`'s size. */
  readonly size: readonly [width: number, height: number]
  readonly target: readonly [width: number, height: number]
  readonly paint: () => FrameWriter.Paint
}

const FPS = 24

/** What a clip takes: the motion of a scene fills it, as it does where the shipped model was trained. */
const SECONDS = 5

/** Pixels for each of a scene's 128x72. */
const SCALE = 10

const filmed = ({ captions, name, scene }: Corpus.Item, seconds: number): Painted => {
  const width = scene.width * SCALE
  const height = scene.height * SCALE
  const frames = seconds * FPS
  const paint = () => {
    const draw = Render.painter(scene, { scale: SCALE })
    return (index: number, into: Uint8Array) => draw(index / (frames - 1), into)
  }
  return { name, captions, seconds, size: [width, height], target: [width, height], paint }
}

/**
 * A lens cap: black but for the noise of a sensor. Without any, a file of so few bits is dropped as starved before
 * anybody looks at it. Numbers are those of a linear congruential generator (Numerical Recipes).
 */
const black: Painted = {
  name: "bad-black",
  captions: [],
  bad: "black from beginning to end",
  seconds: SECONDS,
  size: [427, 240],
  target: [854, 480],
  paint: () => {
    let state = 22
    return (_, into) => {
      for (let i = 0; i < into.length; i += 3) {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0
        into.fill(state >>> 28, i, i + 3)
      }
    }
  },
}

const [first, second] = Corpus.moving as readonly [Corpus.Item, Corpus.Item, ...ReadonlyArray<Corpus.Item>]

const films: ReadonlyArray<Painted> = [
  ...Corpus.moving.map((item) => filmed(item, SECONDS)),
  black,
  { ...filmed(Corpus.resting, SECONDS), name: "bad-still", captions: [], bad: "nothing moves" },
  { ...filmed(second, 3), name: "bad-short", captions: [], bad: "3 s long, and a clip has 5" },
]

const copy: Film = {
  name: `${first.name}-bad-copy`,
  captions: [],
  bad: `the same bytes as ${first.name}.mp4`,
}

const write = Effect.fnUntraced(function* (
  folder: string,
  { paint, seconds, size, target, ...film }: Painted,
) {
  const [width, height] = size
  const out = join(folder, `.${film.name}.part`)
  const [targetWidth, targetHeight] = target
  const shape = { width: targetWidth, height: targetHeight, fps: FPS, frames: seconds * FPS }
  yield* FrameWriter.write({ out, width, height, target: shape }, paint())
  yield* Effect.promise(() => rename(out, join(folder, `${film.name}.mp4`)))
})

/**
 * Renders what is not there yet into `folder`, which is created, and tells `onFilm` of every file. The same bytes on
 * every run.
 */
export const render = Effect.fn("worldCorpus.render")(function* (
  folder: string,
  onFilm: (film: Film) => void,
) {
  const at = (file: string) => join(folder, file)
  yield* Effect.promise(() => mkdir(folder, { recursive: true }))
  for (const film of films) {
    onFilm(film)
    const { captions, name } = film
    if (captions.length > 0)
      yield* Effect.promise(() => writeFile(at(`${name}.txt`), `${captions.join("\n")}\n`))
    if (!existsSync(at(`${name}.mp4`))) yield* write(folder, film)
  }
  onFilm(copy)
  yield* Effect.promise(() => copyFile(at(`${first.name}.mp4`), at(`${copy.name}.mp4`)))
})
