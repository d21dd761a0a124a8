/** Damaged files: the run goes on, and every file ends somewhere, for a reason. */
import { copyFileSync } from "node:fs"
import { join } from "node:path"

import { assert, it } from "@effect/vitest"
import { Ledger } from "@reelgraph/core"
import * as SampleCorpus from "@reelgraph/media/SampleCorpus"
import * as Effect from "effect/Effect"

import { curateFolder, digests, storeAndWorkers, temporaryFolder, verifyClips } from "./curation.ts"
import { damageFiles, damages, lenient } from "./damaging.ts"

const count = 60

/** Whole files that go through the same run, and that are damaged. */
const whole = ["letterbox.mp4", "tiny.mp4"]

it.live(
  `${count} damaged files end as clips or for a reason, and cost the others nothing`,
  () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const corpus = join(folder, "corpus")
      const videos = join(folder, "videos")
      yield* SampleCorpus.render(corpus)
      const sources = whole.map((name) => join(corpus, name))
      const damaged = yield* damageFiles(sources, videos, count, 1)
      for (const name of whole) copyFileSync(join(corpus, name), join(videos, name))

      const alone = yield* Effect.provide(
        curateFolder(videos, lenient, whole),
        storeAndWorkers(join(folder, "alone")),
      )
      assert.deepStrictEqual(
        alone.clips.map(({ name }) => name),
        whole,
      )

      yield* Effect.gen(function* () {
        const { clips, ends, report } = yield* curateFolder(videos, lenient)
        assert.deepStrictEqual(Ledger.imbalances(report.ledger), [])
        assert.deepStrictEqual(
          ends.filter(({ how }) => how === "failed"),
          [],
        )
        // One end for each file: the graph makes one window at most.
        assert.deepStrictEqual(
          [...clips, ...ends].map(({ name }) => name).sort(),
          [...damaged.map(({ name }) => name), ...whole].sort(),
        )
        for (const { detail, name, reason } of ends) assert.isNotEmpty(detail, `${name} ${reason}`)
        yield* verifyClips({ report, clips, ends })
        const mine = digests({ report, clips, ends })
        for (const line of digests(alone)) assert.include(mine, line)
        // Text and the like is no video, whatever its name says.
        const kinds = new Map(damaged.map(({ kind, name }) => [name, kind]))
        for (const { name, reason } of ends) {
          const kind = kinds.get(name)
          if (kind === "text" || kind === "noise") assert.strictEqual(reason, "not-a-video", name)
        }
        assert.sameMembers(
          ends.filter(({ name }) => kinds.get(name) === "empty").map(({ reason }) => reason),
          [
            "not-a-video",
            ...Array(Math.ceil(count / Object.keys(damages).length) - 1).fill("exact-duplicate"),
          ],
        )
      }).pipe(Effect.provide(storeAndWorkers(join(folder, "store"))))
    }),
  180_000,
)
