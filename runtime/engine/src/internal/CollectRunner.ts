/** A `collect` node: one call for everything that comes in. */
import { Status } from "@reelgraph/store"
import * as Effect from "effect/Effect"

import { TooManyFailures } from "../RunError.ts"
import * as Bind from "./bind.ts"
import { callSet, here } from "./Calls.ts"
import * as Flow from "./Flow.ts"
import { lostArtifacts } from "./lostArtifacts.ts"
import type { Bound, NodeContext, Spool } from "./NodeContext.ts"
import * as ShardRunner from "./ShardRunner.ts"
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
    const lost =
      hit !== undefined && (yield* lookingIn(context.node.id, lostArtifacts(context, [hit]))).size > 0
    if (hit !== undefined && hit.status !== Status.failed && !lost) {
      tally.cached += items.length
      yield* journal.hits(run, index, [hit.call])
      if (hit.status === Status.dropped) return tally.drop(hit.reason ?? "?", items.length)
      return yield* finish(hit.outputs, journal.drops(hit.call))
    }
    const place = context.places.of(context.node.id)
    const called =
      place === undefined
        ? yield* callSet(here(context, bound), items, set)
        : yield* ShardRunner.collect(context, bound, items, set, place)
    const { attempts, ms, outcome, startedMs } = called
    const base = {
      input: set.id,
      operator: bound.operator,
      attempts,
      startedMs,
      ms,
      ...(called.place === undefined ? {} : { place: called.place }),
      ...(lost ? { replaces: hit.call } : {}),
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
