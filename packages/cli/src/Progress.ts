/**
 * Progress of a run on stderr: on a terminal a table that is drawn anew several times a second, elsewhere a line
 * every few seconds and one when an operator ends. Calls that report how far they are have a line below their
 * operator's; elsewhere an operator has one for them now and then.
 */
import { Progress } from "@reelgraph/core"
import type { Engine } from "@reelgraph/engine"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

import * as Format from "./Format.ts"
import { TerminalOutput } from "./TerminalOutput.ts"

type Node = Engine.Live["nodes"][number]
type Call = Node["underway"] extends ReadonlySet<infer A> ? A : never

/** Times at which things happen, in milliseconds. */
const refreshMs = 200
const lineMs = 5000
/** A node's line about its calls, elsewhere than on a terminal. */
const callLineMs = 10_000
/** Calls of one node that are shown. */
const shownCalls = 4
/** Rates are those of the last seconds. */
const windowMs = 8000

const doneOf = ({ tally }: Node): number => tally.kept + tally.droppedTotal + tally.failed

/** Remembers what was done when, for rates. */
export class Pace {
  readonly #samples: Array<{ readonly atMs: number; readonly done: ReadonlyMap<string, number> }> = []

  note(live: Engine.Live, nowMs: number): void {
    const done = new Map(live.nodes.map((node) => [node.id, doneOf(node) - node.tally.cached]))
    this.#samples.push({ atMs: nowMs, done })
    while (this.#samples.length > 2 && nowMs - this.#samples[0]!.atMs > windowMs) this.#samples.shift()
  }

  /** Calls that ended per second; cached results do not count. */
  perSecond(id: string): number {
    const first = this.#samples[0]
    const last = this.#samples.at(-1)
    if (first === undefined || last === undefined || last.atMs <= first.atMs) return 0
    return Math.max(
      0,
      ((last.done.get(id) ?? 0) - (first.done.get(id) ?? 0)) / ((last.atMs - first.atMs) / 1000),
    )
  }
}

/** How many items a node will have taken in at the end, as far as that can be told by now. */
const expected = (live: Engine.Live, totals: Totals): ReadonlyMap<string, number> => {
  const given = new Map<string, number>()
  const taken = new Map<string, number>()
  for (const [input, { count, ended }] of Object.entries(live.inputs)) {
    const total = ended ? count : totals[input]
    if (total !== undefined) given.set(input, total)
  }
  live.graph.nodes.forEach((placed, position) => {
    const node = live.nodes[position]!
    const comes = given.get(placed.input)
    if (comes === undefined) return
    taken.set(placed.id, comes)
    const done = doneOf(node)
    if (node.tally.ended) given.set(placed.id, node.tally.out)
    else if (done > 0) given.set(placed.id, (comes * node.tally.out) / done)
  })
  return taken
}

/** Records that will come in, by input, where that is known. */
export type Totals = { readonly [input: string]: number }

/** How far a call is: `20%  loss 0.312  11:04 left`; nothing before its first report. */
const callLine = ({ first, latest }: Call, nowMs: number): string | undefined => {
  if (first === undefined || latest === undefined) return undefined
  const share = Progress.share(latest.report)
  const left = Progress.remaining(first, latest, nowMs)
  return [
    // Not rounded up: what goes on is not done.
    ...(share === undefined ? [] : [`${Math.floor(share * 100)}%`]),
    ...(latest.report.detail === "" ? [] : [Format.line(latest.report.detail.trim())]),
    ...(left === undefined ? [] : [`${Format.clock(left)} left`]),
  ].join("  ")
}

/** The lines below a node's own. */
const callLines = ({ away, tally, underway }: Node, nowMs: number): ReadonlyArray<string> => {
  const lines = [...underway].flatMap((call) => callLine(call, nowMs) ?? [])
  const more = lines.length - shownCalls
  const workers = tally.ended ? "" : (away?.() ?? "")
  return [
    ...(workers === "" ? [] : [workers]),
    ...lines.slice(0, shownCalls),
    ...(more > 0 ? [`and ${more} more`] : []),
  ].map((line) => `  ${line}`)
}

/** One line on the calls of a node that report how far they are: on the one that did last. */
export const underway = (node: Node, nowMs: number): string | undefined => {
  const calls = [...node.underway].sort((a, b) => (b.latest?.atMs ?? 0) - (a.latest?.atMs ?? 0))
  const line = calls[0] === undefined ? undefined : callLine(calls[0], nowMs)
  const others = calls.length > 1 ? `  (and ${Format.counted(calls.length - 1, "other call")})` : ""
  return line === undefined ? undefined : `${node.id}: ${line}${others}`
}

/** The table of a run that goes on, at most so wide and high. */
export const frame = (
  live: Engine.Live,
  pace: Pace,
  totals: Totals,
  nowMs: number,
  columns: number,
  rows: number,
): ReadonlyArray<string> => {
  const expects = expected(live, totals)
  const cells = live.nodes.map((node): ReadonlyArray<string> => {
    const { cached, droppedTotal, ended, failed } = node.tally
    const done = doneOf(node)
    const perSecond = pace.perSecond(node.id)
    const comes = expects.get(node.id)
    const left = comes === undefined ? undefined : Math.max(0, comes - done)
    const eta =
      ended || node.tally.in === 0 || left === undefined || perSecond === 0
        ? ""
        : Format.clock((left / perSecond) * 1000)
    return [
      node.id,
      comes === undefined || ended || comes <= done
        ? Format.count(done)
        : `${Format.count(done)} of ${Format.count(Math.round(comes))}`,
      Format.count(cached),
      Format.count(droppedTotal),
      Format.count(failed),
      perSecond === 0 || ended ? "" : Format.rate(perSecond),
      ended ? "ended" : eta,
    ]
  })
  const header = ["operator", "done", "cached", "dropped", "failed", "rate", "left"]
  const [head, ...body] = Format.table(header, cells, [false, true, true, true, true, true, true])
  const inputs = Object.entries(live.inputs).map(
    ([input, { count, ended }]) =>
      `${input} ${Format.count(count)}${ended ? "" : totals[input] === undefined ? "..." : ` of ${Format.count(totals[input])}`}`,
  )
  const title = `${live.graph.name}@${live.graph.version}  ${Format.clock(nowMs - live.startedMs)}  ${inputs.join(", ")}  ${live.name}`
  const room = Math.max(1, rows - 4)
  const shown = fitting(
    live.nodes.map((node, position) => ({
      line: body[position]!,
      calls: callLines(node, nowMs),
      ended: node.tally.ended,
    })),
    room,
  )
  const hidden = body.length - shown.nodes
  return [title, head!, ...shown.lines, ...(hidden === 0 ? [] : [`and ${hidden} more`])].map((line) =>
    Format.cut(line, Math.max(1, columns - 1)),
  )
}

interface Block {
  readonly line: string
  readonly calls: ReadonlyArray<string>
  readonly ended: boolean
}

/** Nodes at work are the ones to see when there is no room for all, and their own lines before those of calls. */
const fitting = (blocks: ReadonlyArray<Block>, room: number) => {
  const nodes = blocks.length <= room ? blocks : blocks.filter(({ ended }) => !ended).slice(0, room)
  let free = room - nodes.length
  const lines = nodes.flatMap(({ calls, line }) => {
    const below = calls.slice(0, free)
    free -= below.length
    return [line, ...below]
  })
  return { nodes: nodes.length, lines }
}

/** One line on a run that goes on. */
export const summary = (live: Engine.Live, nowMs: number): string => {
  const nodes = live.nodes
    .filter(({ tally }) => tally.in > 0 && !tally.ended)
    .map((node) => {
      const { failed } = node.tally
      const workers = node.away?.() ?? ""
      const more = [
        ...(failed > 0 ? [`${Format.count(failed)} failed`] : []),
        ...(workers === "" ? [] : [workers]),
      ]
      return `${node.id} ${Format.count(doneOf(node))}${more.length === 0 ? "" : ` (${more.join("; ")})`}`
    })
  return `${Format.clock(nowMs - live.startedMs)}  ${nodes.length === 0 ? "waiting for input" : nodes.join(", ")}`
}

/** One line on an operator that has ended. */
export const ending = ({ id, tally }: Node): string => {
  const parts = [
    `${Format.count(tally.in)} in`,
    ...(tally.cached > 0 ? [`${Format.count(tally.cached)} cached`] : []),
    ...(tally.droppedTotal > 0 ? [`${Format.count(tally.droppedTotal)} dropped`] : []),
    ...(tally.failed > 0 ? [`${Format.count(tally.failed)} failed`] : []),
    `${Format.count(tally.out)} out`,
  ]
  return `${id}: ${parts.join(", ")}`
}

/** Shows a run from when it is given to `observe` until the scope ends. */
export const show = (
  totals: Totals,
): Effect.Effect<{ readonly observe: (live: Engine.Live) => void }, never, TerminalOutput | Scope.Scope> =>
  Effect.gen(function* () {
    const screen = yield* TerminalOutput
    const clock = yield* Clock.Clock
    const pace = new Pace()
    const told = new Set<string>()
    let live: Engine.Live | undefined
    let lastLineMs = 0
    const callsTold = new Map<string, { readonly atMs: number; readonly line: string }>()

    const tick = () => {
      if (live === undefined) return
      const nowMs = clock.currentTimeMillisUnsafe()
      if (screen.isTerminal) {
        pace.note(live, nowMs)
        screen.pin(frame(live, pace, totals, nowMs, screen.columns(), screen.rows()))
        return
      }
      for (const node of live.nodes) {
        if (!node.tally.ended || told.has(node.id)) continue
        told.add(node.id)
        screen.tell(ending(node))
        lastLineMs = nowMs
      }
      for (const node of live.nodes) {
        if (node.underway.size === 0) continue
        const before = callsTold.get(node.id)
        if (before !== undefined && nowMs - before.atMs < callLineMs) continue
        const line = underway(node, nowMs)
        if (line === undefined || line === before?.line) continue
        callsTold.set(node.id, { atMs: nowMs, line })
        screen.tell(line)
      }
      if (nowMs - Math.max(lastLineMs, live.startedMs) >= lineMs && told.size < live.nodes.length) {
        screen.tell(summary(live, nowMs))
        lastLineMs = nowMs
      }
    }
    yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep(refreshMs), Effect.sync(tick))))
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        if (screen.isTerminal) screen.pin([])
        else tick()
      }),
    )
    return {
      observe: (begun) => {
        live = begun
        if (screen.isTerminal) tick()
        else screen.tell(`run ${begun.name} begins`)
      },
    }
  })
