/**
 * `reel lineage`: from a thing back to what it was made from, or forth to what was made from it.
 *
 * Back it goes through files as well: a model that one run made and another took in as a file of that content.
 */
import { artifactsIn, Journal, Lineage, Status, type Step } from "@reelgraph/store"
import * as Effect from "effect/Effect"

import * as Format from "../Format.ts"
import * as ItemLabel from "../ItemLabel.ts"
import { TerminalOutput } from "../TerminalOutput.ts"
import * as StoreFolder from "../StoreFolder.ts"
import * as LineageTarget from "../LineageTarget.ts"
import type { Task } from "../Task.ts"
import * as Tree from "../Tree.ts"
import { FlagsConflict } from "../UsageError.ts"

export interface Options {
  readonly target: string
  readonly up: boolean
  readonly down: boolean
  readonly store: string
  readonly json: boolean
}

type Direction = "up" | "down"
type Reader = typeof Journal.Service

/** Lines that are printed, and branches below one step; `--json` has no bounds. */
const maxLines = 400
const maxBranches = 10

export const run: (options: Options) => Task = Effect.fn("reel.lineage")(function* (options: Options) {
  if (options.up && options.down)
    return yield* new FlagsConflict({ problem: "--up and --down exclude each other; give one of them" })
  const direction: Direction = options.down ? "down" : "up"
  const screen = yield* TerminalOutput
  yield* Effect.provide(
    Effect.gen(function* () {
      const journal = yield* Journal
      const target = yield* LineageTarget.find(journal, options.target, options.store)
      // Of what names one file, what the rest was made from; of the members of a set, all.
      const items = target.sha256 === undefined ? target.items : firstsOf(journal, target.items, direction)
      const trace: Trace =
        direction === "up"
          ? back(journal, items)
          : { walk: Lineage.down(journal, items), madeHere: new Map<number, ReadonlyArray<number>>() }
      if (options.json)
        screen.print(JSON.stringify(toJson(journal, { ...target, items }, direction, trace), null, 2))
      else screen.show(lines(journal, { ...target, items }, direction, trace))
    }),
    StoreFolder.layerJournal(options.store),
  )
})

/** Of items that name one file, those that the others were made from. */
const firstsOf = (
  journal: Reader,
  items: ReadonlyArray<number>,
  direction: Direction,
): ReadonlyArray<number> => {
  if (items.length === 1) return items
  if (direction === "down") return Lineage.firsts(Lineage.down(journal, items), items)
  return Lineage.firstsAmong(journal, items)
}

/** A walk, and the items that were made with the files of those that were taken in. */
interface Trace {
  readonly walk: Lineage.Walk
  readonly madeHere: ReadonlyMap<number, ReadonlyArray<number>>
}

/** Back to what items were made from, on through files that this store made itself. */
const back = (journal: Reader, items: ReadonlyArray<number>): Trace => {
  const walk = new Map(Lineage.up(journal, items))
  const madeHere = new Map<number, ReadonlyArray<number>>()
  for (const [item, { links, takenIn }] of walk) {
    if (links.length > 0 && !takenIn) continue
    const made = makersOf(journal, item)
    if (made.length === 0) continue
    madeHere.set(item, made)
    // A map goes on to what is added to it meanwhile.
    for (const [above, node] of Lineage.up(journal, made)) if (!walk.has(above)) walk.set(above, node)
  }
  return { walk, madeHere }
}

/** Other items that were made with a file that an item names. */
const makersOf = (journal: Reader, item: number): ReadonlyArray<number> =>
  artifactsIn(recordOf(journal, item)).flatMap(({ sha256 }) =>
    firstsOf(journal, journal.itemsOfArtifact(sha256), "up").filter(
      (other) => other !== item && journal.producers(other).some(({ made }) => made.length > 0),
    ),
  )

const sourcesOf = ({ madeHere, walk }: Trace): ReadonlyArray<number> =>
  Lineage.sources(walk).filter((item) => !madeHere.has(item))

const recordOf = (journal: Reader, item: number): unknown => JSON.parse(journal.item(item)?.record ?? "null")

const stepJson = ({ detail, ms, operator, place, reason, run, startedMs }: Step) => ({
  operator: operator.name,
  version: operator.version,
  params: JSON.parse(operator.params) as unknown,
  ...(operator.seed === undefined ? {} : { seed: operator.seed }),
  run,
  startedMs,
  ms,
  ...(place === undefined ? {} : { place }),
  ...(reason === undefined ? {} : { reason }),
  ...(detail === undefined ? {} : { detail }),
})

const toJson = (journal: Reader, target: LineageTarget.LineageTarget, direction: Direction, trace: Trace) => {
  const { madeHere, walk } = trace
  const digestOf = (item: number) => journal.item(item)?.digest ?? "?"
  return {
    given: target.given,
    ...(target.sha256 === undefined ? {} : { sha256: target.sha256 }),
    direction,
    targets: target.items.map(digestOf),
    ...(direction === "up" ? { sources: sourcesOf(trace).map(digestOf) } : {}),
    items: [...walk.values()].map(({ item, keptBy, links, lostBy }) => {
      const record = recordOf(journal, item)
      return {
        item: digestOf(item),
        name: ItemLabel.nameIn(record) ?? null,
        record,
        artifacts: artifactsIn(record),
        [direction === "up" ? "madeBy" : "usedBy"]: links.map(({ items, step }) => ({
          ...stepJson(step),
          [direction === "up" ? "from" : "gave"]: items.map(digestOf),
        })),
        ...(madeHere.has(item) ? { fileOf: madeHere.get(item)!.map(digestOf) } : {}),
        keptBy: keptBy.map(stepJson),
        ...(direction === "up" ? {} : { lostBy: lostBy.map(stepJson) }),
      }
    }),
  }
}

