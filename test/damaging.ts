/** Damaging files, the same way for the same random numbers, and sending them through `curate`. */
import { mkdir, readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"

import { CounterRandom, Graph } from "@reelgraph/core"
import { curate } from "@reelgraph/graphs/curate"
import * as Effect from "effect/Effect"

/** A draw from 0 (included) to 1 (excluded). */
export type Draw = () => number

/** Draws for the file of a number: the same for the same seed, whatever other files draw. */
const drawsOf = (seed: number, file: number): Draw => {
  const key = CounterRandom.key(seed, String(file), "damage")
  let numbers: Float64Array = new Float64Array(0)
  let block = 0
  let next = 0
  return () => {
    if (next === numbers.length) {
      numbers = CounterRandom.uniforms(key, 1024, block)
      block += 256
      next = 0
    }
    return numbers[next++]!
  }
}

type Damage = (bytes: Buffer, draw: Draw, other: Buffer) => Buffer

const flip =
  (rate: number): Damage =>
  (bytes, draw) => {
    const damaged = Buffer.from(bytes)
    const flips = Math.max(1, Math.round(bytes.length * 8 * rate))
    for (let i = 0; i < flips; i++) {
      const bit = Math.floor(draw() * bytes.length * 8)
      damaged[bit >> 3]! ^= 1 << (bit & 7)
    }
    return damaged
  }

/** A stretch of the file, up to a quarter of it. */
const stretch = (bytes: Buffer, draw: Draw): readonly [from: number, to: number] => {
  const length = Math.max(1, Math.floor(draw() * bytes.length * 0.25))
  const from = Math.floor(draw() * (bytes.length - length))
  return [from, from + length]
}

/** Ways of damaging a file. */
export const damages = {
  truncated: (bytes, draw) => bytes.subarray(0, Math.floor(draw() * bytes.length)),
  "head missing": (bytes, draw) => bytes.subarray(Math.floor(draw() * bytes.length)),
  "1 bit in 1,000,000": flip(1e-6),
  "1 bit in 100,000": flip(1e-5),
  "1 bit in 10,000": flip(1e-4),
  "1 bit in 1,000": flip(1e-3),
  "bits in the first kilobyte": (bytes, draw, other) =>
    Buffer.concat([flip(2e-3)(bytes.subarray(0, 1024), draw, other), bytes.subarray(1024)]),
  "zeros in between": (bytes, draw) => Buffer.from(bytes).fill(0, ...stretch(bytes, draw)),
  "a piece missing": (bytes, draw) => {
    const [from, to] = stretch(bytes, draw)
    return Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)])
  },
  "halves swapped": (bytes, draw) => {
    const at = Math.floor((0.25 + draw() / 2) * bytes.length)
    return Buffer.concat([bytes.subarray(at), bytes.subarray(0, at)])
  },
  "end of another file": (bytes, draw, other) => {
    const share = draw()
    return Buffer.concat([
      bytes.subarray(0, Math.floor(bytes.length * share)),
      other.subarray(Math.floor(other.length * share)),
    ])
  },
  "bytes after the end": (bytes, draw, other) =>
    Buffer.concat([bytes, other.subarray(0, Math.floor(draw() * other.length))]),
  noise: (_, draw) => Buffer.from(Uint8Array.from({ length: 20_000 }, () => draw() * 256)),
  text: (_, draw) => Buffer.from(`Shot list ${draw()}\n`.repeat(100)),
  empty: () => Buffer.alloc(0),
} satisfies Record<string, Damage>

export type Kind = keyof typeof damages

/** Endings that files are given, now and then of another container than theirs. */
const endings = ["mp4", "mp4", "mp4", "mkv", "webm", "avi", "ts"] as const

/** `curate` for whatever decodes: nothing is too small, too short or too slow, damage and stillness are taken. */
export const lenient = Graph.configure(curate, {
  "ingest-checks": { minShortSide: 2, minSeconds: 0, minFps: 0, minBitsPerPixel: 0, maxAspect: 1000 },
  damaged: { maxShare: 1 },
  jitter: { maxCutsPerSecond: 1000 },
  "split-clips": { cutScore: 100, maxPerShot: 1, maxBlur: 1000 },
  black: { maxShare: 1 },
  motion: { maxFreezeSeconds: 1e9, maxStaticShare: 1, minMotion: 0, maxMotion: 1e9 },
  standardize: { preset: "ultrafast" },
})

export interface Damaged {
  readonly name: string
  readonly kind: Kind
  /** Path of the file that was damaged. */
  readonly of: string
}

/** Writes `count` damaged files into `folder`; every kind as often as any other. */
export const damageFiles = Effect.fn("damageFiles")(function* (
  sources: ReadonlyArray<string>,
  folder: string,
  count: number,
  seed: number,
) {
  yield* Effect.promise(() => mkdir(folder, { recursive: true }))
  const kinds = Object.keys(damages) as ReadonlyArray<Kind>
  return yield* Effect.forEach(
    Array.from({ length: count }, (_, i) => i),
    (i) =>
      Effect.promise(async (): Promise<Damaged> => {
        const draw = drawsOf(seed, i)
        const kind = kinds[i % kinds.length]!
        const of = sources[Math.floor(draw() * sources.length)]!
        const other = sources[Math.floor(draw() * sources.length)]!
        const ending = endings[Math.floor(draw() * endings.length)]!
        // Longer than the names of whole files: of two clips that look alike, the shorter name stays.
        const name = `damaged-${String(i).padStart(4, "0")}-${kind.replaceAll(/[^a-z0-9]+/gi, "-")}.${ending}`
        const bytes = damages[kind](await readFile(of), draw, await readFile(other))
        await writeFile(join(folder, name), bytes)
        return { name, kind, of }
      }),
  )
})
