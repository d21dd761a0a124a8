/** Results that the journal has: of a node's own binding, and where that is wanted, of the same with other code. */
import { Binding, Fingerprints, RecordCodec } from "@reelgraph/call"
import type { Graph } from "@reelgraph/core"
import { type Hit, type Journal, Status } from "@reelgraph/store"

import * as ChangedCode from "../ChangedCode.ts"

type JournalService = typeof Journal.Service

interface Looking {
  readonly journal: JournalService
  readonly node: Graph.Placed
  readonly seed: number
  readonly code: ReadonlyMap<Graph.Placed["operator"], Fingerprints.Fingerprint>
  readonly changedCode: ChangedCode.ChangedCode
}

/** Fingerprints that are looked for: a project under development has many. */
const othersAtMost = 16

/** Rows of a node's operator bound to the same with other code, whose results may be reused: the latest first. */
export const othersOf = (
  { changedCode, code, journal, node, seed }: Looking,
  sides: { readonly [side: string]: Binding.SideItem },
): ReadonlyArray<number> => {
  const { operator } = node
  const own = code.get(operator)!
  if (!ChangedCode.reuses(changedCode, own)) return []
  return journal
    .sources(operator.name, operator.version)
    .filter((source) => source !== own.digest)
    .map((source) => journal.boundOperator(Binding.row(node, { ...own, digest: source }, seed, sides).digest))
    .filter((row) => row !== undefined)
    .sort((a, b) => b - a)
    .slice(0, othersAtMost)
}

/** A result in the place of a call; `reused` when other code made it. */
export interface Found {
  readonly hit: Hit
  readonly reused: boolean
}

/** Results of items that may be used, by item: nothing that failed, and of other code only what the ports still allow. */
export const findAll = (
  journal: JournalService,
  node: Graph.Placed,
  { operator, others }: { readonly operator: number | undefined; readonly others: ReadonlyArray<number> },
  items: ReadonlyArray<number>,
): ReadonlyMap<number, Found> => {
  const found = new Map<number, Found>()
  let left = items
  const look = (row: number, reused: boolean) => {
    const hits = journal.findAll(left, row)
    for (const [item, hit] of hits)
      if (hit.status !== Status.failed && (!reused || decodes(journal, node, hit)))
        found.set(item, { hit, reused })
  }
  if (operator !== undefined) look(operator, false)
  for (const other of others) {
    left = left.filter((item) => !found.has(item))
    if (left.length === 0) break
    look(other, true)
  }
  return found
}

/** The result of one item. */
export const find = (
  journal: JournalService,
  node: Graph.Placed,
  rows: { readonly operator: number | undefined; readonly others: ReadonlyArray<number> },
  item: number,
): Found | undefined => findAll(journal, node, rows, [item]).get(item)

const decodes = (journal: JournalService, node: Graph.Placed, { outputs }: Hit): boolean => {
  const codec = RecordCodec.of(node.output.record)
  try {
    for (const output of outputs) codec.decode(journal.item(output)!.record)
    return true
  } catch {
    return false
  }
}
