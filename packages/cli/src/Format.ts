/** Numbers, times and texts as people read them on a terminal. */
import type { Resources } from "@reelgraph/core"

import * as TerminalText from "./TerminalText.ts"

/** `12,345` */
export const count = (value: number): string => String(value).replaceAll(/\B(?=(\d{3})+$)/g, ",")

/** `1 item`, `12,345 items` */
export const counted = (value: number, singular: string, plural = `${singular}s`): string =>
  `${count(value)} ${value === 1 ? singular : plural}`

/** `3 ms`, `4.2 s`, `3m 04s`, `2h 05m` */
export const duration = (ms: number): string => {
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`
  const seconds = Math.round(ms / 1000)
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${String(seconds % 60).padStart(2, "0")}s`
  const minutes = Math.round(seconds / 60)
  return `${Math.floor(minutes / 60)}h ${String(minutes % 60).padStart(2, "0")}m`
}

/** `03:07`, `1:02:03` */
export const clock = (ms: number): string => {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  const two = (value: number) => String(value).padStart(2, "0")
  const minutes = Math.floor(seconds / 60)
  const head = minutes < 60 ? two(minutes) : `${Math.floor(minutes / 60)}:${two(minutes % 60)}`
  return `${head}:${two(seconds % 60)}`
}

/** `812 B`, `3.4 MiB` */
export const bytes = (value: number): string => {
  const units = ["KiB", "MiB", "GiB", "TiB", "PiB"]
  if (value < 1024) return `${value} B`
  let scaled = value / 1024
  let unit = 0
  while (scaled >= 1024 && unit < units.length - 1) {
    scaled /= 1024
    unit++
  }
  return `${scaled < 10 ? scaled.toFixed(1) : Math.round(scaled)} ${units[unit]}`
}

/** `2026-01-14 09:30:42`, in UTC. */
export const moment = (ms: number): string => new Date(ms).toISOString().slice(0, 19).replace("T", " ")

/** Per second: `12/s`, `0.8/s`, `3.1/min` */
export const rate = (perSecond: number): string => {
  if (perSecond >= 10) return `${count(Math.round(perSecond))}/s`
  if (perSecond >= 0.1) return `${perSecond.toFixed(1)}/s`
  return `${(perSecond * 60).toFixed(1)}/min`
}

/** `4 cores, 16 GiB, 1 GPU h100 of 80 GiB` */
export const resources = ({ cores, gpu, memoryGiB }: Resources.Resources): string =>
  [
    counted(cores, "core"),
    ...(memoryGiB === undefined ? [] : [`${memoryGiB} GiB`]),
    ...(gpu === undefined
      ? []
      : [
          `${counted(gpu.count, "GPU")}${gpu.model === undefined ? "" : ` ${gpu.model}`}${gpu.memoryGiB === undefined ? "" : ` of ${gpu.memoryGiB} GiB`}`,
        ]),
  ].join(", ")

/** Text in lines of at most so many columns, broken at spaces; all but the first begin with the indent. */
export const wrapped = (text: string, columns: number, indent: string): ReadonlyArray<string> => {
  const lines: Array<string> = []
  // A position and no rest: each character is looked at a few times, however long the text is.
  let begin = 0
  while (true) {
    const margin = begin === 0 ? "" : indent
    const room = columns - margin.length
    if (text.length - begin <= room) return [...lines, `${margin}${text.slice(begin)}`]
    const part = text.slice(begin, begin + Math.max(0, room) + 1)
    const space = part.lastIndexOf(" ")
    const end =
      space > (begin === 0 ? indent.length : 0) ? begin + space : text.indexOf(" ", begin + Math.max(0, room))
    if (end < 0) return [...lines, `${margin}${text.slice(begin)}`]
    lines.push(`${margin}${text.slice(begin, end)}`)
    begin = end + 1
  }
}

/** One line without control characters, which a file name or a message of others may hold. */
export const line = TerminalText.line

/** As a shell takes it. */
export const quoted = (path: string): string =>
  /^[\w./@%+=:,-]+$/.test(path) ? path : `'${line(path).replaceAll("'", `'\\''`)}'`

/** At most so many characters, the last of them an ellipsis when some had to go. */
export const cut = (text: string, columns: number): string =>
  text.length <= columns ? text : `${text.slice(0, Math.max(0, columns - 1))}…`

/** The first digits of a digest: enough to tell items apart, and to ask for one. */
export const short = (digest: string): string => digest.slice(0, 12)

/** Characters of a cell at most: every row is padded to the widest one. */
const widestCell = 400

/** Columns aligned by spaces: texts to the left, numbers to the right. */
export const table = (
  header: ReadonlyArray<string>,
  rows: ReadonlyArray<ReadonlyArray<string>>,
  numeric: ReadonlyArray<boolean> = [],
): ReadonlyArray<string> => {
  const all = [header, ...rows].map((row) => row.map((cell) => cut(line(cell), widestCell)))
  const widths = header.map((_, column) => Math.max(...all.map((row) => (row[column] ?? "").length)))
  return all.map((row) =>
    row
      .map((cell, column) =>
        numeric[column] === true ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!),
      )
      .join("  ")
      .trimEnd(),
  )
}
