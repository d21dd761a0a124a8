/** What calls come to: how many are made, what is read and written for them, and what comes out. */
import type { Outcome, SimulatedNode } from "./simulatedNode.ts"
import type { SimulatedRun } from "./simulatedRun.ts"

/** Calls that items take, with those that are made again, and how many items fail in the end. */
export const of = ({ draws, placed, profile, tally }: SimulatedNode, items: number) => {
  const poisoned = draws.binomial(items, profile.poison)
  let failing = items - poisoned
  let calls = items
  for (let attempt = 0; attempt <= placed.operator.retries && failing > 0; attempt++) {
    if (attempt > 0) {
      calls += failing
      tally.retries += failing
    }
    failing = draws.binomial(failing, profile.failing)
  }
  return { calls, failed: poisoned + failing }
}

/** What comes of items of which some failed, when so many shards are through with them. */
export const outcome = (
  { draws, profile }: SimulatedNode,
  items: number,
  failed: number,
  shards: number,
): Outcome => {
  const kept = draws.binomial(items - failed, profile.keep)
  const spread = profile.outSpread === 0 ? 0 : Math.sqrt(kept) * profile.out * profile.outSpread
  const given = kept === 0 ? 0 : draws.round(draws.lognormal(kept * profile.out, spread))
  const emitted = items > failed ? profile.emits : 0
  return { items, kept, failed, out: emitted ?? given, shards }
}

/** Seconds until items are through the store's bandwidth, too. */
export const transferred = (
  run: SimulatedRun,
  { profile }: SimulatedNode,
  items: number,
  seconds: number,
): number => {
  const { storeBytesPerSecond } = run.profile
  if (storeBytesPerSecond === undefined) return seconds
  const bytes = items * (profile.bytesIn + profile.bytesOut)
  run.storeFree = Math.max(run.storeFree, run.clock.now) + bytes / storeBytesPerSecond
  return Math.max(seconds, run.storeFree - run.clock.now)
}
