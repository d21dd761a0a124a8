/**
 * How training went: a row for every window of steps, as CSV for tools and as a picture in SVG for people.
 */
import { scaleLinear, scaleLog } from "d3-scale"
import * as Schema from "effect/Schema"

import type * as TrainingRun from "./TrainingRun.ts"

const header = ["step", "loss", "norm", "rate", "step_ms", "bucket"] as const

/** One line of the table: a window's means over one bucket, or over all ("all"). */
export interface Row {
  readonly step: number
  readonly loss: number
  /** Of the gradient, before clipping. */
  readonly norm: number
  readonly rate: number
  readonly stepMillis: number
  readonly bucket: string
}

/** The table is not one of these. */
export class LossCurveInvalid extends Schema.TaggedError<LossCurveInvalid>()("LossCurveInvalid", {
  line: Schema.Int,
  problem: Schema.String,
}) {
  override get message() {
    return `line ${this.line} of the loss curve ${this.problem}`
  }
}

/** All buckets together, and each of them where there are several. */
export const rowsOf = ({ report, step, stepMillis, variants }: TrainingRun.Window): ReadonlyArray<Row> => {
  const of = (bucket: string, { loss = 0, norm = 0, rate = 0 }: typeof report): Row => ({
    step,
    loss,
    norm,
    rate,
    stepMillis: Math.round(stepMillis),
    bucket,
  })
  const each = Object.entries(variants).filter(([bucket]) => bucket !== "")
  return [of("all", report), ...each.map(([bucket, own]) => of(bucket, own))]
}

export const headerLine = `${header.join(",")}\n`

/** Six significant digits: what a plot or a comparison needs. */
const shown = (value: number): string => String(Number(value.toPrecision(6)))

export const line = ({ bucket, loss, norm, rate, step, stepMillis }: Row): string =>
  `${step},${shown(loss)},${shown(norm)},${shown(rate)},${stepMillis},${bucket}\n`

export const toCsv = (rows: ReadonlyArray<Row>): string => headerLine + rows.map(line).join("")

/** Throws `LossCurveInvalid`. */
export const fromCsv = (text: string): ReadonlyArray<Row> => {
  const lines = text.split("\n").filter((each) => each !== "")
  if (lines[0] !== header.join(",")) throw new LossCurveInvalid({ line: 1, problem: `is not ${headerLine}` })
  return lines.slice(1).map((each, i) => {
    const [step, loss, norm, rate, stepMillis, bucket] = each.split(",")
    const numbers = [step, loss, norm, rate, stepMillis].map(Number)
    if (bucket === undefined || !numbers.every(Number.isFinite))
      throw new LossCurveInvalid({ line: i + 2, problem: "is not five numbers and a bucket" })
    const [at, mean, length, lr, millis] = numbers as [number, number, number, number, number]
    return { step: at, loss: mean, norm: length, rate: lr, stepMillis: millis, bucket }
  })
}

const size = { width: 960, height: 480, left: 72, right: 24, top: 48, bottom: 48 }

/** Colours that are told apart in print and by colour-blind readers (Okabe and Ito 2008). */
const palette = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]

const escaped = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")

/** The running mean over about a fortieth of the curve: single windows are noisy. */
const smoothed = (values: ReadonlyArray<number>): ReadonlyArray<number> => {
  const reach = Math.max(1, Math.round(values.length / 40))
  let mean = values[0] ?? 0
  return values.map((value, i) => (mean += (value - mean) / Math.min(i + 1, reach)))
}

/** Loss over steps, one line for each bucket, on a logarithmic scale: a picture without any script. */
export const toSvg = (title: string, rows: ReadonlyArray<Row>): string => {
  const { bottom, height, left, right, top, width } = size
  const names = [...new Set(rows.map(({ bucket }) => bucket))]
  const drawn = names.length > 2 ? names.filter((name) => name !== "all") : names
  const own = rows.filter(({ bucket, loss }) => drawn.includes(bucket) && loss > 0)
  const losses = own.length > 0 ? own.map(({ loss }) => loss) : [0.1, 1]
  const steps = own.length > 0 ? own.map(({ step }) => step) : [0, 1]
  const low = losses.reduce((a, b) => Math.min(a, b))
  const high = losses.reduce((a, b) => Math.max(a, b))
  const x = scaleLinear([Math.min(steps[0]!, 0), Math.max(steps.at(-1)!, 1)], [left, width - right])
  const y = scaleLog([low / 1.05, high * 1.05], [height - bottom, top])
  const format = y.tickFormat(8, "~g")
  const ticksY = y.ticks(8).filter((tick) => format(tick) !== "" || y.ticks(8).length < 6)
  const grid = [
    ...ticksY.map(
      (tick) =>
        `<line x1="${left}" x2="${width - right}" y1="${y(tick).toFixed(1)}" y2="${y(tick).toFixed(1)}" class="grid"/>` +
        `<text x="${left - 8}" y="${(y(tick) + 4).toFixed(1)}" text-anchor="end">${Number(tick.toPrecision(3))}</text>`,
    ),
    ...x
      .ticks(8)
      .map(
        (tick) =>
          `<text x="${x(tick).toFixed(1)}" y="${height - bottom + 20}" text-anchor="middle">${tick}</text>`,
      ),
  ]
  const lines = drawn.map((name, i) => {
    const of = own.filter(({ bucket }) => bucket === name)
    const colour = palette[i % palette.length]
    const points = (values: ReadonlyArray<number>) =>
      of.map(({ step }, at) => `${x(step).toFixed(1)},${y(values[at]!).toFixed(1)}`).join(" ")
    const raw = of.map(({ loss }) => loss)
    const last = smoothed(raw).at(-1)
    return [
      `<polyline fill="none" points="${points(raw)}" stroke="${colour}" stroke-opacity="0.25" stroke-width="1"/>`,
      `<polyline fill="none" points="${points(smoothed(raw))}" stroke="${colour}" stroke-width="2"/>`,
      `<text x="${width - right}" y="${top + 16 * i}" text-anchor="end" fill="${colour}" class="key">${escaped(name)}${last === undefined ? "" : `: ${last.toPrecision(4)}`}</text>`,
    ].join("\n")
  })
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="system-ui, sans-serif" font-size="12" fill="#444">`,
    `<style>.grid{stroke:#ddd}.key{font-weight:600}</style>`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    `<text x="${left}" y="24" font-size="16" class="key">${escaped(title)}</text>`,
    ...grid,
    `<text x="${(left + width - right) / 2}" y="${height - 8}" text-anchor="middle">step</text>`,
    `<text transform="translate(16 ${(top + height - bottom) / 2}) rotate(-90)" text-anchor="middle">loss</text>`,
    ...lines,
    "</svg>",
    "",
  ].join("\n")
}
