/**
 * Results whose blobs the store has lost: damaged ones are found when they are read, by operators and for export, and
 * moved aside. A run goes over its graph again then, and makes the results anew that named them: everything else is
 * there.
 */
import type { Graph } from "@reelgraph/core"
import { RecordCodec } from "@reelgraph/call"
import type { Engine } from "@reelgraph/engine"
import { type Artifact, artifactsIn, BlobStore, Journal, type Run } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

import * as Format from "./Format.ts"
import { TerminalOutput } from "./TerminalOutput.ts"

type Reader = typeof Journal.Service

/** Blobs of results are damaged or missing; a run makes them anew. */
export class BlobsLost extends Schema.TaggedError<BlobsLost>()("BlobsLost", {
  sha256s: Schema.Array(Schema.String),
}) {
  override get message() {
    const [first = "", ...more] = this.sha256s
    const others = more.length === 0 ? "" : ` and ${Format.counted(more.length, "other")}`
    return `the store has lost ${this.sha256s.length === 1 ? "a blob" : "blobs"} of results (${first.slice(0, 12)}${others}): run the graph again to make them anew`
  }
}

const lostTags = new Set(["BlobCorrupt", "BlobMissing"])

/** What was found lost on the way. */
export class Found {
  readonly sha256s = new Set<string>()

  /** Takes note that a blob is lost instead of failing with it, if a call has made it. */
  note({ sha256 }: Artifact, isMade = true) {
    return <A, E extends { readonly _tag: string }, R>(effect: Effect.Effect<A, E, R>) =>
      Effect.catchIf(
        effect,
        (error) => isMade && lostTags.has(error._tag),
        () => Effect.sync(() => void this.sha256s.add(sha256)),
      )
  }

  readonly check: Effect.Effect<void, BlobsLost> = Effect.suspend(() =>
    this.sha256s.size === 0 ? Effect.void : new BlobsLost({ sha256s: [...this.sha256s] }),
  )
}

/** Whether a blob was made by calls, and not taken in: no item that names it came from outside. */
export const isMade = (journal: Reader, sha256: string): boolean => {
  const items = journal.itemsOfArtifact(sha256)
  return (
    items.length > 0 &&
    // A filter gives what it took.
    items.every((item) => journal.producers(item).some(({ made }) => made.length > 0))
  )
}

/** Blobs that calls of a run failed for, that a call has made and that the store does not have. */
const ofRun = (journal: Reader, run: Run) =>
  Effect.gen(function* () {
    const blobs = yield* BlobStore
    const named = journal
      .failures(run.id)
      .filter(({ reason }) => lostTags.has(reason))
      .flatMap(({ detail, item }) => [
        // A side input is not in the record.
        ...(detail.match(/\b[0-9a-f]{64}\b/g) ?? []),
        ...artifactsIn(JSON.parse(journal.item(item)?.record ?? "null")).map(({ sha256 }) => sha256),
      ])
    const made = [...new Set(named)].filter((sha256) => isMade(journal, sha256))
    if (made.length === 0) return []
    const there = yield* blobs.hasAll(made)
    return made.filter((sha256) => !there.has(sha256))
  })

const tell = (lost: ReadonlyArray<string>) =>
  Effect.map(TerminalOutput, (screen) =>
    screen.tell(
      `reel: ${Format.counted(lost.length, "blob")} of results ${lost.length === 1 ? "is" : "are"} damaged or missing in the store: going over the graph again to make ${lost.length === 1 ? "it" : "them"} anew`,
    ),
  )

/** What a run took in, read back from the journal: a pipe is not read twice. Equal records come once. */
export const taken = (journal: Reader, graph: Graph.Graph, run: Run): Engine.Inputs =>
  Object.fromEntries(
    Object.entries(graph.inputs).map(([input, port]) => {
      const codec = RecordCodec.of(port.record)
      const ids = journal.runItems(run.id, `in:${input}`)
      return [input, Stream.map(Stream.fromIterable(ids), (id) => codec.decode(journal.item(id)!.record))]
    }),
  )

/**
 * A run, and others after it while calls fail for blobs that were lost. `once` runs the graph on what is given, or on
 * what the command was given. Each time another layer of results is made anew, so that there are no more runs than
 * nodes.
 */
export const mended = <E, R>(
  graph: Graph.Graph,
  once: (inputs: Engine.Inputs | undefined) => Effect.Effect<Engine.Report, E, R>,
) =>
  Effect.gen(function* () {
    const journal = yield* Journal
    const seen = new Set<string>()
    let report = yield* once(undefined)
    for (let pass = 0; pass < graph.nodes.length; pass++) {
      const run = journal.run(report.run)!
      const lost = (yield* ofRun(journal, run)).filter((sha256) => !seen.has(sha256))
      if (lost.length === 0) break
      yield* tell(lost)
      for (const sha256 of lost) seen.add(sha256)
      report = yield* once(taken(journal, graph, run))
    }
    return report
  })

/** Exports results; when blobs of them are lost, they are made anew with `again` first, and all are exported then. */
export const exported = <T, A, E extends { readonly _tag: string }, R, E2, R2>(
  done: T,
  again: Effect.Effect<T, E2, R2>,
  write: (done: T) => Effect.Effect<A, E, R>,
) =>
  Effect.map(write(done), (written) => ({ done, written })).pipe(
    Effect.catchIf(
      (error) => error._tag === "BlobsLost",
      (error) =>
        Effect.gen(function* () {
          yield* tell((error as unknown as BlobsLost).sha256s)
          const anew = yield* again
          return { done: anew, written: yield* write(anew) }
        }),
    ),
  )
