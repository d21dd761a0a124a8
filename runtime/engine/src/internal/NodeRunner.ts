/**
 * One node while a run goes on: items are looked up in the journal in chunks; what is there passes on, what is
 * missing is called for, committed, and passed on after that.
 */
import { CounterRandom, type Graph, type Operator } from "@reelgraph/core"
import {
  artifactsIn,
  type BlobStore,
  type CallRow,
  type Committed,
  type Hit,
  type Journal,
  type JournalError,
  Status,
} from "@reelgraph/store"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"

import * as Failure from "../Failure.ts"
import { invoke, type Outcome } from "../Invocation.ts"
import { SideCount, TooManyFailures } from "../RunError.ts"
import type { Workers } from "../Workers.ts"
import * as Bind from "./bind.ts"
import * as Flow from "./Flow.ts"
import * as RecordCodec from "../RecordCodec.ts"
import type { Tally } from "./Tally.ts"

/** What all nodes of a run share. */
export interface RunContext {
  readonly run: number
  readonly journal: typeof Journal.Service
  readonly blobs: typeof BlobStore.Service
  readonly workers: typeof Workers.Service
  readonly clock: Clock.Clock
  readonly seed: number
  readonly maxFailures: number
  /** Counts failed calls over all nodes. */
  readonly failures: { count: number }
}

export interface NodeContext extends RunContext {
  readonly node: Graph.Placed
  /** Position among the nodes of the graph. */
  readonly index: number
  readonly tally: Tally
  readonly outlets: ReadonlyArray<Flow.Inlet>
}

export type NodeError = JournalError | SideCount | TooManyFailures

/** Results are committed when this much time has gone by, also in the middle of a chunk. */
const flushAfterMs = 20
/** A chunk of calls should take about this long: many for operators of microseconds, one for those of seconds. */
const chunkMs = 5

/** Runs a node until its inputs have ended and everything is committed and passed on. */
export const run = (
  context: NodeContext,
  inlet: Flow.Inlet,
  sides: { readonly [side: string]: Flow.Inlet },
): Effect.Effect<void, NodeError, any> =>
  Effect.gen(function* () {
    const { operator } = context.node
    const spool: Array<Flow.Item> = []
    const collects = operator.cardinality === "collect"
    const sideItems = yield* gatherSides(context, inlet, sides, spool)
    if (collects)
      yield* Flow.forEachChunk(inlet, eager, (items) => Effect.sync(() => spoolItems(spool, items)))
    const bound = yield* bind(context, sideItems)
    if (collects) yield* runCollect(context, bound, spool)
    else yield* runItems(context, bound, inlet, spool)
  }).pipe(
    Effect.andThen(
      Effect.suspend(() => {
        context.tally.ended = true
        return Flow.end(context.outlets)
      }),
    ),
  )

const eager = () => ({ min: 1, max: Flow.chunk })

/** Keeps ids alone: what waits for long is read again when its time comes. */
const spoolItems = (spool: Array<Flow.Item>, items: ReadonlyArray<Flow.Item>): void => {
  for (const { id } of items) spool.push({ id })
}

/** A side input: the decoded records that `run` sees, their JSON for workers, and what the cache key needs. */
interface SideInput extends Bind.SideItem {
  readonly value: unknown
  readonly json: string | ReadonlyArray<string>
}

/**
 * Waits for the side inputs. Meanwhile the main input is spooled, so that a producer which feeds both is never held
 * up by an edge that nobody reads.
 */
