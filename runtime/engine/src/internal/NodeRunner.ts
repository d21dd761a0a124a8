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
  JournalError,
  Status,
} from "@reelgraph/store"
import type * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"

import * as Failure from "../Failure.ts"
import { decode, invoke, type Outcome } from "../Invocation.ts"
import { RecordInvalid, SideCount, TooManyFailures } from "../RunError.ts"
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

export type NodeError = JournalError | RecordInvalid | SideCount | TooManyFailures

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
    const spool: Spool = []
    const collects = operator.cardinality === "collect"
    const sideItems = yield* gatherSides(context, inlet, sides, spool)
    if (collects) yield* Flow.forEachChunk(inlet, eager, (items) => spoolItems(spool, items))
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

/** Row ids alone: what waits for long is read again when its time comes. */
type Spool = Array<number>

const spoolItems = (spool: Spool, items: ReadonlyArray<Flow.Item>): Effect.Effect<void> => {
  for (const { id } of items) spool.push(id)
  return Effect.void
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
  spool: Spool,
) =>
  Effect.gen(function* () {
    const names = Object.keys(sides)
    if (names.length === 0) return {}
    const pump = yield* Effect.forkChild(Flow.forEachChunk(inlet, eager, (items) => spoolItems(spool, items)))
    const gathered: { [side: string]: SideInput } = {}
    yield* Effect.forEach(
      names,
      (side) =>
        Effect.gen(function* () {
          const ids: Spool = []
          yield* Flow.forEachChunk(sides[side]!, eager, (chunk) => spoolItems(ids, chunk))
          gathered[side] = yield* sideInput(context, side, ids)
        }),
      { concurrency: "unbounded", discard: true },
    )
    yield* Fiber.interrupt(pump)
    return gathered
  })

