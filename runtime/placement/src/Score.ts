/** Scores: a simulated run against what happened, as ratios of what was and what had been foretold. */
import type { Ledger } from "@reelgraph/core"

import type * as Simulation from "./Simulation.ts"

/** What happened: a run of the journal. */
export interface Happened {
  readonly startedMs: number
  readonly endedMs: number
  readonly ledger: Ledger.Ledger
}

/** What was foretold and what was. The ratio is that of what was to what had been foretold; 1 when both are nothing. */
export interface Compared {
  readonly foretold: number
  readonly actual: number
  readonly ratio: number
}

export interface NodeScore {
  readonly node: string
  readonly in: Compared
  readonly out: Compared
  /** Seconds of calls, of those that ran at once, too. */
  readonly work: Compared
  /** Of the items that came in, those that the journal had answers for: no work, and none was foretold for them. */
  readonly cached: number
}

export interface Score {
  readonly seconds: Compared
  /** Seconds of calls, of all nodes. */
  readonly work: Compared
  readonly nodes: ReadonlyArray<NodeScore>
  /** Nodes that only one of both has. */
  readonly unmatched: ReadonlyArray<string>
}

const compare = (foretold: number, actual: number): Compared => ({
  foretold,
  actual,
  ratio: foretold === actual ? 1 : actual / foretold,
})

/** How good a simulation was. */
export const make = (simulated: Simulation.Simulated, { endedMs, ledger, startedMs }: Happened): Score => {
  const nodes = simulated.nodes.flatMap((node): ReadonlyArray<NodeScore> => {
    const was = Object.hasOwn(ledger, node.node) ? ledger[node.node] : undefined
    if (was === undefined) return []
    return [
      {
        node: node.node,
        in: compare(node.in, was.in),
        out: compare(node.out, was.out),
        work: compare(node.workHours * 3600, was.busyMs / 1000),
        cached: was.cached,
      },
    ]
  })
  const matched = new Set(nodes.map(({ node }) => node))
  const total = (of: "foretold" | "actual") => nodes.reduce((sum, { work }) => sum + work[of], 0)
  return {
    seconds: compare(simulated.seconds, (endedMs - startedMs) / 1000),
    work: compare(total("foretold"), total("actual")),
    nodes,
    unmatched: [...new Set([...simulated.nodes.map(({ node }) => node), ...Object.keys(ledger)])].filter(
      (node) => !matched.has(node),
    ),
  }
}
