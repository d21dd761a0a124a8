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
    .map((source) => journal.boundOperator(Binding.row(node, source, seed, sides).digest))
    .filter((row) => row !== undefined)
    .sort((a, b) => b - a)
    .slice(0, othersAtMost)
}

/** A result in the place of a call; `reused` when other code made it. */
export interface Found {
  readonly hit: Hit
  readonly reused: boolean
}

/** The result of an item that may be used: nothing that failed, and of other code only what the ports still allow. */
export const find = (
  journal: JournalService,
  node: Graph.Placed,
  { operator, others }: { readonly operator: number | undefined; readonly others: ReadonlyArray<number> },
  item: number,
): Found | undefined => {
  const own = operator === undefined ? undefined : journal.find(item, operator)
  if (own !== undefined && own.status !== Status.failed) return { hit: own, reused: false }
  for (const other of others) {
    const hit = journal.find(item, other)
    if (hit !== undefined && hit.status !== Status.failed && decodes(journal, node, hit))
      return { hit, reused: true }
  }
  return undefined
}

const decodes = (journal: JournalService, node: Graph.Placed, { outputs }: Hit): boolean => {
  const codec = RecordCodec.of(node.output.record)
  try {
    for (const output of outputs) codec.decode(journal.item(output)!.record)
    return true
  } catch {
    return false
  }
}