const gatherSides = (
  context: NodeContext,
  inlet: Flow.Inlet,
  sides: { readonly [side: string]: Flow.Inlet },
  spool: Array<Flow.Item>,
) =>
  Effect.gen(function* () {
    const names = Object.keys(sides)
    if (names.length === 0) return {}
    let ready = false
    const pump = yield* Effect.forkChild(
      Flow.forEachChunk(inlet, eager, (items) => {
        spoolItems(spool, items)
        return ready ? Effect.fail("ready" as const) : Effect.void
      }).pipe(
        Effect.catchIf(
          (error): error is "ready" => error === "ready",
          () => Effect.void,
        ),
      ),
    )
    const gathered: { [side: string]: SideInput } = {}
    yield* Effect.forEach(
      names,
      (side) =>
        Effect.gen(function* () {
          const items: Array<Flow.Item> = []
          yield* Flow.forEachChunk(sides[side]!, eager, (chunk) =>
            Effect.sync(() => spoolItems(items, chunk)),
          )
          gathered[side] = yield* sideInput(context, side, items)
        }),
      { concurrency: "unbounded", discard: true },
    )
    ready = true
    yield* Fiber.join(pump)
    return gathered
  })

const sideInput = (
  context: NodeContext,
  side: string,
  items: ReadonlyArray<Flow.Item>,
): Effect.Effect<SideInput, NodeError> =>
  Effect.gen(function* () {
    const { journal, node } = context
    const { mode, port } = node.operator.sides[side]!
    const { decode } = RecordCodec.of(port.record)
    const loaded = items
      .map((item) => Flow.load(journal, item))
      .sort((a, b) => (a.digest < b.digest ? -1 : a.digest > b.digest ? 1 : 0))
    const [first] = loaded
    if (mode === "one") {
      if (first === undefined || loaded.length > 1) {
        return yield* new SideCount({ node: node.id, side, from: node.sides[side]!, got: loaded.length })
      }
      return { id: first.id, digest: first.digest, value: decode(first.record), json: first.record }
    }
    const set = yield* journal.set(
      Bind.setDigest(loaded.map(({ digest }) => digest)),
      loaded.map(({ id }) => id),
    )
    return {
      id: set.id,
      digest: set.digest,
      value: loaded.map(({ record }) => decode(record)),
      json: loaded.map(({ record }) => record),
    }
  })

/** A node's operator with a row in the journal, and what calls are made with. */
interface Bound {
  readonly operator: number
  readonly sides: { readonly [side: string]: unknown }
  readonly sideJson: { readonly [side: string]: string | ReadonlyArray<string> }
}

const bind = (
  context: NodeContext,
  sides: { readonly [side: string]: SideInput },
): Effect.Effect<Bound, NodeError> =>
  Effect.map(context.journal.operator(Bind.row(context.node, context.seed, sides)), (operator) => ({
    operator,
    sides: Object.fromEntries(Object.entries(sides).map(([side, { value }]) => [side, value])),
    sideJson: Object.fromEntries(Object.entries(sides).map(([side, { json }]) => [side, json])),
  }))

const runItems = (context: NodeContext, bound: Bound, inlet: Flow.Inlet, spool: Array<Flow.Item>) =>
  Effect.gen(function* () {
    const misses = yield* Flow.inlet()
    /** Items being called for, with how many more of the same came in since. */
    const inFlight = new Map<number, number>()
    const lookup = lookUp(context, bound, misses, inFlight)
    const feed = Effect.gen(function* () {
      while (spool.length > 0) yield* lookup(spool.splice(0, Flow.chunk))
      yield* Flow.forEachChunk(inlet, eager, lookup)
      yield* Flow.end([misses])
    })
    const runners = Array.from({ length: concurrencyOf(context) }, () =>
      runner(context, bound, misses, inFlight),
    )
    yield* Effect.all([feed, ...runners], { concurrency: "unbounded", discard: true })
  })

const concurrencyOf = ({ node, workers }: NodeContext): number => {
  const { concurrency, resources, worker } = node.operator
  return Math.max(1, concurrency ?? (worker === undefined ? 1 : Math.floor(workers.cores / resources.cores)))
}

