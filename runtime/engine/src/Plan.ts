/**
 * Plans: what a run would do, before it does anything. For each node: how many of its items are answered by the
 * journal, how many have to be called for and why, and how many cannot be known before others have run.
 */
import { Binding, Fingerprints, RecordCodec } from "@reelgraph/call"
import { type Canonical, Difference, Digest, type Graph, type Operator, type Verify } from "@reelgraph/core"
import { BlobStore, Journal, type JournalError, Status, type StoreUnreadable } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"

import * as ChangedCode from "./ChangedCode.ts"
import type { Inputs } from "./Engine.ts"
import * as Cached from "./internal/cached.ts"
import * as GraphChecks from "./internal/graphChecks.ts"
import { lostArtifacts, mayLose } from "./internal/lostArtifacts.ts"

export interface NodePlan {
  readonly id: string
  readonly operator: string
  readonly version: string
  readonly hits: number
  /** Calls to make, by why their result is not there. */
  readonly misses: { readonly [reason: string]: number }
  /** Whether more items may come from nodes further up that have to run first. */
  readonly more: boolean
  /** Milliseconds of work for the misses, from earlier calls of this operator; absent when it never ran. */
  readonly estimatedMs: number | undefined
}

export interface Plan {
  readonly graph: string
  readonly version: string
  readonly digest: string
  readonly inputs: { readonly [input: string]: number }
  readonly nodes: ReadonlyArray<NodePlan>
  readonly warnings: ReadonlyArray<string>
}

/** What a plan knows of an edge: items in the journal, how many others, and whether there may be more. */
interface Known {
  readonly ids: ReadonlyArray<number>
  readonly fresh: number
  readonly more: boolean
}

/**
 * Plans a run of a graph. Reads the journal, writes nothing. Where there is a `BlobStore`, results whose blobs are gone
 * from it are misses, as they are to a run.
 */
export const make = <E = never, R = never>(
  graph: Graph.Graph,
  inputs: Inputs<E, R>,
  options: { readonly seed?: number; readonly changedCode?: ChangedCode.ChangedCode } = {},
): Effect.Effect<Plan, E | JournalError | StoreUnreadable | Verify.GraphInvalid, Journal | R> =>
  Effect.gen(function* () {
    const journal = yield* Journal
    const blobs = Option.getOrUndefined(yield* Effect.serviceOption(BlobStore))
    yield* GraphChecks.check(graph)
    const code = yield* (yield* Fingerprints.Fingerprints).of(graph.nodes.map(({ operator }) => operator))
    const reused = new Map<Operator.Any, number>()
    const looking = {
      journal,
      blobs,
      code,
      reused,
      seed: options.seed ?? 0,
      changedCode: options.changedCode ?? "auto",
    }
    const edges = new Map<string, Known>()
    const counts: { [input: string]: number } = {}
    for (const [input, port] of Object.entries(graph.inputs)) {
      const known = yield* takeIn(journal, RecordCodec.of(port.record), inputs[input] ?? Stream.empty)
      edges.set(input, known)
      counts[input] = known.ids.length + known.fresh
    }
    const nodes = yield* Effect.forEach(graph.nodes, (node) =>
      Effect.map(planNode({ ...looking, node }, edges), ({ known, plan }): NodePlan => {
        edges.set(node.id, known)
        return plan
      }),
    )
    const { digest } = GraphChecks.definition(graph)
    return {
      graph: graph.name,
      version: graph.version,
      digest,
      inputs: counts,
      nodes,
      warnings: [
        ...[...reused].map(([operator, count]) => ChangedCode.warning(operator, count)),
        ...GraphChecks.unreadableCode(code),
      ],
    }
  }).pipe(GraphChecks.journalErrors)

/** A sentence for each operator of a graph that has cached results of other code, and what a run does about them. */
export const changedOperators = (
  graph: Graph.Graph,
  changedCode: ChangedCode.ChangedCode = "auto",
): Effect.Effect<ReadonlyArray<string>, JournalError, Journal> =>
  Effect.gen(function* () {
    const journal = yield* Journal
    const code = yield* (yield* Fingerprints.Fingerprints).of(graph.nodes.map(({ operator }) => operator))
    return [...code].flatMap(([operator, fingerprint]) =>
      journal.sources(operator.name, operator.version).some((source) => source !== fingerprint.digest)
        ? [ChangedCode.notice(operator, ChangedCode.reuses(changedCode, fingerprint))]
        : [],
    )
  }).pipe(GraphChecks.journalErrors)

type JournalService = typeof Journal.Service

const takeIn = <E, R>(
  journal: JournalService,
  codec: RecordCodec.RecordCodec,
  records: Stream.Stream<unknown, E, R>,
): Effect.Effect<Known, E, R> =>
  Effect.map(
    Stream.runFold(
      records,
      () => ({ ids: new Array<number>(), fresh: new Set<string>() }),
      (known, record) => {
        const { digest } = codec.encode(record)
        const stored = journal.itemByDigest(digest)
        if (stored === undefined) known.fresh.add(digest)
        else known.ids.push(stored.id)
        return known
      },
    ),
    ({ fresh, ids }) => ({ ids, fresh: fresh.size, more: false }),
  )

/** What a node is planned with. */
interface Planning {
  readonly journal: JournalService
  readonly blobs: typeof BlobStore.Service | undefined
  readonly node: Graph.Placed
  readonly seed: number
  readonly code: ReadonlyMap<Operator.Any, Fingerprints.Fingerprint>
  readonly changedCode: ChangedCode.ChangedCode
  readonly reused: Map<Operator.Any, number>
}

