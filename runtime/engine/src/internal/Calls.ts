/** Making calls: here or in a worker, again when that may help, one by one when a batch fails. */
import type { Progress } from "@reelgraph/core"
import { type CallRow, JournalError, Status } from "@reelgraph/store"
import type * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"

import * as Failure from "../Failure.ts"
import { Call, decode, invoke, type Outcome } from "../Invocation.ts"
import { resourcesOf } from "../Workers.ts"
import * as Bind from "./bind.ts"
import * as Flow from "./Flow.ts"
import type { Bound, NodeContext } from "./NodeContext.ts"
import type { Tally } from "./Tally.ts"
import { Underway } from "./Underway.ts"

/** A call that has ended. */
export interface Called {
  readonly item: Flow.Item
  readonly outcome: Outcome | Failure.Failure
  readonly attempts: number
  readonly startedMs: number
  /** Milliseconds that the last attempt took. */
  readonly ms: number
  /** Where it was made, when not here. */
  readonly place?: string
}

/** What making calls takes, here and on other machines. */
export interface Calling {
  readonly clock: Clock.Clock
  readonly tally: Tally
  /** Calls that go on and have told how far they are. */
  readonly underway: Set<Underway>
  readonly retries: number
  /** One attempt, for the items of a batch or of a collect, or for the one that leads. */
  readonly invoke: (
    items: ReadonlyArray<Flow.Item>,
    lead: Flow.Item,
    attempt: number,
    started: () => void,
    underway: Underway,
  ) => Effect.Effect<ReadonlyArray<Outcome>, unknown, any>
}

export const callOne = (calling: Calling, item: Flow.Item): Effect.Effect<Called, never, any> =>
  callSet(calling, [item], item)

/** One call on all items together, known by the item of their set. */
export const callSet = (
  calling: Calling,
  items: ReadonlyArray<Flow.Item>,
  lead: Flow.Item,
): Effect.Effect<Called, never, any> =>
  Effect.map(attempts(calling, items, lead), ({ attempt, ms, result, startedMs }) => ({
    item: lead,
    outcome: Exit.isSuccess(result) ? result.value[0]! : Failure.fromCause(result.cause),
    attempts: attempt,
    startedMs,
    ms,
  }))

/** Runs a batch; when it fails as a whole, its items are run one by one, so that one bad item costs only itself. */
export const callBatch = (
  calling: Calling,
  items: ReadonlyArray<Flow.Item>,
): Effect.Effect<Array<Called>, never, any> =>
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

/** The journal's row of a call. */
export const rowOf = (bound: Bound, { attempts, item, ms, outcome, place, startedMs }: Called): CallRow => {
  const base = {
    input: item.id,
    operator: bound.operator,
    attempts,
    startedMs,
    ms,
    ...(place === undefined ? {} : { place }),
  }
  if (!("_tag" in outcome))
    return { ...base, status: Status.failed, outputs: [], reason: outcome.tag, detail: outcome.message }
  switch (outcome._tag) {
    case "Kept":
      return { ...base, status: Status.done, outputs: [item.id] }
    case "Dropped":
      return {
        ...base,
        status: Status.dropped,
        outputs: [],
        reason: outcome.reason,
        detail: outcome.detail,
      }
    case "Made":
      return { ...base, status: Status.done, outputs: outcome.items }
    case "Collected":
      throw new Error("only collect gives emissions")
  }
}

/** Makes a call, again while it fails in a way that may pass. */
const attempts = (calling: Calling, items: ReadonlyArray<Flow.Item>, lead: Flow.Item) =>
  Effect.gen(function* () {
    const { clock, retries, tally } = calling
    const now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
    let attempt = 1
    while (true) {
      let startedMs = clock.currentTimeMillisUnsafe()
      let begun = now()
      // The wait for a core and for a worker is not part of the call.
      const started = () => {
        startedMs = clock.currentTimeMillisUnsafe()
        begun = now()
      }
      const underway = new Underway(calling.underway, clock)
      const result = yield* Effect.exit(calling.invoke(items, lead, attempt, started, underway))
      underway.end()
      if (Exit.isFailure(result)) yield* dieOfJournal(result.cause)
      const ms = now() - begun
      tally.busyMs += ms
      tally.executed += items.length
      const again = Exit.isFailure(result) && attempt <= retries && Failure.fromCause(result.cause).retryable
      if (!again) return { attempt, ms, result, startedMs }
      tally.retries++
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

/** How a node makes its calls on this machine. */
export const here = (context: NodeContext, bound: Bound): Calling => ({
  clock: context.clock,
  tally: context.tally,
  underway: context.underway,
  retries: context.node.operator.retries,
  invoke: (items, lead, attempt, started, underway) =>
    call(context, bound, items, lead, attempt, started, underway),
})

const call = (
  context: NodeContext,
  bound: Bound,
  items: ReadonlyArray<Flow.Item>,
  lead: Flow.Item,
  attempt: number,
  started: () => void,
  underway: Underway,
): Effect.Effect<ReadonlyArray<Outcome>, unknown, any> => {
  const { index, journal, node, seed, workers } = context
  const { operator } = node
  const { timeoutMs } = operator
  const drawn = operator.seeded ? seed : undefined
  const digests = () =>
    (operator.cardinality === "batch" ? items : [lead]).map((item) => Flow.load(journal, item).digest)
  const key = () =>
    operator.cardinality === "batch"
      ? Bind.batchKey(bound.digest, digests())
      : Bind.callKey(bound.digest, digests()[0]!)
  const report = (progress: Progress.Progress) => underway.report(progress)
  if (operator.worker !== undefined) {
    return Effect.suspend(() => {
      const loaded = items.map((item) => Flow.load(journal, item))
      const job = {
        node: node.id,
        module: operator.worker!,
        operator: operator.name,
        version: operator.version,
        params: JSON.stringify(node.params),
        records: loaded.map(({ record }) => record),
        sides: bound.sideJson,
        items: digests(),
        key: key(),
        seed: drawn,
        attempt,
        timeoutMs,
      }
      return workers.call(job, resourcesOf(workers, node), index, started, report)
    })
  }
  const made = Effect.suspend(() => {
    context.begins?.(index)
    return Effect.flatMap(decoded(context, items), (records) =>
      invoke(
        node.id,
        operator,
        node.value,
        records,
        new Call({
          operator: operator.name,
          items: digests,
          key,
          seed: drawn,
          attempt,
          sides: bound.sides,
          report,
        }),
      ),
    )
  })
  if (timeoutMs === undefined) return made
  return Effect.timeoutOrElse(made, {
    duration: timeoutMs,
    orElse: () => Effect.fail(new Failure.CallTimeout({ node: node.id, timeoutMs })),
  })
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
