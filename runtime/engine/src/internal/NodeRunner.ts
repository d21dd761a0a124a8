/**
 * One node while a run goes on: items are looked up in the journal in chunks; what is there passes on, what is
 * missing is called for, committed, and passed on after that.
 */
import { type CallRow, type Committed, type Hit, Status } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"

import { TooManyFailures } from "../RunError.ts"
import { callBatch, type Called, callOne } from "./Calls.ts"
import { runCollect } from "./CollectRunner.ts"
import * as Flow from "./Flow.ts"
import { lostArtifacts } from "./lostArtifacts.ts"
import {
  type Bound,
  eager,
  type NodeContext,
  type NodeError,
  now,
  type Spool,
  spoolItems,
} from "./NodeContext.ts"
import { bind, gatherSides } from "./SideInputs.ts"

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
  return Math.max(
    1,
    concurrency ?? (worker === undefined ? 1 : Math.floor(workers.capacity.cores / resources.cores)),
  )
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