const planNode = Effect.fnUntraced(function* (planning: Planning, edges: ReadonlyMap<string, Known>) {
  const { blobs, code, journal, node, reused, seed } = planning
  const input = edges.get(node.input)!
  const misses: { [reason: string]: number } = {}
  const miss = (reason: string, count = 1) => void (misses[reason] = (misses[reason] ?? 0) + count)
  const outputs: Array<number> = []
  let hits = 0

  const sides = sideItems(journal, node, edges)
  const bound = sides === undefined ? undefined : Binding.row(node, code.get(node.operator)!, seed, sides)
  const operator = bound === undefined ? undefined : journal.boundOperator(bound.digest)
  const others = sides === undefined ? [] : Cached.othersOf(planning, sides)
  /** What the journal has of the node's items; of a collect, of their set. */
  let cached: ReadonlyMap<number, Cached.Found> = new Map()
  const look = (items: ReadonlyArray<number>) =>
    void (cached = Cached.findAll(journal, node, { operator, others }, items))
  /** Items whose results name blobs that are gone, and how they are. */
  const lost = new Map<number, string>()
  const lookForBlobs = Effect.fnUntraced(function* (items: ReadonlyArray<number>) {
    if (blobs === undefined || !mayLose(node)) return
    const found = new Map([...new Set(items)].map((item) => [item, cached.get(item)?.hit]))
    const calls = yield* lostArtifacts(
      { blobs, journal, node },
      [...found.values()].filter((hit) => hit !== undefined),
    )
    for (const [item, hit] of found) {
      const sha256 = hit === undefined ? undefined : calls.get(hit.call)
      if (sha256 === undefined) continue
      const there = yield* Effect.orElseSucceed(blobs.has(sha256), () => false)
      lost.set(item, `its blob is ${there ? "damaged" : "missing"}`)
    }
  })
  const answered = (item: number): boolean => {
    const found = cached.get(item)
    if (found === undefined || lost.has(item)) return false
    hits++
    if (found.reused) reused.set(node.operator, (reused.get(node.operator) ?? 0) + 1)
    for (const output of found.hit.outputs) outputs.push(output)
    return true
  }
  if (input.fresh > 0 && node.operator.cardinality !== "collect") miss("new item", input.fresh)
  if (node.operator.cardinality === "collect") {
    const complete = input.fresh === 0 && !input.more
    const set = complete
      ? journal.itemByDigest(Binding.setDigest(distinctDigests(journal, input.ids)))
      : undefined
    if (set === undefined) {
      if (!input.more || input.ids.length + input.fresh > 0)
        miss(complete ? "this set of items was not seen before" : "its items are not all there yet")
    } else {
      look([set.id])
      yield* lookForBlobs([set.id])
      if (!answered(set.id)) miss(lost.get(set.id) ?? reasonFor(journal, set.id, node, bound))
    }
  } else {
    look(input.ids)
    yield* lookForBlobs(input.ids)
    // Equal items are called for once.
    const called = new Set<number>()
    for (const item of input.ids)
      if (!called.has(item) && !answered(item) && called.add(item))
        miss(
          sides === undefined
            ? "waits for a side input"
            : (lost.get(item) ?? reasonFor(journal, item, node, bound)),
        )
  }
  const missing = Object.values(misses).reduce((sum, count) => sum + count, 0)
  const history = journal.history(node.operator.name, node.operator.version)
  const plan: NodePlan = {
    id: node.id,
    operator: node.operator.name,
    version: node.operator.version,
    hits,
    misses,
    more: input.more,
    estimatedMs: missing === 0 ? 0 : history.calls === 0 ? undefined : history.meanMs * missing,
  }
  return { plan, known: { ids: outputs, fresh: 0, more: input.more || missing > 0 } satisfies Known }
})

const distinctDigests = (journal: JournalService, ids: ReadonlyArray<number>): ReadonlyArray<string> =>
  [...new Set(ids)].map((id) => journal.item(id)!.digest)

/** The items given to the side inputs; nothing while they are not all known. */
const sideItems = (journal: JournalService, node: Graph.Placed, edges: ReadonlyMap<string, Known>) => {
  const items: { [side: string]: Binding.SideItem } = {}
  for (const [side, from] of Object.entries(node.sides)) {
    const { fresh, ids, more } = edges.get(from)!
    if (fresh > 0 || more) return undefined
    const item =
      node.operator.sides[side]!.mode === "one"
        ? ids.length === 1
          ? journal.item(ids[0]!)
          : undefined
        : journal.itemByDigest(Binding.setDigest(ids.map((id) => journal.item(id)!.digest)))
    if (item === undefined) return undefined
    items[side] = item
  }
  return items
}

/** What stood in the place of a fingerprint in journals of earlier versions. */
const legacySource = ({ operator }: Graph.Placed): string => Digest.ofBytes(String(operator.run))

/** Why a call is not in the journal: what is different from the latest one of this operator on the same item. */
const reasonFor = (
  journal: JournalService,
  item: number,
  node: Graph.Placed,
  bound: ReturnType<typeof Binding.row> | undefined,
): string => {
  const { name, version } = node.operator
  const earlier = journal.earlier(item, name)
  if (earlier === undefined) return "new item"
  if (earlier.version !== version) return `version ${earlier.version} -> ${version}`
  if (bound !== undefined && earlier.params !== bound.params) {
    return `params changed: ${Difference.lines(JSON.parse(earlier.params) as Canonical.Json, node.params).join(", ")}`
  }
  if (bound !== undefined && earlier.seed !== bound.seed)
    return `seed ${earlier.seed ?? "none"} -> ${bound.seed ?? "none"}`
  if (bound !== undefined && earlier.source !== bound.source)
    return earlier.source === legacySource(node) ? "cached by an earlier reelgraph" : "its code changed"
  if (earlier.status === Status.failed) return `failed before: ${earlier.reason ?? "?"}`
  return "a side input changed"
}
