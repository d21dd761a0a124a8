/** A `collect` node: one call for everything that comes in. */
import { Attempts, Binding } from "@reelgraph/call"
import { Status } from "@reelgraph/store"
import * as Effect from "effect/Effect"

import { TooManyFailures } from "../RunError.ts"
import * as Cached from "./cached.ts"
import * as Flow from "./Flow.ts"
import { calling } from "./inline.ts"
import * as LaneRunner from "./laneRunner.ts"
import { lostArtifacts } from "./lostArtifacts.ts"
import type { Bound, NodeContext, Spool } from "./NodeContext.ts"
import { lookingIn } from "./storeFailures.ts"

/** Runs a `collect` on everything that came in, sorted by digest. Items that came in more than once count once. */
export const runCollect = (context: NodeContext, bound: Bound, spool: Spool) =>
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
      Binding.setDigest(items.map(({ digest }) => digest)),
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
    const found = Cached.find(journal, context.node, bound, set.id)
    const hit = found?.hit
    const lost =
      hit !== undefined && (yield* lookingIn(context.node.id, lostArtifacts(context, [hit]))).size > 0
    if (hit !== undefined && !lost) {
      tally.cached += items.length
      if (found!.reused) context.reused.set(context.node.operator, items.length)
      yield* journal.hits(run, index, [hit.call])
      if (hit.status === Status.dropped) return tally.drop(hit.reason ?? "?", items.length)
      return yield* finish(hit.outputs, journal.drops(hit.call))
    }
    const lane = context.executor.lane(context.node)
    const called =
      lane === undefined
        ? yield* Attempts.callSet(calling(context, bound), items, set)
        : yield* LaneRunner.collect(context, bound, items, set, lane)
    const { attempts, ms, outcome, startedMs } = called
    const base = {
      input: set.id,
      operator: bound.operator,
      attempts,
      startedMs,
      ms,
      ...(called.place === undefined ? {} : { place: called.place }),
      ...(lost && !found!.reused ? { replaces: hit.call } : {}),
    }
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
