/** Attempts at calls: again while that may help, one by one when a batch fails. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"

import * as Call from "./Call.ts"
import * as Failure from "./Failure.ts"

/** A call that has ended. */
export interface Called<Item> {
  readonly item: Item
  readonly outcome: Call.Outcome | Failure.Failure
  readonly attempts: number
  readonly startedMs: number
  /** Milliseconds that the last attempt took; of a batch, each item's share. */
  readonly ms: number
  /** Where it was made, when not in this process. */
  readonly place?: string
}

/** What making calls takes. */
export interface Calling<Item, R = never> {
  readonly clock: Clock.Clock
  readonly retries: number
  /**
   * One attempt, for the items of a batch or of a collect, or for the one that leads. `started`: the operator begins;
   * `computed`: it has ended, and what it made is being stored.
   */
  readonly invoke: (
    items: ReadonlyArray<Item>,
    lead: Item,
    attempt: number,
    started: () => void,
    computed: () => void,
  ) => Effect.Effect<ReadonlyArray<Call.Outcome>, unknown, R>
  /** What is done about a failure that no other attempt is made for. @default nothing */
  readonly failed?: (failure: Failure.Failure) => Effect.Effect<void>
  /** Is told of each attempt that ended, and whether another follows. */
  readonly attempted?: (items: number, ms: number, again: boolean) => void
}

/** Waits between attempts: doubling from 200 ms, at most 10 s. */
export const backoff = Schedule.min([Schedule.exponential("200 millis"), Schedule.spaced("10 seconds")])

export const callOne = <Item, R>(
  calling: Calling<Item, R>,
  item: Item,
): Effect.Effect<Called<Item>, never, R> => callSet(calling, [item], item)

/** One call on all items together, known by the item of their set. */
export const callSet = <Item, R>(
  calling: Calling<Item, R>,
  items: ReadonlyArray<Item>,
  lead: Item,
): Effect.Effect<Called<Item>, never, R> =>
  Effect.map(attempts(calling, items, lead), ({ attempt, ms, result, startedMs }) => ({
    item: lead,
    outcome: Exit.isSuccess(result) ? result.value[0]! : Failure.fromCause(result.cause),
    attempts: attempt,
    startedMs,
    ms,
  }))

/** Runs a batch; when it fails as a whole, its items are run one by one, so that one bad item costs only itself. */
export const callBatch = <Item, R>(
  calling: Calling<Item, R>,
  items: ReadonlyArray<Item>,
): Effect.Effect<Array<Called<Item>>, never, R> =>
  Effect.gen(function* () {
    const { attempt, ms, result, startedMs } = yield* attempts(calling, items, items[0]!)
    if (Exit.isFailure(result) && items.length > 1)
      return yield* Effect.forEach(items, (item) => callOne(calling, item))
    return items.map((item, i) => ({
      item,
      outcome: Exit.isSuccess(result) ? result.value[i]! : Failure.fromCause(result.cause),
      attempts: attempt,
      startedMs,
      ms: ms / items.length,
    }))
  })

interface Attempted {
  readonly attempt: number
  readonly ms: number
  readonly startedMs: number
  readonly result: Exit.Exit<ReadonlyArray<Call.Outcome>, unknown>
}

const attempts = <Item, R>(
  calling: Calling<Item, R>,
  items: ReadonlyArray<Item>,
  lead: Item,
): Effect.Effect<Attempted, never, R> => {
  const { attempted, clock, failed, invoke, retries } = calling
  const now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
  let attempt = 0
  /** Fails with what was attempted when another attempt may help. */
  const once = Effect.suspend(() => {
    attempt++
    let startedMs = clock.currentTimeMillisUnsafe()
    let begun = now()
    let ended: number | undefined
    // The waits for inputs, for a core and for a worker are not part of the call; neither is storing what it made.
    const started = () => {
      startedMs = clock.currentTimeMillisUnsafe()
      begun = now()
    }
    const computed = () => void (ended = now())
    return Effect.flatMap(Effect.exit(invoke(items, lead, attempt, started, computed)), (result) => {
      const made: Attempted = { attempt, ms: (ended ?? now()) - begun, result, startedMs }
      if (Exit.isSuccess(result)) {
        attempted?.(items.length, made.ms, false)
        return Effect.succeed(made)
      }
      const ending = Failure.ending(result.cause)
      if (ending !== undefined) return Effect.die(ending)
      const failure = Failure.fromCause(result.cause)
      const again = attempt <= retries && failure.retryable
      attempted?.(items.length, made.ms, again)
      if (again) return Effect.fail(made)
      return failed === undefined ? Effect.succeed(made) : Effect.as(failed(failure), made)
    })
  })
  // Most calls succeed at once: only those that do not pay for a schedule.
  return Effect.catch(once, (first) => {
    let before: Attempted | undefined = first
    const next = Effect.suspend(() => {
      if (before === undefined) return once
      const earlier = before
      before = undefined
      return Effect.fail(earlier)
    })
    return Effect.catch(Effect.retry(next, backoff), (last) => Effect.succeed(last))
  })
}

/** One attempt at a call, by whatever makes it. `started` and `computed` as in {@link Calling}. */
export type Make<R = never> = (
  call: Call.Call,
  started: () => void,
  computed: () => void,
) => Effect.Effect<ReadonlyArray<Call.Outcome>, Failure.Failure, R>

export interface Options {
  /** Calls at once. */
  readonly concurrency: number
  /** Positions that need no call any more. */
  readonly skip?: ReadonlySet<number>
}

/** Makes the calls of a shard. Each result is given as soon as it is there. */
export const perform = <R>(
  shard: Call.Shard,
  { concurrency, skip = new Set() }: Options,
  make: Make<R>,
): Stream.Stream<Call.Result, never, R> =>
  Stream.unwrap(
    Effect.map(Clock.Clock, (clock) => {
      const { batchSize, cardinality, retries, set } = shard
      type Item = Call.Shard["items"][number] & { readonly at: number }
      const calling: Calling<Item, R> = {
        clock,
        retries,
        invoke: (items, _, attempt, started, computed) =>
          make(
            { ...shard, items: items.map(({ digest, record }) => ({ digest, record })), attempt },
            started,
            computed,
          ),
      }
      const resultOf = ({ attempts, item, ms, outcome, startedMs }: Called<Item>): Call.Result => ({
        at: item.at,
        what: Call.whatOf(outcome),
        attempts,
        startedMs,
        ms,
      })
      const items = shard.items.map((item, at): Item => ({ ...item, at }))
      if (set !== undefined)
        return Stream.fromEffect(
          Effect.map(callSet(calling, items, { at: 0, digest: set, record: "" }), resultOf),
        )
      const missing = items.filter(({ at }) => !skip.has(at))
      const size = cardinality === "batch" ? batchSize : 1
      const groups = Array.from({ length: Math.ceil(missing.length / size) }, (_, i) =>
        missing.slice(i * size, (i + 1) * size),
      )
      return Stream.fromIterable(groups).pipe(
        Stream.mapEffect(
          (group) =>
            cardinality === "batch"
              ? callBatch(calling, group)
              : Effect.map(callOne(calling, group[0]!), (one) => [one]),
          { concurrency, unordered: true },
        ),
        Stream.flattenIterable,
        Stream.map(resultOf),
      )
    }),
  )
