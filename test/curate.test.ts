/** The `curate` graph on the rendered corpus: every file has a known fate. */
import { join } from "node:path"

import { assert, layer } from "@effect/vitest"
import { Ledger } from "@reelgraph/core"
import * as SampleCorpus from "@reelgraph/media/SampleCorpus"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

import {
  type Curation,
  curateFolder,
  digests,
  fates,
  storeAndWorkers,
  temporaryFolder,
  verifyClips,
} from "./curation.ts"

/** Which node drops a file that the manifest expects to be dropped, and what it calls the reason. */
const dropping: Record<Exclude<SampleCorpus.Expectation, "kept">, string> = {
  // Long enough to be looked at (2 s), too short for a clip.
  "too-short": "split-clips no-shot-of-5s",
  black: "black black",
  static: "motion static",
  blurry: "blurry blurry",
  "low-resolution": "ingest-checks low-resolution",
  "low-frame-rate": "ingest-checks low-frame-rate",
  jitter: "jitter jitter",
  "exact-duplicate": "exact-duplicates exact-duplicate",
  "near-duplicate": "near-duplicates near-duplicate",
  damaged: "damaged damaged",
  "not-a-video": "probe not-a-video",
  "no-video-stream": "probe no-video-stream",
}

/** For what decodes or encodes; nothing waits for it. */
const limit = 120_000

interface Corpus {
  readonly folder: string
  readonly manifest: ReadonlyArray<SampleCorpus.SampleFile>
  readonly cold: Curation
}

/** The rendered corpus and what the first run made of it. */
const Corpus = Context.Service<Corpus>("test/Corpus")

const corpus = Layer.unwrap(
  Effect.map(temporaryFolder, (folder) => {
    const videos = join(folder, "videos")
    const curated = Effect.gen(function* () {
      const manifest = yield* SampleCorpus.render(videos)
      return { folder: videos, manifest, cold: yield* curateFolder(videos) }
    })
    return Layer.provideMerge(Layer.effect(Corpus, curated), storeAndWorkers(join(folder, "store")))
  }),
)

layer(corpus, { timeout: "3 minutes", excludeTestServices: true })("curate on the sample corpus", (it) => {
  it.effect("keeps and drops every file for the reason of the manifest", () =>
    Effect.gen(function* () {
      const { cold, manifest } = yield* Corpus
      const expected = manifest.map(({ expect, file }) =>
        expect === "kept" ? `${file} clip` : `${file} ${dropping[expect]}`,
      )
      assert.deepStrictEqual(fates(cold), expected.sort())
      for (const { clips, file } of manifest) {
        assert.strictEqual(cold.clips.filter(({ name }) => name === file).length, clips ?? 0, file)
      }
    }),
  )

  it.effect("gives a ledger that adds up and agrees with the journal", () =>
    Effect.gen(function* () {
      const { cold, manifest } = yield* Corpus
      const { inputs, ledger, outputs, status } = cold.report
      assert.strictEqual(status, "done")
      assert.deepStrictEqual(Ledger.imbalances(ledger), [])
      assert.deepStrictEqual(inputs, { videos: manifest.length })
      assert.deepStrictEqual(outputs, { clips: cold.clips.length })
      const dropped = Object.values(ledger).reduce((sum, node) => sum + Ledger.droppedOf(node), 0)
      assert.strictEqual(dropped, cold.ends.length)
      // What a node gives is what the next one takes.
      const nodes = Object.values(ledger)
      nodes.slice(1).forEach((node, i) => assert.strictEqual(node.in, nodes[i]!.out))
    }),
  )

  it.effect("speaks of files by their names", () =>
    Effect.gen(function* () {
      const { cold, folder } = yield* Corpus
      for (const { detail } of cold.ends) {
        assert.notInclude(detail, folder)
        assert.notStrictEqual(detail, "")
      }
    }),
  )

  it.effect(
    "gives standard clips",
    () =>
      Effect.gen(function* () {
        const { cold } = yield* Corpus
        const facts = yield* verifyClips(cold)
        assert.strictEqual(facts.length, 5)
        for (const fact of facts) {
          assert.deepInclude(fact, { frames: 120, width: 1280, height: 720, range: "tv", audioStreams: 0 })
        }
        for (const { fingerprint, source, window } of cold.clips) {
          assert.closeTo(window.endSeconds - window.startSeconds, 5, 1e-9)
          assert.strictEqual(fingerprint.length, 5)
          assert.strictEqual(source.mediaType, "video/mp4")
        }
      }),
    limit,
  )

  it.effect(
    "does nothing again when nothing changed",
    () =>
      Effect.gen(function* () {
        const { cold, folder } = yield* Corpus
        const warm = yield* curateFolder(folder)
        for (const [node, counts] of Object.entries(warm.report.ledger)) {
          assert.strictEqual(counts.cached, counts.in, node)
          assert.strictEqual(counts.busyMs, 0, node)
        }
        assert.deepStrictEqual(digests(warm), digests(cold))
        assert.deepStrictEqual(fates(warm), fates(cold))
      }),
    limit,
  )

  it.effect(
    "makes the same bytes in another store",
    () =>
      Effect.gen(function* () {
        const { cold, folder } = yield* Corpus
        const store = yield* temporaryFolder
        const again = yield* Effect.provide(
          curateFolder(folder, undefined, ["letterbox.mp4", "portrait.mp4"]),
          storeAndWorkers(join(store, "store")),
        )
        assert.deepStrictEqual(
          digests(again),
          digests(cold).filter((line) => /^(letterbox|portrait)/.test(line)),
        )
      }),
    limit,
  )
})
