/** Runs `curate` over a folder of files, and reads back from the journal what became of each. */
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

import type { Graph } from "@reelgraph/core"
import { Engine } from "@reelgraph/engine"
import { curate } from "@reelgraph/graphs/curate"
import { LocalWorkers } from "@reelgraph/local"
import { Standardize, Verify } from "@reelgraph/media"
import { Clip, type SourceVideo } from "@reelgraph/operators/ports"
import { BlobStore, Journal, StoreFs } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

/** What curation tests need of the real files described in SOURCES.md; undefined when they are not there. */
export const realVideos: string | undefined = [
  // oxlint-disable-next-line node/no-process-env -- where a machine keeps its files
  process.env["REEL_TEST_VIDEOS"],
  fileURLToPath(new URL("../../shared/videos", import.meta.url)),
].find((folder) => folder !== undefined && existsSync(join(folder, "SOURCES.md")))

/** A folder that is removed when the scope closes. */
export const temporaryFolder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "reel-test-"))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true })),
)

/** A store with worker processes, as `reel` puts them together. Tests do without fsync. */
export const storeAndWorkers = (store: string) =>
  Layer.mergeAll(StoreFs.layer(store, { durability: "none" }), LocalWorkers.layer({ store }))

type Clip = (typeof Clip)["record"]["Type"]

/** Where the way of a file, or of one of its windows, ended: dropped or failed, at a node, for a reason. */
export interface End {
  readonly name: string
  readonly how: "dropped" | "failed"
  readonly node: string
  readonly reason: string
  readonly detail: string
  /** Start of the window in seconds, once there are windows. */
  readonly seconds: number | undefined
}

export interface Curation {
  readonly report: Engine.Report
  readonly ends: ReadonlyArray<End>
  /** Sorted by name and time. */
  readonly clips: ReadonlyArray<Clip>
}

/** Names of the files of a folder, sorted. */
export const filesOf = (folder: string): ReadonlyArray<string> =>
  readdirSync(folder)
    .filter((name) => !name.endsWith(".md"))
    .sort()

/** The files of a folder as records for the graph's input, registered in the store. */
export const sourcesOf = (folder: string, names: ReadonlyArray<string> = filesOf(folder)) =>
  Stream.fromIterable(names).pipe(
    Stream.mapEffect((name) =>
      Effect.map(
        BlobStore.use((blobs) => blobs.reference(join(folder, name), "video/mp4")),
        (file): (typeof SourceVideo)["record"]["Type"] => ({ name, file }),
      ),
    ),
  )

const Named = Schema.fromJsonString(
  Schema.Struct({
    name: Schema.String,
    window: Schema.optionalKey(Schema.Struct({ startSeconds: Schema.Finite })),
  }),
)
const decodeNamed = Schema.decodeUnknownSync(Named)
const decodeClip = Schema.decodeUnknownSync(Schema.fromJsonString(Clip.record))

/** What a run left in the journal. */
export const curationOf = Effect.fn("curationOf")(function* (report: Engine.Report) {
  const journal = yield* Journal
  const { id } = journal.run(report.run)!
  const ends = (["dropped", "failed"] as const).flatMap((how) =>
    (how === "dropped" ? journal.dropped(id) : journal.failures(id)).map(
      ({ detail, item, node, reason }): End => {
        const { name, window } = decodeNamed(journal.item(item)!.record)
        return { name, how, node, reason, detail, seconds: window?.startSeconds }
      },
    ),
  )
  const clips = journal.runItems(id, "out:clips").map((item) => decodeClip(journal.item(item)!.record))
  const inOrder = (a: Clip, b: Clip) =>
    a.name === b.name ? a.window.startSeconds - b.window.startSeconds : a.name < b.name ? -1 : 1
  return { report, ends, clips: [...clips].sort(inOrder) } satisfies Curation
})

/** Runs a graph with curate's input and output over the files of a folder. */
export const curateFolder = Effect.fn("curateFolder")(function* (
  folder: string,
  graph: Graph.Graph = curate,
  names?: ReadonlyArray<string>,
) {
  const report = yield* Engine.run(graph, { videos: sourcesOf(folder, names) })
  return yield* curationOf(report)
})

/** `name node reason` or `name clip`, one line for each file or window, without repeats, sorted. */
export const fates = ({ clips, ends }: Curation): ReadonlyArray<string> =>
  [
    ...new Set([
      ...ends.map(({ name, node, reason }) => `${name} ${node} ${reason}`),
      ...clips.map(({ name }) => `${name} clip`),
    ]),
  ].sort()

/** Digests of the clips, in order: what has to be the same after every kind of rerun. */
export const digests = ({ clips }: Curation): ReadonlyArray<string> =>
  clips.map(({ clip, name, window }) => `${name} ${window.startSeconds} ${clip.sha256}`)

/** Decodes every clip of a run and compares it with the standard; fails with what differs. */
export const verifyClips = ({ clips }: Curation) =>
  Effect.forEach(clips, ({ clip }) =>
    Effect.scoped(
      Effect.gen(function* () {
        const blobs = yield* BlobStore
        yield* blobs.verify(clip)
        return yield* Verify.verifyClip(yield* blobs.localPath(clip), Standardize.standardTarget)
      }),
    ),
  )
