/**
 * How often readings of clips agree with what the clips were to show.
 */
import * as Attributes from "./Attributes.ts"
import type { Reading } from "./Measure.ts"

/** What a clip was to show, and what was read from its pixels. */
export interface Comparison {
  readonly attributes: Attributes.Attributes
  readonly reading: Reading
}

/** How often each value (outer) was read as each other one (inner); "none" where nothing was found. */
export type Confusion = Readonly<Record<string, Readonly<Record<string, number>>>>

export interface Score {
  /** Clips compared. The rest are shares of them, or means over them. */
  readonly count: number
  readonly colour: number
  readonly shape: number
  readonly motion: number
  readonly background: number
  /** All four attributes at once. */
  readonly all: number
  readonly found: number
  /** The mean coherence: 1 is one thing in every frame, 0 also where nothing was found. */
  readonly coherence: number
  readonly confusion: Readonly<Record<keyof Attributes.Attributes, Confusion>>
}

const names = ["colour", "shape", "motion", "background"] as const

type Name = (typeof names)[number]

const confusionOf = (comparisons: ReadonlyArray<Comparison>, name: Name): Confusion => {
  const rows: Record<string, Record<string, number>> = {}
  for (const { attributes, reading } of comparisons) {
    const row = (rows[attributes[name]] ??= {})
    const read = reading[name] ?? "none"
    row[read] = (row[read] ?? 0) + 1
  }
  return rows
}

/** The score of some clips; NaN where there are none. */
export const of = (comparisons: ReadonlyArray<Comparison>): Score => {
  const mean = (value: (comparison: Comparison) => number): number =>
    comparisons.reduce((sum, comparison) => sum + value(comparison), 0) / comparisons.length
  const right = (name: Name, { attributes, reading }: Comparison): boolean =>
    attributes[name] === reading[name]
  return {
    count: comparisons.length,
    colour: mean((comparison) => Number(right("colour", comparison))),
    shape: mean((comparison) => Number(right("shape", comparison))),
    motion: mean((comparison) => Number(right("motion", comparison))),
    background: mean((comparison) => Number(right("background", comparison))),
    all: mean((comparison) => Number(names.every((name) => right(name, comparison)))),
    found: mean(({ reading }) => Number(reading.found)),
    coherence: mean(({ reading }) => reading.coherence),
    confusion: {
      colour: confusionOf(comparisons, "colour"),
      shape: confusionOf(comparisons, "shape"),
      motion: confusionOf(comparisons, "motion"),
      background: confusionOf(comparisons, "background"),
    },
  }
}
