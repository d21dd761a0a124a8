/** Placements as people and programs read them. */
import type { Placement } from "@reelgraph/placement"

import * as Format from "./Format.ts"
import type { Placed } from "./Placed.ts"

const columns = 100

/** `6,000 x 4`; of a gang its ranks. */
const atOnce = ({ how, perWorker, ranks, workers }: Placement.PlacedNode): string => {
  if (how === "driver") return ""
  const gangs = workers === 1 ? "" : `${Format.count(workers)} x `
  return ranks > 1
    ? `${gangs}${Format.counted(ranks, "rank")}`
    : `${Format.count(workers)} x ${Format.count(perWorker)}`
}

/** Where each node runs. */
export const table = ({ file, placement }: Placed): ReadonlyArray<string> => [
  `placement on ${Format.line(file)}`,
  ...Format.table(
    ["node", "pool", "how", "workers x calls", "each worker"],
    placement.nodes.map((node) => [
      node.node,
      node.pool,
      node.how,
      atOnce(node),
      node.how === "driver" ? "" : Format.resources(node.resources),
    ]),
    [false, false, false, true],
  ),
]

/** Why there, node by node; of those in the driver that is said by `how`. */
const reasons = ({ placement }: Placed): ReadonlyArray<string> => {
  const nodes = placement.nodes.filter(({ how, why }) => how !== "driver" && why.length > 0)
  const width = Math.max(0, ...nodes.map(({ node }) => node.length)) + 2
  const indent = " ".repeat(width)
  return nodes.flatMap(({ node, why }) =>
    Format.wrapped(`${node.padEnd(width)}${Format.line(why.join("; "))}`, columns, indent),
  )
}

export const warnings = (placed: Placed): ReadonlyArray<string> =>
  placed.warnings.flatMap((warning) => Format.wrapped(`warning: ${Format.line(warning)}`, columns, "  "))

/** A placement for people: the table, and why. */
export const lines = (placed: Placed): ReadonlyArray<string> => [
  ...table(placed),
  ...section("why there", reasons(placed)),
  ...section("", warnings(placed)),
]

const section = (title: string, lines: ReadonlyArray<string>): ReadonlyArray<string> =>
  lines.length === 0 ? [] : ["", ...(title === "" ? [] : [title]), ...lines]

/** A placement for programs: everything. */
export interface Document extends Placement.Placement {
  readonly warnings: ReadonlyArray<string>
}

export const json = ({ placement, warnings }: Placed): Document => ({ ...placement, warnings })
