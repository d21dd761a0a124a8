/** A run that is killed at any instant goes on where it was, and ends as if nothing had happened. */
import { join } from "node:path"

import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"

import { curateFolder, digests, storeAndWorkers, temporaryFolder } from "./curation.ts"
import { drive, faults, hurried, killTrial, smallCorpus } from "./kills.ts"

const kills = 6

it.live(
  `ends the same after each of ${kills} kills`,
  () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const videos = yield* smallCorpus(folder)
      const store = (name: string) => join(folder, name)
      const { ms } = yield* drive(videos, store("undisturbed"))
      const undisturbed = yield* Effect.provide(
        curateFolder(videos, hurried),
        storeAndWorkers(store("undisturbed")),
      )
      assert.lengthOf(digests(undisturbed), 2)
      for (let kill = 0; kill < kills; kill++) {
        // One in each sixth of the run. A driver that ended before its kill proves nothing: earlier, then.
        let afterMs = ((kill + (yield* Random.next)) / kills) * ms
        for (let killed = false; !killed; afterMs /= 2) {
          const trial = yield* killTrial(videos, store(`kill-${kill}-${afterMs}`), afterMs, undisturbed)
          assert.deepStrictEqual(faults(trial), [], `killed after ${trial.afterMs} ms`)
          killed = trial.killed
        }
      }
    }).pipe(Random.withSeed("durability")),
  300_000,
)