/** Looks a chunk up: results that are there are passed on, the rest is put before the runners. */
const lookUp =
  (context: NodeContext, bound: Bound, misses: Flow.Inlet, inFlight: Map<number, number>) =>
  (items: ReadonlyArray<Flow.Item>): Effect.Effect<void, NodeError> =>
    Effect.gen(function* () {
      const { index, journal, outlets, run, tally } = context
      tally.in += items.length
      const found: Array<{ readonly item: Flow.Item; readonly hit: Hit }> = []
      const missing: Array<Flow.Item> = []
      for (const item of items) {
        const hit = journal.find(item.id, bound.operator)
        if (hit !== undefined && hit.status !== Status.failed) found.push({ item, hit })
        else if (inFlight.has(item.id)) inFlight.set(item.id, inFlight.get(item.id)! + 1)
        else {
          inFlight.set(item.id, 0)
          missing.push(item)
        }
      }
      const lost = yield* lostArtifacts(
        context,
        found.map(({ hit }) => hit),
      )
      const passed: Array<Flow.Item> = []
      const calls: Array<number> = []
      for (const { hit, item } of found) {
        if (lost.has(hit.call)) {
          inFlight.set(item.id, 0)
          missing.push(item)
        } else {
          calls.push(hit.call)
          tally.cached++
          settle(context, item, hit.status, hit.outputs, hit.reason, passed)
        }
      }
      if (calls.length > 0) yield* journal.hits(run, index, calls)
      yield* Flow.send(outlets, passed)
      yield* Flow.send([misses], missing)
    })

/** Calls among hits whose results name blobs that the store no longer has. */
const lostArtifacts = (
  { blobs, journal, node }: NodeContext,
  hits: ReadonlyArray<Hit>,
): Effect.Effect<ReadonlySet<number>> =>
  Effect.gen(function* () {
    const lost = new Set<number>()
    const { output } = node.operator
    if (output === undefined || !RecordCodec.of(output.record).hasArtifacts) return lost
    const named = hits.flatMap(({ call, outputs }) =>
      outputs.flatMap((id) =>
        artifactsIn(JSON.parse(journal.item(id)!.record)).map(({ sha256 }) => ({ call, sha256 })),
      ),
    )
    const there = yield* Effect.orElseSucceed(
      blobs.hasAll(named.map(({ sha256 }) => sha256)),
      () => new Set<string>(),
    )
    for (const { call, sha256 } of named) if (!there.has(sha256)) lost.add(call)
    return lost
  })

/** Counts what came of an item, and notes what it gives. */
const settle = (
  { tally }: NodeContext,
  item: Flow.Item,
  status: Status,
  outputs: ReadonlyArray<number | Flow.Item>,
  reason: string | undefined,
  passed: Array<Flow.Item>,
): void => {
  if (status === Status.dropped) tally.drop(reason ?? "?")
  else if (status === Status.failed) tally.failed++
  else {
    tally.kept++
    tally.out += outputs.length
    for (const output of outputs)
      passed.push(typeof output !== "number" ? output : output === item.id ? item : { id: output })
  }
}

/** One fiber that makes calls: as many at a stretch as take a few milliseconds, committed together. */
const runner = (context: NodeContext, bound: Bound, misses: Flow.Inlet, inFlight: Map<number, number>) => {
  const { batchSize, cardinality, worker } = context.node.operator
  let stretch = 1
  const size = () =>
    cardinality === "batch"
      ? { min: Math.min(batchSize, Flow.capacity), max: batchSize }
      : { min: 1, max: stretch }
  return Flow.forEachChunk(misses, size, (items) =>
    Effect.gen(function* () {
      const begun = now(context)
      let flushed = begun
      let pending: Array<Called> = []
      if (cardinality === "batch") pending = yield* callBatch(context, bound, items)
      else {
        for (const item of items) {
          pending.push(yield* callOne(context, bound, item))
          if (now(context) - flushed > flushAfterMs) {
            yield* commit(context, inFlight, pending)
            pending = []
            flushed = now(context)
          }
        }
      }
      const perItem = (now(context) - begun) / items.length
      if (pending.length > 0) yield* commit(context, inFlight, pending)
      stretch =
        worker === undefined
          ? Math.max(1, Math.min(Flow.chunk, stretch * 2, Math.floor(chunkMs / perItem)))
          : 1
    }),
  )
}

