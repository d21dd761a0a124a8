/** Making calls: here or in a worker, again when that may help, one by one when a batch fails. */
import type { Progress } from "@reelgraph/core"
import { type CallRow, JournalError, Status } from "@reelgraph/store"
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"

import * as Failure from "../Failure.ts"
import { Call, decode, invoke, type Outcome } from "../Invocation.ts"
import * as Bind from "./bind.ts"
import * as Flow from "./Flow.ts"
import { type Bound, type NodeContext, now } from "./NodeContext.ts"
import { Underway } from "./Underway.ts"

/** A call that has ended and waits for its commit. */
export interface Called {
  readonly item: Flow.Item
  readonly row: CallRow
  readonly outcome: Outcome | Failure.Failure
}

export const callOne = (
  context: NodeContext,
  bound: Bound,
  item: Flow.Item,
): Effect.Effect<Called, never, any> =>
  Effect.map(attempts(context, bound, [item], item), ({ attempt, ms, result, startedMs }) => {
    const outcome = Exit.isSuccess(result) ? result.value[0]! : Failure.fromCause(result.cause)
    return called(bound, item, outcome, attempt, startedMs, ms)
  })

/** Runs a batch; when it fails as a whole, its items are run one by one, so that one bad item costs only itself. */
export const callBatch = (
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
export const attempts = (
  context: NodeContext,
  bound: Bound,
  items: ReadonlyArray<Flow.Item>,
  lead: Flow.Item,
) =>
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
      const underway = new Underway(context.underway, context.clock)
      const result = yield* Effect.exit(call(context, bound, items, lead, attempt, started, underway))
      underway.end()
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
      return workers.call(job, operator.resources, index, started, report)
    })
  }
  const made = Effect.suspend(() =>
    Effect.flatMap(decoded(context, items), (records) =>
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
    ),
  )
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
