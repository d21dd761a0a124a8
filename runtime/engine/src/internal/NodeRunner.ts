/**
 * One node while a run goes on: items are looked up in the journal in chunks; what is there passes on, what is
 * missing is called for, committed, and passed on after that.
 */
import { Attempts } from "@reelgraph/call"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"

import * as Cached from "./cached.ts"
import { runCollect } from "./CollectRunner.ts"
import * as Flow from "./Flow.ts"
import { commit, InFlight, settle } from "./InFlight.ts"
import { type Called, calling as callingOf } from "./inline.ts"
import * as LaneRunner from "./laneRunner.ts"
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
import { lookingIn } from "./storeFailures.ts"

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

const runItems = (context: NodeContext, bound: Bound, inlet: Flow.Inlet, spool: Spool) =>
  Effect.gen(function* () {
    const { batchSize, concurrency } = context.node.operator
    const lane = context.executor.lane(context.node)
    const misses = yield* Flow.inlet(
      lane?.waiting ?? Math.min(Flow.capacity, Math.max(Flow.chunk, batchSize)),
    )
    const inFlight = new InFlight()
    const lookup = lookUp(context, bound, misses, inFlight)
    const feed = Effect.gen(function* () {
      for (let at = 0; at < spool.length; at += Flow.chunk)
        yield* lookup(spool.slice(at, at + Flow.chunk).map((id) => ({ id })))
      spool.length = 0
      yield* Flow.forEachChunk(inlet, eager, lookup)
      yield* Flow.end([misses])
    })
    const runners =
      lane === undefined
        ? Array.from({ length: Math.max(1, concurrency ?? 1) }, () =>
            runner(context, bound, misses, inFlight),
          )
        : [LaneRunner.run(context, bound, misses, inFlight, lane)]
    yield* Effect.all([feed, ...runners], { concurrency: "unbounded", discard: true })
  })

/** Looks a chunk up: results that are there are passed on, the rest is put before the runners. */
const lookUp =
  (context: NodeContext, bound: Bound, misses: Flow.Inlet, inFlight: InFlight) =>
  (items: ReadonlyArray<Flow.Item>): Effect.Effect<void, NodeError> =>
    Effect.gen(function* () {
      const { index, journal, outlets, run, tally } = context
      tally.in += items.length
      const found: Array<{ readonly item: Flow.Item } & Cached.Found> = []
      const missing: Array<Flow.Item> = []
      const miss = (item: Flow.Item, replaces: number | undefined) => {
        const waiting = inFlight.waiting.get(item.id)
        if (waiting !== undefined) return void waiting.more++
        inFlight.waiting.set(item.id, { more: 0, replaces })
        missing.push(item)
      }
      const results = Cached.findAll(
        journal,
        context.node,
        bound,
        items.map(({ id }) => id),
      )
      for (const item of items) {
        if (inFlight.failed.has(item.id)) {
          tally.failed++
          tally.cached++
          continue
        }
        const result = inFlight.waiting.has(item.id) ? undefined : results.get(item.id)
        if (result === undefined) miss(item, undefined)
        else found.push({ item, ...result })
      }
      const lost = yield* lookingIn(
        context.node.id,
        lostArtifacts(
          context,
          found.map(({ hit }) => hit),
        ),
      )
      const passed: Array<Flow.Item> = []
      const calls: Array<number> = []
      for (const { hit, item, reused } of found) {
        if (lost.has(hit.call)) miss(item, reused ? undefined : hit.call)
        else {
          calls.push(hit.call)
          if (reused) noteReuse(context, 1)
          tally.cached++
          settle(context, item, hit.status, hit.outputs, hit.reason, passed)
        }
      }
      if (calls.length > 0) yield* journal.hits(run, index, calls)
      yield* Flow.send(outlets, passed)
      yield* Flow.send([misses], missing)
    })

/** Counts results of other code that are used, for the report to warn of. */
export const noteReuse = ({ node, reused }: NodeContext, count: number): void =>
  void reused.set(node.operator, (reused.get(node.operator) ?? 0) + count)

/** One fiber that makes calls: as many at a stretch as take a few milliseconds, committed together. */
const runner = (context: NodeContext, bound: Bound, misses: Flow.Inlet, inFlight: InFlight) => {
  const { batchSize, cardinality } = context.node.operator
  const calling = callingOf(context, bound)
  let stretch = 1
  const size = () =>
    cardinality === "batch"
      ? { min: Math.min(batchSize, Flow.capacity), max: batchSize }
      : { min: 1, max: stretch }
  return Flow.forEachChunk(misses, size, (items) =>
    Effect.gen(function* () {
      const begun = now(context)
      if (cardinality === "batch")
        return yield* commit(context, bound, inFlight, yield* Attempts.callBatch(calling, items))
      if (items.length === 1) {
        const only = yield* Attempts.callOne(calling, items[0]!)
        stretch = now(context) - begun < chunkMs ? 2 : 1
        return yield* commit(context, bound, inFlight, [only])
      }
      const worked = yield* callStretch(context, calling, bound, inFlight, items)
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
  calling: ReturnType<typeof callingOf>,
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
      return ended.length === 0 ? Effect.void : commit(context, bound, inFlight, ended)
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
      const one = yield* Attempts.callOne(calling, item)
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
