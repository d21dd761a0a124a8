/** Results that name blobs which are gone. */
import { RecordCodec } from "@reelgraph/call"
import type { Graph } from "@reelgraph/core"
import { artifactsIn, type BlobStore, type Hit, type Journal, StoreUnreadable } from "@reelgraph/store"
import * as Effect from "effect/Effect"

/** What is looked at: a node, and where its results are. */
export interface Looked {
  readonly blobs: typeof BlobStore.Service
  readonly journal: typeof Journal.Service
  readonly node: Graph.Placed
}

/** Whether results of a node may name blobs at all. */
export const mayLose = ({ operator: { output } }: Graph.Placed): boolean =>
  output !== undefined && RecordCodec.of(output.record).hasArtifacts

/**
 * Calls among hits whose results name blobs that the store no longer has, or has in another length. Nothing is hashed:
 * whoever reads a blob compares it, and moves a damaged one aside, so that the next look finds it missing.
 */
export const lostArtifacts = (
  { blobs, journal, node }: Looked,
  hits: ReadonlyArray<Hit>,
): Effect.Effect<ReadonlyMap<number, string>, StoreUnreadable> =>
  Effect.gen(function* () {
    /** By call, the digest of a blob that is lost. */
    const lost = new Map<number, string>()
    if (!mayLose(node)) return lost
    const named = hits.flatMap(({ call, outputs }) =>
      outputs.flatMap((id) =>
        artifactsIn(JSON.parse(journal.item(id)!.record)).map((artifact) => ({ call, artifact })),
      ),
    )
    // A store that cannot be read has not lost anything: whoever reads the blob will say what is wrong. One that has gone
    // as a whole is another matter.
    const there = yield* Effect.catch(blobs.hasAll(named.map(({ artifact }) => artifact)), (error) =>
      error instanceof StoreUnreadable && error.endsRun
        ? Effect.fail(error)
        : Effect.succeed(new Set(named.map(({ artifact }) => artifact.sha256))),
    )
    for (const { artifact, call } of named) if (!there.has(artifact.sha256)) lost.set(call, artifact.sha256)
    return lost
  })