const now = ({ clock }: NodeContext): number => Number(clock.monotonicTimeNanosUnsafe()) / 1e6

/** A call that has ended and waits for its commit. */
interface Called {
  readonly item: Flow.Item
  readonly row: CallRow
  readonly outcome: Outcome | Failure.Failure
}

const callOne = (context: NodeContext, bound: Bound, item: Flow.Item): Effect.Effect<Called, never, any> =>
  Effect.map(attempts(context, bound, [item], item), ({ attempt, ms, result, startedMs }) => {
    const outcome = Exit.isSuccess(result) ? result.value[0]! : Failure.fromCause(result.cause)
    return called(bound, item, outcome, attempt, startedMs, ms)
  })

/** Runs a batch; when it fails as a whole, its items are run one by one, so that one bad item costs only itself. */
const callBatch = (
  context: NodeContext,
  bound: Bound,
  items: ReadonlyArray<Flow.Item>,
): Effect.Effect<Array<Called>, never, any> =>
  Effect.gen(function* () {
    const { attempt, ms, result, startedMs } = yield* attempts(context, bound, items, items[0]!)
    if (Exit.isFailure(result) && items.length > 1)
      return yield* Effect.forEach(items, (item) => callOne(context, bound, item))
    return items.map((item, i) =>
      called(
        bound,
        item,
        Exit.isSuccess(result) ? result.value[i]! : Failure.fromCause(result.cause),
        attempt,
        startedMs,
        ms / items.length,
      ),
    )
  })

const called = (
  bound: Bound,
  item: Flow.Item,
  outcome: Outcome | Failure.Failure,
  attempts: number,
  startedMs: number,
  ms: number,
): Called => {
  const base = { input: item.id, operator: bound.operator, attempts, startedMs, ms }
  if (!("_tag" in outcome)) {
    return {
      item,
      outcome,
      row: { ...base, status: Status.failed, outputs: [], reason: outcome.tag, detail: outcome.message },
    }
  }
  switch (outcome._tag) {
    case "Kept":
      return { item, outcome, row: { ...base, status: Status.done, outputs: [item.id] } }
    case "Dropped":
      return {
        item,
        outcome,
        row: { ...base, status: Status.dropped, outputs: [], reason: outcome.reason, detail: outcome.detail },
      }
    case "Made":
      return { item, outcome, row: { ...base, status: Status.done, outputs: outcome.items } }
    case "Collected":
      throw new Error("only collect gives emissions")
  }
}

/** Makes a call, again while it fails in a way that may pass. */
const attempts = (context: NodeContext, bound: Bound, items: ReadonlyArray<Flow.Item>, lead: Flow.Item) =>
  Effect.gen(function* () {
    const { operator } = context.node
    let attempt = 1
    while (true) {
      const startedMs = context.clock.currentTimeMillisUnsafe()
      const begun = now(context)
      const result = yield* Effect.exit(call(context, bound, items, lead, attempt))
      const ms = now(context) - begun
      context.tally.busyMs += ms
      context.tally.executed += items.length
      const again =
        Exit.isFailure(result) && attempt <= operator.retries && Failure.fromCause(result.cause).retryable
      if (!again) return { attempt, ms, result, startedMs }
      context.tally.retries++
      yield* Effect.sleep(Math.min(100 * 2 ** attempt, 10_000))
      attempt++
    }
  })

