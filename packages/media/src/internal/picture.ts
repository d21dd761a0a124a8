/**
 * The filters that turn a decoded frame into a standard picture: cropped, upright, square pixels, scaled to cover
 * the target and cut at its centre, BT.709 limited range 8-bit 4:2:0.
 *
 * Scaling comes first among the costly steps, so that rotation, colour conversion and tone mapping see target
 * pixels only. Cropping before scaling saves the scaling of what is cut; it is done where rounding to even
 * source pixels changes the shape by less than `SHAPE_SLACK`.
 */
import type { Frame } from "node-av/lib"
import type { Crop } from "../Shots.ts"
import { isHdr, matrixName, primariesName, transferName } from "./colour.ts"

export interface PictureTarget {
  readonly width: number
  readonly height: number
}

export interface PictureSource {
  readonly width: number
  readonly height: number
  readonly sampleAspectRatio: readonly [number, number]
  readonly rotation: 0 | 90 | 180 | 270
  readonly crop: Crop | undefined
  readonly matrix: string
  readonly transfer: string
  readonly primaries: string
  readonly range: "tv" | "pc"
  /** RGB has no matrix. */
  readonly rgb: boolean
}

/** Largest change of the picture's shape by rounding the crop to even pixels: a quarter of a per cent. */
const SHAPE_SLACK = 0.0025

/** Nominal peak luminance of SDR white for the tone mapper, cd/m2. BT.2408's reference white is 203. */
const REFERENCE_WHITE = 203

const even = (value: number): number => Math.max(2, Math.round(value / 2) * 2)
const evenUp = (value: number): number => Math.max(2, Math.ceil(value / 2 - 1e-6) * 2)

/** Colour of a decoded frame; what it does not say is taken from `fallback` and then from the usual guess. */
export const colourOf = (
  frame: Frame,
  fallback: { readonly matrix: string; readonly transfer: string; readonly primaries: string },
): { readonly matrix: string; readonly transfer: string; readonly primaries: string } => {
  const pick = (name: string, second: string, guess: string): string =>
    name !== "unknown" ? name : second !== "unknown" ? second : guess
  // Unmarked video: high definition is BT.709, smaller is BT.601 (the rule of mpv and of most players).
  const guess = frame.width >= 1280 || frame.height > 576 ? "bt709" : "smpte170m"
  const transfer = pick(transferName(frame.colorTrc), fallback.transfer, "bt709")
  const matrix = pick(matrixName(frame.colorSpace), fallback.matrix, isHdr(transfer) ? "bt2020nc" : guess)
  const primaries = pick(
    primariesName(frame.colorPrimaries),
    fallback.primaries,
    matrix === "bt2020nc" ? "bt2020" : matrix === "bt709" ? "bt709" : guess,
  )
  return { matrix, transfer, primaries }
}

/** FFmpeg's names for the matrices as the scale filter wants them. */
const SCALE_MATRIX: Readonly<Record<string, string>> = {
  bt709: "bt709",
  fcc: "fcc",
  bt470bg: "bt470",
  smpte170m: "smpte170m",
  smpte240m: "smpte240m",
  bt2020nc: "bt2020",
  bt2020c: "bt2020",
}

/** zscale's names for matrices, transfers and primaries. */
const Z_MATRIX: Readonly<Record<string, string>> = {
  bt709: "709",
  smpte170m: "170m",
  bt470bg: "470bg",
  bt2020nc: "2020_ncl",
  bt2020c: "2020_cl",
}
const Z_TRANSFER: Readonly<Record<string, string>> = {
  smpte2084: "smpte2084",
  "arib-std-b67": "arib-std-b67",
}
const Z_PRIMARIES: Readonly<Record<string, string>> = {
  bt709: "709",
  bt2020: "2020",
  smpte432: "smpte432",
  smpte431: "smpte431",
  smpte170m: "170m",
  bt470bg: "470bg",
}

const geometry = (
  source: PictureSource,
  target: PictureTarget,
): { before: string; size: readonly [number, number]; after: string } => {
  const turned = source.rotation === 90 || source.rotation === 270
  const tw = turned ? target.height : target.width
  const th = turned ? target.width : target.height
  const area = source.crop ?? { x: 0, y: 0, width: source.width, height: source.height }
  const aspect = source.sampleAspectRatio[0] / source.sampleAspectRatio[1]
  const scale = Math.max(tw / (area.width * aspect), th / area.height)
  const cw = Math.min(area.width, even(tw / (scale * aspect)))
  const ch = Math.min(area.height, even(th / scale))
  const shape = ((tw / cw) * aspect) ** -1 * (th / ch)
  const turn =
    source.rotation === 90
      ? ",transpose=clock"
      : source.rotation === 270
        ? ",transpose=cclock"
        : source.rotation === 180
          ? ",hflip,vflip"
          : ""
  if (Math.abs(shape - 1) <= SHAPE_SLACK) {
    const x = area.x + Math.floor((area.width - cw) / 4) * 2
    const y = area.y + Math.floor((area.height - ch) / 4) * 2
    const whole = cw === source.width && ch === source.height
    return { before: whole ? "" : `crop=${cw}:${ch}:${x}:${y}:exact=1,`, size: [tw, th], after: turn }
  }
  const sw = Math.max(tw, evenUp(area.width * aspect * scale))
  const sh = Math.max(th, evenUp(area.height * scale))
  const crop =
    source.crop === undefined ? "" : `crop=${area.width}:${area.height}:${area.x}:${area.y}:exact=1,`
  return { before: crop, size: [sw, sh], after: `,crop=${tw}:${th}${turn}` }
}

/** The filter description for frames of `source`. */
export const pictureFilters = (source: PictureSource, target: PictureTarget): string => {
  const { before, size, after } = geometry(source, target)
  const [w, h] = size
  if (isHdr(source.transfer)) {
    const matrix = Z_MATRIX[source.matrix] ?? "2020_ncl"
    const transfer = Z_TRANSFER[source.transfer] ?? "smpte2084"
    const primaries = Z_PRIMARIES[source.primaries] ?? "2020"
    const range = source.range === "pc" ? "full" : "limited"
    return (
      `[in]${before}scale=${w}:${h}:flags=bicubic,format=yuv420p10le${after},` +
      `zscale=matrixin=${matrix}:transferin=${transfer}:primariesin=${primaries}:rangein=${range}:transfer=linear:npl=${REFERENCE_WHITE},` +
      "format=gbrpf32le,zscale=primaries=709,tonemap=tonemap=hable:desat=0," +
      "zscale=transfer=709:matrix=709:range=limited,format=yuv420p,setsar=1[out0]"
    )
  }
  const inMatrix = source.rgb ? "" : `:in_color_matrix=${SCALE_MATRIX[source.matrix] ?? "bt709"}`
  const inRange = source.rgb ? "" : `:in_range=${source.range}`
  return (
    `[in]${before}scale=${w}:${h}:flags=bicubic${inMatrix}${inRange}:out_color_matrix=bt709:out_range=tv,` +
    `format=yuv420p${after},setsar=1[out0]`
  )
}
