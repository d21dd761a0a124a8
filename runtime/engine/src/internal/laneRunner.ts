/**
 * A node whose calls an executor makes: what waits is packed into shards, and what comes of them is committed and
 * passed on as it comes, so that the next nodes begin while this one goes on.
 */
import { Call, type Lane } from "@reelgraph/call"
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Queue from "effect/Queue"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"

import * as Flow from "./Flow.ts"
import { commit, type InFlight } from "./InFlight.ts"
import { type Called, factsOf } from "./inline.ts"
import type { Bound, NodeContext, NodeError } from "./NodeContext.ts"
import { endRunOn } from "./storeFailures.ts"
import { CallInProgress } from "./CallInProgress.ts"

/** The shard of items that were missed. */
const shardOf = (
  context: NodeContext,
  bound: Bound,
  items: ReadonlyArray<Flow.Item>,
  set?: string,
): Call.Shard => ({
  ...factsOf(context, bound),
  ...(set === undefined ? {} : { set }),
  items: items.map((item) => {
    const { digest, record } = Flow.load(context.journal, item)
    return { digest, record }
  }),
})

/** A result as the engine's own calls have it. */
const calledOf = (item: Flow.Item, result: Call.Result, place: string | undefined): Called => ({
  item,
  outcome: Call.outcomeOf(result),
  attempts: result.attempts,
  startedMs: result.startedMs,
  ms: result.ms,
  ...(place === undefined ? {} : { place }),
})

/** Has the calls of a shard made; what they report of their progress is shown until they end. */
const partsOf = (context: NodeContext, lane: Lane, shard: Call.Shard) =>
  Stream.unwrap(
    Effect.sync(() => {
      const underway = new CallInProgress(context.underway, context.clock)
      const report = (progress: Parameters<CallInProgress["report"]>[0]) => underway.report(progress)
      return Stream.ensuring(
        lane.run(shard, { priority: context.index, report }),
        Effect.sync(() => underway.end()),
      )
    }),
  )

export const run = (
  context: NodeContext,
  bound: Bound,
  misses: Flow.Inlet,
  inFlight: InFlight,
  lane: Lane,
): Effect.Effect<void, NodeError, any> =>
  Effect.scoped(
    Effect.gen(function* () {
      const { journal, node, tally } = context
      const free = yield* Semaphore.make(lane.shards)
      const { name, version } = node.operator
      /** What a call takes: what it took in this run, or in earlier ones. */
      const meanMs = (): number | undefined => {
        if (tally.executed > 0) return tally.busyMs / tally.executed
        const history = journal.history(name, version)
        return history.calls === 0 ? undefined : history.meanMs
      }
      const perform = (items: ReadonlyArray<Flow.Item>): Effect.Effect<void, NodeError, any> =>
        Stream.runForEach(partsOf(context, lane, shardOf(context, bound, items)), (part) => {
          const called = part.results.map((result) => calledOf(items[result.at]!, result, part.place))
          for (const { attempts, ms } of called) {
            tally.executed++
            tally.busyMs += ms
            tally.retries += attempts - 1
          }
          const ending = Effect.forEach(called, ({ outcome }) => endRunOn(node.id, outcome), {
            discard: true,
          })
          return ending.pipe(
            Effect.andThen(commit(context, bound, inFlight, called)),
            Effect.andThen(part.committed ?? Effect.void),
          )
        })

      const shards = yield* FiberSet.make<void, NodeError>()
      let failure: Cause.Cause<NodeError> | undefined
      /** Items to a shard: what is even when a heap begins, and more when it grows, until it is packed. */
      let share = 0
      /** Starts a shard; its place is free again when it has ended. */
      const start = (items: ReadonlyArray<Flow.Item>) => {
        const performed = Effect.tapCause(perform(items), (cause) =>
          Effect.sync(() => void (failure ??= cause)),
        )
        return FiberSet.run(shards, Effect.ensuring(performed, free.release(1)))
      }
      const { packing } = lane
      const pack =
        packing._tag === "Fixed"
          ? Flow.forEachChunk(
              misses,
              () => ({ min: packing.items, max: packing.items }),
              (items) => Effect.andThen(free.take(1), start(items)),
            )
          : Flow.forEachChunk(
              misses,
              () => ({ min: 1, max: 1 }),
              ([first]) =>
                Effect.gen(function* () {
                  yield* free.take(1)
                  const waiting =
                    1 + (share === 0 ? yield* gathered(misses, packing.lingerMs) : yield* Queue.size(misses))
                  share = Math.max(share, packing.items(waiting, meanMs()))
                  const wanted = Math.min(share, waiting)
                  const more = wanted > 1 ? yield* taken(misses, wanted - 1) : []
                  if (waiting === wanted) share = 0
                  // The row id alone: a shard lives long.
                  yield* start([first!, ...more].map(({ id }) => ({ id })))
                }),
            )
      const drained = Effect.andThen(pack, FiberSet.awaitEmpty(shards))
      // The first shard that fails ends the node, and with it the run.
      yield* Effect.raceFirst(drained, Effect.andThen(FiberSet.join(shards), Effect.never))
      if (failure !== undefined) yield* Effect.failCause(failure)
    }),
  )

/** The one call of a `collect`, made by an executor. */
export const collect = (
  context: NodeContext,
  bound: Bound,
  items: ReadonlyArray<Flow.Item>,
  set: Flow.Item & { digest: string },
  lane: Lane,
): Effect.Effect<Called, NodeError> =>
  Effect.gen(function* () {
    const parts = yield* Stream.runCollect(partsOf(context, lane, shardOf(context, bound, items, set.digest)))
    const given = parts.flatMap((part) => part.results.map((result) => calledOf(set, result, part.place)))
    const called = given[0]!
    yield* endRunOn(context.node.id, called.outcome)
    context.tally.executed += items.length
    context.tally.busyMs += called.ms
    context.tally.retries += called.attempts - 1
    return called
  })

/** How often it is looked whether more items come, before they are packed. */
const looksAtMost = 10

/** How many items wait, once no more come. */
const gathered = (misses: Flow.Inlet, lingerMs: number): Effect.Effect<number> =>
  Effect.gen(function* () {
    let waiting = yield* Queue.size(misses)
    for (let look = 0; look < looksAtMost; look++) {
      yield* Effect.sleep(lingerMs)
      const now = yield* Queue.size(misses)
      if (now === waiting) return now
      waiting = now
    }
    return waiting
  })

/** Items that are there. */
const taken = (misses: Flow.Inlet, count: number): Effect.Effect<ReadonlyArray<Flow.Item>> =>
  Effect.catch(Queue.takeBetween(misses, 1, count), () => Effect.succeed([]))