const call = (
  context: NodeContext,
  bound: Bound,
  items: ReadonlyArray<Flow.Item>,
  lead: Flow.Item,
  attempt: number,
): Effect.Effect<ReadonlyArray<Outcome>, unknown, any> => {
  const { index, journal, node, seed, workers } = context
  const { operator } = node
  const random = (digest: string) =>
    operator.seeded ? CounterRandom.key(seed, digest, operator.name) : noKey
  const made =
    operator.worker === undefined
      ? Effect.suspend(() => {
          const records = decoded(context, items)
          return invoke(
            node.id,
            operator,
            node.value,
            records,
            new InlineCall(journal, lead, bound.sides, attempt, random),
          )
        })
      : Effect.suspend(() => {
          const loaded = items.map((item) => Flow.load(journal, item))
          const item = Flow.load(journal, lead).digest
          const job = {
            node: node.id,
            module: operator.worker!,
            operator: operator.name,
            version: operator.version,
            params: JSON.stringify(node.params),
            records: loaded.map(({ record }) => record),
            sides: bound.sideJson,
            item,
            random: random(item),
            attempt,
          }
          return workers.call(job, operator.resources, index)
        })
  const { timeoutMs } = operator
  if (timeoutMs === undefined) return made
  return Effect.timeoutOrElse(made, {
    duration: timeoutMs,
    orElse: () => Effect.fail(new Failure.CallTimeout({ node: node.id, timeoutMs })),
  })
}

const noKey: CounterRandom.Key = { k0: 0, k1: 0 }

/** What an operator on this thread sees of its call. The digest is only read when asked for. */
class InlineCall implements Operator.Call<unknown> {
  readonly attempt: number
  readonly sides: unknown
  readonly #journal: typeof Journal.Service
  readonly #item: Flow.Item
  readonly #random: (digest: string) => CounterRandom.Key

