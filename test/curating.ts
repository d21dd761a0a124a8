/**
 * A process to be killed: curates the folder named by its first argument into the store named by its second. Says
 * `running` once the run has begun, and `done` when it has ended.
 */
import * as Effect from "effect/Effect"

import { LocalWorkers } from "@reelgraph/local"
import { StoreFs } from "@reelgraph/store"
import * as Layer from "effect/Layer"

import { curateFolder } from "./curation.ts"
import { hurried } from "./kills.ts"

const [folder, store] = process.argv.slice(2) as [string, string]

const layer = Layer.mergeAll(StoreFs.layer(store), LocalWorkers.layer({ store }))

await Effect.runPromise(
  Effect.gen(function* () {
    process.stdout.write("running\n")
    yield* curateFolder(folder, hurried)
    process.stdout.write("done\n")
  }).pipe(Effect.provide(layer)),
)