/** `talk.mp4  video/mp4 3.1 MiB  item 8d2f10aa93bc` */
const itemLine = (journal: Reader, item: number): string => {
  const stored = journal.item(item)
  if (stored === undefined) return `item ${item}`
  const record: unknown = JSON.parse(stored.record)
  const artifacts = artifactsIn(record).map(
    ({ bytes, mediaType, sha256 }) => `${mediaType} ${Format.bytes(bytes)} ${Format.short(sha256)}`,
  )
  const name = ItemLabel.nameIn(record)
  const what = name ?? (artifacts.length > 0 ? "" : Format.cut(stored.record, 60))
  return [what, ...artifacts.slice(0, 3), `item ${Format.short(stored.digest)}`]
    .filter((part) => part !== "")
    .map(Format.line)
    .join("  ")
}

const operatorText = ({ operator }: Step): string => {
  const params = Object.entries(JSON.parse(operator.params) as { readonly [param: string]: unknown }).map(
    ([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`,
  )
  const seed = operator.seed === undefined ? [] : [`seed=${operator.seed}`]
  const told = [...params, ...seed].join(" ")
  return `${operator.name}@${operator.version}${told === "" ? "" : ` ${Format.cut(Format.line(told), 90)}`}`
}

const stepLine = (step: Step): string =>
  `${operatorText(step)}  (run ${step.run}, ${Format.moment(step.startedMs)}, ${Format.duration(step.ms)}${madeOn(step)})`

const madeOn = ({ place }: Step): string =>
  place === undefined ? "" : `, made on ${Format.cut(Format.line(place), 80)}`

const names = (steps: ReadonlyArray<Step>): string =>
  [...new Set(steps.map(({ operator }) => `${operator.name}@${operator.version}`))].join(", ")

const lines = (
  journal: Reader,
  target: LineageTarget.LineageTarget,
  direction: Direction,
  trace: Trace,
): ReadonlyArray<string> => {
  const { madeHere, walk } = trace
  const shown = new Set<number>()
  const leaf = (line: string): Tree.Branch => ({ lines: [line], below: () => [] })

  const itemBranch = (item: number): Tree.Branch => {
    const line = itemLine(journal, item)
    if (shown.has(item)) return leaf(`${line}  (see above)`)
    shown.add(item)
    const made = madeHere.get(item)
    return {
      lines: [line, ...noteLines(item)],
      below: () => [...(made ?? []).map(itemBranch), ...stepsBelow(item)],
    }
  }
  const noteLines = (item: number): ReadonlyArray<string> => {
    const { keptBy, links, lostBy, takenIn } = walk.get(item)!
    return [
      ...(keptBy.length === 0 ? [] : [`kept by ${names(keptBy)}`]),
      ...lostBy.map((step) => `${lost(step)} by ${operatorText(step)}: ${because(step)}`),
      ...(direction === "up" && (takenIn || links.length === 0)
        ? [madeHere.has(item) ? "taken in as a file that was made here:" : "taken in from outside"]
        : []),
    ]
  }
  const stepsBelow = (item: number): ReadonlyArray<Tree.Branch> =>
    walk.get(item)!.links.map(({ items, step }) => {
      const [only] = items
      if (only !== undefined && items.length === 1) {
        const next = itemBranch(only)
        return { lines: [stepLine(step), ...next.lines], below: next.below }
      }
      return {
        lines: [
          `${stepLine(step)} ${direction === "up" ? "from" : "gave"} ${Format.counted(items.length, "item")}`,
        ],
        below: () => [
          ...items.slice(0, maxBranches).map(itemBranch),
          ...(items.length > maxBranches
            ? [leaf(`and ${Format.counted(items.length - maxBranches, "more item")}`)]
            : []),
        ],
      }
    })

  const out = target.items.flatMap((item) => Tree.render(itemBranch(item), maxLines))
  if (direction === "up") {
    const from = sourcesOf(trace)
    const told = from.slice(0, maxBranches).map((item) => ItemLabel.of(journal, item))
    const rest = from.length - told.length
    out.push(
      "",
      `${from.length === 1 ? "source" : `${from.length} sources`}: ${told.join(", ")}${rest > 0 ? `, and ${rest} more` : ""}`,
    )
  } else out.push("", `${Format.counted(walk.size - target.items.length, "item")} made from it`)
  return out
}

const lost = (step: Step): string => (step.status === Status.failed ? "failed" : "dropped")
const because = ({ detail, reason }: Step): string =>
  Format.cut(
    Format.line([reason, detail].filter((text) => text !== undefined && text !== "").join(": ")),
    120,
  )