  constructor(
    journal: typeof Journal.Service,
    item: Flow.Item,
    sides: unknown,
    attempt: number,
    random: (digest: string) => CounterRandom.Key,
  ) {
    this.#journal = journal
    this.#item = item
    this.#random = random
    this.sides = sides
    this.attempt = attempt
  }
  get item(): Operator.Call["item"] {
    return Flow.load(this.#journal, this.#item).digest as Operator.Call["item"]
  }
  get random(): CounterRandom.Key {
    return this.#random(this.item)
  }
}

const decoded = ({ journal, node }: NodeContext, items: ReadonlyArray<Flow.Item>): ReadonlyArray<unknown> => {
  const schema = node.operator.input.record
  const { decode } = RecordCodec.of(schema)
  return items.map((item) => {
    if (item.value?.schema === schema) return item.value.record
    try {
      return decode(Flow.load(journal, item).record)
    } catch (cause) {
      throw new Failure.InputInvalid({
        node: node.id,
        problem: cause instanceof Error ? cause.message : String(cause),
      })
    }
  })
}

/** Commits calls, then passes on what they gave. */
const commit = (
  context: NodeContext,
  inFlight: Map<number, number>,
  pending: ReadonlyArray<Called>,
): Effect.Effect<void, NodeError> =>
  Effect.gen(function* () {
    const { index, journal, outlets, run, tally } = context
    const committed = yield* journal.calls(
      run,
      index,
      pending.map(({ row }) => row),
    )
    const passed: Array<Flow.Item> = []
    let failed: string | undefined
    pending.forEach((one, i) => {
      const result = resultOf(context, one, committed[i]!)
      if (result.status === Status.failed) {
        context.failures.count++
        failed = `${context.node.id}: ${result.reason}: ${one.row.detail ?? ""}`
      }
      const times = 1 + (inFlight.get(one.item.id) ?? 0)
      inFlight.delete(one.item.id)
      for (let time = 0; time < times; time++)
        settle(context, one.item, result.status, result.outputs, result.reason, passed)
      tally.cached += times - 1
    })
    yield* Flow.send(outlets, passed)
    if (failed !== undefined && context.failures.count > context.maxFailures) {
      return yield* new TooManyFailures({
        failures: context.failures.count,
        allowed: context.maxFailures,
        last: failed,
      })
    }
  })

/** What counts of a call: its own result, or the one that another run committed before. */
const resultOf = ({ journal, node }: NodeContext, { item, outcome, row }: Called, committed: Committed) => {
  if (committed.adopted !== undefined) {
    const hit = journal.find(row.input, row.operator)
    return { status: committed.adopted as Status, reason: hit?.reason, outputs: committed.outputs }
  }
  const schema = node.operator.output?.record
  const outputs =
    "_tag" in outcome && outcome._tag === "Made" && schema !== undefined
      ? outcome.items.map((made, i): Flow.Item => {
          const base = { id: committed.outputs[i]!, digest: made.digest, record: made.record }
          return outcome.values === undefined
            ? base
            : { ...base, value: { schema, record: outcome.values[i] } }
        })
      : committed.outputs.map((id) => (id === item.id ? item : { id }))
  return { status: row.status, reason: row.reason, outputs }
}

/** Runs a `collect` on everything that came in, sorted by digest. Items that came in more than once count once. */
const runCollect = (context: NodeContext, bound: Bound, spool: ReadonlyArray<Flow.Item>) =>
  Effect.gen(function* () {
    const { index, journal, outlets, run, tally } = context
    tally.in = spool.length
    const digests = new Map(spool.map(({ id }): [number, string] => [id, journal.item(id)!.digest]))
    const items = [...digests]
      .map(([id, digest]) => ({ id, digest }))
      .sort((a, b) => (a.digest < b.digest ? -1 : 1))
    const repeated = spool.length - items.length
    if (repeated > 0) tally.drop("repeated", repeated)
    const set = yield* journal.set(
      Bind.setDigest(items.map(({ digest }) => digest)),
      items.map(({ id }) => id),
    )

    const finish = (outputs: ReadonlyArray<number>, drops: ReadonlyArray<{ readonly reason: string }>) => {
      for (const { reason } of drops) tally.drop(reason)
      tally.kept += items.length - drops.length
      tally.out += outputs.length
      return Flow.send(
        outlets,
        outputs.map((id) => ({ id })),
      )
    }
    const hit = journal.find(set.id, bound.operator)
    if (
      hit !== undefined &&
      hit.status === Status.done &&
      (yield* lostArtifacts(context, [hit])).size === 0
    ) {
      tally.cached += items.length
      yield* journal.hits(run, index, [hit.call])
      return yield* finish(hit.outputs, journal.drops(hit.call))
    }
    const { attempt, ms, result, startedMs } = yield* attempts(context, bound, items, set)
    const base = { input: set.id, operator: bound.operator, attempts: attempt, startedMs, ms }
    const outcome = Exit.isSuccess(result) ? result.value[0]! : Failure.fromCause(result.cause)
    if (!("_tag" in outcome) || outcome._tag !== "Collected") {
      // A collect that fails or drops has nothing to give: all its items share the fate.
      const failure = "_tag" in outcome ? undefined : outcome
      const drop = "_tag" in outcome && outcome._tag === "Dropped" ? outcome : undefined
      const reason = drop?.reason ?? failure?.tag ?? "?"
      const detail = drop?.detail ?? failure?.message ?? ""
      const status = drop === undefined ? Status.failed : Status.dropped
      yield* journal.calls(run, index, [{ ...base, status, outputs: [], reason, detail }])
      if (status === Status.dropped) return tally.drop(reason, items.length)
      tally.failed += items.length
      context.failures.count++
      if (context.failures.count <= context.maxFailures) return
      return yield* new TooManyFailures({
        failures: context.failures.count,
        allowed: context.maxFailures,
        last: `${context.node.id}: ${reason}: ${detail}`,
      })
    }
    const given = outcome.emissions.filter((emission) => emission._tag !== "Drop")
    const drops = outcome.emissions.flatMap((emission) =>
      emission._tag === "Drop"
        ? [{ item: items[emission.at]!.id, reason: emission.reason, detail: emission.detail }]
        : [],
    )
    const [committed] = yield* journal.calls(run, index, [
      {
        ...base,
        status: Status.done,
        outputs: given.map((emission) =>
          emission._tag === "Emit" ? emission.record : items[emission.at]!.id,
        ),
        parents: given.map((emission) =>
          emission._tag === "Emit" ? emission.from.map((at) => items[at]!.id) : [items[emission.at]!.id],
        ),
        drops,
      },
    ])
    yield* finish(
      committed!.outputs,
      committed!.adopted === undefined ? drops : journal.drops(committed!.call),
    )
  })