const sideInput = (
  context: NodeContext,
  side: string,
  ids: ReadonlyArray<number>,
): Effect.Effect<SideInput, NodeError> =>
  Effect.gen(function* () {
    const { journal, node } = context
    const { mode, port } = node.operator.sides[side]!
    const codec = RecordCodec.of(port.record)
    const decode = (record: string, position: number) =>
      Effect.try({
        try: () => codec.decode(record),
        catch: (cause) =>
          new RecordInvalid({
            input: `${node.id}.${side}`,
            position,
            problem: cause instanceof Error ? cause.message : String(cause),
          }),
      })
    const loaded = ids
      .map((id) => journal.item(id)!)
      .sort((a, b) => (a.digest < b.digest ? -1 : a.digest > b.digest ? 1 : 0))
    const [first] = loaded
    if (mode === "one") {
      if (first === undefined || loaded.length > 1) {
        return yield* new SideCount({ node: node.id, side, from: node.sides[side]!, got: loaded.length })
      }
      const value = yield* decode(first.record, 0)
      return { id: first.id, digest: first.digest, value, json: first.record }
    }
    const set = yield* journal.set(
      Bind.setDigest(loaded.map(({ digest }) => digest)),
      loaded.map(({ id }) => id),
    )
    return {
      id: set.id,
      digest: set.digest,
      value: yield* Effect.forEach(loaded, ({ record }, i) => decode(record, i)),
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

/** An item that is called for, or waits for it. */
interface Waiting {
  /** How many more of the same came in since. */
  more: number
  /** The call whose result is to be made again, because blobs that it names are lost. */
  readonly replaces: number | undefined
}

class InFlight {
  /** By row id. Bounded: what is in it is in `misses` or with a runner. */
  readonly waiting = new Map<number, Waiting>()
  /** Items that failed in this run: the same one is not called for again. */
  readonly failed = new Set<number>()
}

const runItems = (context: NodeContext, bound: Bound, inlet: Flow.Inlet, spool: Spool) =>
  Effect.gen(function* () {
    const { batchSize } = context.node.operator
    const misses = yield* Flow.inlet(Math.min(Flow.capacity, Math.max(Flow.chunk, batchSize)))
    const inFlight = new InFlight()
    const lookup = lookUp(context, bound, misses, inFlight)
    const feed = Effect.gen(function* () {
      for (let at = 0; at < spool.length; at += Flow.chunk)
        yield* lookup(spool.slice(at, at + Flow.chunk).map((id) => ({ id })))
      spool.length = 0
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
  (context: NodeContext, bound: Bound, misses: Flow.Inlet, inFlight: InFlight) =>
  (items: ReadonlyArray<Flow.Item>): Effect.Effect<void, NodeError> =>
    Effect.gen(function* () {
      const { index, journal, outlets, run, tally } = context
      tally.in += items.length
      const found: Array<{ readonly item: Flow.Item; readonly hit: Hit }> = []
      const missing: Array<Flow.Item> = []
      const miss = (item: Flow.Item, replaces: number | undefined) => {
        const waiting = inFlight.waiting.get(item.id)
        if (waiting !== undefined) return void waiting.more++
        inFlight.waiting.set(item.id, { more: 0, replaces })
        missing.push(item)
      }
      for (const item of items) {
        if (inFlight.failed.has(item.id)) {
          tally.failed++
          tally.cached++
          continue
        }
        const hit = inFlight.waiting.has(item.id) ? undefined : journal.find(item.id, bound.operator)
        if (hit === undefined || hit.status === Status.failed) miss(item, undefined)
        else found.push({ item, hit })
      }
      const lost = yield* lostArtifacts(
        context,
        found.map(({ hit }) => hit),
      )
      const passed: Array<Flow.Item> = []
      const calls: Array<number> = []
      for (const { hit, item } of found) {
        if (lost.has(hit.call)) miss(item, hit.call)
        else {
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
    // A store that cannot be read has not lost anything: whoever reads the blob will say what is wrong.
    const all = named.map(({ sha256 }) => sha256)
    const there = yield* Effect.orElseSucceed(blobs.hasAll(all), () => new Set(all))
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
const runner = (context: NodeContext, bound: Bound, misses: Flow.Inlet, inFlight: InFlight) => {
  const { batchSize, cardinality, worker } = context.node.operator
  let stretch = 1
  const size = () =>
    cardinality === "batch"
      ? { min: Math.min(batchSize, Flow.capacity), max: batchSize }
      : { min: 1, max: stretch }
  return Flow.forEachChunk(misses, size, (items) =>
    Effect.gen(function* () {
      const begun = now(context)
      if (cardinality === "batch")
        return yield* commit(context, inFlight, yield* callBatch(context, bound, items))
      if (items.length === 1) {
        const only = yield* callOne(context, bound, items[0]!)
        stretch = worker === undefined && now(context) - begun < chunkMs ? 2 : 1
        return yield* commit(context, inFlight, [only])
      }
      const worked = yield* callStretch(context, bound, inFlight, items)
      stretch = Math.max(1, Math.min(Flow.chunk, stretch * 2, Math.floor((chunkMs * items.length) / worked)))
    }),
  )
}

/**
 * Makes calls one after another, and gives the milliseconds that they took. What has ended is committed after
 * {@link flushAfterMs}, also while a slow call goes on: the next nodes never wait for it.
 */
const callStretch = (
  context: NodeContext,
  bound: Bound,
  inFlight: InFlight,
  items: ReadonlyArray<Flow.Item>,
): Effect.Effect<number, NodeError, any> =>
  Effect.gen(function* () {
    let pending: Array<Called> = []
    let flushed = now(context)
    let over = false
    let flushing = false
    const flush = Effect.suspend(() => {
      const ended = pending
      pending = []
      flushed = now(context)
      return ended.length === 0 ? Effect.void : commit(context, inFlight, ended)
    })
    const flusher = yield* Effect.forkChild(
      Effect.gen(function* () {
        while (true) {
          yield* Effect.sleep(flushAfterMs)
          flushing = true
          yield* flush
          flushing = false
          if (over) return
        }
      }),
    )
    let worked = 0
    for (const item of items) {
      const begun = now(context)
      const one = yield* callOne(context, bound, item)
      pending.push(one)
      const ended = now(context)
      worked += ended - begun
      if (ended - flushed > flushAfterMs) yield* flush
    }
    over = true
    if (flushing) yield* Fiber.join(flusher)
    else yield* Fiber.interrupt(flusher)
    yield* flush
    return worked
  })

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
      let startedMs = context.clock.currentTimeMillisUnsafe()
      let begun = now(context)
      // The wait for a core and for a worker is not part of the call.
      const started = () => {
        startedMs = context.clock.currentTimeMillisUnsafe()
        begun = now(context)
      }
      const result = yield* Effect.exit(call(context, bound, items, lead, attempt, started))
      if (Exit.isFailure(result)) yield* dieOfJournal(result.cause)
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

/** A journal that cannot be read ends the run: it is not the fault of the item. */
const dieOfJournal = (cause: Cause.Cause<unknown>): Effect.Effect<void> => {
  const reason = cause.reasons.find(({ _tag }) => _tag === "Die")
  return reason !== undefined && "defect" in reason && reason.defect instanceof JournalError
    ? Effect.die(reason.defect)
    : Effect.void
}

const call = (
  context: NodeContext,
  bound: Bound,
  items: ReadonlyArray<Flow.Item>,
  lead: Flow.Item,
  attempt: number,
  started: () => void,
): Effect.Effect<ReadonlyArray<Outcome>, unknown, any> => {
  const { index, journal, node, seed, workers } = context
  const { operator } = node
  const { timeoutMs } = operator
  const random = (digest: string) =>
    operator.seeded ? CounterRandom.key(seed, digest, operator.name) : noKey
  if (operator.worker !== undefined) {
    return Effect.suspend(() => {
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
        timeoutMs,
      }
      return workers.call(job, operator.resources, index, started)
    })
  }
  const made = Effect.suspend(() =>
    Effect.flatMap(decoded(context, items), (records) =>
      invoke(
        node.id,
        operator,
        node.value,
        records,
        new InlineCall(journal, lead, bound.sides, attempt, random),
      ),
    ),
  )
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

const decoded = (
  { journal, node }: NodeContext,
  items: ReadonlyArray<Flow.Item>,
): Effect.Effect<ReadonlyArray<unknown>, Failure.InputInvalid> => {
  const schema = node.operator.input.record
  return items.every((item) => item.value?.schema === schema)
    ? Effect.succeed(items.map((item) => item.value!.record))
    : decode(
        node.id,
        node.operator,
        items.map((item) => Flow.load(journal, item).record),
      )
}

/** Commits calls, then passes on what they gave. */
const commit = (
  context: NodeContext,
  inFlight: InFlight,
  pending: ReadonlyArray<Called>,
): Effect.Effect<void, NodeError> =>
  Effect.gen(function* () {
    const { index, journal, outlets, run, tally } = context
    const committed = yield* journal.calls(
      run,
      index,
      pending.map(({ item, row }): CallRow => {
        const replaces = inFlight.waiting.get(item.id)?.replaces
        return replaces === undefined ? row : { ...row, replaces }
      }),
    )
    const passed: Array<Flow.Item> = []
    let failed: string | undefined
    pending.forEach((one, i) => {
      const result = resultOf(context, one, committed[i]!)
      if (result.status === Status.failed) {
        context.failures.count++
        inFlight.failed.add(one.item.id)
        failed = `${context.node.id}: ${result.reason}: ${one.row.detail ?? ""}`
      }
      const times = 1 + inFlight.waiting.get(one.item.id)!.more
      inFlight.waiting.delete(one.item.id)
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
const runCollect = (context: NodeContext, bound: Bound, spool: Spool) =>
  Effect.gen(function* () {
    const { index, journal, outlets, run, tally } = context
    tally.in = spool.length
    const digests = new Map(spool.map((id): [number, string] => [id, journal.item(id)!.digest]))
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
    const lost = hit !== undefined && (yield* lostArtifacts(context, [hit])).size > 0
    if (hit !== undefined && hit.status !== Status.failed && !lost) {
      tally.cached += items.length
      yield* journal.hits(run, index, [hit.call])
      if (hit.status === Status.dropped) return tally.drop(hit.reason ?? "?", items.length)
      return yield* finish(hit.outputs, journal.drops(hit.call))
    }
    const { attempt, ms, result, startedMs } = yield* attempts(context, bound, items, set)
    const base = {
      input: set.id,
      operator: bound.operator,
      attempts: attempt,
      startedMs,
      ms,
      ...(lost ? { replaces: hit.call } : {}),
    }
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
