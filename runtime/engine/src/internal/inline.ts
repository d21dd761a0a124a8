/** Calls that the engine's own process makes: those of operators without a worker. */
import { Binding, Call, Failure, Invoke, type Attempts } from "@reelgraph/call"
import { type CallRow, Status } from "@reelgraph/store"
import * as Effect from "effect/Effect"

import * as Flow from "./Flow.ts"
import type { Bound, NodeContext } from "./NodeContext.ts"
import { endRunOn } from "./storeFailures.ts"
import { CallInProgress } from "./CallInProgress.ts"

export type Called = Attempts.Called<Flow.Item>

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

/** How one fiber of a node makes its calls, one after another. */
export const calling = (context: NodeContext, bound: Bound): Attempts.Calling<Flow.Item, any> => {
  const { clock, journal, node, seed, tally } = context
  const { operator } = node
  const { cardinality, retries, timeoutMs } = operator
  const drawn = operator.seeded ? seed : undefined
  /** What files that are part of the code gave is of this code only while they are what they were. */
  const intact = <A, E, R>(made: Effect.Effect<A, E, R>): Effect.Effect<A, E | Failure.CodeChanged, R> =>
    bound.code.hasData
      ? Effect.flatMap(made, (value) =>
          bound.code.isIntact()
            ? Effect.succeed(value)
            : Effect.fail(
                new Failure.CodeChanged({ node: node.id, operator: `${operator.name}@${operator.version}` }),
              ),
        )
      : made
  let underway: CallInProgress | undefined
  return {
    clock,
    retries,
    failed: (failure) => endRunOn(node.id, failure),
    attempted: (items, ms, again) => {
      underway?.end()
      tally.busyMs += ms
      tally.executed += items
      if (again) tally.retries++
    },
    invoke: (items, lead, attempt) => {
      const digests = () =>
        (cardinality === "batch" ? items : [lead]).map((item) => Flow.load(journal, item).digest)
      const key = () =>
        cardinality === "batch"
          ? Binding.batchKey(bound.digest, digests())
          : Binding.callKey(bound.digest, digests()[0]!)
      const current = (underway = new CallInProgress(context.underway, clock))
      const report: Invoke.ViewFacts["report"] = (progress) => current.report(progress)
      const made = Effect.suspend(() => {
        context.begins?.(context.index)
        return Effect.flatMap(recordsOf(context, items), (records) =>
          context.environment.provide(
            node.id,
            operator,
            Invoke.invoke(
              node.id,
              operator,
              bound.params(),
              records,
              new Invoke.View({
                operator: operator.name,
                items: digests,
                key,
                seed: drawn,
                attempt,
                sides: bound.sides(),
                report,
              }),
            ),
          ),
        )
      })
      if (timeoutMs === undefined) return intact(made)
      return intact(
        Effect.timeoutOrElse(made, {
          duration: timeoutMs,
          orElse: () => Effect.fail(new Failure.CallTimeout({ node: node.id, timeoutMs })),
        }),
      )
    },
  }
}

/** The records of items, read anew: each call has its own. */
const recordsOf = (
  { journal, node }: NodeContext,
  items: ReadonlyArray<Flow.Item>,
): Effect.Effect<ReadonlyArray<unknown>, Failure.InputInvalid> =>
  Invoke.decode(
    node.id,
    node.operator,
    items.map((item) => Flow.load(journal, item).record),
  )

/** What all calls of a node have in common, as other processes are told it. */
export const factsOf = ({ node, seed }: NodeContext, bound: Bound): Call.Facts =>
  Call.factsOf(node, bound.code, bound.digest, seed, bound.sideJson)
