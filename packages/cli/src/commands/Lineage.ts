/** `reel lineage`: from a thing back to what it was made from, or forth to what was made from it. */
import { artifactsIn, Journal, Lineage, Status, type Step } from "@reelgraph/store"
import * as Effect from "effect/Effect"

import * as Format from "../Format.ts"
import * as ItemLabel from "../ItemLabel.ts"
import { Screen } from "../Screen.ts"
import * as StoreFolder from "../StoreFolder.ts"
import * as Target from "../Target.ts"
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
  const screen = yield* Screen
  yield* Effect.provide(
    Effect.gen(function* () {
      const journal = yield* Journal
      const target = yield* Target.find(journal, options.target, options.store)
      const items = firstsOf(journal, target.items, direction)
      const walk = direction === "up" ? Lineage.up(journal, items) : Lineage.down(journal, items)
      if (options.json)
        screen.print(JSON.stringify(toJson(journal, { ...target, items }, direction, walk), null, 2))
      else screen.show(lines(journal, { ...target, items }, direction, walk))
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
  const all = new Set(items)
  return items.filter((item) =>
    journal
      .producers(item)
      .every(({ inputs }) => inputs.includes(item) || inputs.every((input) => !all.has(input))),
  )
}

const recordOf = (journal: Reader, item: number): unknown => JSON.parse(journal.item(item)?.record ?? "null")

const stepJson = ({ detail, ms, operator, reason, run, startedMs }: Step) => ({
  operator: operator.name,
  version: operator.version,
  params: JSON.parse(operator.params) as unknown,
  ...(operator.seed === undefined ? {} : { seed: operator.seed }),
  run,
  startedMs,
  ms,
  ...(reason === undefined ? {} : { reason }),
  ...(detail === undefined ? {} : { detail }),
})

const toJson = (journal: Reader, target: Target.Target, direction: Direction, walk: Lineage.Walk) => {
  const digestOf = (item: number) => journal.item(item)?.digest ?? "?"
  return {
    given: target.given,
    ...(target.sha256 === undefined ? {} : { sha256: target.sha256 }),
    direction,
    targets: target.items.map(digestOf),
    ...(direction === "up" ? { sources: Lineage.sources(walk).map(digestOf) } : {}),
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
  `${operatorText(step)}  (run ${step.run}, ${Format.moment(step.startedMs)}, ${Format.duration(step.ms)})`

const names = (steps: ReadonlyArray<Step>): string =>
  [...new Set(steps.map(({ operator }) => `${operator.name}@${operator.version}`))].join(", ")

const lines = (
  journal: Reader,
  target: Target.Target,
  direction: Direction,
  walk: Lineage.Walk,
): ReadonlyArray<string> => {
  const shown = new Set<number>()
  const leaf = (line: string): Tree.Branch => ({ lines: [line], below: () => [] })

  const itemBranch = (item: number): Tree.Branch => {
    const line = itemLine(journal, item)
    if (shown.has(item)) return leaf(`${line}  (see above)`)
    shown.add(item)
    return { lines: [line, ...noteLines(item)], below: () => stepsBelow(item) }
  }
  const noteLines = (item: number): ReadonlyArray<string> => {
    const { keptBy, links, lostBy } = walk.get(item)!
    return [
      ...(keptBy.length === 0 ? [] : [`kept by ${names(keptBy)}`]),
      ...lostBy.map((step) => `${lost(step)} by ${operatorText(step)}: ${because(step)}`),
      ...(direction === "up" && links.length === 0 ? [`taken in from outside`] : []),
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
    const from = Lineage.sources(walk)
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
