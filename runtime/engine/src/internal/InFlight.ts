/** Calls of a node that go on: who waits for them, and what is done once they have ended. */
import { type CallRow, type Committed, Status } from "@reelgraph/store"
import * as Effect from "effect/Effect"

import { TooManyFailures } from "../RunError.ts"
import type * as Flow from "./Flow.ts"
import { send } from "./Flow.ts"
import { type Called, rowOf } from "./inline.ts"
import type { Bound, NodeContext, NodeError } from "./NodeContext.ts"

/** An item that is called for, or waits for it. */
interface Waiting {
  /** How many more of the same came in since. */
  more: number
  /** The call whose result is to be made again, because blobs that it names are lost. */
  readonly replaces: number | undefined
}

export class InFlight {
  /** By row id. Bounded: what is in it is in `misses` or with a runner. */
  readonly waiting = new Map<number, Waiting>()
  /** Items that failed in this run: the same one is not called for again. */
  readonly failed = new Set<number>()
}

/** Counts what came of an item, and notes what it gives. */
export const settle = (
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

/** Commits calls, then passes on what they gave. What is committed is counted, also when the run is ending. */
export const commit = (
  context: NodeContext,
  bound: Bound,
  inFlight: InFlight,
  pending: ReadonlyArray<Called>,
): Effect.Effect<void, NodeError> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const { index, journal, outlets, run, tally } = context
      const rows = pending.map((called): CallRow => {
        const row = rowOf(bound, called)
        const replaces = inFlight.waiting.get(called.item.id)?.replaces
        return replaces === undefined ? row : { ...row, replaces }
      })
      const committed = yield* journal.calls(run, index, rows)
      const passed: Array<Flow.Item> = []
      let failed: string | undefined
      pending.forEach((one, i) => {
        const result = resultOf(context, one, rows[i]!, committed[i]!)
        if (result.status === Status.failed) {
          context.failures.count++
          inFlight.failed.add(one.item.id)
          failed = `${context.node.id}: ${result.reason}: ${rows[i]!.detail ?? ""}`
        }
        const times = 1 + inFlight.waiting.get(one.item.id)!.more
        inFlight.waiting.delete(one.item.id)
        for (let time = 0; time < times; time++)
          settle(context, one.item, result.status, result.outputs, result.reason, passed)
        tally.cached += times - 1
      })
      yield* restore(send(outlets, passed))
      if (failed !== undefined && context.failures.count > context.maxFailures) {
        return yield* new TooManyFailures({
          failures: context.failures.count,
          allowed: context.maxFailures,
          last: failed,
        })
      }
    }),
  )

/** What counts of a call: its own result, or the one that another run committed before. */
const resultOf = (
  { journal, node }: NodeContext,
  { item, outcome }: Called,
  row: CallRow,
  committed: Committed,
) => {
  if (committed.adopted !== undefined) {
    const hit = journal.find(row.input, row.operator)
    return { status: committed.adopted as Status, reason: hit?.reason, outputs: committed.outputs }
  }
  const schema = node.operator.output?.record
  const outputs =
    "_tag" in outcome && outcome._tag === "Made" && schema !== undefined
      ? outcome.items.map(({ digest, record }, i): Flow.Item => ({
          id: committed.outputs[i]!,
          digest,
          record,
        }))
      : committed.outputs.map((id) => (id === item.id ? item : { id }))
  return { status: row.status, reason: row.reason, outputs }
}
