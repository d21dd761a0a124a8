/**
 * Names of colour properties, as FFmpeg spells them, for the code points of ITU-T H.273 (the same numbers in
 * every codec): section 8.1 colour primaries, 8.2 transfer characteristics, 8.3 matrix coefficients.
 */

const PRIMARIES: Readonly<Record<number, string>> = {
  1: "bt709",
  4: "bt470m",
  5: "bt470bg",
  6: "smpte170m",
  7: "smpte240m",
  8: "film",
  9: "bt2020",
  10: "smpte428",
  11: "smpte431",
  12: "smpte432",
  22: "ebu3213",
}

const TRANSFERS: Readonly<Record<number, string>> = {
  1: "bt709",
  4: "bt470m",
  5: "bt470bg",
  6: "smpte170m",
  7: "smpte240m",
  8: "linear",
  9: "log100",
  10: "log316",
  11: "iec61966-2-4",
  12: "bt1361e",
  13: "iec61966-2-1",
  14: "bt2020-10",
  15: "bt2020-12",
  16: "smpte2084",
  17: "smpte428",
  18: "arib-std-b67",
}

const MATRICES: Readonly<Record<number, string>> = {
  0: "gbr",
  1: "bt709",
  4: "fcc",
  5: "bt470bg",
  6: "smpte170m",
  7: "smpte240m",
  8: "ycgco",
  9: "bt2020nc",
  10: "bt2020c",
  12: "chroma-derived-nc",
  13: "chroma-derived-c",
  14: "ictcp",
}

export const primariesName = (code: number): string => PRIMARIES[code] ?? "unknown"
export const transferName = (code: number): string => TRANSFERS[code] ?? "unknown"
export const matrixName = (code: number): string => MATRICES[code] ?? "unknown"

/** PQ (SMPTE ST 2084) and HLG (ARIB STD-B67) are the transfer functions of HDR. */
export const isHdr = (transfer: string): boolean => transfer === "smpte2084" || transfer === "arib-std-b67"

/** 1 = limited ("tv"), 2 = full ("pc"); video without a mark is limited, except for the J formats of JPEG. */
export const rangeName = (code: number, pixelFormat: string): "tv" | "pc" =>
  code === 2 ||
  (code === 0 &&
    (pixelFormat.startsWith("yuvj") || pixelFormat.startsWith("rgb") || pixelFormat.startsWith("gbr")))
    ? "pc"
    : "tv"
