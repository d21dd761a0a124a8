/** Results that name blobs which are gone. */
import { RecordCodec } from "@reelgraph/call"
import { artifactsIn, type Hit } from "@reelgraph/store"
import * as Effect from "effect/Effect"

import type { NodeContext } from "./NodeContext.ts"

/** Calls among hits whose results name blobs that the store no longer has. */
export const lostArtifacts = (
  { blobs, journal, node }: NodeContext,
  hits: ReadonlyArray<Hit>,
): Effect.Effect<ReadonlySet<number>> =>
  Effect.gen(function* () {
    const lost = new Set<number>()
    const { output } = node.operator
    if (output === undefined || !RecordCodec.of(output.record).hasArtifacts) return lost
    const named = hits.flatMap(({ call, outputs }) =>
      outputs.flatMap((id) =>
        artifactsIn(JSON.parse(journal.item(id)!.record)).map(({ sha256 }) => ({ call, sha256 })),
      ),
    )
    // A store that cannot be read has not lost anything: whoever reads the blob will say what is wrong.
    const all = named.map(({ sha256 }) => sha256)
    const there = yield* Effect.orElseSucceed(blobs.hasAll(all), () => new Set(all))
    for (const { call, sha256 } of named) if (!there.has(sha256)) lost.add(call)
    return lost
  })
