/**
 * Pictures without a library: 8-bit RGB that frames and lines of text are put on, and that is written as PNG (W3C,
 * "Portable Network Graphics", third edition: RGB without interlacing, each row by Paeth's filter).
 */
import { crc32, deflateSync } from "node:zlib"

export interface Picture {
  readonly width: number
  readonly height: number
  /** [height, width, 3] */
  readonly pixels: Uint8Array
}

export type Rgb = readonly [red: number, green: number, blue: number]

export const blank = (width: number, height: number, colour: Rgb): Picture => ({
  width,
  height,
  pixels: Uint8Array.from({ length: 3 * width * height }, (_, i) => colour[i % 3]!),
})

/** Puts a frame `[height, width, 3]` with its upper left corner at (x, y). */
export const place = (
  picture: Picture,
  frame: Uint8Array,
  frameWidth: number,
  x: number,
  y: number,
): void => {
  for (let row = 0; 3 * row * frameWidth < frame.length; row++)
    picture.pixels.set(
      frame.subarray(3 * row * frameWidth, 3 * (row + 1) * frameWidth),
      3 * ((y + row) * picture.width + x),
    )
}

/** Letters of 5 x 9 with the base line under the seventh row: rows from the top, "/" between them. */
const letters: Readonly<Record<string, string>> = {
  a: "//.###/....#/.####/#...#/.####",
  b: "#/#/#.##/##..#/#...#/#...#/####",
  c: "//.###/#...#/#/#...#/.###",
  d: "....#/....#/.##.#/#..##/#...#/#...#/.####",
  e: "//.###/#...#/#####/#/.###",
  f: "..##/.#/####/.#/.#/.#/.#",
  g: "//.##.#/#..##/#...#/#..##/.##.#/....#/.###",
  h: "#/#/#.##/##..#/#...#/#...#/#...#",
  i: "..#//.##/..#/..#/..#/.###",
  j: "...#//..##/...#/...#/...#/...#/#..#/.##",
  k: "#/#/#..#/#.#/##/#.#/#..#",
  l: ".##/..#/..#/..#/..#/..#/.###",
  m: "//##.#/#.#.#/#.#.#/#.#.#/#.#.#",
  n: "//#.##/##..#/#...#/#...#/#...#",
  o: "//.###/#...#/#...#/#...#/.###",
  p: "//#.##/##..#/#...#/##..#/#.##/#/#",
  q: "//.##.#/#..##/#...#/#..##/.##.#/....#/....#",
  r: "//#.##/##..#/#/#/#",
  s: "//.####/#/.###/....#/####",
  t: ".#/.#/####/.#/.#/.#..#/..##",
  u: "//#...#/#...#/#...#/#..##/.##.#",
  v: "//#...#/#...#/#...#/.#.#/..#",
  w: "//#...#/#...#/#.#.#/#.#.#/.#.#",
  x: "//#...#/.#.#/..#/.#.#/#...#",
  y: "//#...#/#...#/#...#/#..##/.##.#/....#/.###",
  z: "//#####/...#/..#/.#/#####",
  "-": "////.###",
  ",": "//////..#/..#/.#",
  ";": "///..#///..#/..#/.#",
  ":": "///..#///..#",
}

/** From one letter to the next, and from one line to the next, in pixels. */
export const advance = 6
export const lineHeight = 11

/** Writes lower-case letters with the upper left corner at (x, y); what has no letter is a space. */
export const write = (picture: Picture, text: string, x: number, y: number, colour: Rgb): void => {
  Array.from(text).forEach((letter, i) =>
    (letters[letter] ?? "").split("/").forEach((row, dy) =>
      Array.from(row).forEach((dot, dx) => {
        const column = x + i * advance + dx
        if (dot === "#" && column < picture.width)
          picture.pixels.set(colour, 3 * ((y + dy) * picture.width + column))
      }),
    ),
  )
}

const chunk = (type: string, data: Uint8Array): Buffer => {
  const out = Buffer.alloc(data.length + 12)
  out.writeUInt32BE(data.length, 0)
  out.write(type, 4, "latin1")
  out.set(data, 8)
  out.writeUInt32BE(crc32(out.subarray(4, data.length + 8)), data.length + 8)
  return out
}

/** Whichever of the three neighbours is nearest to left + above - corner. */
const paeth = (left: number, above: number, corner: number): number => {
  const toLeft = Math.abs(above - corner)
  const toAbove = Math.abs(left - corner)
  const toCorner = Math.abs(left + above - 2 * corner)
  return toLeft <= toAbove && toLeft <= toCorner ? left : toAbove <= toCorner ? above : corner
}

/** A file of the picture. */
export const toPng = ({ height, pixels, width }: Picture): Uint8Array => {
  const stride = 3 * width
  const rows = Buffer.alloc(height * (stride + 1))
  const value = (row: number, i: number): number => (row < 0 || i < 0 ? 0 : pixels[row * stride + i]!)
  for (let row = 0; row < height; row++) {
    const at = row * (stride + 1)
    rows[at] = 4
    for (let i = 0; i < stride; i++)
      rows[at + 1 + i] = value(row, i) - paeth(value(row, i - 3), value(row - 1, i), value(row - 1, i - 3))
  }
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  header.set([8, 2, 0, 0, 0], 8)
  return Buffer.concat([
    Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a),
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(rows, { level: 9 })),
    chunk("IEND", new Uint8Array()),
  ])
}
