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
      let killed = 0
      for (let kill = 0; kill < kills; kill++) {
        // One in each sixth of the run.
        const afterMs = ((kill + (yield* Random.next)) / kills) * ms
        const trial = yield* killTrial(videos, store(`kill-${kill}`), afterMs, undisturbed)
        assert.deepStrictEqual(faults(trial), [], `killed after ${trial.afterMs} ms`)
        if (trial.killed) killed++
      }
      // A trial whose process ended before its kill proves nothing.
      assert.isAtLeast(killed, kills - 1)
    }).pipe(Random.withSeed("durability")),
  180_000,
)
