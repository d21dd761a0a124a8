/**
 * Binding: an operator with everything that its results depend on, beside the items themselves: its name and version,
 * its code, its ports and cardinality, params, side inputs, and the seed if it draws from it.
 */
import { Canonical, Digest, type Graph, Port } from "@reelgraph/core"
import type { OperatorRow } from "@reelgraph/store"

/** An item or a set given to a side input. */
export interface SideItem {
  readonly id: number
  readonly digest: string
}

/** What of an operator's fingerprint its results depend on: its code, and what `run` captured. */
export interface Code {
  readonly digest: string
  readonly captured: string
}

/** The journal's row of a node's operator: equal digests give equal results for equal items. */
export const row = (
  node: Graph.Placed,
  code: Code,
  seed: number,
  sides: { readonly [side: string]: SideItem },
): OperatorRow => {
  const { operator } = node
  const params = Canonical.stringify(node.params)
  const seeded = operator.seeded ? { seed } : {}
  const sideDigests = Object.fromEntries(Object.entries(sides).map(([side, { digest }]) => [side, digest]))
  return {
    digest: Digest.ofJson({
      name: operator.name,
      version: operator.version,
      code: code.digest,
      ...(code.captured === "" ? {} : { captured: code.captured }),
      cardinality: operator.cardinality,
      takes: Port.toJson(operator.input),
      // What a filter gives is what it takes, whichever edge it is on.
      gives: operator.output === undefined ? "same" : Port.toJson(operator.output),
      params: node.params,
      ...seeded,
      // Neither finds the other's results, whatever becomes of those of other code.
      ...(operator.relayered ? { relayered: true } : {}),
      sides: sideDigests,
    }),
    name: operator.name,
    version: operator.version,
    params,
    ...seeded,
    source: code.digest,
    sides: Object.fromEntries(Object.entries(sides).map(([side, { id }]) => [side, id])),
  }
}

/**
 * What the work of a call is known by, in every attempt and every run: what its operator is bound to, and its item (of
 * a `collect`, the set). This is what results are found by.
 */
export const callKey = (bound: string, item: string): Digest.Digest =>
  Digest.ofBytes(`reelgraph/call\n${bound}\n${item}`)

/** The same for a `batch`: of the keys of its items. */
export const batchKey = (bound: string, items: ReadonlyArray<string>): Digest.Digest =>
  Digest.ofBytes(`reelgraph/batch\n${items.map((item) => callKey(bound, item)).join("\n")}`)

/** The digest of a set of items: of their sorted digests. */
export const setDigest = (digests: ReadonlyArray<string>): Digest.Digest =>
  Digest.ofBytes(`reelgraph/set\n${[...digests].sort().join("\n")}`)
